"""The pool that pooled actors run on: few threads, more only while some of them wait inside a handler.

An actor stands in the run queue while its mailbox is not empty, gets a bounded batch of messages, and goes to the end of
the queue again: a flooded actor delays the others by one batch. A worker that waits in ``call`` is stood in for at once, so
a chain of nested calls longer than the pool does not deadlock; handlers that block in any other way are noticed by a
watchdog, which adds a worker whenever a waiting actor saw no progress at all for ``STALL_S``.

Anybody may submit, from a signal handler or a finalizer too, which may have interrupted another ``submit``, or a worker between
two turns (`supervision.runtime.bells`). So there is no lock here. Workers stand in tables, which change by one
operation each; how many
there are is their length. Two threads that look at the same time may start a worker too many, which leaves when it has
nothing to do. What must not happen is a worker too few: who submits first puts the actor in and then looks for workers, and who
lies down or leaves takes itself out of the tables first and then looks for actors.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from contextlib import AbstractContextManager
from typing import Protocol

from supervision.runtime import timer_thread as alarm
from supervision.runtime.per_process import PerProcess

__all__ = ["Runnable", "begin", "blocking", "found_worker", "is_between_turns", "lost_worker", "submit", "worker_count"]

WORKERS = 4
SPARES = 16
MOST_RUNNING = 512
IDLE_S = 5.0
STALL_S = 0.05


class Runnable(Protocol):
    """What stands in the run queue: an actor with mail."""

    def turn(self) -> bool:
        """Handle a batch of messages; returns whether there is more to do. Never raises."""


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
        self._idle: dict[_Worker, None] = {}  # those that wait for an actor
        self._blocked: dict[object, None] = {}  # those that wait inside a handler, and actors that were killed in one
        self._lookout: alarm.Alarm | None = None
        self._growth: alarm.Alarm | None = None

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
        self.queue.put(actor)
        if self._idle and (worker := _this.value.worker) is not None:
            self._idle.pop(worker, None)  # a finalizer has interrupted it when it had just lain down: it is not free
        if not self._idle:
            self._grow()

    def begin(self, actor: Runnable) -> bool:
        """Submit an actor that starts. Its starter may start a thread itself, and hears if there is none at all."""
        self.queue.put(actor)
        alarm.begin()
        if not self._workers:
            self.add_worker()
        elif not self._idle:
            self._grow()
        return bool(self._workers) or self.queue.empty()  # a worker may have had its turn and left again

    def _grow(self) -> None:
        """Have a worker added by the timer thread. A sender does not start one: `threading.Thread.start` holds a lock of its own.

        The thread that was started would wait for that lock, and a handler that has interrupted ``start`` for the thread.
        """
        if len(self._workers) - len(self._blocked) >= WORKERS:
            self._watch()
        elif self._growth is None or not self._growth.is_pending:
            with contextlib.suppress(RuntimeError):
                self._growth = alarm.call_later(0.0, self._add_for_those_that_wait)

    def _add_for_those_that_wait(self) -> None:
        if not (self._idle or self.queue.empty()):
            self.add_worker()

    def add_worker(self, *, stalled: bool = False) -> None:
        """Start a worker if too few are free to run, or, where all are stuck, on the watchdog's word."""
        running = len(self._workers) - len(self._blocked)
        if running >= WORKERS and not (stalled and running < MOST_RUNNING):
            self._watch()
            return
        worker = _Worker()
        self._workers[worker] = None
        try:
            threading.Thread(target=self._work, args=(worker,), name="supervision-worker", daemon=True).start()
        except RuntimeError:  # out of threads, or the interpreter is going down: those that run must do for now
            self._workers.pop(worker, None)
            self._watch()

    def _watch(self) -> None:
        """Look again in a moment whether the queue has moved."""
        if self._lookout is not None and self._lookout.is_pending:
            return
        seen = self.taken

        def look() -> None:
            if not self.queue.empty():
                self.add_worker(stalled=self.taken == seen)

        # Set first and noted then: interrupted in between, it is set twice rather than not at all.
        with contextlib.suppress(RuntimeError):  # not even the timers have a thread: the next submit will see to it
            self._lookout = alarm.call_later(STALL_S, look)

    def _work(self, worker: _Worker) -> None:
        this = _this.value
        this.pool, this.worker = self, worker
        try:
            while (actor := self._next(worker)) is not None:
                if not self._idle and not self.queue.empty():
                    self.add_worker()
                if actor.turn():
                    self.queue.put(actor)
                del actor  # the next may be long in coming, and this one may have ended
        finally:  # it leaves, or somebody has injected an exception into this thread
            self._idle.pop(worker, None)
            self._workers.pop(worker, None)
            self._blocked.pop(worker, None)
            if not self.queue.empty():  # somebody has submitted who still saw it
                self.add_worker()

    def _next(self, worker: _Worker) -> Runnable | None:
        """The next actor with mail, or ``None`` when this worker is one too many.

        It leaves when nothing came for a while, or at once where enough others are idle: with work for some of them at any
        time, each of a hundred spares would have its turn before its while is over.
        """
        actor: Runnable | None
        try:
            actor = self.queue.get_nowait()
        except queue.Empty:
            actor = self._wait(worker)
        self.taken += 1
        return actor

    def _wait(self, worker: _Worker) -> Runnable | None:
        if len(self._idle) >= SPARES and self._leaves(worker):
            return None
        self._idle[worker] = None
        while True:
            try:
                actor = self.queue.get(timeout=IDLE_S)
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

    def block(self, who: object) -> None:
        self._blocked[who] = None
        if not self._idle and not self.queue.empty():
            self._grow()

    def unblock(self, who: object) -> None:
        self._blocked.pop(who, None)


class _Blocking(AbstractContextManager[None]):
    """Counts the calling thread, if it is a worker, as one that waits."""

    # A finalizer may wait inside another wait's bookkeeping: it takes back what it has counted, and to count twice is to
    # count once.

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


def submit(actor: Runnable) -> None:
    """Put an actor that has mail into the run queue; it may be in there already. Signal handlers and finalizers may, too."""
    _pool.value.submit(actor)


def begin(actor: Runnable) -> bool:
    """Put an actor that starts into the run queue.

    Returns whether there is any worker; where there is none, none could be started, and the actor waits until one can.
    """
    return _pool.value.begin(actor)


def is_between_turns() -> bool:
    """Whether the calling thread is a worker; outside a turn it may hold an actor that nobody else will give one."""
    return _this.value.worker is not None


def blocking() -> AbstractContextManager[None]:
    """Says that the calling thread is about to wait; on a worker, a spare one may stand in meanwhile."""
    return _blocking


def lost_worker(actor: object) -> None:
    """A worker is stuck in a handler of an actor that was killed: another may stand in for it."""
    _pool.value.block(actor)


def found_worker(actor: object) -> None:
    """That handler came back after all."""
    _pool.value.unblock(actor)


def worker_count() -> int:
    """How many worker threads there are."""
    return _pool.value.workers
