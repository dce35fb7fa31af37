"""The forecast of outages: what it says, and that no waits are worse than those it finds."""

import random
from dataclasses import replace

import pytest
from fakes import AUTH

from oidc_actor import RetryPolicy
from oidc_actor.machine.forecast import Forecast, Plan, Worst, _Play, forecast, most_buffer_s, shortened, worst
from oidc_actor.machine.state import Rules

pytestmark = [pytest.mark.P5]

PLANS = [
    Plan(AUTH, 300, 140),
    Plan(AUTH, 60, 85, timeout_s=2, took_s=0.5),
    Plan(AUTH, 20, 60, timeout_s=5, took_s=0.5),
    Plan(AUTH, 100, 70, timeout_s=1, lost_after_s=0.1, retry_after_s=5),
    Plan(AUTH, 300, 60, rules=Rules(discovers=False, retry=RetryPolicy(maximum_s=5), min_interval_s=4)),
]


def test_it_is_what_the_buffer_leaves_when_one_request_may_take_its_whole_timeout() -> None:
    told = forecast(Plan(AUTH, 300, 140, took_s=0.01))
    assert told == Forecast(pytest.approx(130, abs=0.1), pytest.approx(290, abs=0.1))


def test_a_buffer_beyond_half_of_the_life_counts_as_that_half() -> None:
    assert most_buffer_s(Plan(AUTH, 300, 60)) == 150
    assert forecast(Plan(AUTH, 300, 1000)) == forecast(Plan(AUTH, 300, 150))


def test_nothing_is_always_survived_where_one_lost_request_takes_longer_than_the_buffer() -> None:
    assert forecast(Plan(AUTH, 300, 10, timeout_s=10)).always_s == 0


def test_a_retry_after_is_kept_to_also_where_the_token_ends_meanwhile() -> None:
    plan = Plan(AUTH, 600, 55, lost_after_s=0.0, retry_after_s=30)
    assert forecast(plan).always_s == pytest.approx(30)  # asked again at 30 s, and then not before 60


def test_of_a_long_outage_only_the_end_is_played() -> None:
    day = Plan(AUTH, 86_400, 43_200)
    assert shortened(day).lead_s == 1200
    assert forecast(day).always_s == pytest.approx(43_190, abs=0.5)
    assert forecast(day).at_best_s == pytest.approx(86_390, abs=0.5)


@pytest.mark.parametrize("at_refresh", [True, False])
@pytest.mark.parametrize("plan", PLANS)
def test_no_random_waits_are_worse_than_those_it_finds(plan: Plan, at_refresh: bool) -> None:
    found = worst(plan, 0.0 if at_refresh else plan.longest_before_s)
    rng = random.Random(12)
    assert isinstance(found, Worst)
    for _ in range(60):
        play = _Play(plan, jitter=0.0 if at_refresh else rng.random())
        came_at = play.now
        play.to_next_request()
        began_at = play.now if at_refresh else came_at
        usual = rng.random()
        while play.ends_in_time():
            play.lose(rng.choice([usual, rng.random(), 0.0, 1.0]))
            play.to_next_request()
        assert play.now - began_at >= found.after_s - 0.5


def test_a_refresh_token_makes_no_difference_to_an_outage_without_answers() -> None:
    plan = Plan(AUTH, 300, 60)
    assert forecast(replace(plan, refresh_token=True)) == forecast(plan)
