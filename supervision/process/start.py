"""Starting an actor so that the starter hears how it went."""

from __future__ import annotations

from typing import Any

from supervision.errors import AlreadyStarted, NoProcess, StartError
from supervision.exits import NORMAL, Crash, Ignore
from supervision.process import names
from supervision.process import pykka_registry as roster
from supervision.process.current import current
from supervision.process.process import Life

__all__ = ["launch"]

SETTLE_S = 5.0


def launch(life: Life, what: Any, *, name: str | None = None, timeout: float | None = None) -> Any:
    """Start a constructed actor; returns its ref once ``on_start`` is done, ``None`` where that raised ``Ignore``.

    Args:
        life: the life of the actor.
        what: how a ``StartError`` calls it.
        name: the name to register it under before ``on_start`` runs, as OTP does; free again when a failed start returns.
        timeout: seconds for ``on_start``; past them the actor is killed.

    Raises:
        AlreadyStarted: the name is taken.
        StartError: ``cause`` is what ``on_start`` raised, a ``TimeoutError``, or a ``RuntimeError`` where there is no thread.
            One that ``on_start`` raised itself, or an ``AlreadyStarted``, is passed on.
        BaseException: what a signal handler raised while this waited; the actor is killed then.
    """
    handshake = life.awaited(current())
    try:
        roster.enter(life.ref)
        if life.is_ended:  # by its own __init__, say; it was not there to be taken out
            roster.leave(life.ref)
        if name is not None:
            names.claim(name, life)
        _begin(life, what)
        arrived = handshake.arrived(timeout)
    except AlreadyStarted:
        life.finish(NORMAL)
        raise
    except NoProcess as ended:
        raise StartError(what, ended) from ended
    except BaseException:  # a signal handler's, while waiting: nobody would ever hold its ref
        life.kill()
        raise
    if not arrived:
        if life.kill(aside=True):
            raise StartError(what, TimeoutError(f"on_start took longer than start_timeout={timeout} s"))
        handshake.arrived(SETTLE_S)  # its own end, which is under way on its own thread, came first
    return None if isinstance(handshake.error, Ignore) else _up(life, what, handshake.error)


def _up(life: Life, what: Any, error: BaseException | None) -> Any:
    if error is None:
        return life.ref
    if isinstance(error, AlreadyStarted | StartError):
        raise error
    raise StartError(what, error) from error


def _begin(life: Life, what: Any) -> None:
    try:
        life.runtime.begin(life)
    except RuntimeError as no_thread:  # "can't start new thread": Pykka would leave it registered and never alive
        life.finish(Crash(no_thread))
        raise StartError(what, no_thread) from no_thread
