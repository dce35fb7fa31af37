"""The manager's decisions, row by row: an attempt begins, and ends."""

from typing import Any

import pytest
from fakes import Fixed
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, Driver, Reader, refused, with_token

from oidc_actor.machine.effects import (
    AskPermission,
    CancelTick,
    Discover,
    Fetch,
    FullGrant,
    Publish,
    Redeem,
    Reject,
    Reply,
    Report,
    Revoke,
    ScheduleTick,
    VerifyResource,
)
from oidc_actor.machine.events import (
    BreakerClosed,
    CheckNow,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    Refresh,
    SecretsChecked,
    Tick,
    Wait,
)
from oidc_actor.machine.state import Rules, State
from oidc_actor.values.errors import DiscoveryError, TokenRequestError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse

# --- an attempt begins -------------------------------------------------------------------------------------------------------


def test_it_begins_with_an_attempt() -> None:
    driver = Driver().start()
    assert driver.fetch is not None
    assert (driver.fetch.attempt, driver.fetch.request, driver.fetch.grant) == (1, 1, FullGrant(CONFIG))


def test_without_metadata_it_asks_for_them_first() -> None:
    driver = Driver(oidc_config=None, rules=Rules()).start()
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover()
    driver.ends_with(CONFIG)
    assert driver.fetch is not None
    assert (driver.fetch.attempt, driver.fetch.request, driver.fetch.grant) == (1, 2, FullGrant(CONFIG))
    assert driver.state.oidc_config == CONFIG
    assert driver.of(Report) == [Report("provider_discovered", 1, {"token_endpoint": "https://i/token"})]
    driver.succeeds().tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


def test_a_failed_discovery_is_repeated() -> None:
    error = DiscoveryError("no answer")
    driver = Driver(oidc_config=None, rules=Rules()).start().fails(error)
    assert driver.state.attempt is None
    assert driver.state.failures == 1
    assert driver.state.last_error is error
    driver.tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover()


def test_one_attempt_at_a_time() -> None:
    driver = Driver().start()
    for event in (Tick(), CheckNow(), Wait(Reader(1005.0)), Refresh(), SecretsChecked(True), BreakerClosed()):
        assert driver.do(event).fetch is None
    assert driver.state.attempts == 1


def test_a_result_of_another_attempt_or_request_is_ignored() -> None:
    driver = Driver().start()
    token = ParsedToken(TokenResponse("late"), 300.0, "expires_in")
    before = driver.state
    for attempt, request in ((0, 1), (2, 1), (1, 0), (1, 2)):
        for event in (
            FetchStarted(attempt, request, driver.now),
            FetchSucceeded(attempt, request, driver.now, token),
            FetchFailed(attempt, request, driver.now, DOWN),
        ):
            driver.do(event)
            assert driver.state == before
            assert driver.effects == []


def test_token_requests_count_what_was_sent_to_the_token_endpoint() -> None:
    driver = Driver(oidc_config=None, rules=Rules()).start().sent()
    assert driver.state.token_requests == 0
    driver.ends_with(CONFIG).sent()
    assert driver.state.token_requests == 1


# --- an attempt ends ----------------------------------------------------------------------------------------------------------


def test_a_token_is_published_until_its_end_counted_from_the_request() -> None:
    driver = Driver().start().sent().wait(3).succeeds("a", 300, ago=3)
    (publish,) = driver.of(Publish)
    assert publish.expires_at == 1300
    assert publish.token.access_token == "a"
    assert "token_obtained" in driver.reports


@pytest.mark.parametrize(
    ("lifetime", "buffer", "share", "refresh_in"),
    [
        (300, 60, 0, 240),
        (300, 60, 1, 210),
        (300, 60, 0.5, 225),
        (100, 60, 0, 50),
        (10, 60, 0, 5),
        (10, 60, 1, 4),
        (300, 0, 0, 300),
        (300, 0, 1, 270),
        (3600, 60, 1, 3180),
        (2, 60, 0, 1),
        (1, 60, 0, 1),
        (0.5, 60, 1, 1),
    ],
)
def test_the_refresh_point(lifetime: float, buffer: float, share: float, refresh_in: float) -> None:
    driver = with_token(lifetime, refresh_buffer_seconds=buffer, rng=Fixed(share))
    assert driver.state.refresh_at == pytest.approx(1000 + refresh_in)
    assert driver.of(ScheduleTick) == [ScheduleTick(pytest.approx(refresh_in))]


def test_a_token_that_had_expired_when_it_came_is_a_failure() -> None:
    driver = Driver(rng=Fixed(1)).start().sent().wait(3)
    reader = driver.join(timeout=0.1)
    driver.succeeds(lifetime=2, ago=3)
    assert driver.of(Publish) == []
    assert driver.state.failures == 1
    assert str(driver.state.last_error) == "the token had expired when it came: it lived 2.0 s"
    assert "expired when it came" in refused(reader).message


def test_a_token_that_ends_the_moment_it_comes_is_a_failure_and_its_refresh_token_is_kept() -> None:
    driver = Driver(rng=Fixed(1)).start().sent().wait(3).succeeds(lifetime=3, ago=3, refresh_token="r1")
    assert driver.of(Publish) == []
    assert driver.state.refresh_token == Secret("r1")


def test_what_is_reported_of_a_token() -> None:
    driver = Driver().start().sent().wait(3).succeeds("a", 300, ago=3)
    (report,) = driver.of(Report)
    assert report.attempt == 1
    assert report.fields == {
        "fingerprint": "ca978112",
        "grant": "client_credentials",
        "lifetime_s": 300,
        "refresh_in_s": 237,
    }
    assert driver.state.refreshes == 1
    assert driver.tick().succeeds("b").state.refreshes == 2


def test_what_is_reported_of_a_failure() -> None:
    driver = Driver(rng=Fixed(1)).start().sent().fails(INVALID_CLIENT)
    (report,) = driver.of(Report)
    assert report.fields == {
        "error": "HTTP 401: invalid_client",
        "status": 401,
        "code": "invalid_client",
        "failures": 1,
        "retry_in_s": 300,
    }


def test_a_failure_that_a_retry_may_cure_is_reported_as_such() -> None:
    driver = Driver(rng=Fixed(1)).start().fails().tick().fails(TokenRequestError("HTTP 503", status=503))
    fields = {"error": "HTTP 503", "status": 503, "code": None, "failures": 2, "retry_in_s": 1}
    assert driver.of(Report) == [Report("request_failed", 2, fields)]


def test_times_are_reported_to_the_millisecond() -> None:
    driver = Driver(rng=Fixed(0)).start().sent().wait(0.12345).fails()
    assert [report.fields["retry_in_s"] for report in driver.of(Report)] == [0.877]
    driver = Driver(rng=Fixed(0)).start().sent().wait(0.12345).succeeds(ago=0.12345)
    assert [report.fields["refresh_in_s"] for report in driver.of(Report)] == [239.877]


def test_the_tick_is_set_before_anybody_can_see_the_outcome() -> None:
    driver = Driver().start().sent()
    driver.join()
    assert [type(effect) for effect in driver.succeeds().effects] == [ScheduleTick, Publish, Reply, Report]


def test_a_tick_is_cancelled_before_the_attempt_in_its_place_begins() -> None:
    assert [type(effect) for effect in with_token(300).wait(10).do(Refresh()).effects] == [
        AskPermission,
        CancelTick,
        Fetch,
    ]


def test_where_nobody_waits_nobody_is_answered() -> None:
    driver = with_token(300)
    assert driver.of(Reply) == []
    assert driver.tick().fails().of(Reply) == []


def test_an_assumed_lifetime_is_reported() -> None:
    driver = Driver().start()
    driver.ends_with(ParsedToken(TokenResponse("a", expires_in=300), 300.0, "default"))
    assert driver.of(Report)[1:] == [Report("lifetime_assumed", 1, {"lifetime_s": 300})]


def test_a_success_clears_what_the_failures_left() -> None:
    driver = Driver().start().fails().tick().fails(INVALID_CLIENT)
    driver.tick().succeeds()
    state = driver.state
    assert (state.failures, state.probes, state.last_error) == (0, 0, None)


def test_the_refresh_attempt_begins_at_the_refresh_point_and_not_before() -> None:
    driver = with_token(300)
    assert driver.wait(239.9).do(Tick()).fetch is None
    assert driver.of(ScheduleTick) == [ScheduleTick(pytest.approx(0.1))]
    assert driver.wait(0.1).do(Tick()).fetch is not None


def test_while_an_attempt_is_under_way_no_tick_is_needed() -> None:
    driver = with_token(300).wait(250).do(CheckNow())
    assert driver.fetch is not None
    assert driver.of(CancelTick) == [CancelTick()]
    assert driver.state.refresh_timer is None


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        Driver().state,
        Rules(),
        Driver().start().state.attempt,
        *with_token(300).effects,
        *Driver().start().effects,
        Discover(),
        VerifyResource(CONFIG),
        Redeem(CONFIG, Secret("r")),
        FullGrant(CONFIG),
        Reject(TokenResponse("a")),
        Reply((), TokenResponse("a")),
        Revoke(1, None, ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_it_knows_and_wants_cannot_be_changed(value: Any) -> None:
    name = value._fields[0] if isinstance(value, State) else value.__slots__[0]
    with pytest.raises(AttributeError):  # of which a dataclass's error is one
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")
