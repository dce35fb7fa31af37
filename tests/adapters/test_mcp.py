"""`mcp_auth` with MCP's real SDK on both sides: a refused token, an outage, calls at once, and where the token goes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_server import RunningServer

from oidc_actor import ClientCredentials, ConfigError, TokenManager
from oidc_actor.adapters.mcp import mcp_auth
from oidc_actor.testing import Provider

NAME = "mcp.token"
Task = Callable[[Client], Awaitable[None]]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=60) as running:
        yield running


@pytest.fixture
def server(provider: Provider) -> Iterator[RunningServer]:
    with RunningServer(provider) as running:
        TokenManager.start_link(
            name=NAME,
            issuer_url=provider.issuer_url,
            resource_url=running.url,
            auth=ClientCredentials(provider.client_id, provider.client_secret),
            min_interval_seconds=0,
        )
        yield running
        TokenManager.stop(NAME)


def connected(server: RunningServer, task: Task) -> None:
    async def run() -> None:
        async with (
            httpx2.AsyncClient(auth=mcp_auth(NAME, server.url), timeout=30) as http,
            Client(streamable_http_client(server.url, http_client=http)) as client,
        ):
            await task(client)

    asyncio.run(run())


async def add(client: Client, a: int) -> object:
    result = await client.call_tool("add", {"a": a, "b": 1})
    assert not result.is_error
    return result.structured_content


def test_a_refused_token_fails_no_call_and_an_outage_none_while_a_token_lives(
    server: RunningServer, provider: Provider
) -> None:
    async def task(client: Client) -> None:
        assert await add(client, 1) == {"result": 2}
        server.checks.revoked.add(TokenManager.get_access_token(NAME))
        assert await asyncio.gather(*(add(client, number) for number in range(5)))
        assert provider.token_requests == 2
        provider.down()
        assert await add(client, 2) == {"result": 3}

    connected(server, task)


def test_calls_do_not_wait_for_each_other(server: RunningServer) -> None:
    async def task(client: Client) -> None:
        await add(client, 1)
        began = time.monotonic()
        await asyncio.gather(*(client.call_tool("wait", {"seconds": 1.0}) for _ in range(10)))
        assert time.monotonic() - began < 5  # one after the other they take 10

    connected(server, task)


def test_no_other_origin_gets_the_token(server: RunningServer, provider: Provider) -> None:
    with httpx2.Client(auth=mcp_auth(NAME, server.url)) as client:
        assert client.get(provider.resource_url).status_code == 401
        assert client.post(server.url, json={}).status_code != 401


def test_the_first_sdk_gets_what_its_httpx_takes() -> None:
    code = """if True:
        import importlib.metadata as metadata
        metadata.version = {"mcp": "1.28.1"}.__getitem__
        import httpx
        from oidc_actor.adapters.mcp import mcp_auth
        assert isinstance(mcp_auth("name", "https://sums.example.com/mcp"), httpx.Auth)
    """
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("sums.example.com", {}, "server_url: expected an https URL"),
        ("http://sums.example.com/mcp", {}, "server_url: expected https, got plain http"),
        ("https://sums.example.com/mcp", {"timeout": -1}, "timeout: expected"),
    ],
)
def test_mistakes(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        mcp_auth(NAME, url, **options)
    assert isinstance(mcp_auth(NAME, "http://sums.example.com", allow_insecure_http=True), httpx2.Auth)
