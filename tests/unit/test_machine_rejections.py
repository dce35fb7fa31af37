"""The manager's decisions, row by row: what adapters hear of resource servers."""

import pytest
from machine_driver import DOWN, INVALID_CLIENT, Driver, Reader, Rejected, refused, with_token

from oidc_actor.machine.effects import Reject, Report
from oidc_actor.machine.events import Accepted, FetchStarted, Tick, Wait
from oidc_actor.machine.schedule import next_attempt_at
from oidc_actor.machine.transitions import adopt
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.secrets import Secret

A, B = "https://a.example:443", "https://b.example:443"


def rejects(driver: Driver, text: str, origin: str = A) -> Driver:
    return driver.do(Rejected(origin, Secret(text)))


def accepts(driver: Driver, text: str, origin: str = A) -> Driver:
    return driver.do(Accepted(origin, Secret(text)))


def rejecting_reader(driver: Driver, text: str, timeout: float = 5.0, origin: str = A) -> Reader:
    reader = Reader(driver.now + timeout, rejected=Rejected(origin, Secret(text)))
    driver.do(Wait(reader))
    return reader


def test_a_first_rejection_of_an_old_token_takes_it_back_and_replaces_it_at_once() -> None:
    driver = with_token(300).wait(10)
    token = driver.state.token
    rejects(driver, "a")
    assert [effect.token for effect in driver.of(Reject)] == [token]
    assert driver.reports == ["token_rejected"]
    assert driver.fetch is not None


@pytest.mark.parametrize("age_s", [1.5, 10])
def test_an_accepted_or_a_young_token_is_replaced_at_once_and_stays(age_s: float) -> None:
    driver = with_token(300).wait(age_s)
    if age_s > 2:
        accepts(driver, "a")
    rejects(driver, "a")
    assert driver.of(Reject) == []
    assert driver.of(Report) == [
        Report("token_refused", 1, {"fingerprint": "ca978112", "origin": A, "answer_in_s": 0.0})
    ]
    assert driver.fetch is not None
    assert driver.join().outcomes == [driver.state.token]


def test_the_rejecting_reader_waits_for_the_successor() -> None:
    driver = accepts(with_token(300).wait(10), "a")
    reader, other = rejecting_reader(driver, "a"), rejecting_reader(driver, "a")
    assert driver.fetch is None  # it is under way
    assert reader.outcomes == []
    driver.succeeds("b")
    assert reader.outcomes == other.outcomes == [driver.state.token]


def test_a_rejection_that_time_has_overtaken_gets_the_present_token_and_costs_nothing() -> None:
    driver = with_token(300).wait(10)
    assert rejecting_reader(driver, "older").outcomes == [driver.state.token]
    rejects(driver, "older")
    assert driver.fetch is None
    assert driver.state.origins == {}


def test_a_rejection_that_goes_on_waits_its_turn() -> None:
    driver = accepts(with_token(300).wait(10), "a")
    rejects(driver, "a").succeeds("b")
    accepts(driver.wait(0.25), "b")
    reader, hasty = rejecting_reader(driver, "b"), rejecting_reader(driver, "b", timeout=0.5)
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == driver.now + 0.75
    assert refused(hasty).message == "no new token; the next attempt is due in 0.8 s"
    driver.tick()
    assert driver.fetch is not None
    driver.succeeds("c")
    assert reader.outcomes == [driver.state.token]
    assert next_attempt_at(driver.state) == driver.state.refresh_at


def test_a_bad_node_among_good_ones_is_asked_for_at_growing_intervals() -> None:
    driver, began = with_token(3600).wait(10), 1010.0
    asked, tokens = [], iter("bcdefghij")
    for _ in range(60 * 10):
        driver.wait(0.1)
        text = driver.state.token.access_token
        rejects(accepts(driver, text), text)
        if driver.state.attempt is not None:
            asked.append(round(driver.now - began, 1))
            driver.succeeds(next(tokens), lifetime=3600)
        assert driver.state.token is not None
    assert asked == pytest.approx([0.1, 1.1, 3.1, 7.1, 15.1, 31.1], abs=0.25)


def test_while_the_provider_is_down_a_rejection_wakes_it_once_and_the_rest_is_the_backoffs() -> None:
    driver = accepts(with_token(300).wait(10), "a")
    rejects(driver, "a").fails(TokenRequestError("HTTP 503", status=503, retry_after_s=8))
    for _ in range(50):
        rejects(driver.wait(0.1), "a")
        assert driver.fetch is None
    assert driver.state.token is not None
    driver.tick()
    assert driver.fetch is not None


def test_a_rejection_that_waits_its_turn_wakes_no_slow_probe() -> None:
    driver = accepts(with_token(3600).wait(10), "a")
    accepts(rejects(driver, "a").succeeds("b", lifetime=3600), "b")
    rejects(driver.wait(0.5), "b").tick()
    driver.fails(INVALID_CLIENT)
    rejects(driver.wait(30), "b")
    assert next_attempt_at(driver.state) > driver.now + 60
    assert refused(rejecting_reader(driver, "b")).cause is INVALID_CLIENT
    assert driver.join().outcomes == [driver.state.token]


def test_a_rejection_that_waits_its_turn_outlasts_the_denial_of_other_managers() -> None:
    driver = accepts(with_token(3600).wait(10), "a")
    accepts(rejects(driver, "a").succeeds("b", lifetime=3600), "b")
    rejects(driver, "b").denied(until=driver.now + 21).tick()
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == driver.now + 20


def test_an_origin_that_accepts_nothing_costs_one_request_and_is_believed_for_five_minutes() -> None:
    driver = rejects(with_token(3600).wait(10), "a").succeeds("b", lifetime=3600)
    assert refused(rejecting_reader(driver.wait(5), "b")).retry_in_s == pytest.approx(295)
    assert driver.of(Reject) == []
    accepts(driver, "b")  # the node was late, as its clock was
    driver.wait(5)
    rejects(driver, "b")
    assert driver.fetch is not None


def test_acceptance_of_another_token_says_nothing() -> None:
    driver = accepts(with_token(300).wait(10), "older")
    assert driver.state.origins == {}


def test_a_rejection_during_an_attempt_joins_it() -> None:
    driver = accepts(with_token(300).wait(240), "a").do(Tick())
    assert driver.state.attempt is not None
    reader = rejecting_reader(driver, "a")
    assert driver.fetch is None
    assert reader.outcomes == []
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]
    assert not driver.state.wanted


def test_a_failed_attempt_is_not_the_end_of_a_rejecting_readers_wait() -> None:
    driver = accepts(with_token(300).wait(10), "a")
    reader = rejecting_reader(driver, "a")
    driver.fails(DOWN)
    assert reader.outcomes == []
    driver.tick()
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]


def test_a_successor_knows_what_its_predecessor_was_told() -> None:
    driver = accepts(with_token(3600).wait(10), "a")
    for text, successor in ("ab", "bc", "cd"):
        rejects(accepts(driver, text), text)
        while driver.state.attempt is None:
            driver.tick()
        attempt = driver.state.attempt
        driver.do(FetchStarted(attempt.number, attempt.request, driver.now)).succeeds(successor, lifetime=3600)
    heir = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now)
    rejects(accepts(heir, "d"), "d")
    assert heir.fetch is None
    assert next_attempt_at(heir.state) == heir.now + 4


def test_no_token_and_no_mark_of_one_is_kept_by_origin_but_a_fingerprint() -> None:
    driver = rejects(accepts(with_token(300).wait(10), "a"), "a")
    assert "Secret" not in repr(driver.state.origins)
    assert driver.state.origins[A].refused == "ca978112"
