"""What the instruments tell of a shared store: its calls, the tokens adopted from it, the requests made without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from threads import eventually

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.testing import MemoryStore, Provider
from oidc_actor.values.errors import StoreError

Sample = Callable[..., float | None]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=600.0) as running:
        yield running


@pytest.fixture
def member(provider: Provider) -> Callable[[str, MemoryStore | None], dict[str, str]]:
    auth = ClientCredentials(provider.client_id, provider.client_secret)

    def start(name: str, store: MemoryStore | None) -> dict[str, str]:
        more: dict[str, Any] = {} if store is None else {"store": store}
        TokenManager.start_link(name=name, issuer_url=provider.issuer_url, auth=auth, **more)
        TokenManager.get_token(name)
        return {"manager": name, "issuer": provider.issuer_url}

    return start


def test_one_requests_and_the_other_adopts(member, sample: Sample) -> None:
    store = MemoryStore()
    first = member("first", store)
    eventually(lambda: sample("store_calls_total", **first, outcome="answered") == 2, "the claim and the share")
    second = member("second", store)
    eventually(lambda: sample("store_adoptions_total", **second) == 1, "the adoption to be counted")
    assert sample("store_adoptions_total", **first) == 0
    assert sample("token_requests_total", **first, outcome="success") == 1
    assert sample("token_requests_total", **second, outcome="success") == 0
    assert sample("store_calls_total", **second, outcome="answered") == 1, "the claim; looks are nobody's"
    for labels in (first, second):
        assert sample("store_calls_total", **labels, outcome="failed") == 0
        assert sample("store_alone_requests_total", **labels) == 0


def test_a_request_without_the_store_that_is_down(member, sample: Sample) -> None:
    store = MemoryStore()
    store.error = StoreError("refused", sent=False)
    labels = member("m", store)
    eventually(lambda: sample("store_alone_requests_total", **labels) == 1, "the request to be counted")
    assert sample("store_calls_total", **labels, outcome="answered") == 0
    assert (sample("store_calls_total", **labels, outcome="failed") or 0) >= 1


def test_without_a_store_there_is_nothing_to_count(member, sample: Sample) -> None:
    labels = member("m", None)
    for outcome in ("answered", "failed"):
        assert sample("store_calls_total", **labels, outcome=outcome) == 0
    assert sample("store_adoptions_total", **labels) == sample("store_alone_requests_total", **labels) == 0
