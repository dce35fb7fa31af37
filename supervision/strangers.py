"""Talking to an actor that Pykka alone has started: in Pykka's way, with this package's errors; it stays as it is.

Pykka's loop may end without an answer: a message that came while it emptied its queue for the last time is lost, and a
``BaseException`` in a handler leaves the asker waiting. So who waits looks now and then whether the actor is still alive.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from supervision.child_spec import check_seconds
from supervision.errors import CallTimeout, NoProcess, ServerDied, SupervisionError
from supervision.exits import NOPROC
from supervision.process import Reply

__all__ = ["ask", "stop_stranger"]

LOOK_S = 0.5


def ask(ref: pykka.ActorRef[Any], message: Any, timeout: float | None) -> Any:
    """``call``; arguments and errors as there."""
    reply = _send(ref, message, timeout, "the answer could never come; do the work in place, or cast")
    if not _is_settled(ref, reply, timeout):
        raise CallTimeout(ref, timeout or 0.0)
    if not reply.arrived(0.0):
        raise ServerDied(ref, NOPROC)
    if isinstance(reply.error, pykka.ActorDeadError) and reply.error.__traceback__ is None:
        raise ServerDied(ref, NOPROC)  # Pykka's answer to what was not handled; a handler's own would have been raised
    return reply.outcome()


def stop_stranger(ref: pykka.ActorRef[Any], timeout: float | None) -> None:
    """``stop``; arguments and errors as there."""
    reply = _send(ref, _ActorStop(), timeout, "raise Exit() or call self.stop() instead")
    if not reply.arrived(timeout):
        raise CallTimeout(ref, timeout or 0.0, stopping=True)


def _send(ref: pykka.ActorRef[Any], message: Any, timeout: float | None, instead: str) -> Reply:
    if timeout is not None:
        check_seconds("timeout", timeout)
    if _runs_here(ref):
        raise SupervisionError(f"{ref} calls itself: {instead}")
    if not ref.is_alive():
        raise NoProcess(ref)
    reply = Reply()
    ref.actor_inbox.put(Envelope(message, reply))  # type: ignore[arg-type]
    return reply


def _runs_here(ref: pykka.ActorRef[Any]) -> bool:
    """Whether the calling thread is the actor's own."""
    loop = getattr(threading.current_thread(), "_target", None)
    return getattr(loop, "__self__", None) is ref._actor_weakref() is not None


def _is_settled(ref: pykka.ActorRef[Any], reply: Reply, timeout: float | None) -> bool:
    """Wait for the answer, or until none can come any more; false where the time is up first."""
    ends_at = None if timeout is None else time.monotonic() + timeout
    while True:
        was_alive = ref.is_alive()  # Pykka answers what is left in the queue soon after the end
        left_s = LOOK_S if ends_at is None else ends_at - time.monotonic()
        if reply.arrived(max(0.0, min(left_s, LOOK_S))) or not was_alive:
            return True
        if left_s <= LOOK_S and ends_at is not None:
            return False
