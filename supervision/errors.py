"""Every error of this package: one root, and children that carry data instead of prose; and the checks of arguments."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from supervision.exits import text_of


class SupervisionError(Exception):
    """Root of all errors of this package; raised itself where a call could only deadlock.

    They can be pickled, to cross to another process; there a ref has no meaning, and its text stands for it. ``args`` are what
    the error is made from, with texts for refs, so that one that a task queue makes from them says the same.
    """

    _says: str | None = None

    def _say(self, text: str, *made_from: Any) -> None:
        self._says, self.args = text, tuple(str(one) if hasattr(one, "actor_urn") else one for one in made_from)

    def __str__(self) -> str:
        return super().__str__() if self._says is None else self._says

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: str(value) if hasattr(value, "actor_urn") else value for name, value in vars(self).items()}
        return _rebuild, (type(self), self.args, fields)


def _rebuild(kind: type[SupervisionError], args: tuple[Any, ...], fields: dict[str, Any]) -> SupervisionError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(fields)
    return error


_REF = re.compile(r"\w+ \(urn:uuid:[0-9a-f-]{36}\)")  # the text of a ref


def _shown(value: Any) -> str:
    """A ref's text, which may stand for the ref; anything else as it is written in Python."""
    if hasattr(value, "actor_urn") or (isinstance(value, str) and _REF.fullmatch(value)):
        return str(value)
    return text_of(value, repr)


class StartError(SupervisionError):
    """An actor or a child did not start (OTP: ``failed_to_start_child``).

    Attributes:
        child_id: the id of the child that failed, or the name or class name of an actor started by itself.
        cause: the exception itself, ``SystemExit`` included; a ``TimeoutError`` where the start took too long.
    """

    def __init__(self, child_id: Any, cause: BaseException) -> None:
        self._say(f"{_shown(child_id)} did not start: {type(cause).__name__}: {text_of(cause)}", child_id, cause)
        self.child_id = child_id
        self.cause = cause
        self.__cause__ = cause


class AlreadyStarted(SupervisionError):
    """The name or the child id belongs to a live actor.

    Attributes:
        ref: the ``pykka.ActorRef`` of that actor, which is untouched.
    """

    def __init__(self, what: Any, ref: Any) -> None:
        self._say(f"{_shown(what)} is already started as {ref}: use that actor, or stop it first", what, ref)
        self.ref = ref


class _ChildError(SupervisionError):
    """An answer about one child of a supervisor; ``child_id`` says which."""

    text = "{child_id}"

    def __init__(self, child_id: Any) -> None:
        self._say(self.text.format(child_id=_shown(child_id)), child_id)
        self.child_id = child_id


class AlreadyPresent(_ChildError):
    """The id's specification is kept, and its child is not running: restart or delete it."""

    text = "child {child_id} is present and not running: use restart_child, or delete_child first"


class ChildNotFound(_ChildError):
    """The supervisor has no such child."""

    def __init__(self, child_id: Any, children: str = "which_children lists those it has") -> None:
        self._say(f"no child {_shown(child_id)} under this supervisor: {children}", child_id, children)
        self.child_id = child_id


class ChildRunning(_ChildError):
    """The child runs, and the request needs it stopped."""

    text = "child {child_id} is running: use terminate_child first"


class ChildRestarting(_ChildError):
    """The child is between two restart attempts."""

    text = "child {child_id} is restarting: use terminate_child first, which cancels the restart"


class MaxChildren(SupervisionError):
    """The dynamic supervisor holds ``max_children`` children, those being restarted included."""

    def __init__(self, max_children: int) -> None:
        self._say(f"the supervisor already holds max_children={max_children} children", max_children)
        self.max_children = max_children


class NoProcess(SupervisionError):
    """Nothing alive behind that ref or name (OTP: ``noproc``)."""

    text = "no live actor behind {server}: it was never started, has ended, or belongs to a parent process"

    def __init__(self, server: Any) -> None:
        server = getattr(server, "name", server)  # of a ref that is a name
        self._say(self.text.format(server=_shown(server)), server)
        self.server = server


class ServerRestarting(NoProcess):
    """The owner of that name has ended, and its supervisor is starting a successor, which is not up yet. Nothing was sent.

    Raised for names only. It is safe to send the message again: to wait for the successor, give ``await_restart=True``.

    Attributes:
        timeout: the seconds that the successor was waited for; ``None`` where it was not.
    """

    def __init__(self, server: Any, timeout: float | None = None) -> None:
        text = f"a supervisor is restarting {_shown(server)}"
        text += "; await_restart=True waits for it" if timeout is None else f", which was not up within {timeout} s"
        self._say(f"{text}; the message was not sent", server, timeout)
        self.server = server
        self.timeout = timeout


class CallTimeout(SupervisionError):
    """No answer in time. The server is not told, stays alive and still does the work (as in OTP).

    Or, for a stop, no end in time: the server still works off its mailbox, or is in its end hook.
    """

    def __init__(self, server: Any, timeout: float, stopping: bool = False) -> None:
        text = f"no answer from {server} within {timeout} s; it is alive and may still do the work"
        if stopping:
            text = f"{server} has not ended within {timeout} s; its stop goes on"
        self._say(text, server, timeout, stopping)
        self.server = server
        self.timeout = timeout


class ServerDied(SupervisionError):
    """The server ended before it answered.

    Attributes:
        reason: why it ended, one of the reasons of ``supervision.exits``.
    """

    def __init__(self, server: Any, reason: Any) -> None:
        self._say(f"{server} ended before it answered: {reason}", server, reason)
        self.server = server
        self.reason = reason


def check_seconds(what: str, value: object, *, above_zero: bool = False) -> None:
    """Raise unless ``value`` is finite seconds of at least (or above) zero; ``what`` names it in the text."""
    wanted = f"finite seconds {'above' if above_zero else 'of at least'} 0"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what}: expected {wanted}, got {value!r}")
    if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise ValueError(f"{what}: expected {wanted}, got {value!r}")


def check_count(what: str, value: object, *, or_none: bool = False) -> None:
    """Raise unless ``value`` is an int of at least 0 (or ``None``, where that is allowed); ``what`` names it in the text."""
    wanted = "an int of at least 0 or None" if or_none else "an int of at least 0"
    if or_none and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what}: expected {wanted}, got {value!r}")
    if value < 0:
        raise ValueError(f"{what}: expected {wanted}, got {value!r}")


def check_one_of(what: str, value: object, literal: Any) -> None:
    """Raise unless ``value`` is one of those of a ``Literal``; ``what`` names it in the text."""
    values = literal.__args__  # `get_args` takes longer, and so does a cache, for the hash of a ``Literal``
    if value not in values:
        raise ValueError(f"{what}: expected one of {', '.join(values)}, got {value!r}")


def check_arguments(
    what: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, in_part: bool = False
) -> None:
    """Raise ``TypeError`` where the call could only fail, as far as the signature says that; ``what`` names the caller's mistake.

    Args:
        what: how the text begins.
        function: what is to be called later; a wrapper counts by what it takes itself.
        args: positional arguments; no text shows their values, nor those of ``kwargs``.
        kwargs: keyword arguments.
        in_part: whether more arguments may come before these, so that a missing one is no mistake yet.
    """
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except Exception:  # noqa: BLE001 - written in C, or with annotations that cannot be evaluated: it does not say
        return
    try:
        (signature.bind_partial if in_part else signature.bind)(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(str(one).partition(":")[0].partition("=")[0] for one in signature.parameters.values())
        raise TypeError(f"{what}: expected the arguments ({names}), got other ones: {error}") from None
