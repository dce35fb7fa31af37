"""Why an actor ended, and what that means for its restart. Pure.

=====================================  =========  =========  =========
reason                                 permanent  transient  temporary
=====================================  =========  =========  =========
``NORMAL``                             restart    no         no
``SHUTDOWN``, ``Shutdown(detail)``     restart    no         no
anything else (``KILLED``, ``Crash``)  restart    restart    no
=====================================  =========  =========  =========

(OTP, ``supervisor.erl``, ``do_restart/3``.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from traceback import TracebackException
from typing import Any, Literal, TypeAlias

__all__ = [
    "KILLED",
    "NOPROC",
    "NORMAL",
    "SHUTDOWN",
    "Bygone",
    "Crash",
    "Exit",
    "Ignore",
    "Reason",
    "Restart",
    "Shutdown",
    "bygone",
    "is_orderly",
    "leaves_as_asked",
    "children_end_for_restart",
    "must_restart",
    "reason_of",
    "words",
]

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]


@dataclass(frozen=True, slots=True)
class _Atom:
    """A reason that is only a word; compare it with ``==``."""

    name: str

    def __repr__(self) -> str:
        return self.name.upper()


NORMAL = _Atom("normal")
SHUTDOWN = _Atom("shutdown")
KILLED = _Atom("killed")
NOPROC = _Atom("noproc")


def words(value: object, of: Callable[[Any], str] = str) -> str:
    """A value's text, for a report; where its own ``__str__`` or ``__repr__`` fails its type's name has to do."""
    try:
        return of(value)
    except BaseException:  # noqa: BLE001 - foreign code, which must not end the supervisor that reports
        return f"<{type(value).__name__}>"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """An orderly end with a detail for whoever watches (OTP: ``{shutdown, Term}``)."""

    detail: object

    def __repr__(self) -> str:
        return f"Shutdown(detail={words(self.detail, repr)})"


@dataclass(frozen=True, slots=True)
class Crash:
    """An end by an exception; ``exception`` is the original."""

    exception: BaseException

    def __str__(self) -> str:
        kind = self.exception.kind if isinstance(self.exception, Bygone) else type(self.exception).__name__
        return f"Crash({kind})"


class Bygone(Exception):
    """What is kept of an exception that has ended a child: its words, without the frames and all that those hold.

    Attributes:
        kind: the name of the exception's type.
        traceback: as the interpreter prints it, causes included and no values of variables; empty where it is not kept.
    """

    def __init__(self, kind: str, text: str, traceback: str = "") -> None:
        super().__init__(kind, text, traceback)
        self.kind = kind
        self.text = text
        self.traceback = traceback

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, exception: BaseException, *, with_traceback: bool = False) -> Bygone:
        """The words of an exception, of any kind: not even its own ``__str__`` can keep a supervisor from going on."""
        try:
            lines = TracebackException.from_exception(exception, compact=True).format() if with_traceback else ()
            traceback = "".join(lines).strip()
        except BaseException:  # noqa: BLE001 - see above
            traceback = ""
        return cls(type(exception).__name__, words(exception), traceback)


Reason: TypeAlias = _Atom | Shutdown | Crash


class Exit(Exception):
    """Raise it in any handler or hook of a supervised actor to end that actor with a reason.

    Args:
        reason: ``NORMAL``, ``SHUTDOWN``, ``Shutdown(detail)``, ``Crash(exception)``, or any other value, which counts as
            abnormal like an unknown reason in OTP and reaches watchers as ``Crash`` of this exception.
    """

    def __init__(self, reason: object = NORMAL) -> None:
        super().__init__(reason)
        self.reason = reason


class Ignore(Exception):
    """Raise it in ``on_start`` or in a start callable: no actor, and no failure either."""


def reason_of(exception: BaseException) -> Reason:
    """The reason that an exception escaping from a handler or hook ends its actor with."""
    if isinstance(exception, Exit) and isinstance(exception.reason, _Atom | Shutdown | Crash):
        return exception.reason
    return Crash(exception)


def bygone(reason: Reason) -> Reason:
    """The reason as it can be kept for long; a ``Crash`` is one of a ``Bygone`` then."""
    if not isinstance(reason, Crash):
        return reason
    return Crash(Bygone.of(reason.exception))


def is_orderly(reason: Reason) -> bool:
    """Whether the end is no failure: normal, or a shutdown."""
    return reason in (NORMAL, SHUTDOWN) or isinstance(reason, Shutdown)


def children_end_for_restart(reason: Reason, *, gave_up: bool = False, for_restart: bool = False) -> bool:
    """Whether the children that a supervisor stops at its end are expected to be started again together with it.

    Args:
        reason: how the supervisor ends; after a failure its own supervisor decides.
        gave_up: whether it has exceeded ``max_restarts``: that is a shutdown, but its own supervisor decides, too.
        for_restart: whether the supervisor's end is itself part of a restart.
    """
    return for_restart or gave_up or not is_orderly(reason)


def must_restart(restart: Restart, reason: Reason) -> bool:
    """Whether a child that ended by itself is started again (the table above)."""
    return restart == "permanent" or (restart == "transient" and not is_orderly(reason))


def leaves_as_asked(restart: Restart, brutally: bool, reason: Reason) -> bool:
    """Whether a child that its supervisor stopped ended as it should; a failure deserves a report (OTP: ``shutdown/1``).

    Args:
        restart: a permanent child is expected to end by the request alone, others may as well end normally just then.
        brutally: whether it was killed rather than asked.
        reason: how it ended.
    """
    return reason == (KILLED if brutally else SHUTDOWN) or (restart != "permanent" and is_orderly(reason))
