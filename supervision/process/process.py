"""One incarnation of an actor as a process: starting, running, ending, ended, each entered once, in that order.

================  ===========================================  =========================================================
from              on                                           what happens
================  ===========================================  =========================================================
starting          ``on_start`` returned                        running; the starter is told; ``on_continue``
starting          ``on_start`` raised, or ignored              ended, no end hook; the starter is told
running           a stop, an exit signal, an uncaught error    ending: the end hooks run, in the same turn
ending            the hooks are done                           ended
any but ended     ``kill``                                     ended at once with ``KILLED``, no hook; a busy thread is
                                                               abandoned, and nothing it does later has an effect
================  ===========================================  =========================================================

What the outcome of a handler means, for our ``Server`` and for an unmodified Pykka actor:

=======================  ========================================  =================================================
raised in a handler      under ``cast``/``tell``                   under ``call``/``ask``
=======================  ========================================  =================================================
nothing                  -                                         the value is the answer
``Exit(reason)``         ends with the reason                      the same; the caller hears of the end
an ``Exception``         crash                                     the caller gets it; a ``Server`` crashes, too, unless
                                                                   ``crash_on_call_error`` is false; others live on
any ``BaseException``    crash of this actor only                  the same; the caller hears of the end
=======================  ========================================  =================================================

Pykka lets a ``BaseException`` stop every actor there is, or leave a registered zombie; here it is a crash.

**The start handshake** (OTP: ``proc_lib:start_link``, ``init_ack``)::

    starter                                         the actor's thread, in its first turn
    1. makes the handshake, a `Reply`               1. runs ``on_start``
    2. enters the registries, under its name        2. under the mailbox's lock: still starting? then running, and takes
    3. has the first turn run                          the handshake out of the process
    4. waits; at ``start_timeout`` it kills         3. answers the handshake, then runs ``on_continue``

The lock decides between the starter's kill and the actor's 2. If the kill is first, it fails the handshake, and the actor
finds at its 2 that it has ended: nothing that its thread still does has an effect. If the actor is first, the kill ends a
running actor. The name is taken before ``on_start`` runs, as in OTP: two starts of one name never both run it.

**The end.** The mailbox's lock is held while the process becomes *ended* and what is left is taken out of it; all else
follows without a lock, on the thread that ended it, in this order:

1. The mailbox closes, then the phase is *ended*: from here on no message gets in that no thread would answer.
2. The actor is out of ``ActorRegistry``, and its names are free. A caller that is told of the end may start a successor at
   once, under the same name.
3. The starter is told, if it still waits; so is each caller whose message was not handled.
4. Observers of ours are told: bells, supervisors, watching actors.
5. The dispatcher lets go of the process.
6. User callbacks of monitors run: at once, or when the actor's own turn is over if that ended it, or on the pool if the
   killer has more to do than to wait for them. Were they run inside the turn, the thread would still be the dead actor's own:
   a callback's call to the supervisor would be refused as one that could only deadlock.

**A kill and the thread that is in a turn** meet in a table of all that are busy, which has that thread's ident::

    thread that kills                               thread in the turn, when it comes out of it
    1. marks the process as abandoned, has the      1. takes the ident out of the table
       dispatcher stand in for the thread           2. was it gone? then the kill was first: takes back what the
    2. takes the ident out of the table                killer's 1 has done
    3. was it gone? then the turn was over
       first: takes back what 1 has done

Exactly one of the two finds the ident. Marked only after it was found, the thread could come out, see no mark and go on,
and the mark would then stay for ever: a worker that counts as lost, and a thread that no supervisor waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from pykka import ActorDeadError, ActorRef

from supervision.errors import AlreadyStarted, NoProcess, StartError
from supervision.exits import KILLED, NOPROC, NORMAL, Crash, Exit, Ignore, Reason, reason_of
from supervision.process import pykka_internals, registry
from supervision.process.mailbox import (
    Cancellable,
    ExitSignal,
    Mailbox,
    answer,
    answer_dead,
    answer_error,
    answer_unhandled,
)
from supervision.process.pykka_internals import Envelope, StopRequest, receiver_of
from supervision.process.registry import current, current_attempt, set_current
from supervision.process.watch import Turns, stack_of
from supervision.runtime.dispatcher import POOL, Dispatcher, is_worker
from supervision.runtime.per_process import PerProcess
from supervision.runtime.reports import interrupt_behind, is_interrupt, report, returned_to_caller
from supervision.runtime.waits import Reply

if TYPE_CHECKING:
    from supervision.children import Child
    from supervision.process.registry import Ringable

BATCH = 16
"""Messages that an actor handles in one turn, before others of the pool have theirs."""

LAST_TURN_S = 5.0
"""Seconds that a starter waits for an end of the actor's own that came just before its kill at the ``start_timeout``."""


class Phase(IntEnum):
    """How far a process has come; each is entered once, in that order."""

    STARTING = 0
    RUNNING = 1
    ENDING = 2
    ENDED = 3


_OURS = (Cancellable, ExitSignal, StopRequest)  # messages that are not the program's own

# For each message these are looked at a few times, and up to Python 3.11 an enumeration looks its members up slowly.
STARTING, RUNNING, ENDING, ENDED = Phase


class Hooks(Protocol):
    """Which hooks a kind of actor has. All run in a turn of the actor."""

    def crashes_on_call_error(self, actor: Any) -> bool:
        """Whether an exception that a caller has got ends the actor, too."""

    def run_continue(self, actor: Any) -> None:
        """After a good start, before any message; what it raises is a crash."""

    def end_hook(self, reason: Reason) -> str:
        """The name of the hook that an end with that reason runs."""

    def run_end_hooks(self, process: Process, actor: Any, reason: Reason, failure: BaseException | None) -> None:
        """At the end. What it raises is logged: it changes neither the reason nor the number of Downs."""


class ExitObserver(Protocol):
    """What is to be told of the end of a process."""

    @property
    def is_user_callback(self) -> bool:
        """Whether ``deliver`` runs code of the program, which may block."""

    def deliver(self, reason: Reason) -> None:
        """Called once, on the thread that ended the process; a user callback maybe on one of the pool."""


class Kept(Protocol):
    """What outlives an actor and is kept for its successor. It keeps no ref of that actor."""

    def owner_ended(self, ref: ActorRef[Any], reason: Reason) -> None:
        """The actor has ended. Called once, on the thread on which monitors' callables run, before those."""

    def not_restarted(self, ref: ActorRef[Any], asked: bool) -> None:
        """Its supervisor does not start it again; on that one's thread. It must neither block nor raise.

        ``asked``: whether that was asked for (a stop, ``terminate_child``), or is in the specification. Not called for an actor
        that is stopped while it runs: it learns of that in its own end hook.
        """


class _KeptIsTold:
    """What is kept for a successor, as one of those that are told of an end; made at that end, and not before."""

    __slots__ = ("_kept", "_ref")

    is_user_callback = True

    def __init__(self, kept: Kept, ref: ActorRef[Any]) -> None:
        self._kept, self._ref = kept, ref

    def deliver(self, reason: Reason) -> None:
        try:
            self._kept.owner_ended(self._ref, reason)
        except BaseException as error:  # as in `supervision.monitors.Monitor.deliver`
            if is_interrupt(error):
                raise
            report("error", "watcher_failed", actor=str(self._ref), exc_info=error)


_abandoned: PerProcess[dict[object, None]] = PerProcess(dict)


def abandoned_count() -> int:
    """How many threads are stuck right now in handlers of killed actors, or in starts that were cancelled."""
    return len(_abandoned.value)


def thread_lost(stuck_in: object) -> None:
    """A thread is left behind in that."""
    _abandoned.value[stuck_in] = None


def thread_found(stuck_in: object) -> None:
    """It has come back; silent where it was not lost."""
    _abandoned.value.pop(stuck_in, None)


@dataclass(slots=True, weakref_slot=True, eq=False, repr=False)
class Process:
    """One incarnation: its actor, its mailbox, what is told of its end, and how it comes to that.

    Attributes:
        actor: the actor, until it has ended. Pykka's refs are weak: this keeps a pooled actor alive.
        ref: its ref.
        mailbox: its mailbox, which knows it from here on.
        dispatcher: what its turns run on.
        hooks: which hooks its actor has.
        phase: how far it has come.
        reason: why it ends or has ended.
        names: in the order that it got them; still there when it has ended.
        ends_for_restart: whether its end is part of a restart, as its ``ExitSignal`` said.
        observers: what is to be told of its end.
        handshake: its starter waits here, until it has started.
        starter: the process that started it; a supervisor does not end before it.
        child: what its supervisor knows of it; ``None`` for one that is no child, and when its end is decided.
        starting_child: the child that it, a supervisor, is starting.
        asked_for_restart: whether its supervisor has asked it to exit for a restart, or not for one; ``None`` before it asks.
        awaited_names: its names that a successor is to have.
        awaited_below: those that have ended under it, a supervisor, and get a successor; ``None`` before the first.
        waiters: those that wait for its successor; ``None`` before its names are awaited.
        link: what asks its children to exit when it, a supervisor, is killed (`supervision.child_process`).
        kept: what outlives it, for its successor (`supervision.monitors.keep_for_successor`); ``None`` where nothing does.
        waits_for_successors: what wakes its handler, where that waits for the successors of others; ``None`` before the first.
        waited_for_by: the process whose thread waits for this start or end.
        turn_right: held during a turn; never waited for: a thread that does not get it leaves.
        abandoned: whether it was killed in a turn whose thread has not come out of it.
        in_hand: the envelope being handled.
        exit_notification: its user callbacks run when the turn is over.
        in_user_callbacks: whether they run, and nothing that a successor might need is in use any more.
    """

    actor: Any
    ref: ActorRef[Any]
    mailbox: Mailbox
    dispatcher: Dispatcher
    hooks: Hooks
    phase: Phase = STARTING
    reason: Reason = NOPROC
    names: tuple[str, ...] = ()
    ends_for_restart: bool = False
    observers: dict[ExitObserver, None] = field(default_factory=dict)
    handshake: Reply | None = None
    starter: Process | None = None
    child: Child | None = None
    starting_child: Child | None = None
    asked_for_restart: bool | None = None
    awaited_names: tuple[str, ...] = ()
    awaited_below: dict[Process, None] | None = None
    waiters: dict[Ringable, None] | None = None
    link: Any = None
    kept: Kept | None = None
    waits_for_successors: dict[Ringable, None] | None = None
    waited_for_by: Process | None = None
    turn_right: threading.Lock = field(default_factory=threading.Lock)
    abandoned: bool = False
    in_hand: Envelope[Any] | None = None
    exit_notification: ExitNotification | None = None
    in_user_callbacks: bool = False

    def __post_init__(self) -> None:
        self.mailbox.process = self

    @property
    def is_ended(self) -> bool:
        """Whether it is over; an inherited process is, in a forked child."""
        return self.phase is ENDED or self.mailbox.inherited

    @property
    def is_starting(self) -> bool:
        """Whether it is not up yet."""
        return self.phase is STARTING

    @property
    def is_ending(self) -> bool:
        """Whether it has begun to end; also once it has ended."""
        return self.phase >= ENDING

    @property
    def is_busy(self) -> bool:
        """Whether a thread is in a turn of it; not one that was left behind by a kill."""
        return self in _turns.value.busy

    @property
    def is_at_rest(self) -> bool:
        """Whether all that was sent to it has been handled, and no turn runs.

        The order matters: what a turn takes out of the mailbox it handles before it gives its right back.
        """
        return self.mailbox.empty() and not self.turn_right.locked()

    def stack(self) -> list[str]:
        """Where the thread that is in a turn of it is now, if one is: see `stack_of`."""
        busy = _turns.value.busy.get(self)
        return [] if busy is None else stack_of(busy[0], Process._run_batch.__code__)

    @property
    def supervises(self) -> bool:
        """Whether its actor is a supervisor."""
        return bool(getattr(self.ref.actor_class, "_supervision_supervises", False))

    # --- what others attach to it ---------------------------------------------------------------------------------

    def add_name(self, name: str) -> bool:
        """Note a name of its own; false once ended. The registry's lock is held."""
        if self.is_ended:
            return False
        with self.mailbox.lock:
            if self.phase is ENDED:
                return False
            self.names = (*self.names, name)
            return True

    def remove_name(self, name: str) -> None:
        """Forget a name of its own. The registry's lock is held."""
        with self.mailbox.lock:
            self.names = tuple(own for own in self.names if own != name)

    def attach(self, observer: ExitObserver) -> bool:
        """Have an observer told of the end; false once ended. Without a lock: a reader may get here from a signal handler."""
        if self.is_ended:
            return False
        self.observers[observer] = None
        # The end marks the phase first and then takes the observers out: this one is told, or takes itself back.
        return self.phase is not ENDED or not self.detach(observer)

    def detach(self, observer: ExitObserver) -> bool:
        """Undo ``attach``; returns whether it was attached and has not been told."""
        try:
            del self.observers[observer]
        except KeyError:
            return False
        return True

    def keep(self, kept: Kept) -> bool:
        """Have what is kept for a successor told of the end; false once ended."""
        if self.is_ended:
            return False
        with self.mailbox.lock:  # the end takes it under that lock, too
            if self.phase is ENDED:
                return False
            self.kept = kept
            return True

    # --- deadlocks ------------------------------------------------------------------------------------------------

    def waits_for_caller(self) -> bool:
        """Whether it is the calling thread's own process, or waits for a start or an end that waits for that one.

        A call to it could never be answered.
        """
        waiting = current()
        if waiting is None or waiting is self:
            return waiting is self
        seen = {waiting}
        while True:
            waiting = waiting.waited_for_by
            if waiting is None or waiting in seen:  # two may be stopping each other
                return False
            if waiting is self:
                return True
            seen.add(waiting)

    def must_outlive_caller(self) -> bool:
        """Whether a wait for its end could only deadlock: it is the caller, a supervisor above the caller, or waits for it."""
        if self.waits_for_caller():
            return True
        caller = current()
        # Once the caller's process has ended, no process waits for what its user callbacks do on its thread.
        return caller is not None and not caller.is_ended and self.is_or_supervises(caller)

    def is_or_supervises(self, other: Process) -> bool:
        """Whether it is that process, or a supervisor above it."""
        above: Process | None = other
        while above is not None and (above is other or above.supervises):
            if above is self:
                return True
            above = above.starter
        return False

    def caller_may_owe_its_turn(self) -> bool:
        """Whether the calling thread may be the worker that was summoned, and has not heard yet.

        A finalizer has interrupted that worker before its turn, then, and keeps it from it; another worker takes the turn.
        """
        return is_worker() and current() is None and self.phase is not STARTING

    # --- the start, on the starter's thread -----------------------------------------------------------------------

    def start_link(self, what: Any, *, name: str | None = None, timeout: float | None = None) -> Any:
        """Start the actor, and wait for its start handshake (OTP: ``proc_lib:start_link``, ``init_ack``).

        Args:
            what: how a ``StartError`` calls it.
            name: the name to register it under before ``on_start`` runs, as OTP does; free again when a failed start returns.
            timeout: seconds for ``on_start``; past them the actor is killed.

        Returns:
            Its ref once ``on_start`` is done, ``None`` where that raised ``Ignore``.

        Raises:
            AlreadyStarted: the name is taken.
            StartError: ``cause`` is what ``on_start`` raised, a ``TimeoutError``, or a ``RuntimeError`` where there is no thread.
                One that ``on_start`` raised itself, or an ``AlreadyStarted``, is passed on.
            BaseException: what a signal handler raised while this waited; the actor is killed then.
        """
        handshake = self.handshake_with(current())
        try:
            self._enter_registries(name)
            self._begin_or_fail(what)
            return self._outcome_of_start(handshake, what, timeout)
        except AlreadyStarted:
            self.finish(NORMAL)
            raise
        except NoProcess as ended:
            raise StartError(what, ended) from ended
        except BaseException:  # a signal handler's, at any moment: the caller would never hold its ref
            self.kill()
            raise

    def _begin_or_fail(self, what: Any) -> None:
        try:
            self.begin()
        except RuntimeError as no_thread:
            interrupt = interrupt_behind(no_thread)
            if interrupt is not None:
                raise interrupt from None
            raise StartError(what, no_thread) from no_thread

    def _outcome_of_start(self, handshake: Reply, what: Any, timeout: float | None) -> Any:
        if not handshake.wait(timeout):
            stack = self.stack()
            if self.kill(callbacks_on_pool=True):
                raise StartError(what, took_too_long("on_start", timeout, stack))
            handshake.wait(LAST_TURN_S)
        match handshake.error:
            case None:
                return self.ref
            case Ignore():
                return None
            case AlreadyStarted() | StartError() as error:
                raise error
            case error:
                raise StartError(what, error) from error

    def handshake_with(self, starter: Process | None) -> Reply:
        """The start handshake: the answer comes when the actor is up, or has failed.

        Args:
            starter: the process that starts it and waits, ``None`` outside one. Where that is a supervisor that starts a child,
                the start may have been cancelled by now; then the process ends here, before it has begun.
        """
        attempt = current_attempt()
        if attempt is not None and not attempt.add(self):
            self.finish(KILLED)
        handshake = Reply()
        with self.mailbox.lock:
            if self.phase is not ENDED:
                self.handshake = handshake
                self.starter = self.waited_for_by = starter
                return handshake
        handshake.fail(self._ended_while_starting())
        return handshake

    def begin(self) -> None:
        """Have the first turn run.

        Raises:
            RuntimeError: there is no thread to be had; the process has ended. Pykka would leave it registered and never alive.
        """
        try:
            self.dispatcher.begin(self)
        except RuntimeError as no_thread:
            self.finish(Crash(no_thread))
            raise

    def _enter_registries(self, name: str | None) -> None:
        pykka_internals.enter(self.ref, supervisors_of_caller())
        if self.is_ended:  # by its own __init__, say: it was not in Pykka's registry then, to be taken out
            pykka_internals.leave(self.ref)
        if name is not None:
            registry.claim(name, self)
            child = None if self.starter is None else self.starter.starting_child
            if (
                child is not None and child.spec.name == name
            ):  # it may crash before its supervisor has seen that it is up
                self.child = child

    def await_start(self) -> None:
        """Wait until an actor that other code has started is up; raises what its ``on_start`` raised.

        The calling thread's process supervises it from here on.
        """
        self.starter = current()
        pykka_internals.move_to_end(supervisors_of_caller())
        handshake = self.handshake
        if handshake is not None:
            handshake.result(None)

    # --- turns, on a worker or the actor's own thread -------------------------------------------------------------

    def turn(self) -> bool:
        """Start the actor if it has not been, then handle a batch of messages. Returns whether more are waiting.

        Does nothing where another thread is in a turn of it: that one looks again when it has given the right back.
        """
        # First whose turn it is: a finalizer that runs from here on and calls this actor is told so, rather than to wait.
        set_current(self)
        self.mailbox.hear()
        if not self.turn_right.acquire(blocking=False):
            set_current(None)
            return False
        turns = _turns.value
        turns.busy[self] = [threading.get_ident()]
        if turns.chain is None:  # after that: see `timer_thread.Repeated`
            turns.start()
        try:
            self._run_batch()
        except BaseException as error:  # noqa: BLE001 - what got past the handlers ends this actor, and not its thread
            self._broke_off(error)
        finally:
            self._leave(turns)
        if self.phase is ENDED:
            return False
        left = self.mailbox.qsize()
        if left > BATCH:
            turns.crowded[self] = None
        return left > 0

    def _run_batch(self) -> None:
        if self.phase is STARTING:
            self._run_start()
        for _ in range(BATCH):
            if self.phase is ENDED:
                return
            envelope = self.mailbox.take()
            if envelope is None:
                return
            self._handle(envelope)
            self.in_hand = envelope = None

    def _broke_off(self, error: BaseException) -> None:
        self.finish(reason_of(error), error)
        if self.in_hand is not None:
            answer_unhandled(self.in_hand, self.ref, self.reason)
        report("error", "turn_broke_off", actor=str(self.ref), exc_info=error)

    def _leave(self, turns: Turns) -> None:
        """The calling thread's turn is over, maybe long after the actor was killed in it."""
        try:
            del turns.busy[self]
        except KeyError:  # the kill has been first
            self._take_thread_back()
        self.in_hand = None
        self.turn_right.release()
        set_current(None)
        notification, self.exit_notification = self.exit_notification, None
        if notification is not None:
            self._run_user_callbacks(notification)

    def _run_start(self) -> None:
        """Run ``on_start`` and ``on_continue``."""
        actor = self.actor
        if actor is None:  # killed before its first turn
            return
        try:
            actor.on_start()
        except Ignore as ignored:
            self.finish(NORMAL, ignored)
            return
        except BaseException as error:  # noqa: BLE001 - each of them means that this start has failed
            is_awaited = self.handshake is not None
            if self.finish(reason_of(error), error) and not is_awaited:
                report("error", "start_failed", actor=str(self.ref), exc_info=error)
            return
        if not self._has_started():
            return
        try:
            self.hooks.run_continue(actor)
        except BaseException as error:  # noqa: BLE001 - a crash of this actor only
            self._terminate(reason_of(error), error)

    def _has_started(self) -> bool:
        """``on_start`` is done, and the starter is told; false if the process was killed meanwhile."""
        with self.mailbox.lock:  # a kill comes before this, and tells the starter, or after it, and finds no handshake
            if self.phase is not STARTING:
                return False
            self.phase = RUNNING
            handshake, self.handshake = self.handshake, None
            self.waited_for_by = None
        if self.names:
            registry.call_waiters(self.names)
        if handshake is not None:
            handshake.set()
        return True

    def _handle(self, envelope: Envelope[Any]) -> None:
        """Handle one envelope to its end, the answer and, where it comes to that, the actor's end included."""
        message, reply_to = envelope.message, envelope.reply_to
        if not isinstance(message, _OURS):
            self._receive(message, reply_to)
        elif isinstance(message, Cancellable):
            if message.claim():
                self._receive(message.message, reply_to)
        elif isinstance(message, ExitSignal):
            self.waited_for_by, self.ends_for_restart = message.sender, message.for_restart
            self._terminate(message.reason)
        else:
            self._terminate(NORMAL)
            if reply_to is not None:
                answer(reply_to, None)

    def _receive(self, message: Any, reply_to: Any) -> None:
        actor = self.actor
        if actor is None:  # killed this very moment
            if reply_to is not None:
                answer_dead(reply_to, self.ref, self.reason)
            return
        try:
            value = receiver_of(actor)(message)
        except BaseException as error:  # noqa: BLE001 - judged in the table above
            self._failed(actor, error, reply_to)
        else:
            if reply_to is not None:
                answer(reply_to, value)

    def _failed(self, actor: Any, error: BaseException, reply_to: Any) -> None:
        if reply_to is None:
            self._terminate(reason_of(error), error)
        elif isinstance(error, Exit) or not isinstance(error, Exception):
            self._terminate(reason_of(error), error)
            answer_dead(reply_to, self.ref, self.reason)
        else:
            if not isinstance(reply_to, Reply) or reply_to.deserted:
                returned_to_caller(actor, error)
            if self.hooks.crashes_on_call_error(actor):
                self._terminate(reason_of(error), error)
            answer_error(reply_to, error)

    def _terminate(self, reason: Reason, failure: BaseException | None = None) -> None:
        """End it from within, hooks included; ``failure`` is the exception that ends it."""
        with self.mailbox.lock:
            if self.phase >= ENDING:
                return
            self.reason = reason
            self.phase = ENDING
            registry.await_successor(self)
        # Before the hooks: one of them may call ActorRegistry.stop_all(), which waits for each that it finds.
        pykka_internals.leave(self.ref)
        actor = self.actor
        if actor is not None:  # else killed this very moment
            try:
                self.hooks.run_end_hooks(self, actor, reason, failure)
            except BaseException as error:  # noqa: BLE001 - see `Hooks`
                report(
                    "error", "end_hook_failed", actor=str(self.ref), hook=self.hooks.end_hook(reason), exc_info=error
                )
        self.finish(reason)

    # --- the end, on any thread -----------------------------------------------------------------------------------

    def finish(
        self, reason: Reason, start_failure: BaseException | None = None, *, callbacks_on_pool: bool = False
    ) -> bool:
        """Become ended, unless it is already; returns whether this call did it. ``callbacks_on_pool`` as for ``kill``."""
        with self.mailbox.lock:
            if self.phase is ENDED:
                return False
            left, observers = self._seal(reason)
        notification = self._announce(left, observers, start_failure)
        if _turns.value.busy.get(self) == [threading.get_ident()] and not callbacks_on_pool:
            self.exit_notification = notification
        else:
            self._run_user_callbacks(notification, callbacks_on_pool)
        return True

    def kill(self, *, callbacks_on_pool: bool = False) -> bool:
        """End it now with ``KILLED``, without its hooks; false if it had ended. A busy thread is abandoned.

        Args:
            callbacks_on_pool: whether user callbacks run on the pool, because the caller has more to do than to wait for them.
        """
        if self.is_ended:
            return False
        with self.mailbox.lock:
            if self.phase is ENDED:
                return False
            left, observers = self._seal(KILLED)
            if self.in_hand is not None:
                left.insert(0, self.in_hand)
            has_abandoned = self._abandon_thread()
        notification = self._announce(left, observers)
        try:
            if has_abandoned:
                report("warning", "thread_abandoned", actor=str(self.ref), leaked_threads=abandoned_count())
        finally:  # a signal handler may have raised in between: no other thread would run them
            self._run_user_callbacks(notification, callbacks_on_pool)
        return True

    def _seal(self, reason: Reason) -> tuple[list[Envelope[Any]], list[ExitObserver]]:
        """Become ended; returns what is left to tell: unhandled mail, and observers. The mailbox's lock is held.

        In this order: its names are awaited before it is seen to have ended, and from ``close`` on no message gets in that no
        thread would answer before the caller goes on.
        """
        if self.phase is STARTING:
            self.child = None  # a successor that does not come up: its predecessor is still awaited
        self.reason = reason
        self.phase = ENDING
        registry.await_successor(self)
        self.mailbox.close()
        self.phase = ENDED
        self.actor = None
        return self.mailbox.drain(), self._take_observers()

    def _take_observers(self) -> list[ExitObserver]:
        """Those that are to be told: what is kept, then the others in the order in which they were attached.

        Each of them is taken out here or by ``detach``, once.
        """
        found: list[ExitObserver] = []
        while self.observers:
            try:
                found.append(self.observers.popitem()[0])
            except KeyError:  # another thread has detached the last
                break
        if self.kept is not None:
            found.append(_KeptIsTold(self.kept, self.ref))
        found.reverse()
        return found

    def _announce(
        self, left: list[Envelope[Any]], observers: list[ExitObserver], start_failure: BaseException | None = None
    ) -> ExitNotification:
        """Tell starter, callers and observers of ours; user callbacks are still to run."""
        pykka_internals.leave(self.ref)
        if self.names:
            registry.release(self.names, self)
        if self.handshake is not None:
            self.handshake.fail(start_failure or self._ended_while_starting())
        for envelope in left:
            answer_unhandled(envelope, self.ref, self.reason)
        notification = ExitNotification(observers, self.reason)
        notification.tell_ours()
        self.dispatcher.retire(self)
        return notification

    def _run_user_callbacks(self, notification: ExitNotification, on_pool: bool = False) -> None:
        if on_pool:
            notification.run_on_pool()
            return
        self.in_user_callbacks = bool(notification.user_callbacks)
        try:
            notification.run()
        finally:
            self.in_user_callbacks = False

    def _abandon_thread(self) -> bool:
        """Leave the thread behind that is in a turn, unless that is the caller's or is just coming out; the lock is held."""
        turns = _turns.value
        busy = turns.busy.get(self)
        if busy is None or busy == [threading.get_ident()]:
            return False
        self.abandoned = True
        thread_lost(self)
        self.dispatcher.lost(self)
        if turns.busy.pop(self, None) is None:
            self._take_thread_back()
            return False
        return True

    def _take_thread_back(self) -> None:
        self.abandoned = False
        thread_found(self)
        self.dispatcher.found(self)

    def _ended_while_starting(self) -> ActorDeadError:
        return ActorDeadError(f"{self.ref} ended while it started: {self.reason}")


_turns = PerProcess(lambda: Turns(BATCH, Process._run_batch.__code__))


def took_too_long(what: str, timeout: float | None, stack: list[str]) -> TimeoutError:
    """The cause of a start that was cancelled at its ``start_timeout``; a note says where it was then."""
    error = TimeoutError(f"{what} took longer than start_timeout={timeout} s")
    if stack:
        error.add_note("\n  ".join(["it was at, the innermost last:", *stack]))
    return error


class ExitNotification:
    """All that are to hear of one end: observers of ours, then user callbacks, each in the order in which they were attached."""

    __slots__ = ("_interrupt", "_ours", "_reason", "user_callbacks")

    def __init__(self, observers: Iterable[ExitObserver], reason: Reason) -> None:
        self._reason = reason
        self._interrupt: BaseException | None = None
        self._ours: list[ExitObserver] = []
        self.user_callbacks: list[ExitObserver] = []
        for observer in observers:
            (self.user_callbacks if observer.is_user_callback else self._ours).append(observer)

    def tell_ours(self) -> None:
        """Tell supervisors, watching actors and threads that wait."""
        self._tell(self._ours)

    def run(self) -> None:
        """Run the user callbacks. Raises a Ctrl-C that came since the first of all was told: it keeps none from hearing."""
        self._tell(self.user_callbacks)
        self._break_off()

    def run_on_pool(self) -> None:
        """Have the user callbacks run on the pool."""
        if self.user_callbacks:
            POOL.schedule(self)
        self._break_off()

    def turn(self) -> bool:
        """It is their turn on the pool."""
        self._tell(self.user_callbacks)
        return False

    def _tell(self, observers: list[ExitObserver]) -> None:
        for observer in observers:
            try:
                observer.deliver(self._reason)
            except BaseException as error:  # noqa: BLE001 - a signal handler's; see `run`
                self._interrupt = error

    def _break_off(self) -> None:
        if self._interrupt is not None:
            raise self._interrupt


def supervisors_of_caller() -> list[ActorRef[Any]]:
    """The supervisor that the calling thread is in, that supervisor's own, and so on to the top; none outside a supervisor."""
    above: dict[ActorRef[Any], None] = {}  # in that order; a start callable may have returned one that is above already
    process = current()
    while process is not None and process.supervises and process.ref not in above:
        above[process.ref] = None
        process = process.starter
    return list(above)
