"""The default clock, and how a clock that runs at its own pace is watched."""

import time

import pytest
from fakes import Stopwatch

from oidc_actor.values.clock import LOOK_AGAIN_S, default_clock, real_delay_s, reference, wall_ahead_s

pytestmark = pytest.mark.P11


def test_the_default_clock_counts_suspend_where_it_can() -> None:
    wanted = getattr(time, "CLOCK_BOOTTIME", None)
    if wanted is None:
        pytest.skip("this system has no CLOCK_BOOTTIME")
    before, reading, after = time.clock_gettime(wanted), default_clock(), time.clock_gettime(wanted)
    assert before <= reading <= after


def test_a_clock_at_real_pace_needs_one_timer() -> None:
    assert real_delay_s(default_clock, 240) == 240


@pytest.mark.parametrize("clock", [default_clock, time.monotonic, time.perf_counter])
def test_one_at_real_pace_is_what_the_wall_clock_is_compared_with(clock) -> None:
    assert reference(clock) is clock
    assert real_delay_s(clock, 240) == 240
    assert wall_ahead_s(clock) == pytest.approx(time.time() - clock(), abs=1)


def test_for_any_other_it_is_compared_with_the_default() -> None:
    assert reference(Stopwatch()) is default_clock


def test_readings_that_do_not_belong_together_are_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is put aside between the two would see a jump where there is none."""
    clock, late = Stopwatch(), iter([60.0, 0.0])
    monkeypatch.setattr("oidc_actor.values.clock.REFERENCES", (clock,))

    def wall() -> float:
        now = 1e9 + clock.now
        clock.advance(next(late))
        return now

    monkeypatch.setattr("oidc_actor.values.clock.wall_clock", wall)
    assert wall_ahead_s(clock) == 1e9


def test_any_other_is_looked_at_again_soon() -> None:
    assert real_delay_s(Stopwatch(), 240) == LOOK_AGAIN_S
    assert real_delay_s(Stopwatch(), 0.001) == 0.001
