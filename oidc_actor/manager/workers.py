"""Worker pools, for what must not run on a mailbox: requests over HTTP, and users' listeners. Threads are made on demand.

Three kinds of threads meet in a pool, and its one lock orders them:

- The thread that submits a job (mostly a manager's) appends it to its lane and hands out what may run, before it returns.
- A worker runs a job *without the lock*. Then it counts the job as ended, takes the next for itself and hands out what else
  may run, in one step: a job that is submitted meanwhile finds either the free place or the worker that looks once more.
- The timer thread leaves a job behind that has had its time. The job may be just ending: whichever of the two takes the
  lock first has the last word, the other finds `_Job.is_over` set and changes no count. Else the lane would be given one thread
  too many, for good.

A job is handed to its thread, and counted, before that thread wakes or is even started. If threads woke first and then looked
for work, two of them could be woken for the one job that a lane may run.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import TypeAlias

from supervision.runtime.per_process import PerProcess
from supervision.runtime.timer_thread import TimerHandle, call_later

IDLE_S = 5.0
"""Seconds after which a thread without work ends."""


class WorkerPool:
    """A few daemon threads that take jobs from lanes in turn.

    A lane gets at most half of the threads that the other lanes leave: alone 16 of 32, the next 8, then 4. So there is a
    thread left for the next lane even while several providers never answer, and lanes that all have much to do come out
    even. A lane with ``per_lane=1`` is a queue in which one job follows the other.

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
        self._name, self._limit, self._per_lane, self._patience_s = name, threads, per_lane, patience_s
        # Guards all that follows. Never held while a job runs.
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, _Lane] = {}
        self._line: deque[_Lane] = deque()  # lanes with a job that waits, each once
        self._resting: list[_Worker] = []
        self._threads = 0
        self._running = 0
        self._left_behind = 0

    def submit(
        self,
        lane: Hashable,
        run: Callable[[], None],
        *,
        late: Callable[[], None] | None = None,
        patience_s: float | None = None,
    ) -> None:
        """Have a job run soon; any thread.

        Args:
            lane: Whose job it is: an issuer, or a manager's listeners.
            run: The job; must not raise.
            late: Called on the timer thread when the job is left behind; quick, and must not raise. ``None`` for a job
                that ends by itself, which never is.
            patience_s: Seconds after which this one is; ``None`` for those of the pool.

        Raises:
            RuntimeError: No thread can be had and none is running; the job will not run.
        """
        job = _Job(run, late, self._patience_s if patience_s is None else patience_s)
        with self._lock:
            found = self._lanes.setdefault(lane, _Lane(lane))
            if not found.waiting:
                self._line.append(found)
            found.waiting.append(job)
            problem = self._hand_out()
            if problem is None or self._threads:  # those that run come to it
                return
            found.waiting.remove(job)
            if not found.waiting:
                self._line.remove(found)
            self._forget_idle(found)
        raise problem

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        with self._lock:
            return bool(self._lanes)

    @property
    def under_way(self) -> int:
        """How many jobs run or wait."""
        with self._lock:
            return sum(lane.running + len(lane.waiting) for lane in self._lanes.values())

    @property
    def threads(self) -> int:
        """How many threads there are, without those that were left behind."""
        return self._threads

    @property
    def left_behind(self) -> int:
        """How many threads were left behind with their jobs, and have not ended."""
        return self._left_behind

    @property
    def resting(self) -> int:
        """How many of them wait for work."""
        return len(self._resting)

    # --- which job is next; the lock is held --------------------------------------------------------------------------

    def _hand_out(self) -> RuntimeError | None:
        """Give what may run now to threads that rest, the last to lie down first, so that the others end; or to new ones.

        Returns:
            Why a new one cannot be had; what it was to do waits for a thread that runs.
        """
        while self._resting or self._threads < self._limit:
            task = self._take()
            if task is None:
                break
            if self._resting:
                self._resting.pop().wake(task)
                continue
            self._threads += 1
            try:
                threading.Thread(target=self._work, args=(_Worker(task),), name=self._name, daemon=True).start()
            except RuntimeError as error:
                self._threads -= 1
                self._put_back(*task)
                return error
        return None

    def _take(self) -> _Task | None:
        """The next job of the first lane in line that may have one more thread; the line moves on, so lanes take turns."""
        for _ in range(len(self._line)):  # those that may not have a thread each, so it finds one after few steps
            lane = self._line.popleft()
            if lane.running >= self._share(lane):
                self._line.append(lane)
                continue
            job = lane.waiting.popleft()
            if lane.waiting:
                self._line.append(lane)
            lane.running += 1
            self._running += 1
            return lane, job
        return None

    def _put_back(self, lane: _Lane, job: _Job) -> None:
        if not lane.waiting:
            self._line.append(lane)
        lane.waiting.appendleft(job)
        self._end(lane)

    def _share(self, lane: _Lane) -> int:
        left = self._limit - (self._running - lane.running)
        return min(self._per_lane, max(1, left // 2))

    def _end(self, lane: _Lane) -> None:
        lane.running -= 1
        self._running -= 1
        self._forget_idle(lane)

    def _forget_idle(self, lane: _Lane) -> None:
        if not lane.waiting and not lane.running:
            del self._lanes[lane.key]

    # --- on a worker's thread -----------------------------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        while self._run(worker) or self._rest(worker):
            pass

    def _run(self, worker: _Worker) -> bool:
        """Do what there is to do; returns whether there is more. What the job held does not outlive it here."""
        assert worker.task is not None
        (lane, job), worker.task = worker.task, None
        timer = self._watch(lane, job)
        job.run()
        if timer is not None:
            timer.cancel()
        with self._lock:
            worker.is_left_behind = job.is_over
            self._left_behind -= job.is_over
            if not job.is_over:
                job.is_over = True
                self._end(lane)
                worker.task = self._take()
                self._hand_out()  # one job less under way can make room for more than one
        return worker.task is not None

    def _watch(self, lane: _Lane, job: _Job) -> TimerHandle | None:
        if job.late is None:
            return None
        try:
            return call_later(job.patience_s, functools.partial(self._leave_behind, lane, job, job.late))
        except RuntimeError:  # no thread for timers can be had: it is waited for
            return None

    def _rest(self, worker: _Worker) -> bool:
        """Wait for something to do; returns whether it came."""
        with self._lock:
            if worker.is_left_behind:
                return False
            worker.task = self._take()  # it may have come since
            if worker.task is not None:
                return True
            self._resting.append(worker)
        if worker.bell.acquire(timeout=IDLE_S):
            return True
        with self._lock:
            if worker in self._resting:
                self._resting.remove(worker)
                self._threads -= 1
                return False
        worker.bell.acquire()  # it was woken between the two: the task is there, and the bell must be silent for the next rest
        return True

    # --- on the timer thread ------------------------------------------------------------------------------------------

    def _leave_behind(self, lane: _Lane, job: _Job, late: Callable[[], None]) -> None:
        """Go on without a job that has had its time."""
        with self._lock:
            if job.is_over:  # it has just ended
                return
            job.is_over = True
            self._threads -= 1
            self._left_behind += 1
            self._end(lane)
            self._hand_out()
        late()


class _Lane:
    __slots__ = ("key", "running", "waiting")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.waiting: deque[_Job] = deque()
        self.running = 0


class _Job:
    """What is to run, and what to call if it is left behind; over when it has ended, or was left behind. Compares by identity."""

    __slots__ = ("is_over", "late", "patience_s", "run")

    def __init__(self, run: Callable[[], None], late: Callable[[], None] | None, patience_s: float) -> None:
        self.run = run
        self.late = late
        self.patience_s = patience_s
        self.is_over = False


_Task: TypeAlias = tuple[_Lane, _Job]


class _Worker:
    """A thread: what it is to do, and the lock that it sleeps on until it has been given something."""

    __slots__ = ("bell", "is_left_behind", "task")

    def __init__(self, task: _Task) -> None:
        self.task: _Task | None = task
        self.is_left_behind = False
        self.bell = threading.Lock()
        self.bell.acquire()

    def wake(self, task: _Task) -> None:
        """Give it something to do, which it finds there when it wakes."""
        self.task = task
        self.bell.release()


# A forked child has none of the threads, and so begins with pools of its own.
HTTP_WORKERS = PerProcess(lambda: WorkerPool("oidc-actor-http", threads=32, per_lane=16))
"""Run requests to providers; a lane is an issuer."""

FUNCTION_WORKERS = PerProcess(lambda: WorkerPool("oidc-actor-custom", threads=32, per_lane=16))
"""Run the functions of `Custom`, which may hang, so that they take no thread from requests. A lane is a manager, or several with
equal credentials. A function that has not returned in its time is left behind."""

LISTENER_WORKERS = PerProcess(lambda: WorkerPool("oidc-actor-listeners", threads=4, per_lane=1, patience_s=10.0))
"""Run listeners; a lane is a manager. One that has not returned after 10 s keeps the others waiting no longer."""
