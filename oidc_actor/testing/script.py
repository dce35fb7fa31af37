"""What the provider is told to do wrong, and the count of what was asked of it."""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Endpoint = Literal["token", "discovery", "jwks", "resource"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One scripted answer instead of the true one.

    Attributes:
        status: HTTP status.
        body: What is sent.
        headers: Sent besides the content type, `Retry-After` for one.
        lost: The request is carried out, but its answer is cut off; `status`, `body` and `headers` do not apply.
    """

    status: int = 503
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: bool = False


def oauth_fault(
    status: int, error: str | None, description: str | None, headers: Mapping[str, str] | None, body: bytes | str | None
) -> Fault:
    """The fault whose body is `body`, else an OAuth error object (RFC 6749 section 5.2), else a proxy's HTML page."""
    sent = {"Content-Type": "text/html"}
    if body is None and error is not None:
        shown = {"error": error} | ({"error_description": description} if description else {})
        body, sent = json.dumps(shown), {"Content-Type": "application/json"}
    elif body is None:
        body = f"<html><body><h1>{status}</h1></body></html>"
    raw = body if isinstance(body, bytes) else body.encode()
    return Fault(status, raw, sent | dict(headers or {}))


class Script:
    """Faults to come and requests that came, by endpoint. Any thread may use it."""

    def __init__(self) -> None:
        # Guards the queues and the counters; also the condition that `wait_for` sleeps on.
        self._changed = threading.Condition()
        self._queued: dict[Endpoint, deque[Fault]] = {}
        self._standing: dict[Endpoint, Fault] = {}
        self._arrived: Counter[Endpoint] = Counter()
        self._grants: Counter[str] = Counter()
        self._issued = 0

    def queue(self, endpoint: Endpoint, fault: Fault, n: int | None) -> None:
        """Answer the next `n` requests with this fault; with `None`, every one until `clear`."""
        with self._changed:
            if n is None:
                self._standing[endpoint] = fault
            else:
                self._queued.setdefault(endpoint, deque()).extend([fault] * n)

    def clear(self) -> None:
        """Forget all faults."""
        with self._changed:
            self._queued.clear()
            self._standing.clear()

    def arrive(self, endpoint: Endpoint, grant: str | None = None) -> Fault | None:
        """Count a request and say what is to go wrong with it."""
        with self._changed:
            self._arrived[endpoint] += 1
            if grant is not None:
                self._grants[grant] += 1
            self._changed.notify_all()
            queued = self._queued.get(endpoint)
            return queued.popleft() if queued else self._standing.get(endpoint)

    def note_issued(self) -> None:
        """Count a token that was made."""
        with self._changed:
            self._issued += 1

    def arrived(self, endpoint: Endpoint) -> int:
        """How many requests have come."""
        with self._changed:
            return self._arrived[endpoint]

    def grants(self) -> dict[str, int]:
        """How many token requests have come, by `grant_type`."""
        with self._changed:
            return dict(self._grants)

    def issued(self) -> int:
        """How many access tokens were made."""
        with self._changed:
            return self._issued

    def wait_for(self, endpoint: Endpoint, count: int, timeout_s: float) -> bool:
        """Wait until `count` requests have come in all; `False` at the deadline."""
        with self._changed:
            return self._changed.wait_for(lambda: self._arrived[endpoint] >= count, timeout_s)
