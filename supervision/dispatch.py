"""The pool that pooled actors run on: few threads, more only while some of them wait inside a handler.

An actor stands in the run queue while its mailbox is not empty, gets a bounded batch of messages, and goes to the end of
the queue again: a flooded actor delays the others by one batch. A worker that waits in ``call`` is stood in for at once, so
a chain of nested calls longer than the pool does not deadlock; handlers that block in any other way are noticed by a
watchdog, which adds a worker whenever a waiting actor saw no progress at all for ``STALL_S``.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator
from typing import Protocol

from supervision import alarm

__all__ = ["Runnable", "blocking", "found_worker", "lost_worker", "submit", "worker_count"]

WORKERS = 4
MOST_WORKERS = 512
IDLE_S = 5.0
STALL_S = 0.05


class Runnable(Protocol):
    """What stands in the run queue: an actor with mail."""

    def turn(self) -> bool:
        """Handle a batch of messages; returns whether there is more to do."""


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

    def submit(self, actor: Runnable) -> None:
        self.queue.put(actor)
        if not self.idle:
            self.add_worker()

    def add_worker(self, *, stalled: bool = False) -> None:
        """Start a worker if too few are free to run, or, where all are stuck, on the watchdog's word."""
        with self.lock:
            wanted = stalled or self.workers - self.blocked < WORKERS
            if not wanted or self.workers >= MOST_WORKERS:
                watch = not self.watched
                self.watched = True
            else:
                watch = False
                self.workers += 1
        if watch:
            self._watch()
        elif wanted:
            self._start_worker()

    def _start_worker(self) -> None:
        try:
            threading.Thread(target=self._work, name="supervision-worker", daemon=True).start()
        except RuntimeError:  # out of threads, or the interpreter is going down: those that run must do
            with self.lock:
                self.workers -= 1

    def _watch(self) -> None:
        seen = self.taken

        def look() -> None:
            with self.lock:
                self.watched = False
            if self.queue.empty():
                return
            self.add_worker(stalled=self.taken == seen)

        alarm.call_later(STALL_S, look)

    def _work(self) -> None:
        _worker.pool = self
        while True:
            actor = self._next()
            if actor is None:
                return
            if not self.idle and not self.queue.empty():
                self.add_worker()
            if actor.turn():
                self.queue.put(actor)

    def _next(self) -> Runnable | None:
        """The next actor with mail, or ``None`` when this worker is one too many and nothing came for a while."""
        try:
            actor = self.queue.get_nowait()
        except queue.Empty:
            with self.lock:
                self.idle += 1
            try:
                actor = self._wait()
            except queue.Empty:
                with self.lock:
                    self.idle -= 1
                    self.workers -= 1
                # A submit that saw this worker as idle relies on it: look once more.
                if not self.queue.empty():
                    self.add_worker()
                return None
            with self.lock:
                self.idle -= 1
        self.taken += 1
        return actor

    def _wait(self) -> Runnable:
        while True:
            try:
                return self.queue.get(timeout=IDLE_S)
            except queue.Empty:
                if self.workers - self.blocked > WORKERS:
                    raise

    def block(self) -> None:
        with self.lock:
            self.blocked += 1
        if not self.idle and not self.queue.empty():
            self.add_worker()

    def unblock(self) -> None:
        with self.lock:
            self.blocked -= 1


_pool = _Pool()
_worker = threading.local()  # .pool on a worker's thread


def _start_over() -> None:
    global _pool, _worker  # noqa: PLW0603 - a forked child has no workers, and the forking thread is none of them there
    _pool = _Pool()
    _worker = threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def submit(actor: Runnable) -> None:
    """Put an actor that has mail into the run queue; it must not be in there already."""
    _pool.submit(actor)


@contextlib.contextmanager
def blocking() -> Iterator[None]:
    """Says that the calling thread is about to wait; on a worker, a spare one may stand in meanwhile."""
    pool: _Pool | None = getattr(_worker, "pool", None)
    if pool is None:
        yield
        return
    pool.block()
    try:
        yield
    finally:
        pool.unblock()


def lost_worker() -> None:
    """A worker is stuck in a handler whose actor was killed: another may stand in for it."""
    _pool.block()


def found_worker() -> None:
    """That handler came back after all."""
    _pool.unblock()


def worker_count() -> int:
    """How many worker threads there are."""
    return _pool.workers
