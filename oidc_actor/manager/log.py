"""What a manager logs and measures. Events have fixed names and fields, and go to the standard logger ``oidc_actor``.

Every event has ``manager``, ``issuer`` and ``flight`` (0 before the first attempt). No secret and no token is ever a field:
``fingerprint`` stands for a token. Silent by default: without a handler of the application's nothing is written.

What can be counted is kept in the manager's cell (`Cell.counts`) and read by a scrape or an export; the duration of a request is
told to the observers of that moment, and its begin and end to the tracers. `oidc_actor.metrics` does all three. Any thread.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

from oidc_actor.machine import failure_policy
from oidc_actor.values.errors import OIDCActorError, ProviderError
from oidc_actor.values.tokens import ParsedToken
from supervision.frozen import dataclass
from supervision.runtime.reports import report

EVENTS: dict[str, tuple[str, str, str]] = {
    "manager_started": ("info", "adopted", "a manager runs; `adopted`: with its crashed predecessor's token"),
    "login_is_parents": (
        "warning",
        "",
        "in a forked child: a manager with `RefreshToken` serves what lives, and makes no request: the login is its parent's",
    ),
    "manager_stopped": ("info", "reason", "a manager has ended"),
    "provider_discovered": ("info", "token_endpoint", "metadata were obtained, or have changed"),
    "discovery_failed": ("warning", "error, status, code", "metadata could not be renewed; the older ones serve on"),
    "token_obtained": ("info", "fingerprint, grant, lifetime_s, refresh_in_s", "a new token is published"),
    "lifetime_assumed": ("warning", "lifetime_s", "the provider did not say how long the token lives"),
    "refresh_token_refused": ("warning", "error, status, code", "the full grant follows at once"),
    "request_failed": ("warning", "error, status, code, failures, retry_in_s", "an attempt failed; it is repeated"),
    "blocked": (
        "error",
        "error, status, code, failures, retry_in_s",
        "an attempt failed for good: something must be changed; slow probes follow",
    ),
    "issuer_held": ("info", "wait_s", "an attempt waits, because the issuer is known to be down or asked for it"),
    "token_adopted": (
        "info",
        "fingerprint, expires_in_s, refresh_in_s",
        "a token that another process has got, from the store that they share; no request was made",
    ),
    "store_failed": (
        "warning",
        "error",
        "the shared store cannot be asked; what is held is served, and it is tried again",
    ),
    "store_back": ("info", "", "the shared store can be asked again"),
    "went_alone": (
        "warning",
        "",
        "the shared store cannot be asked, and the token is about to end: a request without it",
    ),
    "lease_lost": (
        "warning",
        "",
        "the right to ask the provider has passed to another process while a request is under way",
    ),
    "token_overtaken": ("warning", "", "another process was faster: the token that came is not shared"),
    "store_restored": ("warning", "", "the shared store has lost the record of a live token, and is given it again"),
    "record_unreadable": ("warning", "", "no key opens the record in the shared store: it is taken for absent"),
    "store_clock_differs": (
        "warning",
        "differs_s",
        "by the shared store's clock a token ends at another time than by this machine's wall clock",
    ),
    "login_doubtful": (
        "warning",
        "",
        "a process ended while it redeemed the one refresh token that there is: it is tried once more",
    ),
    "refresh_token_lost": ("error", "", "it was spent, and what came of it is lost: log in anew"),
    "token_rejected": ("warning", "fingerprint", "a resource server refused the token; it is taken from all readers"),
    "step_up_wanted": (
        "info",
        "origin, asks_for, answer_in_s",
        "an adapter's resource server takes the token, and wants one for more; when it is asked for",
    ),
    "step_up_refused": (
        "warning",
        "error, status, code",
        "no token for more could be had: it is asked for no longer, and the present one is kept",
    ),
    "token_refused": (
        "warning",
        "fingerprint, origin, answer_in_s",
        "an adapter's resource server refused the token, which other readers keep; when it is replaced",
    ),
    "token_revoked": ("info", "token_type", "the provider has taken a token back, as `revoke_on_stop` asks"),
    "revocation_failed": ("warning", "token_type, error, status, code", "it has not; the token lives until it expires"),
    "secret_changed": ("info", "", "a secret's file has changed; an attempt follows"),
    "certificate_renewed": (
        "info",
        "",
        "the client's certificate has changed; a token that is bound to the new one follows",
    ),
    "clock_jumped": (
        "warning",
        "jump_s, withheld",
        "the wall clock jumped forward past the refresh point: a restored machine; `withheld`: past the token's end too",
    ),
    "token_served_on": (
        "warning",
        "expires_in_s",
        "no new token came in place of one that was withheld after such a jump; it is served to its end by the boot clock",
    ),
    "clock_skewed": (
        "warning",
        "skew_s",
        "the provider's clock is that much ahead of this machine's: signed assertions and proofs may be refused",
    ),
    "replacement_tried": ("info", "", "other options are tried, beside those in force"),
    "replacement_refused": (
        "error",
        "error, status, code",
        "other options were refused for good: those in force stay",
    ),
    "options_replaced": (
        "info",
        "adopted",
        "other options are in force; `adopted`: they ask for the same token, or with the same login",
    ),
    "factory_failed": (
        "error",
        "error, at",
        "a pool's factory raised for a key; `at`: its file and line. `manager` has a fingerprint of the key",
    ),
    "listener_failed": (
        "error",
        "error, at",
        "a listener raised; `at`: its file and line. The others are told all the same",
    ),
    "listener_late": (
        "warning",
        "",
        "a listener has not returned in 10 s; the others are told all the same, and it hears of the newest token when it has",
    ),
}
"""Each event's name with its level, its further fields, and what it means."""

_logger = logging.getLogger("oidc_actor")
_logger.addHandler(logging.NullHandler())


def raised_at(error: BaseException) -> str | None:
    """Where a user callback raised what its caller caught: its own file and line, not those of what it called in turn.

    A text of the exception may quote a token; a line of source code is not read, its number is enough.

    Args:
        error: What was caught, in the very frame that called it.

    Returns:
        ``"file:line in function"``; ``None`` where the callback is not Python.
    """
    called = error.__traceback__ and error.__traceback__.tb_next
    if called is None:
        return None
    code = called.tb_frame.f_code
    return f"{code.co_filename}:{called.tb_lineno} in {code.co_name}"


def log(event: str, *, manager: str, issuer: str, attempt: int, **fields: Any) -> None:
    """Log an event of the table.

    Args:
        event: Its name.
        manager: The manager's name, or its URN.
        issuer: The issuer's URL, or the token endpoint where none is known.
        attempt: Its number, which is logged as ``flight``.
        **fields: Its further fields.
    """
    report(EVENTS[event][0], event, logger=_logger, manager=manager, issuer=issuer, flight=attempt, **fields)


RequestOutcome: TypeAlias = Literal["success", "refused", "unavailable", "invalid"]

FLIGHT_JOINED: Final = "flight_joined"
"""Counts callers that shared an attempt which was already under way. The other counts have the names of log events."""

StoreOutcome: TypeAlias = Literal["answered", "failed"]


@dataclass(frozen=True, slots=True)
class MeasuredRequest:
    """A token request that has ended.

    Attributes:
        issuer: The issuer's URL, or the token endpoint where none is known.
        outcome: ``"success"``; ``"refused"`` by an answer about the request; ``"unavailable"``: no answer, or one of a
            provider in trouble; ``"invalid"``: an answer that means nothing.
        duration_s: Seconds from sending it to having read the answer, on the manager's clock.
    """

    issuer: str
    outcome: RequestOutcome
    duration_s: float


Observer: TypeAlias = Callable[[MeasuredRequest], object]

_observers: dict[object, Observer] = {}  # each change is one operation, so that no lock is needed


def observe(observer: Observer) -> Callable[[], None]:
    """Have a function told of every token request of this process.

    Args:
        observer: Called on the thread that made the request; it must be quick, and what it raises is logged.

    Returns:
        A function that ends it. Idempotent.
    """
    key = object()
    _observers[key] = observer

    def end() -> None:
        _observers.pop(key, None)

    return end


def observers() -> list[Observer]:
    """The functions that are told of every token request."""
    return list(_observers.values())


@dataclass(frozen=True, slots=True)
class BegunRequest:
    """A token request that begins, before its secrets are read.

    Attributes:
        manager: The manager's name, or its URN.
        issuer: The issuer's URL, or the token endpoint where none is known.
        attempt: The attempt's number, as in the log.
        grant: The grant type, such as ``"client_credentials"``; ``"refresh_token"`` where one is redeemed.
    """

    manager: str
    issuer: str
    attempt: int
    grant: str


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """How it ended.

    Attributes:
        result: A token, or the error.
        callers: What the readers that wait now were doing when they began to (`oidc_actor.reading.waiters.note_callers`).
    """

    result: ParsedToken | OIDCActorError
    callers: Sequence[object]


Tracer: TypeAlias = Callable[[BegunRequest], Callable[[EndedRequest], object]]

_tracers: dict[object, Tracer] = {}  # as `_observers`


def trace(tracer: Tracer) -> Callable[[], None]:
    """Have a function told of every token request of this process when it begins.

    Args:
        tracer: Called on the thread that makes the request, and so is what it returns when that has ended; what they raise is
            logged.

    Returns:
        A function that ends it. Idempotent.
    """
    key = object()
    _tracers[key] = tracer

    def end() -> None:
        _tracers.pop(key, None)

    return end


def tracers() -> list[Tracer]:
    """The functions that are told of every token request that begins."""
    return list(_tracers.values())


def outcome_of(result: ParsedToken | OIDCActorError) -> RequestOutcome:
    """How a token request ended."""
    if isinstance(result, ParsedToken):
        return "success"
    if failure_policy.opens_circuit(result) or failure_policy.status_of(result) == 429:
        return "unavailable"
    status = result.status if isinstance(result, ProviderError) else None
    return "refused" if status is not None and 400 <= status < 500 else "invalid"


def count_of(outcome: RequestOutcome) -> str:
    """The name under which a cell counts the requests that ended so."""
    return sys.intern(f"request_{outcome}")  # each manager's cell keeps it


def store_count_of(outcome: StoreOutcome) -> str:
    """The name under which a cell counts the calls of its store that ended so."""
    return sys.intern(f"store_{outcome}")
