"""Taking over an actor that runs in Pykka's own loop, without losing a message.

Its old queue is emptied into our mailbox and made to forward, under its own mutex; then a request in the old queue makes
the actor's own thread enter our loop, inside Pykka's. Until that request is its turn, Pykka's rules hold for the message or
the ``on_start`` in hand; what Pykka's loop calls on its way out is shadowed on the instance, so that whatever way it ends,
the end is told once, and a ``BaseException`` stops this actor, not every actor of the process as Pykka has it.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import pykka
from pykka._envelope import Envelope

from supervision import alarm
from supervision.errors import SupervisionError
from supervision.exits import NORMAL, Crash, is_orderly, reason_of
from supervision.lifecycle import roster
from supervision.lifecycle.life import Life
from supervision.lifecycle.loop import PykkaStyle
from supervision.lifecycle.mailbox import Mailbox
from supervision.lifecycle.patches import has_no_mutex
from supervision.lifecycle.phase import Phase
from supervision.lifecycle.replies import answer_dead
from supervision.lifecycle.runtimes import OwnThread
from supervision.lifecycle.stop_flag import StopFlag
from supervision.reports import report

__all__ = ["forward", "take_over"]

LOOK_S = 0.05
PATIENCE_S = 1.0


class _Request(NamedTuple):
    """Asks the thread of a live actor to enter our loop."""


def forward(old: Any, mailbox: Mailbox, guest: _Guest | None = None) -> None:
    """Move what is in Pykka's queue into the mailbox, and have it forward what still comes.

    Args:
        old: the queue.
        mailbox: where its messages go.
        guest: the actor whose thread reads that queue, and gets one thing more from it; ``None`` if it has not started.

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
        if guest is not None:
            if not old.not_empty._waiters:  # type: ignore[attr-defined]
                guest.has_something_in_hand()
            old._put(Envelope(_Request()))
            old.not_empty.notify()
        old._put = mailbox.put  # type: ignore[method-assign, assignment]


def take_over(actor: Any, ref: Any) -> Life | None:
    """Take over a live actor; ``None`` if it ended before that."""
    if has_no_mutex(actor.actor_inbox):
        raise SupervisionError(
            f"expected a Server, or an actor that a supervisor starts (ChildSpec(id, {type(actor).__name__})), got one that "
            "Pykka has started, which cannot be watched, named or supervised under gevent's patches"
        )
    old_flag = actor.actor_stopped
    mailbox = Mailbox()
    runtime = OwnThread(_thread_of(actor))
    life = Life(actor, ref, mailbox, runtime, PykkaStyle())
    life.awaited(None)
    flag, lookout = StopFlag(mailbox), _Lookout(actor, life)
    guest = _Guest(actor, life, runtime, flag, lookout)
    guest.shadow()
    forward(actor.actor_inbox, mailbox, guest)
    ref.actor_inbox = mailbox
    ref.actor_stopped = flag
    if old_flag.is_set():  # it ended in Pykka's loop, maybe before the shadows could see it
        life.finish(NORMAL)
        return None
    lookout.post()
    return life


class _Guest:
    """An actor whose thread is still in Pykka's loop: what that loop calls, in our way."""

    def __init__(self, actor: Any, life: Life, runtime: OwnThread, flag: StopFlag, lookout: _Lookout) -> None:
        self._actor = actor
        self._life = life
        self._runtime = runtime
        self._flag = flag
        self._lookout = lookout
        self._failure: BaseException | None = None
        self._receive = actor._handle_receive
        self._fail = actor._handle_failure
        self._stop = actor._stop
        self._tear_down = actor._actor_loop_teardown
        self._on_stop = self._guarded(actor.on_stop)
        self._on_failure = self._guarded(actor.on_failure)

    def shadow(self) -> None:
        """Put itself before what Pykka's loop calls, on this one instance."""
        self._shadows = {
            "_handle_receive": self.receive,
            "_handle_failure": self.fail,
            "_stop": self.stop,
            "_actor_loop_teardown": self.tear_down,
            "on_stop": self._on_stop,
            "on_failure": self.after_failure,
        }
        self._actor.__dict__.update(self._shadows)

    def has_something_in_hand(self) -> None:
        """Its thread is in a handler or a hook that began in Pykka's loop; ``leave`` says that it has come out of it."""
        if self._runtime.thread is not None:
            self._life.busy = [self._runtime.thread.ident or 0]

    def receive(self, message: Any) -> Any:
        """Handle a message as ever, or enter our loop."""
        if not isinstance(message, _Request):
            return self._receive(message)
        for name in self._shadows:
            del self._actor.__dict__[name]
        life = self._life
        self._actor.actor_inbox, self._actor.actor_stopped = life.mailbox, self._flag
        life.leave()
        life.has_started()
        self._lookout.stand_down()
        self._runtime.run(life)
        return None

    def fail(self, exc_type: Any, error: BaseException, traceback: Any) -> None:
        """Pykka's loop is about to end by an exception, an orderly ``Exit`` perhaps, of which it knows nothing."""
        self._failure = error
        if self._life.is_ended or is_orderly(reason_of(error)):
            roster.leave(self._life.ref)
            self._actor.actor_stopped.set()
        else:
            self._fail(exc_type, error, traceback)

    def after_failure(self, *raised: Any) -> None:
        """Run the hook that fits."""
        if self._failure is not None and is_orderly(reason_of(self._failure)):
            self._on_stop()
        else:
            self._on_failure(*raised)

    def stop(self) -> None:
        """A stop request, or a ``BaseException`` in a handler, after which Pykka's loop would stop all actors there are."""
        error = sys.exc_info()[1]
        if error is None:
            self._stop()
            return
        self._life.end(reason_of(error), error)
        self._life.leave()
        envelope = sys._getframe(1).f_locals.get("envelope")  # Pykka's loop would leave its asker without an answer
        if envelope is not None and envelope.reply_to is not None:
            answer_dead(envelope.reply_to, self._life.ref, self._life.reason)
        thread: Any = threading.current_thread()
        thread._invoke_excepthook = _say_nothing
        raise SystemExit  # ends the thread; to return would stop every actor

    def tear_down(self) -> None:
        """Pykka's loop has ended."""
        failure = self._failure
        self._life.finish(NORMAL if failure is None else reason_of(failure), failure)
        self._life.leave()
        self._lookout.stand_down()
        self._tear_down()

    def _guarded(self, hook: Callable[..., None]) -> Callable[..., None]:
        """The hook, unless the actor has been killed; what it raises would make Pykka's loop skip its tear-down."""

        def guarded(*args: Any) -> None:
            if self._life.is_ended:
                return
            try:
                hook(*args)
            except BaseException as error:  # noqa: BLE001 - an end hook changes nothing about the end
                report("error", "end_hook_failed", actor=str(self._life.ref), hook=hook.__name__, exc_info=error)

        return guarded


def _say_nothing(thread: threading.Thread) -> None:
    """In place of a thread's report of what ended it, where all has been said."""


class _Lookout:
    """Looks after the thread of an actor until that is in our loop.

    A ``BaseException`` in ``on_start`` ends it without a word, and Pykka leaves a zombie then, alive and registered.
    """

    def __init__(self, actor: Any, life: Life) -> None:
        self._actor = actor
        self._life = life
        self._pause_s = LOOK_S
        self._patience_s = PATIENCE_S
        self._alarm: alarm.Alarm | None = None

    def post(self) -> None:
        """Look in a moment; less and less often, for a message in hand may take long."""
        self._alarm = alarm.call_later(self._pause_s, self._look)
        self._pause_s = min(self._pause_s * 1.5, PATIENCE_S)

    def stand_down(self) -> None:
        """There is nothing to look after any more; one look that comes all the same does no harm."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _look(self) -> None:
        life = self._life
        if life.phase is not Phase.STARTING:
            return
        life.runtime.thread = life.runtime.thread or _thread_of(self._actor)
        if self._is_dead(life.runtime.thread):
            dead = pykka.ActorDeadError(f"{life.ref}: its thread died while it started")
            life.finish(Crash(dead), dead, aside=True)
        else:
            self.post()

    def _is_dead(self, thread: threading.Thread | None) -> bool:
        if thread is not None:
            return not thread.is_alive()
        if type(self._actor)._start_actor_loop is not pykka.ThreadingActor._start_actor_loop:
            return False  # some other thread of its class's own making, which nobody can find
        self._patience_s -= self._pause_s  # just about to be started, or dead long since
        return self._patience_s < 0


def _thread_of(actor: Any) -> threading.Thread | None:
    for thread in threading.enumerate():
        if getattr(getattr(thread, "_target", None), "__self__", None) is actor:
            return thread
    return None
