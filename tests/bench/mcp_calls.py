"""What an agent's clients do with our tokens, beside what their vendors' own caches do.

1. Ten MCP calls of 0.3 s at once: through the SDK's own provider of client credentials, and through `mcp_auth`.
2. A program that calls an MCP server and a model's API for 15 s, with tokens that live 6 s. All tokens are revoked once, and the
   provider is down for 3.5 s. Requests for tokens, failed calls, slowest call: with what MCP's SDK and openai's client bring
   themselves, and with one manager for both. openai's cache asks a service of its own: a stand-in gives it the provider's tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx2
from figures import Figure, at_most
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp_server import RunningServer
from openai import AsyncOpenAI, DefaultAsyncHttpx2Client

from oidc_actor import ClientCredentials, TokenManager, TokenRequestError, oidc
from oidc_actor.adapters.httpx2 import OIDCAuth
from oidc_actor.adapters.mcp import mcp_auth
from oidc_actor.testing import Provider
from supervision import NoProcess

NAME = "bench.mcp"
LIFETIME_S, SECONDS = 6.0, 15.0
MESSAGES: Any = [{"role": "user", "content": "2+2"}]
CALL_S = 0.3
CALLS = 10


class InMemory:
    """The SDK's ``TokenStorage``."""

    def __init__(self) -> None:
        self._tokens: Any = None
        self._client: Any = None

    async def get_tokens(self) -> Any:
        return self._tokens

    async def set_tokens(self, tokens: Any) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> Any:
        return self._client

    async def set_client_info(self, client_info: Any) -> None:
        self._client = client_info


def of_the_sdk(provider: Provider, server: RunningServer) -> Any:
    """The SDK's own auth for the same client."""
    return ClientCredentialsOAuthProvider(
        server.url, InMemory(), provider.client_id, provider.client_secret, issuer=provider.issuer_url
    )


def ours(provider: Provider, server: RunningServer) -> Any:
    """A manager's."""
    TokenManager.start_link(
        name=NAME,
        issuer_url=provider.issuer_url,
        resource_url=server.url,
        auth=ClientCredentials(provider.client_id, provider.client_secret),
    )
    return mcp_auth(NAME, server.url)


WAYS: dict[str, Callable[[Provider, RunningServer], Any]] = {"the SDK's own": of_the_sdk, "mcp_auth": ours}


@contextlib.asynccontextmanager
async def opened(server: RunningServer, auth: Any) -> AsyncIterator[Client]:
    """The SDK's client over one HTTP client."""
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(server.url, http_client=http)) as client,
    ):
        yield client


async def at_once(server: RunningServer, auth: Any) -> float:
    """Seconds for the calls, all sent at once, on a connection that is used already."""
    async with opened(server, auth) as client:
        await client.call_tool("add", {"a": 1, "b": 1})
        began = time.monotonic()
        await asyncio.gather(*(client.call_tool("wait", {"seconds": CALL_S}) for _ in range(CALLS)))
        return time.monotonic() - began


@dataclass
class Tally:
    """What the calls of one program came to."""

    calls: int = 0
    failed: int = 0
    sessions: int = 0  # MCP sessions that ended with an error
    slowest_s: float = 0.0
    errors: set[str] = field(default_factory=set)

    async def call(self, make: Callable[[], Awaitable[Any]]) -> None:
        """Make one call, and note how it went."""
        began = time.monotonic()
        try:
            result = await make()
            if getattr(result, "is_error", False):
                raise RuntimeError("the tool's result is an error")
        except Exception as error:
            self.failed += 1
            self.errors.add(type(error).__name__)
        self.calls += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)


class Answering(BaseHTTPRequestHandler):
    """A JSON answer to each POST."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> tuple[int, bytes]:
        """The status and the body."""
        raise NotImplementedError

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = self.answer()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


class StandIn:
    """A server on loopback, in a thread of its own."""

    def __init__(self, handler: type[Answering], path: str) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Model(StandIn):
    """A stand-in for a model's API: it takes live tokens of the provider, and answers as the vendor does."""

    def __init__(self, server: RunningServer) -> None:
        class Handler(Answering):
            def answer(self) -> tuple[int, bytes]:
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                is_good = asyncio.run(server.checks.verify_token(token)) is not None
                return (200, ANSWER) if is_good else (401, REFUSED)

        super().__init__(Handler, "/v1")


class TokenService(StandIn):
    """A stand-in for the service that openai's cache asks: it hands the provider's tokens on, and its outage."""

    def __init__(self, provider: Provider, server: RunningServer) -> None:
        config = oidc.discover(provider.issuer_url)
        auth = ClientCredentials(provider.client_id, provider.client_secret, resource=server.url)
        service = self
        self.refused = 0

        class Handler(Answering):
            def answer(self) -> tuple[int, bytes]:
                try:
                    token = oidc.get_token(config, auth)
                except TokenRequestError:
                    service.refused += 1
                    return 503, b"{}"
                members = {"access_token": token.access_token, "expires_in": LIFETIME_S, "token_type": "Bearer"}
                return 200, json.dumps(
                    members | {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
                ).encode()

        super().__init__(Handler, "/token")


ANSWER = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"4"}}]}'
)
REFUSED = b'{"error":{"message":"no","type":"invalid_request_error","code":"invalid_token"}}'


async def program(server: RunningServer, provider: Provider, auth: Any, model: AsyncOpenAI) -> Tally:
    """Call both services every 50 ms, while things go wrong; begin another session where one ends."""
    tally, began = Tally(), time.monotonic()
    trouble = [
        (4.0, lambda: server.checks.revoked.update(server.checks.seen)),
        (8.0, provider.down),
        (11.5, provider.up),
    ]
    while time.monotonic() - began < SECONDS:
        try:
            async with opened(server, auth) as client:
                while (at := time.monotonic() - began) < SECONDS:
                    while trouble and trouble[0][0] <= at:
                        await asyncio.to_thread(trouble.pop(0)[1])
                    await asyncio.gather(
                        tally.call(lambda: client.call_tool("add", {"a": 1, "b": 1})),
                        tally.call(lambda: model.chat.completions.create(model="m", messages=MESSAGES)),
                    )
                    await asyncio.sleep(0.05)
        except (Exception, BaseExceptionGroup):
            tally.sessions += 1
            while trouble and trouble[0][0] <= time.monotonic() - began:
                await asyncio.to_thread(trouble.pop(0)[1])
            await asyncio.sleep(0.05)
    return tally


def of_the_vendors(provider: Provider, server: RunningServer, model: Model) -> tuple[Tally, int]:
    """With the caches that come with the two clients."""
    with TokenService(provider, server) as service:
        identity: Any = {"provider": {"token_type": "jwt", "get_token": lambda: "a-subject-token"}}
        identity |= {"identity_provider_id": "idp", "service_account_id": "account"}
        client = AsyncOpenAI(base_url=model.url, workload_identity=identity)
        client._workload_identity_auth.token_exchange_url = service.url  # type: ignore[union-attr]
        before = provider.token_requests
        tally = asyncio.run(program(server, provider, of_the_sdk(provider, server), client))
        # Those that came while the provider was down are the service's to count; the provider has had all others.
        return tally, provider.token_requests - before + service.refused


def of_one_manager(provider: Provider, server: RunningServer, model: Model) -> tuple[Tally, int]:
    """With one manager for both."""
    auth, before = ours(provider, server), provider.token_requests
    client = AsyncOpenAI(
        base_url=model.url,
        api_key="the token goes in its place",
        http_client=DefaultAsyncHttpx2Client(auth=OIDCAuth(NAME)),
    )
    return asyncio.run(program(server, provider, auth, client)), provider.token_requests - before


PROGRAMS = {"the vendors' caches": of_the_vendors, "one manager": of_one_manager}


@contextlib.contextmanager
def running(lifetime_s: float) -> Iterator[tuple[Provider, RunningServer]]:
    """A provider and an MCP server."""
    with Provider(token_lifetime_s=lifetime_s) as provider, RunningServer(provider) as server:
        # The SDK wants a member that a provider for machines has no use for.
        changes = {"authorization_endpoint": f"{provider.issuer_url}/authorize"}
        provider.answer_next(None, endpoint="discovery", changes=changes)
        yield provider, server
        with contextlib.suppress(NoProcess):
            TokenManager.stop(NAME)


def run(*, quick: bool) -> list[Figure]:
    """Measure; quick or not it takes some 40 s."""
    for name in ("mcp", "httpx2", "httpx", "openai", "uvicorn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    took: dict[str, float] = {}
    for way, make in WAYS.items():
        with running(60.0) as (provider, server):
            took[way] = asyncio.run(at_once(server, make(provider, server)))
    sdks, own = took.values()
    what = f"{CALLS} MCP calls of {CALL_S} s at once"
    figures = [
        Figure("mcp_calls", f"{what}, the SDK's own", sdks, "s"),
        Figure("mcp_calls", f"{what}, mcp_auth", own, "s", own / sdks, "the SDK's own", **at_most(0.5, own / sdks)),
    ]
    for way, play in PROGRAMS.items():
        with running(LIFETIME_S) as (provider, server), Model(server) as model:
            tally, requests = play(provider, server, model)
        is_ours = way == "one manager"
        lost = at_most(0, tally.failed + tally.sessions, "none") if is_ours else {}
        figures += [
            Figure("mcp_calls", f"an agent, {way}: failed of {tally.calls} calls", tally.failed, "", **lost),
            Figure("mcp_calls", f"an agent, {way}: MCP sessions lost", tally.sessions, ""),
            Figure("mcp_calls", f"an agent, {way}: slowest call", tally.slowest_s * 1000, "ms"),
            Figure("mcp_calls", f"an agent, {way}: token requests", requests, ""),
        ]
    return figures
