"""The plain header, with the standard library's client."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest
from adapters.api import DEADLINE_S, Api
from adapters.held_manager import Held

from oidc_actor import ConfigError, NoTokenError
from oidc_actor.adapters.headers import aheaders, headers
from oidc_actor.testing import Provider
from supervision import NoProcess


def get(http: Api, sent: dict[str, str]) -> int:
    request = urllib.request.Request(f"{http.url}/echo", headers=sent)
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return int(answer.status)


def test_the_first_call_a_refresh_during_use_and_a_provider_that_is_down(
    manager: Held, http: Api, provider: Provider
) -> None:
    assert get(http, headers(manager.name)) == 200
    assert get(http, asyncio.run(aheaders(manager.name))) == 200
    before = manager.wait_for_token()
    after = manager.refresh()
    provider.down()
    assert get(http, headers(manager.ref)) == 200
    assert http.tokens == [before, before, after]


def test_its_printed_form_does_not_show_the_token(manager: Held) -> None:
    assert manager.token not in str(headers(manager.name))


def test_errors() -> None:
    with pytest.raises(NoProcess):
        headers("nobody")
    with pytest.raises(NoProcess):
        asyncio.run(aheaders("nobody"))


@pytest.mark.parametrize("url", ["/items", "https://[x/", "https://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="url: expected an absolute address"):
        headers("nobody", method="GET", url=url)


def test_a_wait_ends_in_time(manager: Held) -> None:
    manager.gate.shut()
    manager.clock.advance(10_000)
    with pytest.raises(NoTokenError):
        headers(manager.name, timeout=0)
    with pytest.raises(NoTokenError):
        asyncio.run(aheaders(manager.name, timeout=0))
