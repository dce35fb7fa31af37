"""Monitors: exactly one ``Down`` for each, at each kind of end (OTP, ``erlang:monitor/2``); whether a successor comes then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import pykka

from supervision.errors import NoProcess
from supervision.exits import NOPROC, Reason
from supervision.frozen import dataclass
from supervision.process.mailbox import Cancellable, Mailbox
from supervision.process.process import Kept, Phase
from supervision.process.registry import ServerRef, comes_back, find, process_of, refuse_unmanaged
from supervision.runtime.reports import is_interrupt, report

Watcher: TypeAlias = "pykka.ActorRef[Any] | Callable[[Down], None]"


@dataclass(frozen=True, slots=True)
class Down:
    """An actor that was monitored has ended; exactly one for each monitor. Equal to one that says the same.

    Attributes:
        monitor: what ``monitor()`` returned.
        ref: the actor that ended.
        reason: ``NORMAL``, ``SHUTDOWN``, ``KILLED``, ``Shutdown(detail)`` or ``Crash(exception)``; ``NOPROC`` where it was
            already gone when the monitor was made.
    """

    monitor: Any
    ref: Any
    reason: Reason

    def __hash__(self) -> int:
        return hash((self.monitor, self.ref))  # the reason may hold anything, be it hashable or not


class Monitor(Cancellable):
    """One watch over one incarnation; ``ref`` is the actor watched."""

    __slots__ = ("_cancelled", "_watcher", "ref")

    def __init__(self, ref: Any, watcher: Watcher) -> None:
        super().__init__(None)
        self.ref = ref
        self._watcher = watcher
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<Monitor of {self.ref}>"

    @property
    def is_user_callback(self) -> bool:
        """Whether to tell the watcher is to run its own code."""
        return not isinstance(self._watcher, pykka.ActorRef)

    def deliver(self, reason: Reason) -> None:
        """Tell the watcher, unless it has lost interest. Called once at most, by the process that ends."""
        if self._cancelled:
            return
        self.message = Down(self, self.ref, reason)
        if isinstance(self._watcher, pykka.ActorRef):
            # ``monitor`` has made sure that the mailbox is ours. The monitor itself lies in it, so that demonitor reaches
            # it there.
            cast(Mailbox, self._watcher.actor_inbox).offer(self)
            return
        try:
            self._watcher(self.message)
        except BaseException as error:  # a watcher's error must not keep the others from hearing
            if is_interrupt(error):
                raise  # a Ctrl-C, say, while the main thread was killing an actor
            report("error", "watcher_failed", actor=str(self.ref), exc_info=error)

    def claim(self) -> bool:
        """Whether the watcher still wants its ``Down``; asked when it is its turn in the mailbox."""
        return not self._cancelled

    def cancel(self) -> None:
        """Lose interest, also in what lies in the watcher's mailbox already."""
        self._cancelled = True


def monitor(ref: ServerRef, watcher: Watcher) -> Monitor:
    """Watch an actor. Any thread; takes no lock.

    Args:
        ref: the actor, by ref or by name; one that is gone already gives a ``Down`` with ``NOPROC`` at once.
        watcher: an ``ActorRef``, which gets the ``Down`` as a message, or a callable. A ref that is a name (``named``) means the
            actor that has it now. Callables run one after the other, when
            watching actors and supervisors know. They run on the thread of the actor's last turn (its own, or a worker of the
            pool); after a ``kill`` on the caller's; on a worker of the pool where a supervisor or a start timeout has killed
            the actor; and on the thread that calls this where the actor was gone already. One that blocks delays those after
            it; an exception is logged. One that is running already is not stopped by ``demonitor``.

    Returns:
        The ``Monitor``, which each ``Down`` names, and ``demonitor`` takes.

    Raises:
        NoProcess: the watcher is an actor that has ended.
        SupervisionError: one of them was started by Pykka alone, which tells no other of an end.
        TypeError: the watcher is neither a ref nor callable.
    """
    if isinstance(watcher, pykka.ActorRef):
        told = find(watcher)
        if told is None:
            refuse_unmanaged(watcher, "told of an end")
            raise NoProcess(watcher)
        watcher = told.ref  # the incarnation of this moment, where it is a ref that is a name
    elif not callable(watcher):
        raise TypeError(f"watcher: expected an ActorRef or a callable that takes a Down, got {watcher!r}")
    process = find(ref)
    if process is None:
        refuse_unmanaged(ref, "monitored")
    made = Monitor(ref if process is None else process.ref, watcher)
    if process is None or not process.attach(made):
        made.deliver(NOPROC)
    return made


def demonitor(monitor: Monitor) -> None:
    """End a watch; a ``Down`` already in the watcher's mailbox is discarded. Idempotent. Any thread; takes no lock.

    Args:
        monitor: what ``monitor`` returned.
    """
    monitor.cancel()
    process = find(monitor.ref)
    if process is not None:
        process.detach(monitor)


# --- what an end means --------------------------------------------------------------------------------------------------


def ends_for_restart(ref: Any) -> bool:
    """Whether an actor's end is part of a restart: its supervisor, or the one above that, is expected to start it again.

    The answer is there from the actor's end hook on. It is yes for a sibling in a group restart, and for all that is below a
    supervisor whose own end is part of a restart, or which has exceeded ``max_restarts``, or has failed. It is no for the
    child whose death is the cause, for one that is stopped for good, and for one that was killed, whose hooks do not run.
    """
    process = process_of(ref)
    return process is not None and process.ends_for_restart


def may_be_restarted(ref: Any, *, forked: bool = False) -> bool:
    """Whether an actor is alive, or has ended and is started again, by its supervisor or together with that one.

    Args:
        ref: the actor.
        forked: in a forked child, whether to answer as the parent process would have.
    """
    process = process_of(ref)
    if process is None or (process.mailbox.inherited and not forked):
        return False
    return process.phase is not Phase.ENDED or comes_back(process)


def keep_for_successor(ref: Any, kept: Kept) -> None:
    """Have what is kept for an actor's successor told of its end, and when it turns out then that no successor comes.

    Args:
        ref: the actor; where it has ended by now, a kill, the other is told at once.
        kept: what is told; nothing else need be made for that.
    """
    process = process_of(ref)
    if process is not None and not process.keep(kept):
        kept.owner_ended(ref, process.reason)
