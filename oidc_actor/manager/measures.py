"""What is measured of a manager as it happens: how its token requests end, and how long they take.

What can be counted is kept in the manager's cell (`Cell.counts`) and read when somebody looks; a duration is told to
whoever observes at that moment. `oidc_actor.metrics` does both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from oidc_actor.machine import failure_policy as policy
from oidc_actor.protocol.token_response import ParsedToken
from oidc_actor.values.errors import OIDCActorError, ProviderError

Outcome: TypeAlias = Literal["success", "refused", "unavailable", "invalid"]

FLIGHT_JOINED: Final = "flight_joined"
"""Counts callers that shared an attempt which was already under way. The other counts have the names of log events."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A token request that has ended.

    Attributes:
        issuer: The issuer's URL, or the token endpoint where none is known.
        outcome: ``"success"``; ``"refused"`` by an answer about the request; ``"unavailable"``: no answer, or one of a
            provider in trouble; ``"invalid"``: an answer that means nothing.
        duration_s: Seconds from sending it to having read the answer, on the manager's clock.
    """

    issuer: str
    outcome: Outcome
    duration_s: float


Observer: TypeAlias = Callable[[Exchange], object]

_observers: tuple[Observer, ...] = ()  # swapped as a whole, read without the lock
_lock = threading.Lock()  # guards the swap


def observe(observer: Observer) -> Callable[[], None]:
    """Have a function told of every token request of this process.

    Args:
        observer: Called on the thread that made the request; it must be quick, and what it raises is logged.

    Returns:
        A function that ends it. Idempotent.
    """
    global _observers  # noqa: PLW0603 - the one table of a process
    with _lock:
        _observers = (*_observers, observer)

    def end() -> None:
        global _observers  # noqa: PLW0603
        with _lock:
            _observers = tuple(one for one in _observers if one is not observer)

    return end


def observers() -> tuple[Observer, ...]:
    """Who is to be told."""
    return _observers


def outcome_of(result: ParsedToken | OIDCActorError) -> Outcome:
    """How a token request ended."""
    if isinstance(result, ParsedToken):
        return "success"
    if policy.is_outage(result) or policy.status_of(result) == 429:
        return "unavailable"
    status = result.status if isinstance(result, ProviderError) else None
    return "refused" if status is not None and 400 <= status < 500 else "invalid"


def count_of(outcome: Outcome) -> str:
    """The name under which a cell counts the requests that ended so."""
    return f"request_{outcome}"
