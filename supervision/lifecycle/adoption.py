"""Actors of unmodified ``pykka.ThreadingActor`` classes, made ours.

One of a class that a supervisor knows is constructed as ever and gets our mailbox and our life before its first turn. So is
one that Pykka starts inside a supervisor's start callable, at the moment that it enters ``ActorRegistry``. Any other that is
watched, named or supervised is alive already; ``takeover`` sees to those.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

import pykka

from supervision.exits import Crash
from supervision.lifecycle import exiting, roster, takeover
from supervision.lifecycle.caller import current, supervises
from supervision.lifecycle.life import Life
from supervision.lifecycle.loop import PykkaStyle
from supervision.lifecycle.mailbox import Mailbox
from supervision.lifecycle.runtimes import OwnThread
from supervision.lifecycle.stop_flag import StopFlag

__all__ = ["await_up", "construct", "life_of", "name_of"]

_adopting = threading.Lock()  # one adoption at a time; guards nothing else


def _start_over() -> None:
    global _adopting  # noqa: PLW0603 - a forked child may inherit it locked
    _adopting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def construct(cls: type[pykka.ThreadingActor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Life:
    """Make an actor of an unmodified class, not started yet; raises what its ``__init__`` raises."""
    actor: Any = cls(*args, **kwargs)
    if getattr(actor, "_actor_ref", None) is None:
        raise TypeError(f"{cls.__name__}.__init__ must call super().__init__()")
    return _make_ours(actor)


def _make_ours(actor: Any) -> Life:
    mailbox = Mailbox()
    life = Life(actor, actor.actor_ref, mailbox, OwnThread(), PykkaStyle())
    takeover.forward(actor.actor_inbox, mailbox)  # the actor's __init__ may have sent itself messages
    actor.actor_inbox = life.ref.actor_inbox = mailbox
    actor.actor_stopped = life.ref.actor_stopped = StopFlag(mailbox)
    return life


def _take_in(ref: pykka.ActorRef[Any]) -> None:
    """Pykka is starting an actor on this thread: inside a supervisor's start callable, have it start as ours."""
    starter = current()
    if starter is None or not supervises(starter):
        return
    actor: Any = ref._actor_weakref()
    if not isinstance(actor, pykka.ThreadingActor) or isinstance(getattr(ref.actor_inbox, "life", None), Life):
        return
    if type(actor)._start_actor_loop is not pykka.ThreadingActor._start_actor_loop:
        return  # a thread of its class's own making, which has to be taken over
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
    """The life behind a ref, which is taken over if it is not ours; ``None`` where it is dead or no thread's actor.

    An actor of Pykka's own is alive from its entry into ``ActorRegistry`` on, not while its ``__init__`` runs.
    """
    life = getattr(ref.actor_inbox, "life", None)
    if isinstance(life, Life):
        return life
    with _adopting:
        life = getattr(ref.actor_inbox, "life", None)
        if isinstance(life, Life):
            return life
        actor = ref._actor_weakref()
        if not isinstance(actor, pykka.ThreadingActor) or not ref.is_alive() or not roster.knows(ref):
            return None
        return takeover.take_over(actor, ref)


def name_of(ref: pykka.ActorRef[Any] | None) -> str | None:
    """The first name that the actor behind a ref was given and keeps, or had when it ended; ``None`` without one."""
    life = None if ref is None else getattr(ref.actor_inbox, "life", None)
    return life.names[0] if isinstance(life, Life) and life.names else None


def await_up(life: Life) -> None:
    """Wait until an actor that somebody else has started has done its ``on_start``; raises what that raised.

    From here on it counts as supervised: its thread does not keep the interpreter from exiting.
    """
    life.starter = current()
    roster.move_supervisors_behind()
    exiting.let_go_at_exit(life, life.runtime.thread)
    handshake = life.handshake
    if handshake is not None:
        handshake.wait(None)
