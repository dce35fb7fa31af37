"""The clock that deadlines are kept on: monotonic, and counting the time the machine was suspended."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]

if hasattr(time, "CLOCK_BOOTTIME"):
    # A partial of a C function costs a reader no Python frame.
    default_clock: Clock = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)
elif sys.platform == "darwin":  # there CLOCK_MONOTONIC counts suspend, which Python's own monotonic() does not
    default_clock = functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
else:
    default_clock = time.monotonic

_AT_REAL_PACE = (default_clock, time.monotonic, time.perf_counter)

HEARTBEAT_S = 15.0
"""How often, in seconds, a manager whose clock does not count suspend looks whether there was one."""

JUMP_S = 5.0
"""Seconds by which the wall clock must have moved against such a clock for a suspend, or a step of the wall clock."""

LOOK_AGAIN_S = 0.02
"""How often, in real seconds, a clock that may run at a pace of its own is looked at."""


def real_delay_s(clock: Clock, delay_s: float) -> float:
    """Translate a delay on a manager's clock into one for a timer that runs in real time.

    Args:
        clock: The manager's clock; an injected one may stand still or jump.
        delay_s: Seconds on that clock.

    Returns:
        Real seconds after which it is worth looking at the clock.
    """
    if clock not in _AT_REAL_PACE:
        return min(delay_s, LOOK_AGAIN_S)
    return delay_s if counts_suspend(clock) else min(delay_s, HEARTBEAT_S)


def counts_suspend(clock: Clock) -> bool:
    """Tell whether a clock is not one of those known to stand still while the machine is suspended."""
    return clock not in (time.monotonic, time.perf_counter)


def wall_clock() -> float:
    """Seconds since the epoch."""
    return time.time()


class JumpDetector:
    """Compares a clock that does not count suspend with the wall clock, which does."""

    __slots__ = ("_clock", "_offset")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = wall_clock() - clock()

    def noticed(self) -> bool:
        """Tell whether the wall clock has jumped since the last look, or the machine was suspended."""
        before, self._offset = self._offset, wall_clock() - self._clock()
        return abs(self._offset - before) > JUMP_S
