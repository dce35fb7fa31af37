"""A request with a token, as client libraries see it: the asynchronous read, and what an ``auth`` adds to one request.

All of it is processor time of one thread, in turns: ours, the least that such code can cost, and a peer. httpx's ``auth`` is run
as the library runs it, with an answer; aiohttp's is measured on whole requests to a server in another process.
"""

from __future__ import annotations

import asyncio
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat
from typing import Any, TypeAlias

import aiohttp
import httpx
import httpx_auth
import peers
import requests
from anthropic.lib.credentials import AccessToken, TokenCache
from figures import Figure, Goal, Loop, at_most, in_turns, median_ratio
from floor import Floor
from requests_oauth2client import BearerToken, OAuth2Client, OAuth2ClientCredentialsAuth

import oidc_actor.adapters.aiohttp
import oidc_actor.adapters.httpx
import oidc_actor.adapters.requests
from oidc_actor import ClientCredentials, OIDCConfig, TokenManager
from oidc_actor.transport import Request, Response

Auth: TypeAlias = Any
Make: TypeAlias = Callable[[str], Loop]
"""Makes the loop for one address."""

NAME = "bench.adapters"
HTTPS, LOOPBACK = "https://api.example.com/v1/items?page=1", "http://127.0.0.1:8080/v1/items?page=1"
VALUE = f"Bearer {peers.TEXT}"

SERVER = """
import asyncio
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: 2\\r\\n\\r\\nok"

class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        *whole, self.rest = (self.rest + data).split(b"\\r\\n\\r\\n")
        self.transport.write(ANSWER * len(whole))

async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
"""Answers a request without a body at once; the bench is about its client."""


def _grant(request: Request) -> Response:
    return Response(200, {}, json.dumps({"access_token": peers.TEXT, "token_type": "Bearer", "expires_in": 36_000}))


def run(*, quick: bool) -> list[Figure]:
    """Time them in turns."""
    config = OIDCConfig(token_endpoint="https://auth.invalid/token")
    TokenManager.start_link(auth=ClientCredentials("id", "s"), oidc_config=config, transport=_grant, name=NAME)
    TokenManager.get_access_token(NAME)
    rounds = 25 if quick else 100
    return [
        *_reads(rounds),
        *_auths("requests", _requests_contenders(), rounds),
        *_auths("httpx", _httpx_contenders(), rounds),
        *_auths("httpx async", _async_httpx_contenders(), rounds),
        *_whole_requests(rounds),
    ]


# --- the asynchronous read --------------------------------------------------------------------------------------------


def _reads(rounds: int) -> list[Figure]:
    async def provide(*, force_refresh: bool = False) -> AccessToken:
        return AccessToken(peers.TEXT, int(time.time()) + peers.LIFE_S)

    cache = TokenCache(provide)
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "floor": Floor(36_000).aread,
        "source": TokenManager.source(NAME).aaccess_token,
        "anthropic": cache.async_get_token,
    }
    loops: dict[str, Loop] = {name: _driven(functools.partial(_awaits, read)) for name, read in reads.items()}
    loops["name"] = _driven(_awaits_by_name)
    asyncio.run(cache.async_get_token())
    times = in_turns(loops, rounds)
    figures = []
    for name, found in times.items():
        ratio = median_ratio(found, times["floor"])
        goals: dict[str, Goal] = {"source": at_most(1.2, ratio), "name": at_most(2.2, ratio)}
        goal = goals.get(name, {})
        figures.append(_figure(f"await, {name}", statistics.median(found), ratio, "async floor", goal))
    return figures


def _driven(loop: Callable[[int], Any]) -> Loop:
    """Run a coroutine that never waits without an event loop, which would be most of what is measured."""

    def run(times: int) -> float:
        try:
            loop(times).send(None)
        except StopIteration as ended:
            return float(ended.value)
        raise AssertionError("it has yielded")

    return run


async def _awaits(read: Callable[[], Awaitable[object]], times: int) -> float:
    began = time.thread_time_ns()
    for _ in repeat(None, times):
        await read()
    return (time.thread_time_ns() - began) / times


async def _awaits_by_name(times: int) -> float:
    get = TokenManager.aget_access_token
    began = time.thread_time_ns()
    for _ in repeat(None, times):
        await get(NAME)
    return (time.thread_time_ns() - began) / times


# --- what an auth adds to a request -----------------------------------------------------------------------------------


def _auths(library: str, contenders: dict[str, Make], rounds: int) -> list[Figure]:
    peer = next(name for name in contenders if name not in {"static", "ours"})
    loops = {f"{name}, https": make(HTTPS) for name, make in contenders.items()}
    loops["ours, loopback"] = contenders["ours"](LOOPBACK)
    times = in_turns(loops, rounds)
    figures = []
    for name, found in times.items():
        ratio = median_ratio(found, times[f"{peer}, https"])
        goal: Goal = {}
        if name == "ours, https" or (name == "ours, loopback" and library != "requests"):
            goal = at_most(1, ratio)
        elif name == "ours, loopback":
            twice = median_ratio(found, times["ours, https"])
            goal = at_most(2, twice, f"<= 2x https ({twice:.3g}x)")
        figures.append(_figure(f"{library}: {name}", statistics.median(found), ratio, peer, goal))
    return figures


def _requests_contenders() -> dict[str, Make]:
    def static(request: Any) -> Any:
        request.headers["Authorization"] = VALUE
        return request

    client = OAuth2Client("https://peer.invalid/token", client_id="id", client_secret="secret")
    peer = OAuth2ClientCredentialsAuth(client, token=BearerToken(peers.TEXT, expires_in=peers.LIFE_S))
    auths = {"static": static, "requests-oauth2client": peer, "ours": oidc_actor.adapters.requests.OIDCAuth(NAME)}
    return {name: functools.partial(_of_requests, auth) for name, auth in auths.items()}


def _of_requests(auth: Auth, url: str) -> Loop:
    def loop(times: int) -> float:
        request = requests.Request("GET", url).prepare()  # a new one for each round: an auth leaves hooks on it
        began = time.thread_time_ns()
        for _ in repeat(None, times):
            auth(request)
        return (time.thread_time_ns() - began) / times

    return loop


class _Static(httpx.Auth):
    """The least: one header, and one answer."""

    def sync_auth_flow(self, request: Any) -> Any:
        request.headers["Authorization"] = VALUE
        yield request

    async def async_auth_flow(self, request: Any) -> Any:
        request.headers["Authorization"] = VALUE
        yield request


def _httpx_auths() -> dict[str, Auth]:
    peer = httpx_auth.OAuth2ClientCredentials("https://peer.invalid/token", "id", "secret")
    httpx_auth.OAuth2.token_cache._add_access_token(peer.state, peers.TEXT, peers.LIFE_S)
    return {"static": _Static(), "httpx-auth": peer, "ours": oidc_actor.adapters.httpx.OIDCAuth(NAME)}


def _httpx_contenders() -> dict[str, Make]:
    def of(auth: Auth, url: str) -> Loop:
        def loop(times: int) -> float:
            request = httpx.Request("GET", url)
            response = httpx.Response(200, request=request)
            began = time.thread_time_ns()
            for _ in repeat(None, times):
                flow = auth.sync_auth_flow(request)
                next(flow)
                with suppress(StopIteration):
                    flow.send(response)
            return (time.thread_time_ns() - began) / times

        return loop

    return {name: functools.partial(of, auth) for name, auth in _httpx_auths().items()}


def _async_httpx_contenders() -> dict[str, Make]:
    def of(auth: Auth, url: str) -> Loop:
        async def loop(times: int) -> float:
            request = httpx.Request("GET", url)
            response = httpx.Response(200, request=request)
            began = time.thread_time_ns()
            for _ in repeat(None, times):
                flow = auth.async_auth_flow(request)
                await flow.__anext__()
                with suppress(StopAsyncIteration):
                    await flow.asend(response)
            return (time.thread_time_ns() - began) / times

        return _driven(loop)

    return {name: functools.partial(of, auth) for name, auth in _httpx_auths().items()}


# --- whole requests by aiohttp ----------------------------------------------------------------------------------------


@contextmanager
def _server() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/items?page=1"
        finally:
            process.kill()


async def _static(request: Any, handler: Any) -> Any:
    request.headers["Authorization"] = VALUE
    return await handler(request)


def _whole_requests(rounds: int) -> list[Figure]:
    with _server() as url:
        times = asyncio.run(_asked_in_turns(url, 4 * rounds))
    figures = []
    for name, found in times.items():
        ratio = median_ratio(found, times["static"])
        goal = at_most(1.1, ratio) if name == "ours" else {}
        what = f"aiohttp: {name}, whole request"
        figures.append(_figure(what, statistics.median(found), ratio, "static middleware", goal))
    return figures


async def _asked_in_turns(url: str, rounds: int) -> dict[str, list[float]]:
    kinds: dict[str, list[Any]] = {
        "no middleware": [],
        "static": [_static],
        "ours": [oidc_actor.adapters.aiohttp.OIDCAuth(NAME)],
    }
    sessions = {name: aiohttp.ClientSession(middlewares=middlewares) for name, middlewares in kinds.items()}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        for name, session in sessions.items():
            began = time.thread_time_ns()
            for _ in repeat(None, 20):
                async with session.get(url) as answer:
                    await answer.read()
            if number:  # the first opens the connection
                times[name].append((time.thread_time_ns() - began) / 20)
    for session in sessions.values():
        await session.close()
    return times


def _figure(what: str, value_ns: float, ratio: float, against: str, goal: Goal) -> Figure:
    return Figure("adapters", what, value_ns / 1000, "us", ratio, against, **goal)
