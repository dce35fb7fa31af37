from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from testing.upstream import TIMEOUT_S, Upstream

from oidc_actor.testing import Provider
from oidc_actor.testing.fault_proxy import FaultProxy

ASK_TIMEOUT_S = 10.0


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def ask(provider: Provider) -> Callable[..., requests.Response]:
    """Ask the token endpoint as the first client, by client_secret_basic."""

    def ask_token(grant_type: str = "client_credentials", **form: Any) -> requests.Response:
        auth = form.pop("auth", (provider.client_id, provider.client_secret))
        return requests.post(
            provider.token_endpoint, data={"grant_type": grant_type, **form}, auth=auth, timeout=ASK_TIMEOUT_S
        )

    return ask_token


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(TIMEOUT_S)


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultProxy]:
    with FaultProxy(upstream.url) as running:
        yield running
