"""Starting an actor so that the starter hears how it went."""

from __future__ import annotations

from typing import Any

from supervision.errors import StartError
from supervision.exits import NORMAL, Crash, Ignore
from supervision.lifecycle import names, roster
from supervision.lifecycle.caller import current
from supervision.lifecycle.life import Life

__all__ = ["launch"]

SETTLE_S = 5.0


def launch(life: Life, *, name: str | None = None, timeout: float | None = None) -> Any:
    """Start a constructed actor; returns its ref once ``on_start`` is done, ``None`` where that raised ``Ignore``.

    Args:
        life: the life of the actor.
        name: the name to register it under before ``on_start`` runs, as OTP does; free again when a failed start returns.
        timeout: seconds for ``on_start``; past them the actor is killed.

    Raises:
        AlreadyStarted: the name is taken.
        TimeoutError: not started in time.
        Exception: what ``on_start`` raised.
        StartError: it raised a ``SystemExit`` or its like, which must not look like one of the starter's own.
    """
    handshake = life.awaited(current())
    roster.enter(life.ref)
    if life.is_ended:  # by its own __init__, say; it was not there to be taken out
        roster.leave(life.ref)
    if name is not None:
        try:
            names.claim(name, life)
        except BaseException:
            life.finish(NORMAL)
            raise
    try:
        life.runtime.begin(life)
    except RuntimeError as no_thread:  # "can't start new thread": Pykka would leave it registered and never alive
        life.finish(Crash(no_thread))
        raise
    try:
        arrived = handshake.arrived(timeout)
    except BaseException:  # a Ctrl-C while waiting: nobody would ever hold its ref
        life.kill()
        raise
    if not arrived:
        if life.kill(aside=True):
            raise TimeoutError(f"on_start took longer than start_timeout={timeout} s")
        handshake.arrived(SETTLE_S)  # its own end, which is under way on its own thread, came first
    if isinstance(handshake.error, Ignore):
        return None
    if handshake.error is not None and not isinstance(handshake.error, Exception):
        raise StartError(name or life.ref.actor_class.__name__, handshake.error)
    handshake.outcome()
    return life.ref
