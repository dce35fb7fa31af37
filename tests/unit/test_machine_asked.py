"""The manager's decisions, row by row: somebody asks for a token while there is none."""

from collections.abc import Callable

import pytest
from fakes import Fixed
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, Driver, refused, with_token

from oidc_actor.machine.effects import ScheduleTick
from oidc_actor.machine.events import BreakerClosed, CheckNow, Haste, ProbeFailed, Refresh, Tick
from oidc_actor.machine.failure_policy import RetryPolicy
from oidc_actor.machine.schedule import next_attempt_at
from oidc_actor.machine.state import Denial, Rules
from oidc_actor.values.errors import SecretUnavailable, TokenRequestError

ASKS: list[Callable[[Driver], object]] = [lambda driver: driver.do(CheckNow()), lambda driver: driver.join(timeout=60)]
asked = pytest.mark.parametrize("ask", ASKS, ids=["and goes on", "and waits"])


def long_down(failures: int = 9, **fields: object) -> Driver:
    """A manager without a token that has failed so often that its next wait is the longest."""
    driver = Driver(rng=Fixed(1), **fields).start()  # type: ignore[arg-type]
    for _ in range(failures - 1):
        driver.fails().tick()
    return driver


# --- the wait after a failure -----------------------------------------------------------------------------------------


def test_without_callers_the_waits_grow_to_the_longest() -> None:
    driver = long_down().fails()
    assert next_attempt_at(driver.state) == driver.now + 60


@asked
def test_who_asked_not_long_ago_shortens_the_next_wait(ask: Callable[[Driver], object]) -> None:
    driver = long_down()
    ask(driver)
    driver.wait(5).fails()
    assert next_attempt_at(driver.state) == driver.now + 5


def test_who_asked_longer_ago_does_not() -> None:
    driver = long_down().do(CheckNow()).wait(5.1).fails()
    assert next_attempt_at(driver.state) == driver.now + 60


def test_who_still_waits_does_however_long_ago_it_came() -> None:
    driver = long_down()
    driver.join(timeout=60)
    driver.wait(50).fails()
    assert next_attempt_at(driver.state) == driver.now + 5


def test_who_waits_no_longer_does_not() -> None:
    driver = long_down()
    driver.join(timeout=20)
    driver.wait(50).fails()
    assert next_attempt_at(driver.state) == driver.now + 60


@asked
def test_who_asks_during_a_wait_shortens_it(ask: Callable[[Driver], object]) -> None:
    driver = long_down().fails().wait(2)
    ask(driver)
    assert driver.of(ScheduleTick) == [ScheduleTick(3)]
    assert driver.tick().fetch is not None


@asked
def test_who_asks_late_in_a_wait_ends_it(ask: Callable[[Driver], object]) -> None:
    driver = long_down().fails().wait(30)
    ask(driver)
    assert driver.fetch is not None


def test_a_reader_with_time_for_the_short_wait_is_not_refused_for_the_long_one() -> None:
    driver = long_down().fails()
    patient, hasty = driver.join(timeout=5), driver.join(timeout=4)
    assert patient.outcomes == []
    assert refused(hasty).retry_in_s == 5
    driver.tick().succeeds()
    assert patient.outcomes == [driver.state.token]


@asked
def test_the_policy_says_how_short(ask: Callable[[Driver], object]) -> None:
    driver = long_down(rules=Rules(RetryPolicy(asked_maximum_s=2), discovers=False)).fails()
    ask(driver)
    assert next_attempt_at(driver.state) == driver.now + 2


@asked
def test_a_shorter_wait_stays_as_it_is(ask: Callable[[Driver], object]) -> None:
    driver = long_down(2).fails()
    ask(driver)
    assert next_attempt_at(driver.state) == driver.now + 1


@asked
@pytest.mark.parametrize("error", [SecretUnavailable("missing"), TokenRequestError("HTTP 404", status=404)])
def test_it_holds_for_failures_that_are_no_outage(error: TokenRequestError, ask: Callable[[Driver], object]) -> None:
    driver = long_down().fails(error)
    ask(driver)
    assert next_attempt_at(driver.state) == driver.now + 5


def test_and_for_what_the_issuers_managers_say_together() -> None:
    driver = long_down().do(CheckNow()).fails(retry_at=2000.0)
    assert next_attempt_at(driver.state) == driver.now + 5


# --- what it does not shorten -----------------------------------------------------------------------------------------


@asked
def test_a_block_stands(ask: Callable[[Driver], object]) -> None:
    driver = Driver(rng=Fixed(1)).start().fails(INVALID_CLIENT).wait(10)
    ask(driver)
    assert next_attempt_at(driver.state) == driver.now + 290


@asked
def test_a_retry_after_stands(ask: Callable[[Driver], object]) -> None:
    driver = Driver(rng=Fixed(1)).start().fails(TokenRequestError("HTTP 503", status=503, retry_after_s=50)).wait(10)
    ask(driver)
    assert next_attempt_at(driver.state) == driver.now + 40


@asked
def test_the_minimum_interval_stands(ask: Callable[[Driver], object]) -> None:
    driver = long_down(rules=Rules(RetryPolicy(), 20.0, discovers=False)).fails()
    ask(driver)
    assert next_attempt_at(driver.state) == driver.now + 20


def test_a_live_token_has_a_rate_of_its_own() -> None:
    driver = with_token(3600, rng=Fixed(1), refresh_buffer_seconds=1800, failures=9).wait(2000).do(Tick()).fails()
    before = driver.state.retry_at
    driver.join(timeout=1000, min_validity=3000)
    assert driver.state.retry_at == before


def test_news_of_the_manager_are_no_question_for_a_token() -> None:
    driver = long_down().fails()
    driver.do(CheckNow(asks=False))
    assert next_attempt_at(driver.state) == driver.now + 60
    assert Driver(denial=Denial(9e9)).start().do(CheckNow(asks=False)).fetch is not None  # but its first attempt is due


# --- attempts that a live token's end brought forward -----------------------------------------------------------------


def test_attempts_before_a_tokens_end_do_not_lengthen_the_waits_after_it() -> None:
    driver = with_token(6, rng=Fixed(1), refresh_buffer_seconds=3).wait(3).do(Tick())
    while driver.state.expires_at > driver.now:
        driver.fails().tick()
    made = driver.state.failures
    driver.fails()
    assert made >= 3
    assert driver.state.early >= 2
    assert next_attempt_at(driver.state) <= driver.now + 1
    driver.tick().succeeds()
    assert (driver.state.failures, driver.state.early) == (0, 0)


def test_attempts_that_nothing_brought_forward_count() -> None:
    driver = with_token(86400, rng=Fixed(1)).wait(82000).do(Tick())
    for _ in range(8):
        driver.fails()
        assert driver.state.early == 0
        driver.tick()
    driver.fails()
    assert driver.state.retry_at == driver.now + 60


def test_the_issuer_is_told_which_was_brought_forward() -> None:
    driver = with_token(100, rng=Fixed(1)).wait(60).do(Tick())
    assert driver.fetch is not None
    assert not driver.fetch.early
    driver.fails(retry_at=driver.now + 60).tick()
    assert driver.fetch is not None
    assert driver.fetch.early
    driver.fails(retry_at=driver.now + 1).tick()
    assert driver.fetch is not None
    assert not driver.fetch.early


# --- the issuer's other managers --------------------------------------------------------------------------------------


def calmly_denied(**fields: object) -> Driver:
    return Driver(attempted_at=900.0, **fields).denied(until=1030.0).start()  # type: ignore[arg-type]


@asked
def test_who_asks_has_the_issuer_asked_anew_and_only_once(ask: Callable[[Driver], object]) -> None:
    driver = calmly_denied().wait(1).denied(until=1004.0)
    ask(driver)
    assert driver.haste is Haste.ASKED
    for _ in range(9):
        ask(driver)
        assert driver.fetch is None
    assert driver.tick().fetch is not None
    assert driver.now == 1004


def test_where_no_reader_asks_it_does_not_hurry() -> None:
    driver = calmly_denied().do(CheckNow(asks=False))
    assert driver.fetch is None
    assert driver.tick().haste is Haste.CALM


def test_the_attempt_of_another_is_waited_for_like_ones_own() -> None:
    driver = calmly_denied().denied(until=1011.0, probing=True)
    reader = driver.join(timeout=5)
    assert reader.outcomes == []
    driver.do(BreakerClosed(within_s=9)).succeeds()
    assert reader.outcomes == [driver.state.token]


def test_but_not_beyond_a_readers_own_deadline() -> None:
    driver = calmly_denied().denied(until=1011.0, probing=True)
    reader = driver.join(timeout=5)
    driver.wait(5).do(Tick())
    assert "another manager is asking the same issuer" in refused(reader).message
    assert refused(reader).retry_in_s is None


def test_nor_where_the_own_wait_is_longer() -> None:
    driver = calmly_denied(floor_at=1000.0).denied(until=1040.0, by_provider=True)
    assert refused(driver.join(timeout=5)).retry_in_s == 40


def test_when_it_fails_the_issuer_says_anew_how_long_to_wait() -> None:
    driver = calmly_denied().denied(until=1011.0, probing=True)
    reader, hasty = driver.join(timeout=5), driver.join(timeout=2)
    driver.wait(1).denied(until=1004.0).do(ProbeFailed())
    assert driver.haste is Haste.ASKED
    assert (reader.outcomes, refused(hasty).retry_in_s) == ([], 3)


def test_a_manager_that_does_not_wait_for_it_is_not_disturbed() -> None:
    driver = calmly_denied()
    assert driver.do(ProbeFailed()).fetch is None
    driver = with_token(300).wait(260).denied(until=1271.0, probing=True).do(Tick())
    assert driver.do(ProbeFailed()).fetch is None  # its token's end says when to ask again


def test_when_the_issuer_is_back_whoever_has_a_caller_goes_first() -> None:
    driver = calmly_denied(rng=Fixed(1))
    assert driver.do(BreakerClosed(within_s=10)).fetch is None
    driver = calmly_denied(rng=Fixed(1)).denied(until=1004.0).do(CheckNow())
    assert driver.do(BreakerClosed(within_s=10)).fetch is not None


def test_a_reader_does_not_wait_for_the_spread_after_an_outage() -> None:
    driver = calmly_denied(rng=Fixed(1)).do(BreakerClosed(within_s=10))
    driver.join()
    assert driver.fetch is not None


def test_a_caller_who_wants_a_refresh_is_in_the_greatest_haste() -> None:
    assert calmly_denied(oidc_config=CONFIG).do(Refresh()).haste is Haste.EXPLICIT


def test_a_failure_is_no_question() -> None:
    assert long_down().fails(DOWN).tick().haste is Haste.CALM
