"""Actors of unmodified ``pykka.ThreadingActor`` classes, made ours before their first turn.

One of a class that a supervisor knows is constructed as ever and gets our mailbox and our life before it starts. So does one
that Pykka starts inside a supervisor's start callable, at the moment that it enters ``ActorRegistry``. Any other that runs is a
*stranger*: it stays as Pykka has it, is talked to in Pykka's way, and can be neither watched, named nor supervised.
"""

from __future__ import annotations

import contextlib
import functools
import queue
from typing import Any

import pykka

from supervision.exits import Crash
from supervision.process import pykka_registry as roster
from supervision.process.current import current, supervises
from supervision.process.loop import PykkaStyle
from supervision.process.mailbox import Mailbox, StopFlag
from supervision.process.patches import has_no_mutex
from supervision.process.process import Life
from supervision.process.runtimes import OwnThread

__all__ = ["await_up", "construct", "is_stranger", "life_of", "name_of"]


def construct(cls: type[pykka.ThreadingActor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Life:
    """Make an actor of an unmodified class, not started yet; raises what its ``__init__`` raises."""
    actor: Any = cls(*args, **kwargs)
    if getattr(actor, "_actor_ref", None) is None:
        raise TypeError(f"{cls.__name__}.__init__ must call super().__init__()")
    return _make_ours(actor)


def _make_ours(actor: Any) -> Life:
    mailbox = Mailbox()
    life = Life(actor, actor.actor_ref, mailbox, OwnThread(), PykkaStyle())
    _forward(actor.actor_inbox, mailbox)  # the actor's __init__ may have sent itself messages
    actor.actor_inbox = life.ref.actor_inbox = mailbox
    actor.actor_stopped = life.ref.actor_stopped = StopFlag(mailbox)
    return life


def _forward(old: Any, mailbox: Mailbox) -> None:
    """Move what is in Pykka's queue into the mailbox, and have it forward what still comes: somebody may be about to put.

    Raises:
        TypeError: the actor's class has put something of its own in the place of Pykka's queue.
    """
    if not isinstance(old, queue.Queue):
        raise TypeError(f"actor_inbox: expected a queue.Queue, as Pykka makes it, got {type(old).__name__}")
    if has_no_mutex(old):  # so that it cannot forward, nor has it to: nobody is about to put anything
        while not old.empty():
            mailbox.put(old.get_nowait())
        return
    with old.mutex:
        while old._qsize():
            with contextlib.suppress(pykka.ActorDeadError):  # it has ended meanwhile, which tells nobody of a lost tell
                mailbox.put(old._get())
        old._put = mailbox.put  # type: ignore[method-assign, assignment]


def _take_in(ref: pykka.ActorRef[Any]) -> None:
    """Pykka is starting an actor on this thread: inside a supervisor's start callable, have it start as ours."""
    starter = current()
    if starter is None or not supervises(starter):
        return
    actor: Any = ref._actor_weakref()
    if not isinstance(actor, pykka.ThreadingActor) or isinstance(getattr(ref.actor_inbox, "life", None), Life):
        return
    life = _make_ours(actor)
    life.awaited(starter)
    actor.__dict__["_start_actor_loop"] = functools.partial(_begin, actor, life)


def _begin(actor: Any, life: Life) -> None:
    del actor.__dict__["_start_actor_loop"]
    try:
        life.runtime.begin(life)
    except RuntimeError as no_thread:
        life.finish(Crash(no_thread))
        raise


roster.greet_with(_take_in)


def life_of(ref: pykka.ActorRef[Any]) -> Life | None:
    """The life behind a ref, ended or not; ``None`` where the actor is not ours."""
    life = getattr(ref.actor_inbox, "life", None)
    return life if isinstance(life, Life) else None


def is_stranger(ref: pykka.ActorRef[Any]) -> bool:
    """Whether an actor runs in Pykka's own loop: from its entry into ``ActorRegistry`` on, not while its ``__init__`` runs."""
    return life_of(ref) is None and ref.is_alive() and roster.knows(ref)


def name_of(ref: pykka.ActorRef[Any] | None) -> str | None:
    """The first name that the actor behind a ref was given and keeps, or had when it ended; ``None`` without one."""
    life = None if ref is None else life_of(ref)
    return life.names[0] if life is not None and life.names else None


def await_up(life: Life) -> None:
    """Wait until an actor that somebody else has started has done its ``on_start``; raises what that raised."""
    life.starter = current()
    roster.move_supervisors_behind()
    handshake = life.handshake
    if handshake is not None:
        handshake.wait(None)
