"""The life of one incarnation of an actor: starting, running, ending, ended, each entered once, in that order.

================  ===========================================  =========================================================
from              on                                           what happens
================  ===========================================  =========================================================
starting          ``on_start`` returned                        running; the starter is told; ``on_continue``
starting          ``on_start`` raised, or ignored              ended, no end hook; the starter is told
running           a stop, an exit signal, an uncaught error    ending: the end hooks run, on the actor's own thread
ending            the hooks are done                           ended
any but ended     ``kill``                                     ended at once with ``KILLED``, no hook; a busy thread is
                                                               abandoned, and nothing it does later has an effect
================  ===========================================  =========================================================

Becoming *ended* goes in this order: the mailbox closes, names are free, callers are answered, watchers are told.
"""

from __future__ import annotations

import threading
from enum import IntEnum
from typing import Any, Protocol

from supervision.exits import KILLED, NOPROC, Reason
from supervision.lifecycle import loop, names, roster
from supervision.lifecycle.mailbox import Mailbox
from supervision.lifecycle.replies import Reply, answer, answer_dead
from supervision.reports import report

__all__ = ["Life", "Phase", "Runtime", "Watch", "abandoned_count", "current"]


class Phase(IntEnum):
    """How far a life has come."""

    STARTING = 0
    RUNNING = 1
    ENDING = 2
    ENDED = 3


class Runtime(Protocol):
    """What an actor's turns run on."""

    def begin(self, life: Life) -> None:
        """Have the first turn run; raises ``RuntimeError`` where there is no thread to be had."""

    def schedule(self, life: Life) -> None:
        """Have a turn run soon; called once for each time the mailbox stops being idle."""

    def retire(self, life: Life) -> None:
        """The life has ended: let go of what waits for its mail."""

    def join(self, timeout: float) -> None:
        """Wait until the thread of its own, if it has one, is gone; at most ``timeout`` seconds."""

    def lost(self) -> None:
        """Its thread is stuck in an abandoned handler."""

    def found(self) -> None:
        """That thread came back."""


class Watch(Protocol):
    """Somebody to tell of the end."""

    def deliver(self, reason: Reason) -> None:
        """Called once, on the thread that ended the actor."""


_local = threading.local()
_abandoned = 0
_abandoned_lock = threading.Lock()  # guards the count of abandoned threads


def current() -> Life | None:
    """The life whose handler or hook the calling thread is in."""
    return getattr(_local, "life", None)


def abandoned_count() -> int:
    """How many threads are stuck right now in handlers of killed actors. Python cannot end them."""
    return _abandoned


def _count_abandoned(change: int) -> None:
    global _abandoned  # noqa: PLW0603 - one figure for the process
    with _abandoned_lock:
        _abandoned += change


class Life:
    """One incarnation: its actor, its mailbox, who watches it, and how it ends."""

    __slots__ = (
        "abandoned",
        "actor",
        "busy",
        "envelope",
        "handshake",
        "mailbox",
        "monitors",
        "names",
        "phase",
        "reason",
        "ref",
        "runtime",
        "style",
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
        self.names: set[str] | None = None
        self.monitors: list[Watch] | None = None
        self.handshake: Reply | None = None
        self.waited_for_by: Life | None = None  # whose thread waits for this start or end
        self.busy: int | None = None  # ident of the thread that is in a turn of this actor
        self.abandoned = False
        self.envelope: Any = None  # being handled
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
            self.names = (self.names or set()) | {name}
            return True

    def drops_name(self, name: str) -> None:
        """Forget a name of its own."""
        with self.mailbox.lock:
            if self.names:
                self.names = self.names - {name}

    def attach(self, watch: Watch) -> bool:
        """Have somebody told of the end; false once ended."""
        if self.is_ended:
            return False
        with self.mailbox.lock:
            if self.phase is Phase.ENDED:
                return False
            if self.monitors is None:
                self.monitors = []
            self.monitors.append(watch)
            return True

    def detach(self, watch: Watch) -> None:
        """Undo ``attach``; silent where it is not attached."""
        if self.is_ended:
            return
        with self.mailbox.lock:
            if self.monitors and watch in self.monitors:
                self.monitors.remove(watch)

    # --- turns, on the actor's thread -----------------------------------------------------------------------------

    def turn(self) -> bool:
        """Start the actor if it has not been, then handle a batch of messages. Returns whether more are waiting."""
        self._enter()
        try:
            if self.phase is Phase.STARTING:
                loop.start(self)
            for _ in range(loop.BATCH):
                if self.phase is Phase.ENDED:
                    return False
                envelope = self.mailbox.take()
                if envelope is None:
                    return False
                self.envelope = envelope
                loop.handle(self, envelope)
                self.envelope = envelope = None
            return self.phase is not Phase.ENDED
        finally:
            self._leave()

    def _enter(self) -> None:
        with self.mailbox.lock:
            self.busy = threading.get_ident()
        _local.life = self

    def _leave(self) -> None:
        _local.life = None
        with self.mailbox.lock:
            self.busy = None
            abandoned, self.abandoned = self.abandoned, False
        if abandoned:
            _count_abandoned(-1)
            self.runtime.found()

    def has_started(self) -> bool:
        """``on_start`` is done; false if it was killed meanwhile."""
        with self.mailbox.lock:
            if self.phase is not Phase.STARTING:
                return False
            self.phase = Phase.RUNNING
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

    def finish(self, reason: Reason, start_failure: BaseException | None = None) -> bool:
        """Become ended, unless it is already; returns whether this call did it."""
        with self.mailbox.lock:
            if self.phase is Phase.ENDED:
                return False
            self.phase = Phase.ENDED
            self.reason = reason
            owned, self.names = self.names, None
            monitors, self.monitors = self.monitors, None
            left = self.mailbox.close()
        roster.leave(self.ref)
        if owned:
            names.release(owned, self)
        if self.handshake is not None and start_failure is not None:
            self.handshake.fail(start_failure)
        for envelope in left:
            self._answer_unhandled(envelope)
        for watch in monitors or ():
            watch.deliver(reason)
        self.runtime.retire(self)
        self.actor = None
        return True

    def _answer_unhandled(self, envelope: Any) -> None:
        if envelope.reply_to is None:
            return
        if self.mailbox.is_stop(envelope.message):
            answer(envelope.reply_to, None)
        else:
            answer_dead(envelope.reply_to, self.ref, self.reason)

    def kill(self) -> bool:
        """End it now with ``KILLED``, without its hooks; false if it had ended. A busy thread is abandoned."""
        if self.is_ended:
            return False
        with self.mailbox.lock:
            abandoning = self.busy not in (None, threading.get_ident()) and self.phase is not Phase.ENDED
            self.abandoned = self.abandoned or abandoning
            envelope = self.envelope
        if abandoning:
            _count_abandoned(+1)
            self.runtime.lost()
        if not self.finish(KILLED):
            return False
        if self.handshake is not None:
            self.handshake.fail(RuntimeError("killed while starting"))
        if envelope is not None and envelope.reply_to is not None:
            answer_dead(envelope.reply_to, self.ref, KILLED)
        if abandoning:
            report("warning", "thread_abandoned", actor=str(self.ref), leaked_threads=abandoned_count())
        return True
