"""One thread and one heap for every delay in the process.

Delays are kept on a clock that counts suspend (``CLOCK_BOOTTIME`` where there is one). The thread's own waits do not,
so it looks at the clock at least every ``HEARTBEAT_S`` seconds: a process thawed after an hour is late by that much at most.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable

from supervision.reports import report

__all__ = ["HEARTBEAT_S", "Alarm", "call_later", "now"]

HEARTBEAT_S = 15.0

if hasattr(time, "CLOCK_BOOTTIME"):

    def now() -> float:
        """Seconds on a monotonic clock that counts suspend."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover - macOS and Windows
    now = time.monotonic


class Alarm:
    """A callback that is due once; cancel it with ``cancel()``."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> bool:
        """Withdraw it. Returns whether it was still to come; the heap forgets it in its own time."""
        with _clockwork.lock:
            due = self.callback is not None
            self.callback = None
            if due:
                _clockwork.note_cancelled()
        return due


class _Clockwork:
    """The heap and its thread; made anew in a forked child.

    Args:
        clock: gives the seconds that delays are kept in.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        # Guards the heap, its counters, `_sleeps_until`, and every Alarm's callback slot. Never held while a callback runs.
        # Reentrant: the garbage collector may choose that moment for somebody's __del__, which cancels a timer.
        self.lock = threading.RLock()
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._cancelled = 0
        self._sleeps_until = 0.0
        self._bell = threading.Condition(self.lock)
        self._thread: threading.Thread | None = None

    def add(self, due: float, alarm: Alarm) -> None:
        with self.lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="supervision-timers", daemon=True)
                thread.start()  # which may fail; then nothing has been added, and the next one tries again
                self._thread = thread
            entry = (
                due,
                next(self._numbers),
                alarm,
            )  # an allocation, and with it maybe a finalizer; before the heap is touched
            heapq.heappush(self._heap, entry)
            if due < self._sleeps_until:
                self._bell.notify()

    def note_cancelled(self) -> None:
        """Count a cancelled entry, and sweep when more than half of the heap is cancelled. The lock is held."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._cancelled = 0
            swept, self._heap = self._heap, []
            self._heap += [entry for entry in swept if entry[2].callback is not None]
            heapq.heapify(self._heap)

    def _run(self) -> None:
        while True:
            callback = self._next_due()
            try:
                callback()
            except Exception:  # noqa: BLE001 - a callback of ours never raises; one that does must not end every timer of the process
                report("error", "timer_callback_failed", exc_info=True)
            del callback  # what it holds must not live on until the next one is due

    def _next_due(self) -> Callable[[], None]:
        """Wait for the next callback; it is taken out, so that a later cancel() answers False."""
        with self.lock:
            while True:
                wait_s = HEARTBEAT_S
                if self._heap:
                    wait_s = min(self._heap[0][0] - self.now(), HEARTBEAT_S)
                if wait_s <= 0:
                    alarm = heapq.heappop(self._heap)[2]
                    callback, alarm.callback = alarm.callback, None
                    if callback is not None:
                        return callback
                    self._cancelled = max(0, self._cancelled - 1)
                    continue
                self._sleeps_until = self.now() + wait_s
                self._bell.wait(wait_s)
                self._sleeps_until = 0.0


_clockwork = _Clockwork(now)


def _start_over() -> None:
    global _clockwork  # noqa: PLW0603 - a forked child has neither the thread nor, maybe, a free lock
    _clockwork = _Clockwork(now)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def call_later(delay_s: float, callback: Callable[[], None]) -> Alarm:
    """Run ``callback`` on the timer thread in ``delay_s`` seconds; it must be quick and must not raise.

    Raises:
        RuntimeError: there is no thread to be had for it.
    """
    alarm = Alarm(callback)
    _clockwork.add(_clockwork.now() + delay_s, alarm)
    return alarm
