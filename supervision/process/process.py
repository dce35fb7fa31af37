"""The life of one incarnation of an actor: starting, running, ending, ended, each entered once, in that order.

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

Becoming *ended* goes in this order: the mailbox closes, names are free, callers are answered, watching actors and
supervisors are told, monitors' callables run. Those run when the actor's own turn is over, if that ended it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Protocol

from pykka import ActorDeadError

from supervision.exits import KILLED, NOPROC, Reason, reason_of
from supervision.process import loop, names
from supervision.process import pykka_registry as roster
from supervision.process.current import set_current
from supervision.process.mailbox import Mailbox
from supervision.process.phase import Phase
from supervision.process.replies import Reply, answer_unhandled
from supervision.process.runtimes import Runtime, abandon, abandoned_count, comes_back
from supervision.runtime import dispatcher as dispatch
from supervision.runtime.bells import taken_out
from supervision.runtime.reports import report

__all__ = ["Life"]


class Life:
    """One incarnation: its actor, its mailbox, who watches it, and how it ends."""

    __slots__ = (
        "__weakref__",
        "abandoned",
        "actor",
        "busy",
        "ends_for_restart",
        "handshake",
        "in_hand",
        "mailbox",
        "monitors",
        "names",
        "phase",
        "reason",
        "ref",
        "runtime",
        "starter",
        "style",
        "telling",
        "turn_right",
        "untold",
        "waited_for_by",
    )

    def __init__(self, actor: Any, ref: Any, mailbox: Mailbox, runtime: Runtime, style: loop.Style) -> None:
        self.actor: Any = actor  # Pykka's refs are weak: this keeps a pooled actor alive, until it has ended
        self.ref: Any = ref
        self.mailbox = mailbox
        self.runtime = runtime
        self.style = style
        self.phase = Phase.STARTING
        self.reason: Reason = NOPROC
        self.names: tuple[str, ...] = ()  # in the order that it got them; still there when it has ended
        self.ends_for_restart = False  # as its ``ExitSignal`` said
        self.monitors: list[Watch] = []
        self.handshake: Reply | None = None  # who started it waits here, until it has started
        self.starter: Life | None = None  # who started it; if that is a supervisor, it cannot end before
        self.waited_for_by: Life | None = None  # whose thread waits for this start or end
        # Ident of the thread that is in a turn of this actor. Who takes it out of the list, the thread when it leaves, or a
        # kill, has decided whether that turn was abandoned.
        self.busy: list[int] | None = None
        self.turn_right = threading.Lock()  # one turn at a time; never waited for: who does not get it leaves
        self.abandoned = False
        self.in_hand: Any = None  # the envelope being handled
        self.untold: Audience | None = None  # the thread in a turn runs its callables when that is over
        self.telling = False  # monitors' callables run, and nothing that a successor might need is in use any more
        mailbox.life = self

    @property
    def is_ended(self) -> bool:
        """Whether it is over; an inherited life is, in a forked child."""
        return self.phase is Phase.ENDED or self.mailbox.inherited

    # --- what others attach to it ---------------------------------------------------------------------------------

    def holds_name(self, name: str) -> bool:
        """Note a name of its own; false once ended."""
        if self.is_ended:
            return False
        with self.mailbox.lock:
            if self.phase is Phase.ENDED:
                return False
            self.names = (*self.names, name)
            return True

    def drops_name(self, name: str) -> None:
        """Forget a name of its own."""
        with self.mailbox.lock:
            self.names = tuple(own for own in self.names if own != name)

    def attach(self, watch: Watch) -> bool:
        """Have somebody told of the end; false once ended. Without a lock: a reader may get here from a signal handler."""
        if self.is_ended:
            return False
        self.monitors.append(watch)
        # The end marks the phase first and then takes the monitors out: this one is told, or takes itself back.
        return self.phase is not Phase.ENDED or not self._forgets(watch)

    def detach(self, watch: Watch) -> None:
        """Undo ``attach``; silent where it is not attached."""
        self._forgets(watch)

    def _forgets(self, watch: Watch) -> bool:
        try:
            self.monitors.remove(watch)
        except ValueError:
            return False
        return True

    def awaited(self, starter: Life | None) -> Reply:
        """Somebody waits for its start: the answer that comes when it is up, or has failed.

        Args:
            starter: the actor that starts it and waits, ``None`` outside one.
        """
        handshake = Reply()
        with self.mailbox.lock:
            if self.phase is not Phase.ENDED:
                self.handshake = handshake
                self.starter = self.waited_for_by = starter
                return handshake
        handshake.fail(self._ended_while_starting())
        return handshake

    # --- turns, on the actor's thread -----------------------------------------------------------------------------

    def turn(self) -> bool:
        """Start the actor if it has not been, then handle a batch of messages. Returns whether more are waiting.

        None of this, where another thread is at it: that one looks again when it has given the right back.
        """
        if not self.enter():
            return False
        try:
            self._run_batch()
        except BaseException as error:  # noqa: BLE001 - whatever got past the loop ends this actor, and not its thread
            self._broke_off(error)
        finally:
            self.leave()
        return not (self.phase is Phase.ENDED or self.mailbox.empty())

    def _run_batch(self) -> None:
        if self.phase is Phase.STARTING:
            loop.start(self)
        for _ in range(loop.BATCH):
            if self.phase is Phase.ENDED:
                return
            envelope = self.mailbox.take()
            if envelope is None:
                return
            loop.handle(self, envelope)
            self.in_hand = envelope = None

    def _broke_off(self, error: BaseException) -> None:
        self.finish(reason_of(error), error)
        if self.in_hand is not None:
            answer_unhandled(self.in_hand, self.ref, self.reason)
        report("error", "turn_broke_off", actor=str(self.ref), exc_info=error)

    def enter(self) -> bool:
        """The calling thread begins a turn; false where another is in one."""
        # First whose turn it is: a finalizer that runs from here on and calls this actor is told so, rather than to wait.
        set_current(self)
        self.mailbox.hear()
        if not self.turn_right.acquire(blocking=False):
            set_current(None)
            return False
        self.busy = [threading.get_ident()]
        return True

    def leave(self) -> None:
        """The calling thread's turn is over, maybe long after the actor was killed in it."""
        comes_back(self)
        self.in_hand = None
        if self.turn_right.locked():  # not so for an actor that Pykka's loop has had till now
            self.turn_right.release()
        set_current(None)
        untold, self.untold = self.untold, None
        if untold is not None:
            self._tell_foreign(untold)

    def has_started(self) -> bool:
        """``on_start`` is done, and whoever waits for that is told; false if it was killed meanwhile."""
        with self.mailbox.lock:
            if self.phase is not Phase.STARTING:
                return False
            self.phase = Phase.RUNNING
            handshake, self.handshake = self.handshake, None
            self.waited_for_by = None
        if handshake is not None:
            handshake.set()
        return True

    def end(self, reason: Reason, failure: BaseException | None = None) -> None:
        """End it from within, hooks included; ``failure`` is the exception that ends it."""
        with self.mailbox.lock:
            if self.phase >= Phase.ENDING:
                return
            self.phase = Phase.ENDING
            self.reason = reason
        roster.leave(self.ref)  # before the hooks: one of them may call ActorRegistry.stop_all(), which waits for each
        self.style.run_end_hooks(self, reason, failure)
        self.finish(reason)

    # --- the end, on any thread -----------------------------------------------------------------------------------

    def finish(self, reason: Reason, start_failure: BaseException | None = None, *, aside: bool = False) -> bool:
        """Become ended, unless it is already; returns whether this call did it. ``aside`` as for ``kill``."""
        with self.mailbox.lock:
            if self.phase is Phase.ENDED:
                return False
            left, monitors = self._seal(reason)
        audience = self._announce(left, monitors, start_failure)
        if self.busy == [threading.get_ident()] and not aside:
            self.untold = audience
        else:
            self._tell_foreign(audience, aside)
        return True

    def kill(self, *, aside: bool = False) -> bool:
        """End it now with ``KILLED``, without its hooks; false if it had ended. A busy thread is abandoned.

        Args:
            aside: whether monitors' callables run on the pool, because the caller has more to do than to wait for them.
        """
        if self.is_ended:
            return False
        with self.mailbox.lock:
            if self.phase is Phase.ENDED:
                return False
            left, monitors = self._seal(KILLED)
            if self.in_hand is not None:
                left.insert(0, self.in_hand)
            abandoning = abandon(self)
        audience = self._announce(left, monitors)
        try:
            if abandoning:
                report("warning", "thread_abandoned", actor=str(self.ref), leaked_threads=abandoned_count())
        finally:  # a signal handler may have raised in between: nobody else would tell them
            self._tell_foreign(audience, aside)
        return True

    def _seal(self, reason: Reason) -> tuple[list[Any], list[Watch]]:
        """Become ended; what is left to settle: unhandled mail, watchers. The lock is held.

        In this order: from the first line on no message gets in that nobody would answer before the caller goes on.
        """
        self.mailbox.refuse_more()
        self.reason = reason
        self.phase = Phase.ENDED
        self.actor = None
        return self.mailbox.empty_out(), taken_out(self.monitors)

    def _announce(self, left: list[Any], monitors: list[Watch], start_failure: BaseException | None = None) -> Audience:
        """Settle that; returns the audience, of which the foreign ones are still to be told."""
        roster.leave(self.ref)
        if self.names:
            names.release(self.names, self)
        if self.handshake is not None:
            self.handshake.fail(start_failure or self._ended_while_starting())
        for envelope in left:
            answer_unhandled(envelope, self.ref, self.reason)
        audience = Audience(monitors, self.reason)
        audience.tell_ours()
        self.runtime.retire(self)
        return audience

    def _tell_foreign(self, audience: Audience, aside: bool = False) -> None:
        if aside:
            audience.tell_aside()
            return
        self.telling = bool(audience.foreign)
        try:
            audience.tell_foreign()
        finally:
            self.telling = False

    def _ended_while_starting(self) -> ActorDeadError:
        return ActorDeadError(f"{self.ref} ended while it started: {self.reason}")


__all__ = ["Audience", "Watch"]


class Watch(Protocol):
    """Somebody to tell of the end."""

    @property
    def foreign(self) -> bool:
        """Whether ``deliver`` runs code that is not ours, and may block."""

    def deliver(self, reason: Reason) -> None:
        """Called once: ours on the thread that ended the actor; a foreign one there too, or on one of the pool."""


class Audience:
    """All who are to hear of one end; ours, and the foreign ones, each in the order in which they began to watch."""

    __slots__ = ("_interrupt", "_ours", "_reason", "foreign")

    def __init__(self, watches: Iterable[Watch], reason: Reason) -> None:
        self._reason = reason
        self._interrupt: BaseException | None = None
        self._ours: list[Watch] = []
        self.foreign: list[Watch] = []
        for watch in watches:
            (self.foreign if watch.foreign else self._ours).append(watch)

    def tell_ours(self) -> None:
        """Tell supervisors, watching actors and those who wait."""
        self._tell(self._ours)

    def tell_foreign(self) -> None:
        """Run the callables. Raises a Ctrl-C that came since the first of all was told: it keeps none from hearing."""
        self._tell(self.foreign)
        self._break_off()

    def tell_aside(self) -> None:
        """Have the callables run on the pool, because the calling thread has more to do than to wait for them."""
        if self.foreign:
            dispatch.submit(self)
        self._break_off()

    def turn(self) -> bool:
        """It is their turn on the pool."""
        self._tell(self.foreign)
        return False

    def _tell(self, watches: list[Watch]) -> None:
        for watch in watches:
            try:
                watch.deliver(self._reason)
            except BaseException as error:  # noqa: BLE001 - see `tell_foreign`
                self._interrupt = error

    def _break_off(self) -> None:
        if self._interrupt is not None:
            raise self._interrupt
