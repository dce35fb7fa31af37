"""The default clock, and how a clock that runs at its own pace is watched."""

import time

import pytest
from fakes import Stopwatch

from oidc_actor.clock import LOOK_AGAIN_S, default_clock, real_delay_s


def test_the_default_clock_counts_suspend_where_it_can() -> None:
    wanted = getattr(time, "CLOCK_BOOTTIME", None)
    if wanted is None:
        pytest.skip("this system has no CLOCK_BOOTTIME")
    before, reading, after = time.clock_gettime(wanted), default_clock(), time.clock_gettime(wanted)
    assert before <= reading <= after


@pytest.mark.parametrize("clock", [default_clock, time.monotonic, time.perf_counter])
def test_a_clock_at_real_pace_needs_one_timer(clock) -> None:
    assert real_delay_s(clock, 240) == 240


def test_any_other_is_looked_at_again_soon() -> None:
    assert real_delay_s(Stopwatch(), 240) == LOOK_AGAIN_S
    assert real_delay_s(Stopwatch(), 0.001) == 0.001
