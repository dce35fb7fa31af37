"""The pool that pooled actors run on: few threads, more only while some of them wait inside a handler.

An actor stands in the run queue while its mailbox is not empty, gets a bounded batch of messages, and goes to the end of
the queue again: a flooded actor delays the others by one batch. A worker that waits in ``call`` is stood in for at once, so
a chain of nested calls longer than the pool does not deadlock; handlers that block in any other way are noticed by a
watchdog, which adds a worker whenever a waiting actor saw no progress at all for ``STALL_S``.
"""

from __future__ import annotations

import os
import queue
import threading
from contextlib import AbstractContextManager
from typing import Protocol

from supervision import alarm

__all__ = ["Runnable", "blocking", "found_worker", "lost_worker", "submit", "worker_count"]

WORKERS = 4
SPARES = 16
MOST_RUNNING = 512
IDLE_S = 5.0
STALL_S = 0.05


class Runnable(Protocol):
    """What stands in the run queue: an actor with mail."""

    def turn(self) -> bool:
        """Handle a batch of messages; returns whether there is more to do. Never raises."""


class _OfThread(threading.local):
    """What a worker's thread knows of itself."""

    pool: _Pool | None = None
    waits = 0  # how many waits it is in, one inside the other


class _Pool:
    """Run queue, workers and the watchdog; made anew in a forked child."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Runnable] = queue.SimpleQueue()
        # Guards the counters below. Never held while an actor runs. `idle` and `taken` are read without it as hints.
        self.lock = threading.Lock()
        self.workers = 0
        self.idle = 0
        self.blocked = 0
        self.taken = 0
        self.watched = False

    def submit(self, actor: Runnable) -> bool:
        self.queue.put(actor)
        if not self.idle:
            self.add_worker()
        return self.workers > 0

    def add_worker(self, *, stalled: bool = False) -> None:
        """Start a worker if too few are free to run, or, where all are stuck, on the watchdog's word."""
        with self.lock:
            running = self.workers - self.blocked
            wanted = running < WORKERS or (stalled and running < MOST_RUNNING)
            if wanted:
                self.workers += 1
        if not wanted or not self._start_worker():
            self._watch()

    def _start_worker(self) -> bool:
        try:
            threading.Thread(target=self._work, name="supervision-worker", daemon=True).start()
        except RuntimeError:  # out of threads, or the interpreter is going down: those that run must do for now
            with self.lock:
                self.workers -= 1
            return False
        return True

    def _watch(self) -> None:
        """Look again in a moment whether the queue has moved."""
        with self.lock:
            if self.watched:
                return
            self.watched = True
        seen = self.taken

        def look() -> None:
            with self.lock:
                self.watched = False
            if not self.queue.empty():
                self.add_worker(stalled=self.taken == seen)

        try:
            alarm.call_later(STALL_S, look)
        except RuntimeError:  # not even the timers have a thread: the next one to submit will see to it
            with self.lock:
                self.watched = False

    def _work(self) -> None:
        _this.pool = self
        try:
            while (actor := self._next()) is not None:
                if not self.idle and not self.queue.empty():
                    self.add_worker()
                if actor.turn():
                    self.queue.put(actor)
                del actor  # the next may be long in coming, and this one may have ended
        except BaseException:  # an exception that somebody has injected into this thread
            with self.lock:
                self.workers -= 1
            raise

    def _next(self) -> Runnable | None:
        """The next actor with mail, or ``None`` when this worker is one too many.

        It leaves when nothing came for a while, or at once where enough others are idle: with work for some of them at any
        time, each of a hundred spares would have its turn before its while is over.
        """
        try:
            actor = self.queue.get_nowait()
        except queue.Empty:
            waited_for = self._wait()
            if waited_for is None:
                # A submit that saw this worker as idle relies on it: look once more.
                if not self.queue.empty():
                    self.add_worker()
                return None
            actor = waited_for
        self.taken += 1
        return actor

    def _wait(self) -> Runnable | None:
        with self.lock:
            if self.idle >= SPARES and self._is_one_too_many():
                self.workers -= 1
                return None
            self.idle += 1
        while True:
            try:
                actor = self.queue.get(timeout=IDLE_S)
            except queue.Empty:
                with self.lock:
                    if self._is_one_too_many():
                        self.idle -= 1
                        self.workers -= 1
                        return None
            else:
                with self.lock:
                    self.idle -= 1
                return actor

    def _is_one_too_many(self) -> bool:
        """Whether a worker may leave. The lock is held."""
        return self.workers - self.blocked > WORKERS

    def block(self) -> None:
        with self.lock:
            self.blocked += 1
        if not self.idle and not self.queue.empty():
            self.add_worker()

    def unblock(self) -> None:
        with self.lock:
            self.blocked -= 1


class _Blocking(AbstractContextManager[None]):
    """Counts the calling thread, if it is a worker, as one that waits."""

    def __enter__(self) -> None:
        pool = _this.pool
        if pool is not None:
            _this.waits += 1
            if _this.waits == 1:
                pool.block()

    def __exit__(self, *_raised: object) -> None:
        pool = _this.pool
        if pool is not None:
            _this.waits -= 1
            if _this.waits == 0:
                pool.unblock()


_pool = _Pool()
_this = _OfThread()
_blocking = _Blocking()


def _start_over() -> None:
    global _pool, _this  # noqa: PLW0603 - a forked child has no workers, and the forking thread is none of them there
    _pool = _Pool()
    _this = _OfThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def submit(actor: Runnable) -> bool:
    """Put an actor that has mail into the run queue; it must not be in there already.

    Returns whether there is any worker; where there is none, none could be started, and the actor waits until one can.
    """
    return _pool.submit(actor)


def blocking() -> AbstractContextManager[None]:
    """Says that the calling thread is about to wait; on a worker, a spare one may stand in meanwhile."""
    return _blocking


def lost_worker() -> None:
    """A worker is stuck in a handler whose actor was killed: another may stand in for it."""
    _pool.block()


def found_worker() -> None:
    """That handler came back after all."""
    _pool.unblock()


def worker_count() -> int:
    """How many worker threads there are."""
    return _pool.workers
