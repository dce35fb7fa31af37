"""Starting an actor so that the starter hears how it went."""

from __future__ import annotations

from typing import Any

from supervision.errors import NoProcess
from supervision.exits import Crash, Ignore
from supervision.lifecycle import names, roster
from supervision.lifecycle.life import Life, current
from supervision.lifecycle.replies import NoAnswer, Reply

__all__ = ["is_callers_life", "launch", "would_deadlock"]


def launch(life: Life, *, name: str | None = None, timeout: float | None = None) -> Any:
    """Start a constructed actor; returns its ref once ``on_start`` is done, ``None`` where that raised ``Ignore``.

    Args:
        life: the life of the actor.
        name: the name to register it under before ``on_start`` runs, as OTP does; free again when a failed start returns.
        timeout: seconds for ``on_start``; past them the actor is killed.

    Raises:
        AlreadyStarted: the name is taken.
        TimeoutError: not started in time.
        BaseException: what ``on_start`` raised.
    """
    if name is not None:
        names.claim(name, life)
    handshake = life.handshake = Reply()
    life.waited_for_by = current()
    roster.enter(life.ref)
    try:
        life.runtime.begin(life)
    except RuntimeError as no_thread:  # "can't start new thread": Pykka would leave it registered and never alive
        life.finish(Crash(no_thread))
        raise
    try:
        handshake.wait(timeout)
    except Ignore:
        return None
    except NoAnswer:
        if life.kill():
            raise TimeoutError(f"on_start took longer than start_timeout={timeout} s") from None
        return _launched(life, handshake)
    return life.ref


def _launched(life: Life, handshake: Reply) -> Any:
    """The ref of an actor whose start had its outcome at the last moment."""
    try:
        handshake.wait(0)
    except Ignore:
        return None
    except NoAnswer:
        raise NoProcess(life.ref) from None
    return life.ref


def is_callers_life(life: Life) -> bool:
    """Whether the calling thread is in a handler or hook of that very actor."""
    return current() is life


def would_deadlock(life: Life) -> bool:
    """Whether that actor's thread waits for the start or end that the calling thread is in the middle of."""
    waiting, seen = current(), set()
    while waiting is not None and waiting not in seen:  # two actors may be stopping each other
        seen.add(waiting)
        waiting = waiting.waited_for_by
        if waiting is life:
            return True
    return False
