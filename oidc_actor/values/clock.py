"""The clock that deadlines are kept on: monotonic, and counting the time the machine was suspended."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable
from typing import TypeAlias, TypeGuard

from supervision.frozen import dataclass

Clock: TypeAlias = Callable[[], float]

if hasattr(time, "CLOCK_BOOTTIME"):
    # A partial of a C function costs a reader no Python frame.
    default_clock: Clock = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)
elif sys.platform == "darwin":  # there CLOCK_MONOTONIC counts suspend, which Python's own monotonic() does not
    default_clock = functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
else:
    default_clock = time.monotonic

REFERENCES: tuple[Clock, ...] = tuple(dict.fromkeys((default_clock, time.monotonic, time.perf_counter)))
"""The clocks that run at real pace; the wall clock is compared with each. The last two may stand still during a suspend."""

JUMP_S = 5.0
"""Seconds by which the wall clock must have gained on the manager's for a jump."""

_AT_ONCE_S = 0.5

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
    return delay_s if clock in REFERENCES else min(delay_s, LOOK_AGAIN_S)


def wall_clock() -> float:
    """Seconds since the epoch."""
    return time.time()


def reference(clock: Clock) -> Clock:
    """The clock that the wall clock is compared with for a manager's: its own, where that runs at real pace."""
    return clock if clock in REFERENCES else default_clock


def wall_ahead_s(clock: Clock) -> float:
    """How far the wall clock is ahead of the reference for a manager's clock, in seconds."""
    clock, tries = reference(clock), 3
    while True:
        before, wall, after = clock(), wall_clock(), clock()
        tries -= 1
        # Otherwise this thread was put aside in between, and the two readings do not belong together.
        if after - before < _AT_ONCE_S or not tries:
            return wall - after


def is_seconds(value: object) -> TypeGuard[int | float]:
    """Tell whether that is a number of seconds that arithmetic with times can hold: finite, and at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


def is_past(point: float, since_ahead_s: float, now: float, ahead_s: float) -> bool:
    """Whether a moment has passed by the wall clock.

    Args:
        point: The moment, as a reading of the manager's clock.
        since_ahead_s: How far the wall clock was ahead of that one when the moment was set.
        now: The manager's clock now.
        ahead_s: How far the wall clock is ahead of it now.
    """
    return point <= now + ahead_s - since_ahead_s


TOLERATED_SKEW_S = 60.0
"""Seconds by which ``Date`` may differ before one of the two clocks is taken for wrong."""


@dataclass(frozen=True, slots=True)
class Skew:
    """How a provider's clock goes against this machine's, as one response shows it.

    Attributes:
        ahead_s: Seconds the provider's clock is ahead; negative where it is behind.
        uncertainty_s: By how much that may be wrong: ``Date`` has whole seconds, and the response travelled.
    """

    ahead_s: float
    uncertainty_s: float

    @property
    def least_s(self) -> float:
        """As little as the clocks may differ, with the sign of `ahead_s`; 0 where they may agree."""
        return math.copysign(max(0.0, abs(self.ahead_s) - self.uncertainty_s), self.ahead_s)

    @property
    def is_tolerable(self) -> bool:
        """Whether what has a time in it (an assertion, a proof, a token's ``exp``) is likely read as it was meant."""
        return abs(self.least_s) <= TOLERATED_SKEW_S
