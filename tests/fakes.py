"""Hand-written stand-ins: a provider's transport and its answers, a clock, a random source."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from threads import DEADLINE_S

from oidc_actor import ClientCredentials
from oidc_actor.transport import Request, Response, TransportError
from supervision.runtime.per_process import PerProcess

ISSUER = "https://auth.example.com"
AUTH = ClientCredentials("id", "a-client-secret")

Answer = Response | Exception | Callable[[Request], Response]


def minted(text: str = "token", *, headers: Mapping[str, str] | None = None, **members: Any) -> Response:
    """A token endpoint's good answer."""
    return Response(
        200, headers, json.dumps({"access_token": text, "token_type": "Bearer", "expires_in": 300} | members)
    )


def refused(code: str, status: int = 400, description: str | None = None, **headers: str) -> Response:
    """A token endpoint's refusal."""
    members = {"error": code} | ({} if description is None else {"error_description": description})
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(members))


def failing(status: int = 503, **headers: str) -> Response:
    """An overloaded provider's answer."""
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, "out of order")


UNREACHABLE = TransportError("connection refused", sent=False)
LOST = TransportError("timed out")


def metadata(address: str = ISSUER, **members: Any) -> Response:
    """A provider's metadata document."""
    return Response(200, {}, json.dumps({"issuer": address, "token_endpoint": f"{address}/token"} | members))


class ScriptedTransport:
    """A provider in memory: answers from a script, then with tokens `t1`, `t2`, ... that live `lifetime` seconds.

    It records every request, and can hold requests back until it is told to let go.
    """

    def __init__(self, *answers: Answer, issuer: str = ISSUER, lifetime: float = 300.0) -> None:
        self.issuer = issuer
        self.lifetime = lifetime
        self.script: deque[Answer] = deque(answers)
        self.discovery: Answer = metadata(issuer)
        self.default: Answer | None = None
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._now = 0
        self._numbers = iter(range(1, 10**9))  # which can be copied: the sweep copies all that it finds
        # A forked child has its own: a thread of the parent's may hold the condition for ever, and requests are held back there.
        self._changes = PerProcess(threading.Condition)  # guards everything above
        self._gate = PerProcess(_open_gate)

    def __call__(self, request: Request, /) -> Response:
        with self._changed:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            answer = self._answer(request)
            self._changed.notify_all()
        try:
            if not self._open.wait(DEADLINE_S):
                raise AssertionError("a request was held back and never let go")
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, Response) else answer(request)
        finally:
            with self._changed:
                self._now -= 1
                self._changed.notify_all()

    @property
    def _changed(self) -> threading.Condition:
        return self._changes.value

    @property
    def _open(self) -> threading.Event:
        return self._gate.value

    def _answer(self, request: Request) -> Answer:
        if request.method == "GET":
            return self.discovery
        if self.script:
            return self.script.popleft()
        if self.default is not None:
            return self.default
        return minted(f"t{next(self._numbers)}", expires_in=self.lifetime)

    def then(self, *answers: Answer) -> None:
        """Append to the script."""
        with self._changed:
            self.script.extend(answers)

    def goes_down(self, answer: Answer = UNREACHABLE) -> None:
        """Answer everything that way from now on."""
        with self._changed:
            self.default = self.discovery = answer

    def comes_up(self) -> None:
        """Answer with tokens again."""
        with self._changed:
            self.default, self.discovery = None, metadata(self.issuer)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Keep every request waiting for its answer."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @property
    def posts(self) -> list[Request]:
        """The token requests so far."""
        return [request for request in list(self.requests) if request.method == "POST"]

    @property
    def gets(self) -> list[Request]:
        """The discovery requests so far."""
        return [request for request in list(self.requests) if request.method == "GET"]

    @property
    def forms(self) -> list[Mapping[str, str]]:
        """The token requests' parameters."""
        return [form_of(request) for request in self.posts]

    def wait_for_posts(self, count: int) -> None:
        """Wait until that many token requests have come."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.posts) >= count, DEADLINE_S)
        assert came, f"{len(self.posts)} token requests came, not {count}"

    def wait_for_requests(self, count: int) -> None:
        """Wait until that many requests of either kind have come."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.requests) >= count, DEADLINE_S)
        assert came, f"{len(self.requests)} requests came, not {count}"


def _open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


def form_of(request: Request) -> Mapping[str, str]:
    """The parameters in a request's body."""
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


class Fixed:
    """A random source that always gives the same share of the range: 0 for its beginning, 1 for its end."""

    def __init__(self, share: float = 0.0) -> None:
        self.share = share

    def uniform(self, a: float, b: float, /) -> float:
        return a + (b - a) * self.share


class Stopwatch:
    """A clock that only stands still until it is set: the least that the interface promises of one."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
