"""Starting one child, and ending one: what a supervisor does with a specification and with a ref."""

from __future__ import annotations

import threading
from typing import Any

import pykka
from pykka._envelope import Envelope

from supervision.child_spec import ChildSpec, ShutdownSetting
from supervision.errors import AlreadyStarted, StartError
from supervision.exits import KILLED, NOPROC, SHUTDOWN, Ignore, Reason
from supervision.lifecycle import Life, await_up, construct, current, launch, life_of, names
from supervision.messages import ExitSignal
from supervision.registry import find, register
from supervision.server import Server

__all__ = ["Departure", "settle", "start_child"]

JOIN_S = 5.0


def start_child(spec: ChildSpec, extra_args: tuple[Any, ...] = ()) -> Any:
    """Start a child; its ref once it is up, ``None`` where it chose to be ignored.

    Raises:
        AlreadyStarted: its name has a live owner.
        StartError: anything else; the child id is the specification's.
    """
    try:
        return _start(spec, (*extra_args, *spec.args))
    except Ignore:
        return None
    except AlreadyStarted:
        raise
    except StartError as error:
        # A supervisor's own error says which child of its failed; a worker's only wraps the cause.
        raise StartError(spec.id, error if spec.type == "supervisor" else error.cause) from error
    except BaseException as error:
        raise StartError(spec.id, error) from error


def _start(spec: ChildSpec, args: tuple[Any, ...]) -> Any:
    start: Any = spec.start
    if getattr(start, "__func__", None) is pykka.Actor.start.__func__:  # type: ignore[attr-defined]
        start = start.__self__  # `Class.start`, which nobody could wait for, is meant as `Class`
    if not isinstance(start, type):
        return _adopt(start(*args, **spec.kwargs), spec)
    if issubclass(start, Server):
        named: dict[str, Any] = {} if spec.name is None else {"name": spec.name}
        return start.start_link(*args, **named, **spec.kwargs)
    if issubclass(start, pykka.ThreadingActor):
        owner = None if spec.name is None else names.lookup(spec.name)
        if owner is not None:
            raise AlreadyStarted(spec.name, owner.ref)
        return launch(construct(start, args, dict(spec.kwargs)), name=spec.name)
    raise TypeError(f"start: expected a Server or a pykka.ThreadingActor class, got {start.__name__}")


def _adopt(ref: Any, spec: ChildSpec) -> Any:
    """A child that a callable has started: wait until it is up, and see that it has its name."""
    if ref is None:
        raise Ignore
    if not isinstance(ref, pykka.ActorRef):
        raise TypeError(f"start: expected the callable to return a pykka.ActorRef, got {type(ref).__name__}")
    life = life_of(ref)
    if life is None:
        raise pykka.ActorDeadError(f"{ref} ended before its supervisor could watch it")
    await_up(life)
    if spec.name is not None and names.lookup(spec.name) is not life:
        try:
            register(spec.name, ref)
        except BaseException:
            Departure(ref, spec.shutdown).wait()
            raise
    return ref


class Departure:
    """The end of one child: asked for at once, waited for with ``wait``; so several can leave at the same time."""

    def __init__(self, ref: Any, shutdown: ShutdownSetting | None) -> None:
        self._shutdown = shutdown
        self._ended = threading.Event()
        life = find(ref)
        self._life: Life | None = life if life is not None and life.attach(self) else None
        if self._life is None:
            return
        if shutdown == "brutal_kill":
            self._life.kill()
        else:
            self._life.mailbox.offer(Envelope(ExitSignal(SHUTDOWN, current())))

    def deliver(self, reason: Reason) -> None:
        """The life's word that it is over."""
        self._ended.set()

    def wait(self, elapsed_s: float = 0.0) -> Reason:
        """Wait for the end, and abandon the child at its deadline. Returns the reason it ended with.

        Args:
            elapsed_s: seconds of its time that have passed since it was asked to leave.
        """
        if self._life is None:
            return NOPROC
        seconds = None if isinstance(self._shutdown, str) else max(0.0, (self._shutdown or 0.0) - elapsed_s)
        if not self._ended.wait(seconds):
            self._life.kill()
        settle(self._life.ref)
        return self._life.reason

    @property
    def was_orderly(self) -> bool:
        """Whether it left as it was asked to, by itself and in time."""
        if self._life is None:
            return True
        return self._life.reason == (KILLED if self._shutdown == "brutal_kill" else SHUTDOWN)


def settle(ref: Any) -> None:
    """Wait until the thread of an ended incarnation is gone, so that the next one finds its port and files free.

    Not for an abandoned one: nobody knows when it comes back.
    """
    life = life_of(ref)
    if life is not None and not life.abandoned:
        life.runtime.join(JOIN_S)
