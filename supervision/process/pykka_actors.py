"""Actors of unmodified ``pykka.ThreadingActor`` classes, made ours before their first turn.

One of a class that a supervisor knows is constructed as ever and gets our mailbox and our process before it starts. So does one
that Pykka starts inside a supervisor's start callable, at the moment that it enters ``ActorRegistry``. Any other that runs is
*unmanaged* (`supervision.process.registry`).
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Iterable
from typing import Any, cast

import pykka

from supervision.exits import Exit, Reason, is_orderly
from supervision.process.mailbox import Mailbox
from supervision.process.process import Process, supervisors_of_caller
from supervision.process.pykka_internals import actor_of, leave, log_crash, replace_start, when_pykka_enters
from supervision.process.registry import current, process_of
from supervision.runtime.dispatcher import OwnThread


class PykkaHooks:
    """A ``pykka.ThreadingActor``: its own hooks, dead to others before they run, as Pykka has it."""

    def crashes_on_call_error(self, actor: Any) -> bool:
        """It lives on. The actor is not asked: it may have a ``__getattr__`` that answers to every name."""
        return False

    def run_continue(self, actor: Any) -> None:
        """Pykka has no such hook."""

    def end_hook(self, reason: Reason) -> str:
        return "on_stop" if is_orderly(reason) else "on_failure"

    def run_end_hooks(self, process: Process, actor: Any, reason: Reason, failure: BaseException | None) -> None:
        process.mailbox.close()
        if is_orderly(reason):
            actor.on_stop()
            return
        failure = failure or getattr(reason, "exception", None) or Exit(reason)
        log_crash(actor, failure)
        actor.on_failure(type(failure), failure, failure.__traceback__)


def construct(cls: type[pykka.ThreadingActor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Process:
    """Make an actor of an unmodified class, not started yet; raises what its ``__init__`` raises."""
    actor = cls(*args, **kwargs)
    try:
        ref = actor.actor_ref
    except AttributeError:
        raise TypeError(f"{cls.__name__}.__init__ must call super().__init__()") from None
    return _make_ours(actor, ref)


def _make_ours(actor: Any, ref: pykka.ActorRef[Any]) -> Process:
    mailbox = Mailbox()
    process = Process(actor, ref, mailbox, OwnThread(type(actor).__name__), PykkaHooks())
    _forward(actor.actor_inbox, mailbox)  # the actor's __init__ may have sent itself messages
    actor.actor_inbox = ref.actor_inbox = mailbox
    actor.actor_stopped = ref.actor_stopped = cast(threading.Event, mailbox)
    return process


def _forward(old: Any, mailbox: Mailbox) -> None:
    """Move what is in Pykka's queue into the mailbox, and have it forward what still comes: a thread may be about to put.

    Raises:
        TypeError: the actor's class has put something of its own in the place of Pykka's queue.
    """
    if not isinstance(old, queue.Queue):
        raise TypeError(f"actor_inbox: expected a queue.Queue, as Pykka makes it, got {type(old).__name__}")
    if not hasattr(old, "mutex"):  # gevent's: no greenlet can be about to put while this one runs
        while not old.empty():
            mailbox.put(old.get_nowait())
        return
    with old.mutex:
        while old._qsize():
            with contextlib.suppress(
                pykka.ActorDeadError
            ):  # it has ended meanwhile; a tell that is lost tells no thread
                mailbox.put(old._get())
        old._put = mailbox.put  # type: ignore[method-assign, assignment]


def _take_in(ref: pykka.ActorRef[Any]) -> Iterable[pykka.ActorRef[Any]]:
    """Pykka is starting an actor on this thread: inside a supervisor's start callable, have it start as ours."""
    starter = current()
    if starter is None or not starter.supervises:
        return ()
    actor = actor_of(ref)
    if isinstance(actor, pykka.ThreadingActor) and process_of(ref) is None:
        process = _make_ours(actor, ref)
        process.handshake_with(starter)
        replace_start(actor, functools.partial(_begin, process))
    return supervisors_of_caller()


def _begin(process: Process) -> None:
    if process.is_ended:  # its start had been cancelled, before Pykka entered it: it could not be taken out then
        leave(process.ref)
    process.begin()


when_pykka_enters(_take_in)
