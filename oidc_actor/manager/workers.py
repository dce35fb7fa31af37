"""Threads for what must not run on a mailbox: HTTP exchanges, and listeners. Bounded, made on demand, gone when idle."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from typing import TypeAlias

from supervision.runtime.timer_thread import Alarm, call_later

Job: TypeAlias = Callable[[], None]
_Task: TypeAlias = "tuple[_Lane, _Order]"

IDLE_S = 5.0
"""Seconds after which a thread without work ends."""


class Pool:
    """A few daemon threads that take jobs from lanes in turn.

    A lane gets at most half of the threads that the other lanes leave: alone 16 of 32, the next 8, then 4. So there is a
    thread left for whoever comes next even while several providers never answer, and lanes that all have much to do come
    out even. A lane with ``per_lane=1`` is a queue in which one job follows the other.

    A job that may never end is left behind when it has been given its time: its lane goes on without it, and its thread no
    longer counts. Python cannot end that thread; it ends with the job.
    """

    def __init__(self, name: str, *, threads: int, per_lane: int, patience_s: float = 0.0) -> None:
        """Describe the pool; no thread is started before there is a job.

        Args:
            name: What its threads are called.
            threads: Most threads at a time.
            per_lane: Most threads on one lane at a time.
            patience_s: Seconds after which a job that says so (`submit`) is left behind.
        """
        self._name = name
        self._limit = threads
        self._per_lane = per_lane
        self._patience_s = patience_s
        self._start_over()
        _pools.add(self)

    def submit(self, lane: Hashable, job: Job, *, late: Job | None = None) -> None:
        """Have a job run soon.

        Args:
            lane: Whose job it is: an issuer, or a manager's listeners.
            job: Must not raise.
            late: Called on the timer thread when the job is left behind; quick, and must not raise. ``None`` for a job
                that ends by itself, which never is.

        Raises:
            RuntimeError: No thread can be had and none is running; the job will not run.
        """
        order = _Order(job, late)
        with self._lock:
            found = self._lanes.get(lane)
            if found is None:
                found = self._lanes[lane] = _Lane(lane)
            if not found.jobs:
                self._line.append(found)
            found.jobs.append(order)
            unstaffed = self._hand_out()
        problem = self._start(unstaffed)
        if problem is None:
            return
        with self._lock:
            if self._threads or order not in found.jobs:
                return
            found.jobs.remove(order)
            if not found.jobs:
                self._line.remove(found)
                self._forget_idle(found)
        raise problem

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        with self._lock:
            return bool(self._lanes)

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self._threads

    @property
    def resting(self) -> int:
        """How many of them wait for work."""
        return len(self._resting)

    # --- who is next; the lock is held --------------------------------------------------------------------------------

    def _hand_out(self) -> list[_Task]:
        """Give threads what may run now: those that rest, the last to lie down first, so that the others come to end.

        Returns:
            What threads have to be started for; they are counted already.
        """
        unstaffed: list[_Task] = []
        while self._resting or self._threads < self._limit:
            task = self._take()
            if task is None:
                break
            if not self._give(task):
                self._threads += 1
                unstaffed.append(task)
        return unstaffed

    def _give(self, task: _Task) -> bool:
        """Wake a thread that rests for it; false where none does."""
        if not self._resting:
            return False
        worker = self._resting.pop()
        worker.task = task
        worker.bell.release()
        return True

    def _take(self) -> _Task | None:
        """The next job of the first lane in line that may have one more thread; the line moves on, so lanes take turns."""
        for _ in range(len(self._line)):  # those that may not have a thread each, so it finds one after few steps
            lane = self._line.popleft()
            if lane.running >= self._share(lane):
                self._line.append(lane)
                continue
            order = lane.jobs.popleft()
            if lane.jobs:
                self._line.append(lane)
            lane.running += 1
            self._running += 1
            return lane, order
        return None

    def _share(self, lane: _Lane) -> int:
        left = self._limit - (self._running - lane.running)
        return min(self._per_lane, max(1, left // 2))

    def _end_one(self, lane: _Lane) -> None:
        lane.running -= 1
        self._running -= 1
        self._forget_idle(lane)

    def _forget_idle(self, lane: _Lane) -> None:
        if not lane.jobs and not lane.running:
            del self._lanes[lane.key]

    # --- the threads --------------------------------------------------------------------------------------------------

    def _start(self, unstaffed: list[_Task]) -> RuntimeError | None:
        """Start a thread for each; where none can be had the jobs wait for those that run."""
        problem = None
        for lane, order in unstaffed:
            worker = _Worker((lane, order))
            try:
                threading.Thread(target=self._work, args=(worker,), name=self._name, daemon=True).start()
            except RuntimeError as error:
                problem = error
                with self._lock:
                    self._threads -= 1
                    if self._give((lane, order)):  # which has become free meanwhile
                        continue
                    lane.running -= 1
                    self._running -= 1
                    if not lane.jobs:
                        self._line.append(lane)
                    lane.jobs.appendleft(order)
        return problem

    def _work(self, worker: _Worker) -> None:
        while self._run(worker) or self._rest(worker):
            pass

    def _run(self, worker: _Worker) -> bool:
        """Do what there is to do; returns whether there is more. What the job held does not outlive it here."""
        assert worker.task is not None
        lane, order = worker.task
        worker.task, worker.order = None, order
        alarm = self._watch(worker, lane, order)
        order.job()
        if alarm is not None:
            alarm.cancel()
        with self._lock:
            worker.order = None
            if worker.is_left_behind:
                return False
            self._end_one(lane)
            worker.task = self._take()
            unstaffed = self._hand_out()  # one job less under way can make room for more than one
        self._start(unstaffed)
        return worker.task is not None

    def _watch(self, worker: _Worker, lane: _Lane, order: _Order) -> Alarm | None:
        if order.late is None:
            return None
        try:
            return call_later(self._patience_s, functools.partial(self._leave_behind, worker, lane, order, order.late))
        except RuntimeError:  # no thread for timers can be had: it is waited for
            return None

    def _leave_behind(self, worker: _Worker, lane: _Lane, order: _Order, late: Job) -> None:
        """Go on without a job that has had its time; runs on the timer thread."""
        with self._lock:
            if worker.order is not order:  # it has just ended
                return
            worker.is_left_behind = True
            self._threads -= 1
            self._end_one(lane)
            unstaffed = self._hand_out()
        self._start(unstaffed)
        late()

    def _rest(self, worker: _Worker) -> bool:
        """Wait for something to do; returns whether it came."""
        with self._lock:
            if worker.is_left_behind:
                return False
            worker.task = self._take()  # it may have come since
            if worker.task is not None:
                return True
            self._resting.append(worker)
        if not worker.bell.acquire(timeout=IDLE_S):
            with self._lock:
                if worker in self._resting:
                    self._resting.remove(worker)
                    self._threads -= 1
                    return False
                worker.bell.acquire()  # rung just now
        return True

    def _start_over(self) -> None:
        # Guards everything below. Never held while a job runs.
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, _Lane] = {}
        self._line: deque[_Lane] = deque()  # lanes with a job, each once
        self._resting: list[_Worker] = []
        self._threads = 0
        self._running = 0


class _Lane:
    __slots__ = ("jobs", "key", "running")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.jobs: deque[_Order] = deque()
        self.running = 0


class _Order:
    """One job, and who is told if it is left behind. Compares by identity."""

    __slots__ = ("job", "late")

    def __init__(self, job: Job, late: Job | None) -> None:
        self.job = job
        self.late = late


class _Worker:
    """A thread: what it is to do, what it does, and the lock that it sleeps on until it has been given something."""

    __slots__ = ("bell", "is_left_behind", "order", "task")

    def __init__(self, task: _Task) -> None:
        self.task: _Task | None = task
        self.order: _Order | None = None
        self.is_left_behind = False
        self.bell = threading.Lock()
        self.bell.acquire()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _start_over() -> None:
    # A forked child has none of the threads, and a lock may be held by one of them for ever.
    for pool in list(_pools):
        pool._start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)

EXCHANGES = Pool("oidc-actor-http", threads=32, per_lane=16)
"""Runs HTTP exchanges; a lane is an issuer."""

LISTENERS = Pool("oidc-actor-listeners", threads=4, per_lane=1, patience_s=10.0)
"""Runs listeners; a lane is a manager. One that has not returned after 10 s keeps nobody else waiting any longer."""
