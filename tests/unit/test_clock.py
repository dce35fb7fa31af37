"""The default clock, and how a clock that runs at its own pace is watched."""

import time

import pytest
from fakes import Stopwatch

from oidc_actor.clock import HEARTBEAT_S, LOOK_AGAIN_S, JumpDetector, counts_suspend, default_clock, real_delay_s


def test_the_default_clock_counts_suspend_where_it_can() -> None:
    wanted = getattr(time, "CLOCK_BOOTTIME", None)
    if wanted is None:
        pytest.skip("this system has no CLOCK_BOOTTIME")
    before, reading, after = time.clock_gettime(wanted), default_clock(), time.clock_gettime(wanted)
    assert before <= reading <= after


def test_a_clock_at_real_pace_needs_one_timer() -> None:
    assert real_delay_s(default_clock, 240) == 240


@pytest.mark.parametrize("clock", [time.monotonic, time.perf_counter])
def test_one_that_does_not_count_suspend_has_a_heartbeat(clock) -> None:
    assert real_delay_s(clock, 240) == HEARTBEAT_S
    assert real_delay_s(clock, 3) == 3
    assert not counts_suspend(clock)
    assert counts_suspend(default_clock)


@pytest.mark.parametrize(("jump", "noticed"), [(0, False), (4.9, False), (-4.9, False), (5.1, True), (-3600, True)])
def test_a_jump_of_the_wall_clock_is_noticed_once(jump: float, noticed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    wall, clock = Stopwatch(1e9), Stopwatch()
    monkeypatch.setattr("oidc_actor.clock.wall_clock", wall)
    detector = JumpDetector(clock)
    wall.advance(100 + jump)
    clock.advance(100)
    assert detector.noticed() is noticed
    assert detector.noticed() is False


def test_any_other_is_looked_at_again_soon() -> None:
    assert real_delay_s(Stopwatch(), 240) == LOOK_AGAIN_S
    assert real_delay_s(Stopwatch(), 0.001) == 0.001
