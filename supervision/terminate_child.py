"""How children leave: asked and waited for one by one, or cut loose together when their supervisor is killed."""

from __future__ import annotations

import math
import threading
from typing import Any
from weakref import WeakKeyDictionary

from pykka._envelope import Envelope

from supervision.child_spec import ShutdownSetting
from supervision.exits import NOPROC, SHUTDOWN, Reason, leaves_bystanders
from supervision.messages import ExitSignal
from supervision.process import Life, life_of
from supervision.runtime import timer_thread as alarm
from supervision.runtime.waits import waitable

__all__ = ["Departure", "Tether", "is_bystander", "settle"]

JOIN_S = 5.0
LOOK_S = 0.01
PATIENCE_S = 5.0

_tethers: WeakKeyDictionary[Any, Tether] = WeakKeyDictionary()  # by the supervisor's ref, dead ones too


class Departure:
    """The end of one child: asked for at once, waited for with ``wait``; so several can leave at the same time.

    Attributes:
        deadline: when the child is abandoned, in ``alarm.now()``'s seconds; infinite without one.

    Args:
        ref: the child.
        shutdown: its specification's setting.
        waiter: the supervisor that will wait; a call to it from the child's end hook could only deadlock.
        bystander: whether it leaves for another's sake, and is expected to be started again; it leaves with ``SHUTDOWN`` all
            the same.
    """

    foreign = False

    def __init__(
        self, ref: Any, shutdown: ShutdownSetting | None, waiter: Life | None = None, *, bystander: bool = False
    ) -> None:
        self._ref = ref
        self.deadline = alarm.now() + shutdown if isinstance(shutdown, int | float) else math.inf
        self._ended = threading.Event()
        self._life: Life | None = life_of(ref)
        if self._life is None or not self._life.attach(self):
            self._ended.set()  # by itself, before it was asked
        elif shutdown == "brutal_kill":
            self._life.kill(aside=True)
        else:
            self._life.mailbox.offer(Envelope(ExitSignal(SHUTDOWN, waiter, bystander)))

    def deliver(self, reason: Reason) -> None:
        """The life's word that it is over."""
        self._ended.set()

    def await_end(self) -> None:
        """Wait for the end, and abandon the child at its deadline."""
        if not self._ended.wait(waitable(None if math.isinf(self.deadline) else max(0.0, self.deadline - alarm.now()))):
            self.abandon()

    def wait(self) -> Reason:
        """Wait until nothing of the child is in anyone's way any more. Returns the reason it ended with."""
        self.await_end()
        settle(self._ref)
        return NOPROC if self._life is None else self._life.reason

    def abandon(self) -> None:
        """Its time is up, unless it has left already."""
        if self._life is not None:
            self._life.kill(aside=True)
            self._ended.wait(JOIN_S)  # somebody else may be ending it this very moment


def is_bystander(ref: Any) -> bool:
    """Whether an actor ends, or has ended, for another's sake, and its supervisor, or that one's, is expected to start it again.

    The answer is there from its end hook on. It is yes for a sibling in a group restart; for all below a supervisor that is
    a bystander, has given up or has failed; and not for one that was killed, whose hooks do not run.
    """
    life = life_of(ref)
    return life is not None and life.is_bystander


def settle(ref: Any) -> None:
    """Wait until the thread of an ended incarnation is gone, so that the next one finds its port and files free.

    Not for an abandoned thread, nor for one with nothing left but monitors' callables: nobody knows when they come back, and
    one of them may be waiting for the caller. What a killed supervisor left behind is waited for, too.
    """
    life = life_of(ref)
    if life is not None and not life.abandoned:
        _join(life)
    tether = _tethers.get(ref)
    if tether is not None:
        tether.await_orphans()


def _join(life: Life) -> None:
    thread = life.runtime.thread
    if thread is None or thread is threading.current_thread():
        return
    deadline = alarm.now() + JOIN_S
    while thread.is_alive() and not life.telling and alarm.now() < deadline:
        thread.join(LOOK_S)


class Tether:
    """Keeps the children of one supervisor from outliving it: what is left of OTP's link, in one direction.

    A supervisor that ends in an orderly way has stopped its children, and nothing hangs on its tether. When it is killed,
    the tether asks all children to leave at the same time; one that has not left within its own shutdown time, or
    ``PATIENCE_S`` where that is infinite, is abandoned.
    """

    __slots__ = ("_children", "_cut_at", "_lock", "_orphans")
    foreign = False

    def __init__(self, supervisor: Any) -> None:
        # Guards the three below: the thread of a killed supervisor may still be at work on its children. Leaf lock.
        self._lock = threading.Lock()
        self._children: dict[Any, ShutdownSetting | None] = {}
        self._orphans: list[Departure] = []
        self._cut_at: float | None = None
        _tethers[supervisor] = self
        life = life_of(supervisor)
        if life is not None:
            life.attach(self)

    @property
    def is_cut(self) -> bool:
        """Whether the supervisor has ended."""
        return self._cut_at is not None

    def tie(self, ref: Any, shutdown: ShutdownSetting | None) -> bool:
        """Add a child that is up; false if the supervisor has ended, and the child is the caller's to end."""
        with self._lock:
            if self.is_cut:
                return False
            self._children[ref] = shutdown
            return True

    def untie(self, ref: Any) -> None:
        """Take out a child that has left."""
        with self._lock:
            self._children.pop(ref, None)

    def deliver(self, reason: Reason) -> None:
        """The supervisor's life says that it is over; on the thread that ended it, before its own watchers hear."""
        with self._lock:
            self._cut_at = alarm.now()
            left, self._children = self._children, {}
        for ref, shutdown in left.items():
            patience_s = PATIENCE_S if shutdown is None or shutdown == "infinity" else shutdown
            self._orphans.append(Departure(ref, patience_s, bystander=leaves_bystanders(reason)))
        for departure in self._orphans:  # all have been asked; each has its own deadline, which nobody need wait for
            if departure.deadline < math.inf:
                alarm.call_later(departure.deadline - alarm.now(), departure.abandon)

    def await_orphans(self) -> None:
        """Wait until all it has cut loose are gone, each for as long as it may take."""
        if self._cut_at is None:
            return
        for departure in self._orphans:
            departure.wait()
