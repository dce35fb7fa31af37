"""What actors' turns run on: a pool that most of them share, or a thread of an actor's own (Akka: a dispatcher).

An actor stands in the pool's run queue while its mailbox is not empty, gets a bounded batch of messages, and goes to the end of
the queue again: a flooded actor delays the others by one batch. A worker that waits in ``call`` is stood in for at once, so
a chain of nested calls longer than the pool does not deadlock; handlers that block in any other way are noticed by a
watchdog, which adds a worker whenever a waiting actor saw no progress at all for ``STALL_S``.

Any thread may submit, from a signal handler or a finalizer too, which may have interrupted another ``submit``, or a
worker between two turns. So there is no lock here (`supervision.runtime.waits` says why). Workers stand in tables, which
change by one operation of C each; how many there are is their length. The sequences that meet::

    a thread that submits an actor       a worker that runs out of work          a worker that leaves
    1. puts the actor into the queue     1. enters the table of the idle         1. takes itself out of the tables
    2. is a worker idle? then done       2. waits for the queue, ``IDLE_S``      2. looks at the queue once more: has an
    3. are there too few? then the       3. takes itself out of the table           actor come? then starts a worker
       timer thread adds one

An actor that is put in before a worker's last look is seen by that look; one that is put in later finds the worker gone
at its 2 and has another one added. The other way round, a submitter that looked first could count on a worker that has
just left, and its actor would wait for ever. Two threads that look at the same time may start a worker too many, which
leaves when it has nothing to do.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from contextlib import AbstractContextManager
from typing import Protocol

from supervision.runtime import timer_thread
from supervision.runtime.per_process import PerProcess
from supervision.runtime.reports import interrupt_behind

WORKERS = 4
SPARES = 16
MOST_RUNNING = 512
IDLE_S = 5.0
STALL_S = 0.05


class Runnable(Protocol):
    """What has turns: an actor, while it has mail."""

    def turn(self) -> bool:
        """Handle a batch of messages; returns whether there is more to do. Never raises."""


class Dispatcher:
    """What the turns of an actor run on.

    Attributes:
        thread: the thread of the actor's own, ``None`` without one.
    """

    thread: threading.Thread | None = None

    def begin(self, actor: Runnable) -> None:
        """Have the first turn run, on the starter's thread; raises ``RuntimeError`` where there is no thread to be had."""
        raise NotImplementedError

    def schedule(self, actor: Runnable) -> None:
        """Have a turn run soon. Any thread, at any instruction; called once for each summons, so now and then once too often."""
        raise NotImplementedError

    def retire(self, actor: Runnable) -> None:
        """The actor has ended: let go of what waits for its mail."""

    def lost(self, actor: Runnable) -> None:
        """The thread that is in the actor's turn is stuck there, and the actor was killed."""

    def found(self, actor: Runnable) -> None:
        """That thread came back."""


_numbers = itertools.count(1)


class OwnThread(Dispatcher):
    """Turns on one daemon thread, which ends with the actor (Akka: a pinned dispatcher)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._has_ended = False

    def begin(self, actor: Runnable) -> None:
        """Start the thread."""
        name = f"{self._name}-{next(_numbers)}"
        thread = threading.Thread(target=self.run, args=(actor,), name=name, daemon=True)
        thread.start()
        self.thread = thread

    def run(self, actor: Runnable) -> None:
        """Give the calling thread to the actor until that has ended."""
        pool = _pool.value
        while True:
            has_more = actor.turn()
            # In a child that was forked in that turn there is another pool. The actor has ended there, and nothing rings.
            if self._has_ended or _pool.value is not pool:
                return
            if not has_more:
                self._bell.get()  # no deadline: `retire` rings at each kind of end

    def schedule(self, actor: Runnable) -> None:
        """Wake the thread."""
        self._bell.put(None)

    def retire(self, actor: Runnable) -> None:
        """Have the thread end; it looks at the mark after each batch, and the bell wakes it where it sleeps."""
        self._has_ended = True
        self._bell.put(None)


class _Worker:
    """One thread of the pool; compares by identity."""

    __slots__ = ()


class _OfThread(threading.local):
    """What a worker's thread knows of itself."""

    pool: _Pool | None = None
    worker: _Worker | None = None
    waits = 0  # how many waits it is in, one inside the other


class _Pool:
    """Run queue, workers and the watchdog."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Runnable] = queue.SimpleQueue()
        self.taken = 0  # how many turns have begun, about: nothing but a hint for the watchdog
        self._workers: dict[_Worker, None] = {}
        self._idle: dict[_Worker, None] = {}  # workers that wait for an actor
        self._blocked: dict[object, None] = {}  # workers that wait inside a handler, and actors killed in one
        self._lookout: timer_thread.TimerHandle | None = None
        self._growth: timer_thread.TimerHandle | None = None

    @property
    def workers(self) -> int:
        """How many worker threads there are."""
        return len(self._workers)

    @property
    def idle(self) -> int:
        """How many of them wait for an actor."""
        return len(self._idle)

    @property
    def blocked(self) -> int:
        """How many of them cannot take an actor, because they wait inside a handler, or are stuck in an abandoned one."""
        return len(self._blocked)

    def submit(self, actor: Runnable) -> None:
        """Put an actor that has mail into the queue. Any thread, at any instruction."""
        self.queue.put(actor)
        if self._idle and (worker := _this.value.worker) is not None:
            self._idle.pop(worker, None)  # a finalizer has interrupted this worker just as it entered: it is not free
        if not self._idle:
            self._grow()

    def begin(self, actor: Runnable) -> bool:
        """Submit an actor that starts, on the thread of its starter, which may start a worker itself.

        Returns:
            Whether there is any worker; where there is none, none could be started.
        """
        self.queue.put(actor)
        timer_thread.begin()
        if not self._workers:
            self.add_worker()
        elif not self._idle:
            self._grow()
        return bool(self._workers) or self.queue.empty()  # a worker may have had its turn and left again

    def _grow(self) -> None:
        """Have the timer thread add a worker, because a sender must not: ``threading.Thread.start`` holds a lock of threading's.

        The new thread needs that lock to begin. A handler that interrupts the sender there, and waits for what the new worker is
        to do, would wait for ever.
        """
        if len(self._workers) - len(self._blocked) >= WORKERS:
            self._watch()
        elif self._growth is None or not self._growth._is_pending:
            with contextlib.suppress(RuntimeError):
                self._growth = timer_thread.call_later(0.0, self._add_if_one_waits)

    def _add_if_one_waits(self) -> None:
        if not (self._idle or self.queue.empty()):
            self.add_worker()

    def add_worker(self, *, stalled: bool = False) -> None:
        """Start a worker if too few are free to run; or, where all are stuck, because the watchdog says so."""
        running = len(self._workers) - len(self._blocked)
        if running >= WORKERS and not (stalled and running < MOST_RUNNING):
            self._watch()
            return
        worker = _Worker()
        self._workers[worker] = None
        try:
            threading.Thread(target=self._work, args=(worker,), name="supervision-worker", daemon=True).start()
        except RuntimeError as no_thread:
            interrupt = interrupt_behind(no_thread)
            if interrupt is not None:  # the thread may run already
                raise interrupt from None
            self._workers.pop(
                worker, None
            )  # out of threads, or the interpreter is going down: those there are must do for now
            self._watch()

    def _watch(self) -> None:
        """Look again in a moment whether the queue has moved."""
        if self._lookout is not None and self._lookout._is_pending:
            return
        seen = self.taken

        def look() -> None:
            if not self.queue.empty():
                self.add_worker(stalled=self.taken == seen)

        # First the timer is set, then that is noted: a sender that is interrupted in between has it set twice, not never.
        with contextlib.suppress(RuntimeError):  # not even the timers have a thread: the next submit will see to it
            self._lookout = timer_thread.call_later(STALL_S, look)

    def _work(self, worker: _Worker) -> None:
        this = _this.value
        this.pool, this.worker = self, worker
        try:
            while (actor := self._next(worker)) is not None:
                # A submitter may have seen this worker in the table of the idle, and put in a second actor, before it came out.
                if not self._idle and not self.queue.empty():
                    self.add_worker()
                if actor.turn():
                    self.queue.put(actor)
                del actor  # the next may be long in coming, and this one may have ended
        finally:  # it leaves, or another thread has injected an exception into this one
            self._idle.pop(worker, None)
            self._workers.pop(worker, None)
            self._blocked.pop(worker, None)
            if not self.queue.empty():  # put in by a submitter that still saw this worker in the tables
                self.add_worker()

    def _next(self, worker: _Worker) -> Runnable | None:
        """The next actor with mail, or ``None`` when this worker is one too many.

        A worker leaves when no actor came for ``IDLE_S``, or at once where ``SPARES`` others are idle: with a little work all the
        time, each of a hundred spares would get some of it before its ``IDLE_S`` are over, and none would ever leave.
        """
        actor = None if self.queue.empty() else self._take()
        if actor is None:
            actor = self._wait(worker)
        self.taken += 1
        return actor

    def _take(self) -> Runnable | None:
        try:
            return self.queue.get_nowait()
        except queue.Empty:  # another worker was faster
            return None

    def _wait(self, worker: _Worker) -> Runnable | None:
        if len(self._idle) >= SPARES and self._leaves(worker):
            return None
        self._idle[worker] = None
        while True:
            # As many as are to stay wait without a deadline, which the system has to keep a timer for. One that is among them
            # now, and is one too many when others have come back from their waits, stays in place of one of those.
            may_leave = len(self._workers) - len(self._blocked) > WORKERS
            try:
                actor = self.queue.get(timeout=IDLE_S if may_leave else None)
            except queue.Empty:
                if self._leaves(worker):
                    return None
                self._idle[worker] = None  # unless it is there, which a finalizer that ran here may have undone
            else:
                self._idle.pop(worker, None)
                return actor

    def _leaves(self, worker: _Worker) -> bool:
        """Whether this worker may leave, and does: of several that ask at the same time the others count no more."""
        self._workers.pop(worker, None)
        if len(self._workers) - len(self._blocked) >= WORKERS:
            return True
        self._workers[worker] = None
        return False

    def block(self, waiter: object) -> None:
        self._blocked[waiter] = None
        if not self._idle and not self.queue.empty():
            self._grow()

    def unblock(self, waiter: object) -> None:
        self._blocked.pop(waiter, None)


class _Blocking(AbstractContextManager[None]):
    """Counts the calling thread, if it is a worker, as one that waits."""

    # A finalizer may wait inside another wait's bookkeeping. It takes back what it has counted; and a worker that is put into the
    # table of the blocked twice is in there once.

    def __enter__(self) -> None:
        this = _this.value
        if this.pool is not None:
            this.waits += 1
            this.pool.block(this.worker)

    def __exit__(self, *_raised: object) -> None:
        this = _this.value
        if this.pool is not None:
            this.waits -= 1
            if this.waits <= 0:
                this.pool.unblock(this.worker)


_pool = PerProcess(_Pool)
_this = PerProcess(_OfThread)  # also: the thread that forks is no worker in the child
_blocking = _Blocking()


class Pool(Dispatcher):
    """Turns on the pool that actors share: a worker is occupied by one only while that has mail."""

    def begin(self, actor: Runnable) -> None:
        """Put it into the run queue; the calling thread may start a worker."""
        if not _pool.value.begin(actor):
            raise RuntimeError("can't start new thread: the pool has no worker, and could not make one")

    def schedule(self, actor: Runnable) -> None:
        """Put it into the run queue, where it may be already; the timer thread starts a worker if there are too few."""
        _pool.value.submit(actor)

    def lost(self, actor: Runnable) -> None:
        """Another worker may stand in for that thread."""
        _pool.value.block(actor)

    def found(self, actor: Runnable) -> None:
        """That is over."""
        _pool.value.unblock(actor)


POOL = Pool()


def is_worker() -> bool:
    """Whether the calling thread is a worker; between two turns it may hold an actor that no other thread will give one."""
    return _this.value.worker is not None


def blocking() -> AbstractContextManager[None]:
    """Says that the calling thread is about to wait; on a worker, a spare one may stand in meanwhile."""
    return _blocking
