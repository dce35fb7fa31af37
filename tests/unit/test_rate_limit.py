"""The first attempts of many managers: a burst, then a bounded rate; what is not used is not saved up."""

from itertools import pairwise

import pytest

from oidc_actor.machine.circuit_breaker import BURST, RATE_PER_S, first_attempt_at
from oidc_actor.machine.events import NEVER

pytestmark = pytest.mark.P6


def places(times: list[float], last: float = NEVER) -> list[float]:
    found = []
    for now in times:
        last = first_attempt_at(last, now)
        found.append(last)
    return found


def test_a_burst_need_not_wait() -> None:
    assert all(at <= 1000.0 + 1e-9 for at in places([1000.0] * BURST))


def test_the_rate_that_a_provider_sees() -> None:
    found = places([1000.0] * 101)
    assert found[99] <= 1000.0 + 1e-9
    assert abs(found[100] - 1000.005) < 1e-9


def test_beyond_it_they_go_at_a_bounded_rate() -> None:
    found = places([1000.0] * 10_000)
    assert found == sorted(found)
    late = found[BURST:]
    assert late[0] > 1000.0
    for at, next_at in pairwise(late):
        assert abs(next_at - at - 1 / RATE_PER_S) < 1e-6
    assert abs(late[-1] - 1000.0 - (10_000 - BURST) / RATE_PER_S) < 1e-3


def test_no_window_holds_more_than_a_burst_and_its_rate() -> None:
    starts = [1000.0 + number / 2000 for number in range(6000)]
    sent = sorted(max(at, now) for at, now in zip(places(starts), starts, strict=True))
    for first, at in enumerate(sent):
        beyond = sum(1 for other in sent[first : first + 2 * BURST + int(RATE_PER_S)] if other < at + 1.0)
        assert beyond <= BURST + RATE_PER_S + 1


def test_a_rest_brings_back_one_burst_and_no_more() -> None:
    tired = places([1000.0] * 5000)[-1]
    rested = places([5000.0] * (2 * BURST), last=tired)
    assert sum(1 for at in rested if at <= 5000.0 + 1e-9) == BURST


def test_managers_that_start_slowly_never_wait() -> None:
    times = [1000.0 + number * 0.01 for number in range(1000)]
    assert all(at <= now + 1e-9 for at, now in zip(places(times), times, strict=True))
