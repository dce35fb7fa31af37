"""Unmodified ``pykka.ThreadingActor`` classes, and actors that somebody else has started already.

A class is constructed as ever and then gets our mailbox and our life before its first turn. A live actor is taken over:
its old queue is emptied into our mailbox and made to forward, under its own mutex, so that no message is lost on the way;
then a request in the old queue makes the actor's own thread enter our loop, inside Pykka's. Until that request is its turn,
Pykka's own rules hold for the message in hand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import pykka
from pykka._envelope import Envelope

from supervision.exits import NORMAL, Reason, reason_of
from supervision.lifecycle.life import Life
from supervision.lifecycle.loop import PykkaStyle
from supervision.lifecycle.mailbox import Mailbox
from supervision.lifecycle.replies import NoAnswer, Reply
from supervision.lifecycle.runtimes import OwnThread
from supervision.reports import report

__all__ = ["StopFlag", "await_up", "construct", "life_of"]

POLL_S = 0.05
_adopting = threading.Lock()  # one adoption at a time; guards nothing else


class StopFlag:
    """What ``actor_stopped`` is on our actors: the part of ``threading.Event`` that Pykka uses, at a tenth of its size.

    In a forked child an inherited actor counts as stopped.
    """

    __slots__ = ("_mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def is_set(self) -> bool:
        return self._mailbox.closed

    def set(self) -> None:
        """Pykka sets it where we close the mailbox."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the actor has ended; returns whether it has. ``timeout`` is in seconds."""
        ended = threading.Event()
        if self._mailbox.life.attach(_Rings(ended)):
            ended.wait(timeout)
        return self.is_set()


class _Rings:
    __slots__ = ("_event",)

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def deliver(self, reason: Reason) -> None:
        self._event.set()


class _TakeOver(NamedTuple):
    """Asks the thread of a live actor to enter our loop."""


def construct(cls: type[pykka.ThreadingActor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Life:
    """Make an actor of an unmodified class, not started yet; raises what its ``__init__`` raises."""
    actor = cls(*args, **kwargs)
    return _install(actor, actor.actor_ref)


def life_of(ref: pykka.ActorRef[Any]) -> Life | None:
    """The life behind a ref, which is taken over if it is not ours; ``None`` where it is dead or no thread's actor."""
    life = getattr(ref.actor_inbox, "life", None)
    if isinstance(life, Life):
        return life
    with _adopting:
        life = getattr(ref.actor_inbox, "life", None)
        if isinstance(life, Life):
            return life
        actor = ref._actor_weakref()
        if actor is None or not ref.is_alive() or not isinstance(actor, pykka.ThreadingActor):
            return None
        return _take_over(actor, ref)


def _install(actor: Any, ref: Any) -> Life:
    mailbox = Mailbox()
    life = Life(actor, ref, mailbox, OwnThread(), PykkaStyle())
    old = actor.actor_inbox
    with old.mutex:  # the actor's __init__ may have sent itself messages
        while old.queue:
            mailbox.offer(old.queue.popleft())
        old._put = mailbox.put
    actor.actor_inbox = ref.actor_inbox = mailbox
    actor.actor_stopped = ref.actor_stopped = StopFlag(mailbox)
    return life


def _take_over(actor: Any, ref: Any) -> Life | None:
    old, old_flag = actor.actor_inbox, actor.actor_stopped
    mailbox = Mailbox()
    life = Life(actor, ref, mailbox, OwnThread(), PykkaStyle())
    life.handshake = Reply()
    _patch(actor, life)
    with old.mutex:
        while old.queue:
            mailbox.offer(old.queue.popleft())
        old._put = mailbox.put
        old.queue.append(Envelope(_TakeOver()))
        old.not_empty.notify()
    ref.actor_inbox = mailbox
    ref.actor_stopped = StopFlag(mailbox)
    if old_flag.is_set():  # it ended in Pykka's loop, maybe before the patches could see it
        life.finish(NORMAL)
        return None
    return life


def _patch(actor: Any, life: Life) -> None:
    """Shadow, on this one instance, what Pykka's loop calls on its way out, until our loop has the thread."""
    failures: list[BaseException] = []
    handle_receive, handle_failure, teardown = actor._handle_receive, actor._handle_failure, actor._actor_loop_teardown

    def receive(message: Any) -> Any:
        if not isinstance(message, _TakeOver):
            return handle_receive(message)
        for name in patches:
            del actor.__dict__[name]
        actor.actor_inbox, actor.actor_stopped = life.mailbox, life.ref.actor_stopped
        if life.has_started() and life.handshake is not None:
            life.handshake.set()
            life.handshake = None
        life.runtime.takes_over(life)  # type: ignore[attr-defined]
        return None

    def fail(exc_type: Any, error: BaseException, traceback: Any) -> None:
        failures.append(error)
        handle_failure(exc_type, error, traceback)

    def tear_down() -> None:
        failure = failures[0] if failures else None
        life.finish(NORMAL if failure is None else reason_of(failure), failure)
        teardown()

    patches = {
        "_handle_receive": receive,
        "_handle_failure": fail,
        "_actor_loop_teardown": tear_down,
        "on_stop": _guarded(actor.on_stop, life),
        "on_failure": _guarded(actor.on_failure, life),
    }
    actor.__dict__.update(patches)


def _guarded(hook: Callable[..., None], life: Life) -> Callable[..., None]:
    """The hook, with what it raises reported: a ``BaseException`` would make Pykka's loop skip its tear-down."""

    def guarded(*args: Any) -> None:
        try:
            hook(*args)
        except BaseException as error:  # noqa: BLE001 - an end hook changes nothing about the end
            report("error", "end_hook_failed", actor=str(life.ref), hook=hook.__name__, exc_info=error)

    return guarded


def await_up(life: Life) -> None:
    """Wait until an actor that somebody else has started has done its ``on_start``; raises what that raised.

    Where the thread died in it without a word (Pykka leaves a zombie then), ``ActorDeadError``.
    """
    handshake = life.handshake
    if handshake is None:
        return
    thread = _thread_of(life.actor)
    while True:
        try:
            handshake.wait(POLL_S)
        except NoAnswer:
            if thread is not None and not thread.is_alive():
                dead = pykka.ActorDeadError(f"{life.ref}: its thread died while it started")
                life.finish(reason_of(dead), dead)
        else:
            return


def _thread_of(actor: Any) -> threading.Thread | None:
    for thread in threading.enumerate():
        if getattr(getattr(thread, "_target", None), "__self__", None) is actor:
            return thread
    return None
