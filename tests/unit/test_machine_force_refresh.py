"""The manager's decisions, row by row: those that want another token."""

import pytest
from fakes import Fixed
from machine_driver import DOWN, INVALID_CLIENT, Driver, Reader, refused, with_token

from oidc_actor.machine.effects import Reject, Report, ScheduleTick
from oidc_actor.machine.events import Refresh, Wait
from oidc_actor.machine.schedule import next_attempt_at
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.secrets import Secret


def test_a_refresh_is_an_attempt_at_once() -> None:
    driver = with_token(300).wait(10).do(Refresh())
    assert driver.fetch is not None


def test_a_refresh_joins_the_attempt_under_way() -> None:
    driver = with_token(300).wait(10).do(Refresh())
    reader = driver.refresh()
    assert driver.fetch is None
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]
    assert next_attempt_at(driver.state) == driver.state.refresh_at


def test_who_joins_anew_for_a_refresh_is_not_served_from_the_token_there_is() -> None:
    driver = with_token(300).wait(10)
    reader = Reader(driver.now + 5, wants_refresh=True)
    assert driver.do(Wait(reader)).fetch is not None
    assert reader.outcomes == []
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]


def test_a_refresh_keeps_the_minimum_interval() -> None:
    driver = with_token(300).wait(0.25).do(Refresh())
    assert driver.fetch is None
    assert driver.of(ScheduleTick) == [ScheduleTick(0.75)]
    assert driver.tick().fetch is not None


def test_a_refresh_wakes_a_backoff() -> None:
    driver = Driver(rng=Fixed(1)).start()
    for _ in range(6):
        driver.fails().tick()
    driver.fails().wait(2)
    assert next_attempt_at(driver.state) > driver.now
    assert driver.do(Refresh()).fetch is not None


def test_a_refresh_wakes_a_slow_probe_and_its_waiters_may_hope() -> None:
    driver = Driver().start().fails(INVALID_CLIENT)
    reader = driver.refresh()
    assert reader.outcomes == []
    plain = driver.join()
    assert plain.outcomes == []
    driver.tick().succeeds()
    assert reader.outcomes == plain.outcomes == [driver.state.token]


def test_a_failed_attempt_is_the_outcome_of_a_refresh_even_with_a_live_token() -> None:
    driver = with_token(300).wait(10)
    reader = driver.refresh(timeout=60)
    driver.fails()
    assert refused(reader).cause is DOWN
    assert driver.state.token is not None
    assert driver.state.waiters == ()


def test_a_failed_refresh_leaves_the_other_readers_waiting() -> None:
    driver = Driver().start()
    plain, refresh = driver.join(timeout=60), driver.refresh(timeout=60)
    driver.fails()
    assert refused(refresh).cause is DOWN
    assert plain.outcomes == []
    driver.tick().succeeds()
    assert plain.outcomes == [driver.state.token]


def test_a_refresh_is_refused_at_once_where_retry_after_outlasts_it() -> None:
    driver = Driver().start().fails(TokenRequestError("HTTP 429", status=429, retry_after_s=30))
    assert refused(driver.refresh(timeout=5)).retry_in_s == 30


def test_a_rejected_token_is_taken_back_and_replaced() -> None:
    driver = with_token(300).wait(10)
    rejected = driver.state.token
    driver.do(Refresh(None, Secret("a")))
    assert [effect.token for effect in driver.of(Reject)] == [rejected]
    assert driver.state.token is None
    assert driver.fetch is not None
    assert driver.of(Report) == [Report("token_rejected", 1, {"fingerprint": "ca978112"})]


@pytest.mark.parametrize("rejected", ["b", "A", "aa"])
def test_a_rejection_of_another_token_costs_nothing(rejected: str) -> None:
    driver = with_token(300).wait(10)
    before = driver.state
    driver.do(Refresh(None, Secret(rejected)))
    assert driver.effects == []
    assert driver.state == before


def test_who_waits_on_a_rejection_that_time_has_overtaken_gets_the_new_token() -> None:
    driver = with_token(300).wait(10)
    reader = Reader(driver.now + 5, wants_refresh=True)
    driver.do(Refresh(reader, Secret("old")))
    assert reader.outcomes == [driver.state.token]
    assert driver.fetch is None


def test_a_hundred_rejections_are_one_request() -> None:
    driver = with_token(300).wait(10)
    fetches = [driver.do(Refresh(None, Secret("a"))).fetch for _ in range(100)]
    assert len([fetch for fetch in fetches if fetch]) == 1
