"""A refresh token is redeemed once; what a failed redemption means for the next request."""

import pytest
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, INVALID_GRANT, Driver

from oidc_actor import RefreshToken, SecretFile
from oidc_actor.machine.effects import Discover, FullGrant, Redeem, Report, ScheduleTick
from oidc_actor.machine.events import Tick
from oidc_actor.machine.state import Rules
from oidc_actor.machine.transitions import adopt
from oidc_actor.values.errors import SecretUnavailable, TokenRequestError
from oidc_actor.values.secrets import Secret

pytestmark = pytest.mark.P8

OWN = Rules(discovers=False, own_refresh_token=True)
PERMANENT_INVALID_GRANT = TokenRequestError("HTTP 400", status=400, error="invalid_grant", retryable=False)


def refreshing(rules: Rules | None = None, **fields: object) -> Driver:
    """A machine that is redeeming `r1`."""
    driver = Driver(rules=rules or Rules(discovers=False), **fields).start().sent()
    return driver.succeeds(refresh_token="r1").tick()


def next_grant(driver: Driver) -> object:
    driver.tick()
    assert driver.fetch is not None
    return driver.fetch.grant


def test_a_refresh_token_is_redeemed_where_one_was_given() -> None:
    driver = refreshing()
    assert driver.fetch is not None
    assert driver.fetch.grant == Redeem(CONFIG, Secret("r1"))


def test_what_brought_a_token_is_reported() -> None:
    driver = refreshing().succeeds("b")
    assert [(report.event, report.fields["grant"]) for report in driver.of(Report)] == [
        ("token_obtained", "refresh_token")
    ]


def test_a_rotated_one_is_redeemed_next() -> None:
    assert next_grant(refreshing().succeeds("b", refresh_token="r2")) == Redeem(CONFIG, Secret("r2"))


def test_a_response_without_one_keeps_the_old_one() -> None:
    driver = refreshing().succeeds("b")
    assert driver.state.token is not None
    assert driver.state.token.refresh_token == "r1"
    assert next_grant(driver) == Redeem(CONFIG, Secret("r1"))


@pytest.mark.parametrize("error", ["invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"])
def test_a_refused_one_falls_back_to_the_full_grant_in_the_same_attempt(error: str) -> None:
    driver = refreshing().sent()
    attempt = driver.state.attempts
    driver.fails(TokenRequestError("HTTP 400", status=400, error=error))
    assert driver.fetch is not None
    assert (driver.fetch.attempt, driver.fetch.request, driver.fetch.grant) == (attempt, 2, FullGrant(CONFIG))
    fields = {"error": "HTTP 400", "status": 400, "code": error}
    assert driver.of(Report) == [Report("refresh_token_refused", attempt, fields)]
    assert driver.state.failures == 0
    driver.succeeds("b", refresh_token="r9")
    assert next_grant(driver) == Redeem(CONFIG, Secret("r9"))


@pytest.mark.parametrize("error", ["invalid_grant", None])
def test_the_full_grant_does_not_follow_before_the_end_of_a_retry_after(error: str | None) -> None:
    driver = refreshing().sent()
    driver.fails(TokenRequestError("HTTP 403", status=403, error=error, retry_after_s=30))
    assert driver.fetch is None
    assert driver.reports == ["refresh_token_refused", "request_failed"]
    assert driver.state.token is not None
    assert driver.of(ScheduleTick) == [ScheduleTick(30)]
    assert next_grant(driver) == FullGrant(CONFIG)


def test_one_attempt_falls_back_once() -> None:
    driver = refreshing().fails(INVALID_GRANT).fails(INVALID_GRANT)
    assert driver.state.attempt is None
    assert driver.state.failures == 1


def test_a_refused_one_is_not_redeemed_again_when_the_full_grant_fails_too() -> None:
    assert next_grant(refreshing().fails(INVALID_GRANT).fails(DOWN)) == FullGrant(CONFIG)


def test_an_unknown_client_needs_no_second_request() -> None:
    driver = refreshing().fails(INVALID_CLIENT)
    assert driver.fetch is None
    assert driver.state.blocked


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        SecretUnavailable("missing"),
        TokenRequestError("HTTP 503", status=503),
        TokenRequestError("HTTP 500", status=500),
        TokenRequestError("HTTP 429", status=429),
    ],
    ids=str,
)
def test_one_that_was_not_redeemed_is_redeemed_at_the_next_attempt(error: TokenRequestError) -> None:
    assert next_grant(refreshing().fails(error)) == Redeem(CONFIG, Secret("r1"))


@pytest.mark.parametrize(
    "error",
    [
        TokenRequestError("timed out", sent=True),
        TokenRequestError("HTTP 502", status=502),
        TokenRequestError("HTTP 504", status=504),
        TokenRequestError("HTTP 200: not JSON", status=200),
    ],
    ids=str,
)
def test_one_that_may_have_been_redeemed_is_not_redeemed_again(error: TokenRequestError) -> None:
    assert next_grant(refreshing().fails(error)) == FullGrant(CONFIG)


def test_without_another_grant_it_is_redeemed_again_all_the_same() -> None:
    auth = RefreshToken("r0", "id")
    driver = refreshing(OWN, auth=auth).fails(TokenRequestError("timed out", sent=True))
    assert next_grant(driver) == Redeem(CONFIG, Secret("r1"))


def test_the_configured_refresh_token_is_the_full_grant_of_its_credentials() -> None:
    driver = refreshing(OWN, auth=RefreshToken("r0", "id")).fails(INVALID_GRANT)
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)
    driver.fails(PERMANENT_INVALID_GRANT)
    assert driver.state.blocked


def test_a_configured_refresh_token_that_does_not_rotate_is_not_refused_twice() -> None:
    driver = Driver(rules=OWN, auth=RefreshToken("r0", "id")).start().succeeds(refresh_token="r0").tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


def test_one_from_a_file_may_have_been_replaced_there() -> None:
    auth = RefreshToken(SecretFile("/run/secrets/refresh"), "id")
    driver = Driver(rules=OWN, auth=auth).start().succeeds(refresh_token="r0").tick().fails(INVALID_GRANT)
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


def test_a_successor_does_not_redeem_what_its_predecessor_may_have() -> None:
    driver = refreshing().sent()
    successor = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now + 10).start()
    assert successor.fetch is not None
    assert successor.fetch.grant == FullGrant(CONFIG)


def test_a_successor_redeems_what_its_predecessor_did_not() -> None:
    driver = Driver().start().succeeds(refresh_token="r1").wait(10)
    assert next_grant(Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now).start()) == Redeem(
        CONFIG, Secret("r1")
    )


def test_a_successor_redeems_what_its_predecessor_was_still_looking_up_metadata_for() -> None:
    driver = Driver(rules=Rules(), config_at=1000.0).start().succeeds(refresh_token="r1").wait(90_000).do(Tick())
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover(CONFIG)
    successor = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now + 10).start()
    assert successor.ends_with(CONFIG).fetch is not None
    assert successor.fetch is not None
    assert successor.fetch.grant == Redeem(CONFIG, Secret("r1"))


def test_a_successor_without_another_grant_redeems_it_all_the_same() -> None:
    driver = refreshing(OWN, auth=RefreshToken("r0", "id")).sent()
    successor = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now + 10).start()
    assert successor.fetch is not None
    assert successor.fetch.grant == Redeem(CONFIG, Secret("r1"))
