"""What stays on this machine may go there by plain http; through a proxy it would not stay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest
from adapters.api import Api
from adapters.drivers import WEB_DRIVERS, Aiohttp, Driver, opened
from adapters.held_manager import Held
from adapters.rpc import Rpc

import oidc_actor.adapters.aiohttp
from oidc_actor import ConfigError
from oidc_actor.http.proxies import environ_proxy


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch, other: Api, settled: Held) -> None:
    """The environment names a proxy, once the manager has its token."""
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", other.url)


@pytest.fixture(params=[kind for kind in WEB_DRIVERS if not issubclass(kind, Aiohttp)], ids=lambda kind: kind.__name__)
def driver(request: pytest.FixtureRequest, http: Api, rpc: Rpc, settled: Held) -> Iterator[Driver]:
    """Those libraries do not tell an adapter which proxy they use."""
    with opened(request.param, http, rpc, settled.name) as driver:
        yield driver


def test_no_token_for_a_proxy_of_the_environment(driver: Driver, http: Api, other: Api) -> None:
    with pytest.raises(ConfigError, match="through a proxy"):
        driver.call()
    assert http.seen == other.seen == []


def test_a_host_that_is_exempt(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert driver.call() == (200, b"welcome")


def test_aiohttp_tells_which_proxy_it_uses(http: Api, other: Api, settled: Held) -> None:
    async def call(**options: object) -> int:
        auth = oidc_actor.adapters.aiohttp.OIDCAuth(settled.name)
        async with (
            aiohttp.ClientSession(middlewares=[auth]) as session,
            session.get(f"{http.url}/echo", **options) as answer,  # type: ignore[arg-type]
        ):
            return answer.status

    assert asyncio.run(call()) == 200
    with pytest.raises(ConfigError, match="through a proxy"):
        asyncio.run(call(proxy=other.url))
    assert other.seen == []


def test_websockets_go_the_way_of_http(other: Api) -> None:
    assert environ_proxy("ws://localhost/") == other.url
    assert environ_proxy("wss://localhost/") is None
