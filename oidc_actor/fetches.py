"""Threads for what must not run on a mailbox: HTTP exchanges, and listeners. Bounded, made on demand, gone when idle."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from typing import TypeAlias

Job: TypeAlias = Callable[[], None]

IDLE_S = 5.0
"""Seconds after which a thread without work ends."""


class Pool:
    """A few daemon threads that take jobs from lanes in turn.

    A lane gets at most ``per_lane`` of the threads, so that a provider that never answers leaves some to the others; a lane
    with one is a queue in which one job follows the other.
    """

    def __init__(self, name: str, *, threads: int, per_lane: int) -> None:
        """Describe the pool; no thread is started before there is a job.

        Args:
            name: What its threads are called.
            threads: Most threads at a time.
            per_lane: Most threads on one lane at a time.
        """
        self._name = name
        self._limit = threads
        self._per_lane = per_lane
        self._start_over()
        _pools.add(self)

    def submit(self, lane: Hashable, job: Job) -> None:
        """Have a job run soon.

        Args:
            lane: Whose job it is: an issuer, or a manager's listeners.
            job: Must not raise.

        Raises:
            RuntimeError: No thread can be had and none is running; the job will not run.
        """
        with self._lock:
            found = self._lanes.get(lane)
            if found is None:
                found = self._lanes[lane] = _Lane(lane)
            found.jobs.append(job)
            self._line_up(found)
            if self._idle >= len(self._ready):
                self._bell.notify()
                return
            if self._threads >= self._limit:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._threads -= 1
                if self._threads or job not in found.jobs:
                    return
                found.jobs.remove(job)
                self._step_back(found)
            raise

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        with self._lock:
            return bool(self._lanes)

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self._threads

    def _line_up(self, lane: _Lane) -> None:
        """Put a lane in line for a thread if it has use for one. The lock is held."""
        if lane.jobs and not lane.waits and lane.running < self._per_lane:
            lane.waits = True
            self._ready.append(lane)
        elif not lane.jobs and not lane.running:
            self._lanes.pop(lane.key, None)

    def _step_back(self, lane: _Lane) -> None:
        """Take a lane whose last job was withdrawn out of the line. The lock is held."""
        if not lane.jobs and lane.waits:
            lane.waits = False
            self._ready.remove(lane)
            self._line_up(lane)

    def _work(self) -> None:
        while self._run_one():
            pass

    def _run_one(self) -> bool:
        """Run the next job; false when none came for a while. What it held does not outlive it here."""
        taken = self._next()
        if taken is None:
            return False
        lane, job = taken
        job()
        with self._lock:
            lane.running -= 1
            self._line_up(lane)
        return True

    def _next(self) -> tuple[_Lane, Job] | None:
        with self._lock:
            while not self._ready:
                self._idle += 1
                rung = self._bell.wait(IDLE_S)
                self._idle -= 1
                if not rung and not self._ready:
                    self._threads -= 1
                    return None
            lane = self._ready.popleft()
            lane.waits = False
            job = lane.jobs.popleft()
            lane.running += 1
            self._line_up(lane)
            return lane, job

    def _start_over(self) -> None:
        # Guards everything below. Never held while a job runs.
        self._lock = threading.Lock()
        self._bell = threading.Condition(self._lock)
        self._lanes: dict[Hashable, _Lane] = {}
        self._ready: deque[_Lane] = deque()  # lanes with a job and room for a thread, each once
        self._threads = 0
        self._idle = 0


class _Lane:
    __slots__ = ("jobs", "key", "running", "waits")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.jobs: deque[Job] = deque()
        self.running = 0
        self.waits = False


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _start_over() -> None:
    # A forked child has none of the threads, and a lock may be held by one of them for ever.
    for pool in list(_pools):
        pool._start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)

EXCHANGES = Pool("oidc-actor-http", threads=32, per_lane=16)
"""Runs HTTP exchanges; a lane is an issuer."""

LISTENERS = Pool("oidc-actor-listeners", threads=4, per_lane=1)
"""Runs listeners; a lane is a manager."""
