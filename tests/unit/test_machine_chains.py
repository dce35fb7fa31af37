"""The manager's decisions, row by row: the token that it trades is another manager's."""

import pytest
from fakes import Fixed
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, INVALID_GRANT, Driver, with_token

from oidc_actor.machine.events import Refresh, SourceRenewed
from oidc_actor.machine.schedule import next_attempt_at
from oidc_actor.machine.state import Rules
from oidc_actor.values.errors import OIDCActorError, SecretUnavailable, TokenRequestError

MISSING = SecretUnavailable("the manager 'm' has no valid token yet", sent=False)


def test_when_the_source_has_a_token_the_attempt_that_wanted_it_is_repeated_at_once() -> None:
    driver = Driver(rng=Fixed(1)).start().fails(MISSING).wait(0.01)
    assert driver.do(SourceRenewed()).fetch is not None


def test_also_where_the_metadata_were_had_meanwhile() -> None:
    driver = Driver(oidc_config=None, rules=Rules()).start().sent().ends_with(CONFIG).fails(MISSING).wait(0.01)
    assert driver.do(SourceRenewed()).fetch is not None


def test_and_however_long_the_backoff_has_become() -> None:
    driver = Driver(rng=Fixed(1)).start()
    for _ in range(9):
        driver.fails(MISSING).tick()
    driver.fails(MISSING).wait(0.01)
    assert next_attempt_at(driver.state) > driver.now + 50
    assert driver.do(SourceRenewed()).fetch is not None


def test_a_source_that_comes_while_it_is_looked_for_is_not_missed() -> None:
    driver = Driver(rng=Fixed(1)).start().do(SourceRenewed())
    assert driver.fetch is None
    assert driver.fails(MISSING).fetch is not None
    assert driver.fails(MISSING).fetch is None  # once for each token


@pytest.mark.parametrize("error", [INVALID_CLIENT, INVALID_GRANT, TokenRequestError("HTTP 403", status=403)], ids=str)
def test_what_was_refused_is_tried_again_with_the_new_one_but_a_request_was_made(error: OIDCActorError) -> None:
    driver = Driver(rng=Fixed(1)).start().sent().fails(error).wait(0.25).do(SourceRenewed())
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == driver.now + 0.75


def test_a_retry_after_is_kept() -> None:
    error = TokenRequestError("HTTP 400", status=400, retry_after_s=30.0)
    driver = Driver(rng=Fixed(1)).start().sent().fails(error).do(SourceRenewed())
    assert next_attempt_at(driver.state) == driver.now + 30


@pytest.mark.parametrize("error", [DOWN, TokenRequestError("HTTP 503", status=503), TokenRequestError("x", status=429)])
def test_an_outage_is_none_of_the_sources_business(error: OIDCActorError) -> None:
    driver = Driver(rng=Fixed(1)).start().sent().fails(error).wait(0.01)
    before = driver.state
    assert driver.do(SourceRenewed()).state == before


def test_nor_is_a_manager_that_is_well() -> None:
    driver = with_token(300).wait(10)
    before = driver.state
    assert driver.do(SourceRenewed()).state == before


def test_a_caller_who_wants_a_refresh_does_not_break_the_interval_where_nothing_was_sent() -> None:
    driver = Driver(rng=Fixed(1)).start().fails(MISSING).wait(0.25).do(Refresh())
    assert next_attempt_at(driver.state) == driver.now + 0.75
