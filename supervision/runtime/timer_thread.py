"""One thread and one heap for every delay in the process.

Delays are kept on a clock that counts suspend (``CLOCK_BOOTTIME`` where there is one). The thread's own waits do not,
so it looks at the clock at least every ``HEARTBEAT_S`` seconds: a process thawed after an hour is late by that much at most.

No caller waits for a lock (`supervision.runtime.waits` says why), because the heap belongs to the timer thread alone::

    a thread that sets a timer             a thread that cancels it              the timer thread
    1. adds (due, handle) to the new       1. takes the callback out of the      1. moves what is new into the heap
       entries                                handle: it never runs now, and     2. says until when it sleeps
    2. does the timer thread sleep for        the heap drops the empty handle    3. is something new after all? back to 1
       longer than that? wakes it             in its own time                    4. sleeps until then, or until it is woken
    3. is there a timer thread? else                                             5. takes the callback out of the handle that is
       starts one                                                                   due, and runs it if it was still in there

Most timers watch over something that ends long before they are due. Such a timer is set and cancelled without a change of
threads: the timer thread sleeps for a while, and finds an empty handle among the new entries when it looks again.

An entry that was added before the timer thread's 2 is seen at its 3; who adds one later reads until when it sleeps. It may have
slept for longer, where the machine was suspended: a setter that sees that wakes it, too.

The callback comes out of its handle once, for the canceller or for the timer thread: so ``cancel()`` answers true only if
the callback never runs. Did a setter look for the timer thread first and add its entry then, it could see a thread that
is just leaving, and its timer would never be due.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from supervision.runtime.per_process import PerProcess
from supervision.runtime.reports import interrupt_behind, report

HEARTBEAT_S = 15.0

LEAST_SWEPT = 128
"""Entries from which on the heap is swept of cancelled ones."""

MOST_NEW = 1024
"""New entries, most of them cancelled by then, for which the thread is woken to look."""

if hasattr(time, "CLOCK_BOOTTIME"):

    def now() -> float:
        """Seconds on a monotonic clock that counts suspend."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover - macOS and Windows
    now = time.monotonic


class Entry:
    """What the heap has: something that is due once, unless it is cancelled before that."""

    __slots__ = ()

    @property
    def _is_pending(self) -> bool:
        """Whether it is still to come."""
        raise NotImplementedError

    def cancel(self) -> bool:
        """Cancel it. Returns whether it was still to come; the heap forgets it in its own time."""
        raise NotImplementedError

    def _take(self) -> Callable[[], None] | None:
        """What the timer thread, which asks once, is to call; ``None`` where it was cancelled."""
        raise NotImplementedError


class TimerHandle(Entry):
    """A callback that is due once; cancel it with ``cancel()``."""

    __slots__ = ("_callbacks",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callbacks = [callback]  # empty once it is taken out, which one thread does

    @property
    def _is_pending(self) -> bool:
        """Whether it is still to come."""
        return bool(self._callbacks)

    def cancel(self) -> bool:
        """Cancel it. Returns whether it was still to come; the heap forgets it in its own time."""
        return self._take() is not None

    def _take(self) -> Callable[[], None] | None:
        """The callback, for the first to ask; then ``None``."""
        try:
            return self._callbacks.pop()
        except IndexError:
            return None


class _TimerThread:
    """The heap and its thread.

    Args:
        clock: gives the seconds that delays are kept in.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self.queue: queue.SimpleQueue[None] = queue.SimpleQueue()  # what the thread sleeps on: it wakes, and looks
        self._new: deque[tuple[float, Entry]] = deque()  # what is to go into the heap, by when it is due
        self._sleeps_until = math.inf
        self._threads: dict[str, int] = {}  # the ident of the thread that runs: of several, the first to enter
        self._heap: list[tuple[float, int, Entry]] = []  # of that thread only, as is what follows
        self._numbers = itertools.count()
        self._sweep_at = LEAST_SWEPT

    def add(self, delay_s: float, handle: Entry) -> None:
        """Add an entry, and see that the thread wakes in time, and runs. Any thread, at any instruction.

        In that order: a handler that interrupts this in between, and sets a timer itself, starts the thread for both.
        """
        now = self.now()
        self._new.append((now + delay_s, handle))
        if not now <= self._sleeps_until <= now + delay_s or len(self._new) >= MOST_NEW:
            self.queue.put(None)
        try:
            self.begin()
        except RuntimeError:
            handle.cancel()
            raise

    def begin(self) -> None:
        """See that the thread runs. Two callers may start two; the second thread finds the first one's ident, and leaves."""
        if self._threads:
            return
        try:
            threading.Thread(target=self._run, name="supervision-timers", daemon=True).start()
        except RuntimeError as no_thread:
            interrupt = interrupt_behind(no_thread)
            if interrupt is not None:
                raise interrupt from None
            if not self._threads:  # else another has started it meanwhile
                raise

    def _run(self) -> None:
        me = threading.get_ident()
        if self._threads.setdefault("timers", me) != me:
            return
        try:
            while True:
                callback = self._next_due()
                try:
                    callback()
                except Exception:  # noqa: BLE001 - a callback of ours never raises; one that does must not end every timer of the process
                    report("error", "timer_callback_failed", exc_info=True)
                del callback  # what it holds must not live on until the next one is due
        finally:
            self._sleeps_until = math.inf
            self._threads.clear()  # another thread has injected an exception: the next to set a timer starts another thread

    def _next_due(self) -> Callable[[], None]:
        """Wait for the next callback; it is taken out, so that a later cancel() answers False."""
        while True:
            self._take_in()
            now = self.now()
            wakes_at = min(self._heap[0][0], now + HEARTBEAT_S) if self._heap else now + HEARTBEAT_S
            if wakes_at > now:
                self._sleeps_until = wakes_at
                if not self._new:
                    with contextlib.suppress(queue.Empty):
                        self.queue.get(timeout=wakes_at - now)
                continue
            callback = heapq.heappop(self._heap)[2]._take()
            if callback is not None:
                return callback

    def _take_in(self) -> None:
        """Move what is new into the heap, but for what has been cancelled."""
        while self._new:
            due, handle = self._new.popleft()
            if not handle._is_pending:
                continue
            heapq.heappush(self._heap, (due, next(self._numbers), handle))
            if len(self._heap) >= self._sweep_at:  # twice what was left the last time: a sweep costs each entry little
                self._heap = [kept for kept in self._heap if kept[2]._is_pending]
                heapq.heapify(self._heap)
                self._sweep_at = max(LEAST_SWEPT, 2 * len(self._heap))


_timer_thread = PerProcess(lambda: _TimerThread(now))


def begin() -> None:
    """Start the timer thread now, where it does not run; silent where there is no thread to be had.

    For a caller that may start threads, on behalf of later ones that must not (see `Dispatcher.schedule`).
    """
    try:
        _timer_thread.value.begin()
    except RuntimeError:
        return


def call_later(delay_s: float, callback: Callable[[], None]) -> TimerHandle:
    """Run a function on the timer thread later. Any thread, at any instruction.

    Args:
        delay_s: seconds from now.
        callback: must be quick, because all timers of the process wait for it, and must not raise.

    Returns:
        A handle that can cancel it.

    Raises:
        RuntimeError: there is no thread to be had for it.
    """
    handle = TimerHandle(callback)
    add(delay_s, handle)
    return handle


def add(delay_s: float, entry: Entry) -> None:
    """Have an entry be due in that many seconds; all else is as for `call_later`."""
    _timer_thread.value.add(delay_s, entry)


class Repeated:
    """What is done again and again while there is something to do, and not at all otherwise.

    A program's thread makes a note of what there is to do, and looks at ``chain`` after that. The timer thread forgets the
    chain first and looks at the notes after that: so it sees a note that was made before, and a thread that makes one later
    sees that it has to start. Where two threads start at the same time, the chain of the later goes on; the other one's finds
    at its next time that it is not the one, and ends.

    Attributes:
        chain: stands for the times that follow each other; ``None`` while none is due.
    """

    chain: object = None

    @property
    def period_s(self) -> float:
        """Seconds from one time to the next."""
        raise NotImplementedError

    def run(self) -> bool:
        """Do it, on the timer thread, quickly; returns whether there is to be a next time."""
        raise NotImplementedError

    def start(self) -> None:
        """See that it is done in ``period_s``. Silent where there is no thread to be had: the next who starts it tries again."""
        chain = self.chain = object()
        try:
            call_later(self.period_s, lambda: self._once(chain))
        except RuntimeError:
            self.chain = None

    def _once(self, chain: object) -> None:
        if self.chain is chain:
            self.chain = None
            if self.run():
                self.start()
