"""An agent calls a model vendor's API with the vendor's client: its own token cache, or ours, through an outage and a 401.

The token endpoint answers 503 for some seconds, in which each cache wants a new token, long before the one that it has ends. Then
the API withdraws all tokens. Four threads call every 50 ms; a failed call is tried again as the client does by default.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
from figures import Figure

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager
from oidc_actor.adapters.httpx2 import OIDCAuth

THREADS, PAUSE_S, DELAY_S = 4, 0.05, 0.2


@dataclass(frozen=True)
class Story:
    """When what happens, in seconds from the start, and how long a token lives."""

    life_s: float
    down_at_s: float
    up_at_s: float
    revoked_at_s: float
    end_s: float


STORIES = {
    "openai": Story(12.0, 5.0, 10.0, 13.0, 15.0),  # its cache wants a new token at half of the life
    "anthropic": Story(33.0, 2.0, 8.0, 11.0, 13.0),  # its cache wants one, before any call goes on, 30 s before the end
}
MESSAGES: Any = [{"role": "user", "content": "hello"}]
PAGES = {
    "/v1/chat/completions": {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []},
    "/v1/messages": {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": []},
}


class World:
    """A token endpoint and the vendor's API, on one origin."""

    def __init__(self, life_s: float) -> None:
        self.life_s = life_s
        self.is_up = True
        self.valid: set[str] = set()
        self.requests = 0
        self._numbers = itertools.count()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"world": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, authorization: str) -> tuple[int, Any]:
        """Status and body."""
        if path == "/token":
            self.requests += 1
            if not self.is_up:
                return 503, {}
            time.sleep(DELAY_S)
            token = f"t{next(self._numbers)}"
            self.valid.add(token)
            return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.life_s}
        if authorization.removeprefix("Bearer ") in self.valid:
            return 200, PAGES[path]
        return 401, {"error": {"type": "authentication_error", "message": "no such token"}}


class _Handler(BaseHTTPRequestHandler):
    world: World
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer = self.world.answer(self.path, self.headers.get("Authorization", ""))
        body = json.dumps(answer).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


def run(*, quick: bool) -> list[Figure]:
    """Both vendors, with their own cache and with ours."""
    figures = []
    for vendor, clients in {"openai": (openai_own, openai_ours), "anthropic": (anthropic_own, anthropic_ours)}.items():
        for whose, client in zip(("its own cache", "ours"), clients, strict=True):
            world = World(STORIES[vendor].life_s)
            threading.Thread(target=world.server.serve_forever, daemon=True).start()
            with client(world) as call:
                calls, failed, slowest_s = _program(world, STORIES[vendor], call)
            world.server.shutdown()
            goal = {"goal": "0", "met": failed == 0} if whose == "ours" else {}
            label = f"{vendor}, {whose}"
            figures += [
                Figure("agents", f"{label}: failed calls of {calls}", failed, "", **goal),  # type: ignore[arg-type]
                Figure("agents", f"{label}: token requests", world.requests, ""),
                Figure("agents", f"{label}: slowest call", slowest_s * 1e3, "ms"),
            ]
    return figures


def _program(world: World, story: Story, call: Callable[[], object]) -> tuple[int, int, float]:
    """Calls, failed calls, seconds of the slowest."""
    call()
    began, took, failures = time.monotonic(), [], []

    def work() -> None:
        while (at := time.monotonic()) - began < story.end_s:
            try:
                call()
            except Exception as error:
                failures.append(error)
            took.append(time.monotonic() - at)
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for at_s, then in ((story.down_at_s, False), (story.up_at_s, True)):
        time.sleep(max(0.0, began + at_s - time.monotonic()))
        world.is_up = then
    time.sleep(max(0.0, began + story.revoked_at_s - time.monotonic()))
    world.valid.clear()
    for thread in threads:
        thread.join()
    return len(took), len(failures), max(took)


@contextmanager
def _auth(world: World) -> Iterator[OIDCAuth]:
    config = OIDCConfig(token_endpoint=f"{world.url}/token")
    TokenManager.start_link(name="agent", oidc_config=config, auth=ClientCredentials("agent", "secret"))
    try:
        yield OIDCAuth("agent")
    finally:
        TokenManager.stop("agent")


@contextmanager
def openai_own(world: World) -> Iterator[Callable[[], object]]:
    """Its workload identity, which trades a token and keeps what it gets."""
    import openai

    subject: Any = {"token_type": "jwt", "get_token": lambda: "a statement"}
    identity: Any = {"identity_provider_id": "p", "service_account_id": "s", "provider": subject}
    with openai.OpenAI(base_url=f"{world.url}/v1", workload_identity=identity) as client:
        assert client._workload_identity_auth is not None
        client._workload_identity_auth.token_exchange_url = f"{world.url}/token"
        yield lambda: client.chat.completions.create(model="m", messages=MESSAGES)


@contextmanager
def openai_ours(world: World) -> Iterator[Callable[[], object]]:
    """The program of the page."""
    import openai

    with (
        _auth(world) as auth,
        openai.OpenAI(
            base_url=f"{world.url}/v1", api_key="-", http_client=openai.DefaultHttpx2Client(auth=auth)
        ) as client,
    ):
        yield lambda: client.chat.completions.create(model="m", messages=MESSAGES)


@contextmanager
def anthropic_own(world: World) -> Iterator[Callable[[], object]]:
    """Its cache of what a provider of credentials gives."""
    import anthropic
    from anthropic.lib.credentials import AccessToken

    def provide(*, force_refresh: bool = False) -> AccessToken:
        answer = httpx2.post(f"{world.url}/token", data={"grant_type": "client_credentials"}, timeout=10)
        answer.raise_for_status()
        got = answer.json()
        return AccessToken(got["access_token"], int(time.time() + got["expires_in"]))

    with anthropic.Anthropic(base_url=world.url, credentials=provide) as client:
        yield lambda: client.messages.create(model="m", max_tokens=1, messages=MESSAGES)


@contextmanager
def anthropic_ours(world: World) -> Iterator[Callable[[], object]]:
    """The program of the page."""
    import anthropic

    with (
        _auth(world) as auth,
        anthropic.Anthropic(
            base_url=world.url, auth_token="-", http_client=anthropic.DefaultHttpxClient(auth=auth)
        ) as client,
    ):
        yield lambda: client.messages.create(model="m", max_tokens=1, messages=MESSAGES)
