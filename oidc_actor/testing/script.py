"""What the provider is told to do, request by request, and the count of what was asked of it."""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Endpoint = Literal["token", "discovery", "jwks", "resource", "resource_metadata", "revocation"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How tokens are given out.

    Attributes:
        token_lifetime_s: Life of an access token in seconds.
        rotation: Each refresh brings a new refresh token and spends the old one.
        reuse_detection: A spent refresh token that comes back ends its whole family.
    """

    token_lifetime_s: float = 10.0
    rotation: bool = True
    reuse_detection: bool = True


@dataclass(frozen=True, slots=True)
class Canned:
    """An answer that is sent instead of the true one.

    Attributes:
        status: HTTP status.
        body: What is sent.
        headers: Sent besides the content type, `Retry-After` for one.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Treatment:
    """How one request is treated unlike the others.

    Attributes:
        delay_s: Seconds its answer takes, besides those that every answer takes.
        canned: What is sent instead of the true answer; `None` for the true one.
        lost: The request is carried out, but its answer is cut off.
        policy: Fields of the provider's policy that are different for this request.
        changes: Members of the JSON answer that are different.
        omit: Members of the JSON answer that are left out.
    """

    delay_s: float = 0.0
    canned: Canned | None = None
    lost: bool = False
    policy: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    omit: Collection[str] = ()


PLAIN = Treatment()


def error_answer(
    status: int, error: str | None, description: str | None, headers: Mapping[str, str] | None, body: bytes | str | None
) -> Canned:
    """The answer whose body is `body`, else an OAuth error object (RFC 6749 section 5.2), else a proxy's HTML page."""
    sent = {"Content-Type": "text/html"}
    if body is None and error is not None:
        shown = {"error": error} | ({"error_description": description} if description else {})
        body, sent = json.dumps(shown), {"Content-Type": "application/json"}
    elif body is None:
        body = f"<html><body><h1>{status}</h1></body></html>"
    raw = body if isinstance(body, bytes) else body.encode()
    return Canned(status, raw, sent | dict(headers or {}))


class Script:
    """Treatments to come and requests that came, by endpoint. Any thread may use it.

    Attributes:
        arrived: How many requests have come, by endpoint.
        grants: How many token requests have come, by ``grant_type``.
        issued: How many access tokens were made.
    """

    def __init__(self) -> None:
        # Guards the queues, and the counters while they are written: several requests arrive at once. `wait_for` sleeps on it.
        self._changed = threading.Condition()
        self._queued: dict[Endpoint, deque[Treatment]] = {}
        self._standing: dict[Endpoint, Treatment] = {}
        self.arrived: Counter[Endpoint] = Counter()
        self.grants: Counter[str] = Counter()
        self.issued = 0

    def queue(self, endpoint: Endpoint, treatment: Treatment, n: int | None) -> None:
        """Treat the next `n` requests like this; with `None`, every one until `clear`."""
        with self._changed:
            if n is None:
                self._standing[endpoint] = treatment
            else:
                self._queued.setdefault(endpoint, deque()).extend([treatment] * n)

    def clear(self) -> None:
        """Treat every request like the others."""
        with self._changed:
            self._queued.clear()
            self._standing.clear()

    def arrive(self, endpoint: Endpoint, grant: str | None = None) -> Treatment:
        """Count a request and say how it is treated."""
        with self._changed:
            self.arrived[endpoint] += 1
            if grant is not None:
                self.grants[grant] += 1
            self._changed.notify_all()
            queued = self._queued.get(endpoint)
            return queued.popleft() if queued else self._standing.get(endpoint, PLAIN)

    def note_issued(self) -> None:
        """Count a token that was made."""
        with self._changed:
            self.issued += 1

    def wait_for(self, endpoint: Endpoint, count: int, timeout_s: float) -> bool:
        """Wait until `count` requests have come in all; `False` at the deadline."""
        with self._changed:
            return self._changed.wait_for(lambda: self.arrived[endpoint] >= count, timeout_s)
