"""The manager's decisions, row by row: what follows a failure, and metadata that do not do any more."""

import pytest
from fakes import Fixed
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, Driver, with_token

from oidc_actor.machine.effects import Discover, FullGrant, Publish, Reject, Report, ScheduleTick
from oidc_actor.machine.events import NEVER, Tick
from oidc_actor.machine.schedule import next_attempt_at
from oidc_actor.machine.state import Rules
from oidc_actor.values.errors import DiscoveryError, SecretUnavailable, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig

pytestmark = pytest.mark.P5

DAY_S = 24 * 3600.0

# --- failing ----------------------------------------------------------------------------------------------------------


def test_an_error_never_displaces_a_live_token() -> None:
    driver = with_token(300)
    token = driver.state.token
    for error in (DOWN, INVALID_CLIENT, TokenRequestError("HTTP 503", status=503)):
        driver.now = next_attempt_at(driver.state)
        driver.do(Tick()).fails(error)
        assert driver.state.token is token
        assert driver.of(Reject) == driver.of(Publish) == []


@pytest.mark.parametrize("failures", range(1, 12))
def test_transient_failures_back_off_with_full_jitter(failures: int) -> None:
    driver = Driver(rng=Fixed(1)).start()
    for _ in range(failures - 1):
        driver.fails().tick()
    driver.fails()
    assert driver.state.retry_at == driver.now + min(60, 0.5 * 2 ** (failures - 1))


def test_the_minimum_interval_holds_whatever_the_jitter_says() -> None:
    driver = Driver(rng=Fixed(0)).start().sent().wait(0.25).fails()
    assert driver.of(ScheduleTick) == [ScheduleTick(0.75)]


def test_the_interval_counts_from_when_the_request_was_sent() -> None:
    driver = Driver(rng=Fixed(0)).start().wait(5).sent().fails()
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == driver.now + 1


def waits_until(driver: Driver) -> float:
    """When its next attempt would be due if the minimum interval were not."""
    return next_attempt_at(driver.state._replace(attempted_at=NEVER))


def test_while_a_token_lives_a_retry_waits_at_most_a_quarter_of_its_life() -> None:
    driver = with_token(300, rng=Fixed(1), failures=0)
    driver.now = 1210
    for _ in range(8):
        driver.do(Tick()).fails()
        remaining = 1300 - driver.now
        assert waits_until(driver) <= driver.now + remaining / 4
        driver.now = next_attempt_at(driver.state)
    assert driver.now < 1300


def test_the_quarter_is_exact() -> None:
    driver = with_token(300, rng=Fixed(1), failures=0).wait(210).do(Tick())
    for _ in range(7):
        driver.fails(retry_at=driver.now + 60)
        assert waits_until(driver) == driver.now + min(60, (1300 - driver.now) / 4)
        driver.tick()


def test_the_quarter_holds_to_the_last_moment() -> None:
    driver = with_token(300, rng=Fixed(1)).wait(299.5).do(Tick()).fails()
    assert waits_until(driver) == driver.now + 0.125


def test_the_interval_counts_from_its_start_where_nothing_was_sent() -> None:
    driver = Driver(rng=Fixed(0)).start().wait(0.25).fails()
    assert next_attempt_at(driver.state) == 1001


def test_the_next_attempt_at_an_issuer_that_is_down_is_due_when_all_its_managers_say() -> None:
    driver = Driver(rng=Fixed(1)).start().fails(retry_at=1008.0)
    assert driver.state.retry_at == driver.now + 8


def test_retry_after_is_a_floor() -> None:
    driver = Driver(rng=Fixed(0)).start().fails(TokenRequestError("HTTP 429", status=429, retry_after_s=30))
    assert next_attempt_at(driver.state) == driver.now + 30
    driver.refresh(timeout=60)
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == driver.now + 30


def test_retry_after_wins_over_the_quarter_of_a_live_token() -> None:
    driver = with_token(100, rng=Fixed(0)).wait(60)
    driver.do(Tick()).fails(TokenRequestError("HTTP 429", status=429, retry_after_s=30))
    assert next_attempt_at(driver.state) == driver.now + 30


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_permanent_error_blocks_and_is_probed_slowly(share: float) -> None:
    driver = Driver(rng=Fixed(share)).start()
    waits = []
    for _ in range(6):
        driver.fails(INVALID_CLIENT)
        assert driver.state.blocked
        assert driver.reports == ["blocked"]
        waits.append(next_attempt_at(driver.state) - driver.now)
        driver.tick()
    assert all(60 <= wait <= 3600 for wait in waits)
    assert waits == [cap * (1 + share) / 2 for cap in (300, 600, 1200, 2400, 3600, 3600)]


def test_a_transient_error_ends_the_block() -> None:
    driver = Driver().start().fails(INVALID_CLIENT).tick().fails(DOWN)
    assert not driver.state.blocked
    assert next_attempt_at(driver.state) <= driver.now + 60


def test_every_failure_leaves_a_tick_to_come() -> None:
    for error in (DOWN, INVALID_CLIENT, SecretUnavailable("missing"), DiscoveryError("x")):
        driver = Driver().start().fails(error)
        assert driver.state.refresh_timer == next_attempt_at(driver.state)


# --- metadata ---------------------------------------------------------------------------------------------------------


def test_old_metadata_are_asked_for_again() -> None:
    driver = with_token(300, rules=Rules(), config_at=1000.0)
    driver.wait(DAY_S + 1).do(Tick())
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover(instead_of=CONFIG)


def test_metadata_serve_until_they_are_old() -> None:
    driver = with_token(300, rules=Rules(), config_at=1000.0)
    driver.wait(DAY_S).do(Tick())
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


def test_older_metadata_serve_where_they_cannot_be_renewed() -> None:
    driver = with_token(300, rules=Rules(), config_at=1000.0).wait(DAY_S + 1).do(Tick())
    driver.fails(DiscoveryError("no answer"))
    fields = {"error": "no answer", "status": None, "code": None}
    assert driver.of(Report) == [Report("discovery_failed", 2, fields)]
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


def test_a_retry_after_to_a_request_for_metadata_holds_the_token_request_too() -> None:
    driver = with_token(300, rules=Rules(), config_at=1000.0).wait(DAY_S + 1).do(Tick())
    driver.fails(DiscoveryError("HTTP 429", status=429, retry_after_s=30))
    assert driver.fetch is None
    assert driver.of(ScheduleTick) == [ScheduleTick(30)]


def test_after_that_wait_older_metadata_serve_so_that_the_token_never_ends_for_want_of_new_ones() -> None:
    driver = with_token(300, rules=Rules(), config_at=1000.0).wait(DAY_S + 1).do(Tick())
    driver.fails(DiscoveryError("HTTP 429", status=429, retry_after_s=30)).tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)
    driver.succeeds().tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover(instead_of=CONFIG)


@pytest.mark.parametrize("status", [404, 405, 410])
def test_a_token_endpoint_that_is_gone_makes_it_look_for_the_new_one(status: int) -> None:
    driver = Driver(rules=Rules(), config_at=1000.0).start().fails(TokenRequestError("gone", status=status)).tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover(instead_of=CONFIG)
    moved = OIDCConfig(issuer="https://i", token_endpoint="https://i/new")
    driver.ends_with(moved)
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(moved)
    driver.succeeds().tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(moved)


def test_metadata_that_are_still_the_same_are_no_news() -> None:
    driver = Driver(rules=Rules(), config_at=1000.0).start().fails(TokenRequestError("gone", status=404)).tick()
    assert driver.ends_with(CONFIG).of(Report) == []


def test_given_metadata_are_never_asked_for() -> None:
    driver = Driver().start().fails(TokenRequestError("gone", status=404)).tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


def test_an_endpoint_that_stays_unreachable_may_have_moved() -> None:
    driver = Driver(rules=Rules(), config_at=1000.0).start()
    grants = []
    for _ in range(4):
        driver.fails().tick()
        assert driver.fetch is not None
        grants.append(type(driver.fetch.grant))
    assert grants == [FullGrant, FullGrant, FullGrant, Discover]
