"""`ManualClock`: time that passes when a test says so, with the timers that go by it."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from typing import Any

import pykka

from supervision import cast
from supervision.runtime.per_process import PerProcess


class ManualTimer:
    """A message that a `ManualClock` sends when it is advanced far enough."""

    def __init__(self, lock: PerProcess[threading.Lock], server: pykka.ActorRef[Any] | str, message: Any) -> None:
        self._lock = lock  # the clock's; guards `_pending`
        self._server = server
        self._message = message
        self._pending = True

    def cancel(self) -> bool:
        """Cancel the message; returns whether it was still to be sent, so that it never will be."""
        with self._lock.value:
            pending, self._pending = self._pending, False
        return pending

    @property
    def is_pending(self) -> bool:
        """Whether the message is still to be sent."""
        return self._pending

    def fire(self) -> None:
        """Send the message, unless that was done or it was cancelled; silent where the server is gone.

        The clock has taken this timer off its heap before, without the lock that `cancel` takes: where another thread cancels
        it in between, one of the two finds it pending, and the message is sent or cancelled, not both.
        """
        if self.cancel():
            cast(self._server, self._message)


class ManualClock:
    """A clock that stands still until `advance`; give it to a manager as `clock=`.

    A manager whose clock has a `send_after` uses that in place of `supervision.send_after`, so its ticks come exactly when
    the clock is advanced to them, on the thread that advances it. What a tick sets in motion goes on in the manager's own
    time: wait for its outcome. One advance over several due times is a process that was suspended meanwhile; to
    have each tick see its own time, advance step by step (`next_in_s`). All methods may be called from any thread.

    Args:
        start_s: Its first reading, in seconds.

    Example:
        >>> from oidc_actor.testing import ManualClock
        >>> clock = ManualClock()
        >>> before = clock()
        >>> clock.advance(3600)
        >>> clock() - before
        3600.0
    """

    def __init__(self, start_s: float = 1000.0) -> None:
        # Guards the heap of timers, the reading's way to the next of them, and whether each is pending. It is not held while
        # a message is sent: the manager that gets it may ask for its next timer before `advance` has returned.
        self._lock = PerProcess(threading.Lock)
        # One `advance` at a time: of two at once each would take the reading to its own goal, and the later one back.
        self._advancing = PerProcess(threading.Lock)
        self._now = float(start_s)
        self._wall_ahead_s = time.time() - self._now
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._look_at = 64  # how many there are when those that were cancelled are next taken out
        self._numbers = itertools.count()

    def __call__(self) -> float:
        """Its reading, in seconds."""
        return self._now

    def wall(self) -> float:
        """Seconds since the epoch: today's time when the clock was made, and as far from there as it was advanced."""
        return self._now + self._wall_ahead_s

    def __repr__(self) -> str:
        return f"<ManualClock at {self._now:g} s>"

    def advance(self, seconds: float) -> None:
        """Let time pass, and send what falls due in it, in order.

        Args:
            seconds: How much, 0 or more.

        Raises:
            ValueError: The time is negative or not finite; such a clock does not run backwards.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds: expected a finite number of at least 0, got {seconds!r}")
        with self._advancing.value:
            goal = self._now + seconds
            while (timer := self._next_due(goal)) is not None:
                timer.fire()

    def send_after(self, delay_s: float, server: pykka.ActorRef[Any] | str, message: Any) -> ManualTimer:
        """Have a message sent (`supervision.cast`) once this clock has been advanced far enough.

        Args:
            delay_s: By how many seconds.
            server: To whom: a ref or a name.
            message: What.

        Returns:
            The timer; `cancel()` cancels a message that has not been sent yet.
        """
        timer = ManualTimer(self._lock, server, message)
        with self._lock.value:
            if len(self._timers) >= self._look_at:  # most may have been cancelled long before they are due
                self._timers = [one for one in self._timers if one[2].is_pending]
                heapq.heapify(self._timers)
                self._look_at = 2 * len(self._timers) + 64
            heapq.heappush(self._timers, (self._now + max(0.0, delay_s), next(self._numbers), timer))
        return timer

    @property
    def next_in_s(self) -> float | None:
        """Seconds until the next message is due; `None` with none to come."""
        with self._lock.value:
            while self._timers and not self._timers[0][2].is_pending:
                heapq.heappop(self._timers)
            return max(0.0, self._timers[0][0] - self._now) if self._timers else None

    def _next_due(self, goal: float) -> ManualTimer | None:
        """The next timer that is due by then, with the clock at its time; without one, the clock is at the goal."""
        with self._lock.value:
            if not self._timers or self._timers[0][0] > goal:
                self._now = goal
                return None
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            return timer
