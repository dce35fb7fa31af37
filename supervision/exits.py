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
from traceback import TracebackException
from typing import Any, Literal, TypeAlias

from supervision.frozen import dataclass

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]


@dataclass(frozen=True, slots=True)
class _Atom:
    """A reason that is only a word; compare it with ``==``."""

    name: str

    def __repr__(self) -> str:
        return self.name.upper()


NORMAL = _Atom("normal")
"""The actor was stopped, or raised ``Exit()``; no failure (OTP: ``normal``)."""

SHUTDOWN = _Atom("shutdown")
"""The actor's supervisor ended it, or the supervisor gave up; no failure (OTP: ``shutdown``)."""

KILLED = _Atom("killed")
"""The actor was ended by ``kill``, or abandoned at its deadline; no hook of it ran (OTP: ``killed``)."""

NOPROC = _Atom("noproc")
"""There was no live actor when a monitor was made; why it ended is not known (OTP: ``noproc``)."""


def text_of(value: object, of: Callable[[Any], str] = str) -> str:
    """A value's text for a report, made by ``of``; the name of its type where its ``__str__`` or ``__repr__`` raises."""
    try:
        return of(value)
    except BaseException:  # noqa: BLE001 - a user's code, which must not end the supervisor that reports
        return f"<{type(value).__name__}>"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """A reason: an orderly end with a detail (OTP: ``{shutdown, Term}``). A transient child is not restarted after it.

    Attributes:
        detail: any value, for the actors and callables that monitor this one.
    """

    detail: object

    def __repr__(self) -> str:
        return f"Shutdown(detail={text_of(self.detail, repr)})"


@dataclass(frozen=True, slots=True)
class Crash:
    """A reason: an exception ended the actor. It is abnormal, so that a transient child is restarted.

    Attributes:
        exception: the original, with its traceback; in ``Supervisor.tree``, which keeps no frames, its text.
    """

    exception: BaseException

    def __str__(self) -> str:
        kind = self.exception.kind if isinstance(self.exception, ExceptionText) else type(self.exception).__name__
        return f"Crash({kind})"


LONGEST_TEXT = 1_000
"""Characters of an exception's own text that are kept."""

LONGEST_TRACEBACK = 20_000
"""Characters of a traceback that are kept."""


class ExceptionText(Exception):
    """What is kept of an exception that has ended a child: its text, without the frames and all that those hold.

    Attributes:
        kind: the name of the exception's type.
        traceback: as the interpreter prints it: with causes, notes and the members of a group, and with no values of variables;
            empty where it is not kept. What is too long is cut in the middle.
    """

    def __init__(self, kind: str, text: str, traceback: str = "") -> None:
        super().__init__(kind, text, traceback)
        self.kind, self.text, self.traceback = kind, text, traceback

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, exception: BaseException, *, with_traceback: bool = False) -> ExceptionText:
        """The text of an exception. Nothing that its own ``__str__`` raises comes out of this."""
        try:
            lines = TracebackException.from_exception(exception, compact=True).format() if with_traceback else ()
            traceback = _cut("".join(lines).strip(), LONGEST_TRACEBACK)
        except BaseException:  # noqa: BLE001 - see above
            traceback = ""
        return cls(type(exception).__name__, _cut(text_of(exception), LONGEST_TEXT), traceback)


def _cut(text: str, longest: int) -> str:
    """A text without its middle, where it is too long: a traceback's first cause is at its beginning, the error at its end."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"


Reason: TypeAlias = _Atom | Shutdown | Crash


class Exit(Exception):
    """Raise it in any handler or hook of a supervised actor to end that actor with a reason (OTP: ``exit/1``).

    The end hook still runs, on the actor's thread. Raised in ``on_start``, it fails the start; in an end hook, it is logged
    and changes nothing.

    Args:
        reason: ``NORMAL``, ``SHUTDOWN``, ``Shutdown(detail)``, ``Crash(exception)``, or any other value, which counts as
            abnormal like an unknown reason in OTP and reaches watchers as ``Crash`` of this exception.

    Attributes:
        reason: the same.
    """

    def __init__(self, reason: object = NORMAL) -> None:
        super().__init__(reason)
        self.reason = reason


class Ignore(Exception):
    """Raise it in ``on_start`` or in a start callable: no actor, and no failure either (OTP: ``ignore``).

    ``start_link`` and ``start_child`` return ``None`` then. A ``Supervisor`` keeps the child's specification, unless the
    child is temporary; a ``DynamicSupervisor`` forgets the child.
    """


def reason_of(exception: BaseException) -> Reason:
    """The reason that an exception escaping from a handler or hook ends its actor with."""
    if isinstance(exception, Exit) and isinstance(exception.reason, _Atom | Shutdown | Crash):
        return exception.reason
    return Crash(exception)


def without_frames(reason: Reason) -> Reason:
    """The reason as it can be kept for long: without an exception's frames, which would keep the dead actor in memory."""
    if not isinstance(reason, Crash):
        return reason
    return Crash(ExceptionText.of(reason.exception))


def failure_of(reason: Reason | None) -> ExceptionText | None:
    """The exception that was the reason, as text with its traceback: to make that takes as long as a restart. Else ``None``."""
    return ExceptionText.of(reason.exception, with_traceback=True) if isinstance(reason, Crash) else None


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
        brutally: whether it was killed, where others are asked.
        reason: how it ended.
    """
    return reason == (KILLED if brutally else SHUTDOWN) or (restart != "permanent" and is_orderly(reason))
