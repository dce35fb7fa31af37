"""Every error of this package: one root, and children that carry data instead of prose."""

from __future__ import annotations

from typing import Any

from supervision.exits import words

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "CallTimeout",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "MaxChildren",
    "NoProcess",
    "ServerDied",
    "StartError",
    "SupervisionError",
]


class SupervisionError(Exception):
    """Root of all errors of this package; raised itself where a call could only deadlock.

    They can be pickled, to cross to another process; there a ref has no meaning, and its text stands for it.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: str(value) if hasattr(value, "actor_urn") else value for name, value in vars(self).items()}
        return _rebuild, (type(self), self.args, fields)


def _rebuild(kind: type[SupervisionError], args: tuple[Any, ...], fields: dict[str, Any]) -> SupervisionError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(fields)
    return error


class StartError(SupervisionError):
    """An actor or a child did not start (OTP: ``failed_to_start_child``).

    Attributes:
        child_id: the id of the child that failed, or the name or class name of an actor started by itself.
        cause: the exception itself, ``SystemExit`` included; a ``TimeoutError`` where the start took too long.
    """

    def __init__(self, child_id: Any, cause: BaseException) -> None:
        super().__init__(f"{words(child_id, repr)} did not start: {type(cause).__name__}: {words(cause)}")
        self.child_id = child_id
        self.cause = cause
        self.__cause__ = cause


class AlreadyStarted(SupervisionError):
    """The name or the child id belongs to a live actor.

    Attributes:
        ref: the ``pykka.ActorRef`` of that actor, which is untouched.
    """

    def __init__(self, what: Any, ref: Any) -> None:
        super().__init__(f"{what!r} is already started as {ref}: use that actor, or stop it first")
        self.ref = ref


class _ChildError(SupervisionError):
    """An answer about one child of a supervisor; ``child_id`` says which."""

    text = "{child_id!r}"

    def __init__(self, child_id: Any) -> None:
        super().__init__(self.text.format(child_id=child_id))
        self.child_id = child_id


class AlreadyPresent(_ChildError):
    """The id's specification is kept, and its child is not running: restart or delete it."""

    text = "child {child_id!r} is present and not running: use restart_child, or delete_child first"


class ChildNotFound(_ChildError):
    """The supervisor has no such child."""

    def __init__(self, child_id: Any, children: str = "which_children lists those it has") -> None:
        SupervisionError.__init__(self, f"no child {child_id!r} under this supervisor: {children}")
        self.child_id = child_id


class ChildRunning(_ChildError):
    """The child runs, and the request needs it stopped."""

    text = "child {child_id!r} is running: use terminate_child first"


class ChildRestarting(_ChildError):
    """The child is between two restart attempts."""

    text = "child {child_id!r} is restarting: use terminate_child first, which cancels the restart"


class MaxChildren(SupervisionError):
    """The dynamic supervisor holds ``max_children`` children, those being restarted included."""

    def __init__(self, max_children: int) -> None:
        super().__init__(f"the supervisor already holds max_children={max_children} children")
        self.max_children = max_children


class NoProcess(SupervisionError):
    """Nothing alive behind that ref or name (OTP: ``noproc``)."""

    def __init__(self, server: Any) -> None:
        super().__init__(
            f"no live actor behind {server!r}: it was never started, has ended, or belongs to a parent process"
        )
        self.server = server


class CallTimeout(SupervisionError):
    """No answer in time. The server is not told, stays alive and still does the work (as in OTP).

    Or, for a stop, no end in time: the server still works off its mailbox, or is in its end hook.
    """

    def __init__(self, server: Any, timeout: float, *, stopping: bool = False) -> None:
        super().__init__(
            f"{server} has not ended within {timeout} s; its stop goes on"
            if stopping
            else f"no answer from {server} within {timeout} s; it is alive and may still do the work"
        )
        self.server = server
        self.timeout = timeout


class ServerDied(SupervisionError):
    """The server ended before it answered.

    Attributes:
        reason: why it ended, one of the reasons of ``supervision.exits``.
    """

    def __init__(self, server: Any, reason: Any) -> None:
        super().__init__(f"{server} ended before it answered: {reason}")
        self.server = server
        self.reason = reason
