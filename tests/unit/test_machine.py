"""The manager's decisions, row by row."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from fakes import Fixed
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, Driver, Reader, with_token

from oidc_actor.decisions.effects import (
    CancelTick,
    CheckSecrets,
    Discover,
    FullGrant,
    Publish,
    Reply,
    Report,
    Retract,
    ScheduleTick,
)
from oidc_actor.decisions.flight import METADATA_AGE_S
from oidc_actor.decisions.refusals import refusal
from oidc_actor.decisions.schedule import WATCH_S, next_attempt_at
from oidc_actor.decisions.state import Rules
from oidc_actor.errors import DiscoveryError, SecretUnavailable, TokenRequestError
from oidc_actor.machine import adopt
from oidc_actor.messages import (
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    Held,
    Join,
    Nudge,
    Refresh,
    Refusal,
    Released,
    SecretsChecked,
    Tick,
)
from oidc_actor.provider import OIDCConfig
from oidc_actor.secrets import Secret
from oidc_actor.tokens import TokenResponse
from oidc_actor.wire import ParsedToken


def refused(reader: Reader) -> Refusal:
    (outcome,) = reader.outcomes
    assert isinstance(outcome, Refusal)
    return outcome


# --- taking off ---------------------------------------------------------------------------------------------------------


def test_it_begins_with_a_flight() -> None:
    driver = Driver().start()
    assert driver.fetch is not None
    assert (driver.fetch.flight, driver.fetch.leg, driver.fetch.grant) == (1, 1, FullGrant(CONFIG))


def test_without_metadata_it_asks_for_them_first() -> None:
    driver = Driver(oidc_config=None, rules=Rules()).start()
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover()
    driver.ends_with(CONFIG)
    assert driver.fetch is not None
    assert (driver.fetch.flight, driver.fetch.leg, driver.fetch.grant) == (1, 2, FullGrant(CONFIG))
    assert driver.state.oidc_config == CONFIG
    assert driver.of(Report) == [Report("provider_discovered", 1, {"token_endpoint": "https://i/token"})]
    driver.succeeds().tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


def test_a_failed_discovery_is_repeated() -> None:
    error = DiscoveryError("no answer")
    driver = Driver(oidc_config=None, rules=Rules()).start().fails(error)
    assert driver.state.flight is None
    assert driver.state.failures == 1
    assert driver.state.last_error is error
    driver.tick()
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover()


def test_one_flight_at_a_time() -> None:
    driver = Driver().start()
    for event in (Tick(), Nudge(), Join(Reader(1005.0)), Refresh(), SecretsChecked(True), Released()):
        assert driver.do(event).fetch is None
    assert driver.state.flights == 1


def test_a_result_of_another_flight_or_leg_is_ignored() -> None:
    driver = Driver().start()
    token = ParsedToken(TokenResponse("late"), 300.0, "expires_in")
    before = driver.state
    for flight, leg in ((0, 1), (2, 1), (1, 0), (1, 2)):
        for event in (
            FetchStarted(flight, leg, driver.now),
            FetchSucceeded(flight, leg, driver.now, token),
            FetchFailed(flight, leg, driver.now, DOWN),
        ):
            driver.do(event)
            assert driver.state == before
            assert driver.effects == []


def test_token_requests_count_what_was_sent_to_the_token_endpoint() -> None:
    driver = Driver(oidc_config=None, rules=Rules()).start().sent()
    assert driver.state.token_requests == 0
    driver.ends_with(CONFIG).sent()
    assert driver.state.token_requests == 1


# --- landing ------------------------------------------------------------------------------------------------------------


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
    assert "expired when it came" in refused(reader).message


def test_a_token_that_ends_the_moment_it_comes_is_a_failure_and_its_refresh_token_is_kept() -> None:
    driver = Driver(rng=Fixed(1)).start().sent().wait(3).succeeds(lifetime=3, ago=3, refresh_token="r1")
    assert driver.of(Publish) == []
    assert driver.state.refresh_token == Secret("r1")


def test_what_is_reported_of_a_token() -> None:
    driver = Driver().start().sent().wait(3).succeeds("a", 300, ago=3)
    (report,) = driver.of(Report)
    assert report.flight == 1
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


def test_the_refresh_flight_takes_off_at_the_refresh_point_and_not_before() -> None:
    driver = with_token(300)
    assert driver.wait(239.9).do(Tick()).fetch is None
    assert driver.of(ScheduleTick) == [ScheduleTick(pytest.approx(0.1))]
    assert driver.wait(0.1).do(Tick()).fetch is not None


def test_while_a_flight_is_under_way_no_tick_is_needed() -> None:
    driver = with_token(300).wait(250).do(Nudge())
    assert driver.fetch is not None
    assert driver.of(CancelTick) == [CancelTick()]
    assert driver.state.refresh_timer is None


# --- failing ------------------------------------------------------------------------------------------------------------


def test_an_error_never_displaces_a_live_token() -> None:
    driver = with_token(300)
    token = driver.state.token
    for error in (DOWN, INVALID_CLIENT, TokenRequestError("HTTP 503", status=503)):
        driver.now = next_attempt_at(driver.state)
        driver.do(Tick()).fails(error)
        assert driver.state.token is token
        assert driver.of(Retract) == driver.of(Publish) == []


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


def test_while_a_token_lives_a_retry_waits_at_most_a_quarter_of_its_life() -> None:
    driver = with_token(300, rng=Fixed(1), failures=0)
    driver.now = 1210
    for _ in range(8):
        driver.do(Tick()).fails()
        remaining = 1300 - driver.now
        assert driver.state.retry_at <= driver.now + remaining / 4
        driver.now = next_attempt_at(driver.state)
    assert driver.now < 1300


def test_the_quarter_is_exact() -> None:
    driver = with_token(300, rng=Fixed(1), failures=0).wait(210).do(Tick())
    for _ in range(7):
        driver.fails(outage=9)
        assert driver.state.retry_at == driver.now + min(60, (1300 - driver.now) / 4)
        driver.tick()


def test_the_quarter_holds_to_the_last_moment() -> None:
    driver = with_token(300, rng=Fixed(1)).wait(299.5).do(Tick()).fails()
    assert driver.state.retry_at == driver.now + 0.125


def test_the_interval_counts_from_the_take_off_where_nothing_was_sent() -> None:
    driver = Driver(rng=Fixed(0)).start().wait(0.25).fails()
    assert next_attempt_at(driver.state) == 1001


def test_the_failures_of_all_managers_of_an_issuer_count_for_the_backoff() -> None:
    driver = Driver(rng=Fixed(1)).start().fails(outage=5)
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


# --- readers ------------------------------------------------------------------------------------------------------------


def test_a_reader_is_served_from_a_live_token_whatever_is_under_way() -> None:
    driver = with_token(300).wait(250).do(Tick())
    assert driver.state.flight is not None
    assert driver.join().outcomes == [driver.state.token]


def test_one_flight_serves_every_waiter() -> None:
    driver = Driver().start()
    readers = [driver.join() for _ in range(50)]
    driver.succeeds()
    assert [reader.outcomes for reader in readers] == [[driver.state.token]] * 50
    assert len(driver.of(Reply)) == 1
    assert driver.state.waiters == ()


def test_an_expired_token_is_nobodys_answer() -> None:
    driver = with_token(300).wait(300)
    reader = driver.join()
    assert reader.outcomes == []
    assert driver.fetch is not None
    assert driver.wait(1).join().outcomes == []


def test_a_reader_waits_through_a_retry_that_comes_before_its_deadline() -> None:
    driver = Driver().start()
    reader = driver.join(timeout=5)
    driver.fails()
    assert reader.outcomes == []
    driver.tick().succeeds()
    assert reader.outcomes == [driver.state.token]


def test_a_reader_is_refused_when_the_next_attempt_comes_too_late() -> None:
    driver = Driver().start()
    patient, hasty = driver.join(timeout=40), driver.join(timeout=5)
    driver.fails(TokenRequestError("HTTP 503", status=503, retry_after_s=30))
    assert refused(hasty).retry_in_s == 30
    assert refused(hasty).cause is driver.state.last_error
    assert patient.outcomes == []
    assert refused(driver.join(timeout=5)).retry_in_s == 30


@pytest.mark.parametrize(("timeout", "waits"), [(29.99, False), (30, True)])
def test_a_reader_whose_deadline_is_the_next_attempt_may_hope(timeout: float, waits: bool) -> None:
    driver = Driver().start()
    reader = driver.join(timeout)
    driver.fails(TokenRequestError("HTTP 503", status=503, retry_after_s=30))
    assert (reader.outcomes == []) is waits


def test_a_reader_of_a_blocked_manager_is_refused_at_once() -> None:
    driver = Driver().start()
    waiting = driver.join(timeout=10_000)
    driver.fails(INVALID_CLIENT)
    assert refused(waiting).cause is INVALID_CLIENT
    assert refused(driver.join(timeout=10_000)).cause is INVALID_CLIENT


def test_a_reader_whose_deadline_has_passed_is_refused_when_the_attempt_fails() -> None:
    driver = Driver().start().fails(TokenRequestError("HTTP 429", status=429, retry_after_s=3))
    reader = driver.join(timeout=5)
    assert reader.outcomes == []
    driver.wait(6).do(Tick()).fails(TokenRequestError("HTTP 429", status=429, retry_after_s=3))
    assert refused(reader).retry_in_s == 3
    assert driver.state.waiters == ()


def test_while_an_attempt_is_under_way_only_the_readers_own_patience_ends_its_wait() -> None:
    driver = Driver().start()
    reader = driver.join(timeout=5)
    driver.wait(8).do(Tick())
    assert reader.outcomes == []
    driver.succeeds(lifetime=300, ago=8)
    assert reader.outcomes == [driver.state.token]


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (DOWN, "the last attempt failed: no answer"),
        (INVALID_CLIENT, "the provider refuses the request for good: HTTP 401: invalid_client"),
    ],
)
def test_a_refused_reader_is_told_why_and_what_comes_next(error: TokenRequestError, trouble: str) -> None:
    driver = Driver(rng=Fixed(0)).start().sent().wait(0.25).fails(error)
    retry_in_s = next_attempt_at(driver.state) - driver.now
    hasty = refused(driver.join(timeout=0.25))
    assert (
        hasty.message == f"no token that is valid long enough; {trouble}; the next attempt is due in {retry_in_s:.1f} s"
    )
    assert (hasty.cause, hasty.retry_in_s) == (error, retry_in_s)


def test_what_a_reader_is_told_whose_patience_ends_during_a_flight() -> None:
    driver = Driver().start()
    under_way = "a request is under way"
    assert refusal(driver.state, driver.now) == Refusal(f"no token that is valid long enough; {under_way}")
    driver.fails().tick()
    trouble = "the last attempt failed: no answer"
    assert refusal(driver.state, driver.now) == Refusal(
        f"no token that is valid long enough; {trouble}; {under_way}", cause=DOWN
    )


def test_a_short_token_makes_an_attempt_due_at_once() -> None:
    driver = with_token(300).wait(100)
    reader = driver.join(min_validity=250)
    assert driver.fetch is not None
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]


def test_an_attempt_for_min_validity_keeps_the_minimum_interval() -> None:
    driver = with_token(300).wait(0.25)
    driver.join(min_validity=299.9)
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == 1001


def test_a_new_token_that_falls_short_too_is_a_refusal() -> None:
    driver = with_token(300).wait(100)
    short, plain = driver.join(min_validity=301), driver.join(min_validity=299)
    driver.succeeds("b")
    assert "less than min_validity" in refused(short).message
    assert refused(short).retry_in_s == 240
    assert plain.outcomes == [driver.state.token]


def test_a_refusal_names_the_next_attempt_also_where_it_comes_soon() -> None:
    driver = Driver(rules=Rules(discovers=False, min_interval_s=0.25)).start().sent()
    reader = driver.join(min_validity=1)
    driver.succeeds(lifetime=0.5)
    assert refused(reader) == Refusal("a new token lives only 0.5 s, less than min_validity", None, 0.25)


def test_a_token_that_lives_just_so_long_falls_short() -> None:
    driver = with_token(300).wait(100)
    assert driver.join(min_validity=199.9).outcomes == [driver.state.token]
    assert driver.join(min_validity=200).outcomes == []
    assert driver.state.flight is not None


def test_min_validity_does_not_break_a_backoff() -> None:
    driver = with_token(300, rng=Fixed(1)).wait(250)
    for _ in range(5):
        driver.do(Tick()).fails()
        driver.now = next_attempt_at(driver.state)
    driver.do(Tick()).fails().wait(1.5)
    assert next_attempt_at(driver.state) > driver.now
    driver.join(min_validity=299)
    assert driver.fetch is None


def test_a_reader_that_does_not_wait_still_has_the_manager_look_at_the_clock() -> None:
    driver = with_token(300).wait(100)
    assert driver.do(Nudge(min_validity_s=199)).fetch is None
    assert driver.do(Nudge(min_validity_s=250)).fetch is not None


def test_a_first_attempt_that_is_put_off_is_made_for_the_first_reader() -> None:
    driver = Driver(held_until=1010.0).start()
    assert driver.fetch is None
    driver.join(timeout=60)
    assert driver.fetch is not None


def test_a_reader_does_not_break_the_hold_of_the_issuer_s_other_managers() -> None:
    driver = Driver(attempted_at=900.0).start().do(Held(1, until=1030.0))
    driver.join(timeout=60)
    assert driver.fetch is None


# --- force_refresh --------------------------------------------------------------------------------------------------------


def test_a_refresh_is_an_attempt_at_once() -> None:
    driver = with_token(300).wait(10).do(Refresh())
    assert driver.fetch is not None


def test_a_refresh_joins_the_flight_under_way() -> None:
    driver = with_token(300).wait(10).do(Refresh())
    reader = driver.refresh()
    assert driver.fetch is None
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]
    assert next_attempt_at(driver.state) == driver.state.refresh_at


def test_who_joins_anew_for_a_refresh_is_not_served_from_the_token_there_is() -> None:
    driver = with_token(300).wait(10)
    reader = Reader(driver.now + 5, wants_refresh=True)
    assert driver.do(Join(reader)).fetch is not None
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


def test_a_refresh_is_refused_at_once_where_retry_after_outlasts_it() -> None:
    driver = Driver().start().fails(TokenRequestError("HTTP 429", status=429, retry_after_s=30))
    assert refused(driver.refresh(timeout=5)).retry_in_s == 30


def test_a_rejected_token_is_withdrawn_and_replaced() -> None:
    driver = with_token(300).wait(10)
    rejected = driver.state.token
    driver.do(Refresh(None, Secret("a")))
    assert [effect.token for effect in driver.of(Retract)] == [rejected]
    assert driver.state.token is None
    assert driver.fetch is not None
    assert driver.of(Report) == [Report("token_rejected", 1, {"fingerprint": "ca978112"})]


@pytest.mark.parametrize("rejected", ["b", "A", "aa"])
def test_a_complaint_about_another_token_costs_nothing(rejected: str) -> None:
    driver = with_token(300).wait(10)
    before = driver.state
    driver.do(Refresh(None, Secret(rejected)))
    assert driver.effects == []
    assert driver.state == before


def test_who_waits_on_a_complaint_that_time_has_overtaken_gets_the_new_token() -> None:
    driver = with_token(300).wait(10)
    reader = Reader(driver.now + 5, wants_refresh=True)
    driver.do(Refresh(reader, Secret("old")))
    assert reader.outcomes == [driver.state.token]
    assert driver.fetch is None


def test_a_hundred_complaints_are_one_request() -> None:
    driver = with_token(300).wait(10)
    fetches = [driver.do(Refresh(None, Secret("a"))).fetch for _ in range(100)]
    assert len([fetch for fetch in fetches if fetch]) == 1


# --- secrets that change --------------------------------------------------------------------------------------------------


def test_a_blocked_manager_looks_at_its_secrets_files() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT)
    assert driver.of(ScheduleTick) == [ScheduleTick(WATCH_S)]
    driver.tick()
    assert driver.of(CheckSecrets) == [CheckSecrets()]
    assert driver.of(ScheduleTick) == [ScheduleTick(WATCH_S)]
    assert driver.fetch is None


def test_a_changed_file_wakes_it() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT).wait(2)
    assert driver.do(SecretsChecked(True)).fetch is not None
    assert driver.of(Report) == [Report("secret_changed", 1)]


def test_a_reader_has_a_blocked_manager_look_at_its_files_before_it_is_refused() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT).wait(2)
    first = driver.join()
    assert driver.of(CheckSecrets) == [CheckSecrets()]
    second = driver.join()
    assert driver.of(CheckSecrets) == []  # one look does for both
    assert first.outcomes == second.outcomes == []
    driver.do(SecretsChecked(False))
    assert refused(first).retry_in_s == refused(second).retry_in_s
    third = driver.join()
    assert driver.do(SecretsChecked(True)).fetch is not None
    driver.succeeds()
    assert third.outcomes == [driver.state.token]


def test_a_reader_that_does_not_wait_has_the_files_looked_at_too() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT).wait(2)
    assert driver.do(Nudge()).of(CheckSecrets) == [CheckSecrets()]
    assert driver.do(Nudge()).of(CheckSecrets) == []


def test_the_files_are_looked_at_for_a_reader_whom_the_live_token_does_not_serve_and_for_no_other() -> None:
    driver = with_token(300, rules=Rules(discovers=False, watches_files=True)).tick().fails(INVALID_CLIENT)
    assert driver.do(Nudge(min_validity_s=59)).of(CheckSecrets) == []
    assert driver.do(Nudge(min_validity_s=61)).of(CheckSecrets) == [CheckSecrets()]


def test_the_look_at_the_files_does_not_outlast_a_readers_deadline() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT).wait(2)
    reader = driver.join(timeout=1)
    driver.wait(1).do(Tick())
    assert refused(reader).retry_in_s is not None


def test_a_successor_looks_at_the_files_itself() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT).wait(2).do(Nudge())
    successor = Driver(adopt(driver.state, in_flight=False, withdrawn=False), now=driver.now).start()
    assert successor.do(Nudge()).of(CheckSecrets) == [CheckSecrets()]


def test_a_changed_file_is_nothing_to_a_manager_that_is_well() -> None:
    driver = with_token(300, rules=Rules(discovers=False, watches_files=True)).wait(10)
    assert driver.do(SecretsChecked(True)).fetch is None
    assert driver.do(Tick()).of(CheckSecrets) == []


def test_a_missing_file_is_watched_for_too() -> None:
    driver = (
        Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(SecretUnavailable("missing")).wait(2)
    )
    assert not driver.state.blocked
    assert driver.do(SecretsChecked(True)).fetch is not None


def test_other_events_do_not_put_the_look_off() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT)
    due = driver.state.refresh_timer
    for _ in range(9):
        driver.wait(WATCH_S / 10).do(Nudge())
        assert driver.state.refresh_timer == due


# --- metadata -------------------------------------------------------------------------------------------------------------


def test_old_metadata_are_asked_for_again() -> None:
    driver = with_token(300, rules=Rules(), config_at=1000.0)
    driver.wait(METADATA_AGE_S + 1).do(Tick())
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover(instead_of=CONFIG)


def test_metadata_serve_until_they_are_old() -> None:
    driver = with_token(300, rules=Rules(), config_at=1000.0)
    driver.wait(METADATA_AGE_S).do(Tick())
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


def test_older_metadata_serve_where_they_cannot_be_renewed() -> None:
    driver = with_token(300, rules=Rules(), config_at=1000.0).wait(METADATA_AGE_S + 1).do(Tick())
    driver.fails(DiscoveryError("no answer"))
    fields = {"error": "no answer", "status": None, "code": None}
    assert driver.of(Report) == [Report("discovery_failed", 2, fields)]
    assert driver.fetch is not None
    assert driver.fetch.grant == FullGrant(CONFIG)


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


# --- the issuer's other managers --------------------------------------------------------------------------------------------


def test_a_hold_of_another_flight_is_ignored() -> None:
    driver = Driver().start()
    before = driver.state
    for number in (0, 2):
        assert driver.do(Held(number, until=1030.0)).state == before
        assert driver.effects == []
    driver.succeeds()
    assert driver.do(Held(1, until=1030.0)).effects == []


def test_a_held_flight_never_was() -> None:
    driver = Driver(attempted_at=900.0, flights=7).start()
    assert driver.fetch is not None
    driver.do(Held(8, until=1030.0))
    assert driver.state.flight is None
    assert (driver.state.flights, driver.state.attempted_at) == (7, 900.0)
    assert driver.of(ScheduleTick) == [ScheduleTick(30)]


def test_a_hold_is_reported_with_its_length() -> None:
    driver = Driver(attempted_at=900.0).start().do(Held(1, until=1030.12344))
    assert driver.of(Report) == [Report("issuer_held", 0, {"wait_s": 30.123})]


def test_a_refresh_that_is_held_by_the_provider_is_not_forgotten() -> None:
    driver = with_token(300).wait(10).do(Refresh())
    driver.do(Held(2, until=driver.now + 30, by_provider=True))
    assert driver.tick().fetch is not None
    assert driver.now == 1040


def test_a_patience_that_was_cut_short_ends_with_the_outage() -> None:
    driver = with_token(300).wait(260).do(Tick()).do(Held(2, until=2260.0)).do(Released(within_s=0))
    assert driver.fetch is not None
    assert not driver.fetch.urgent


def test_a_success_ends_the_hold() -> None:
    driver = Driver(held_until=5000.0).start()
    assert driver.fetch is None
    driver.do(Refresh()).succeeds()
    assert driver.of(ScheduleTick) == [ScheduleTick(240)]


def test_a_held_reader_is_refused_if_the_hold_outlasts_it() -> None:
    driver = Driver(attempted_at=900.0).start()
    patient, hasty = driver.join(timeout=60), driver.join(timeout=5)
    driver.do(Held(1, until=1030.0))
    assert refused(hasty).retry_in_s == 30
    assert patient.outcomes == []


def test_a_live_tokens_end_bounds_the_patience() -> None:
    driver = with_token(300).wait(260).do(Tick())
    assert driver.fetch is not None
    assert not driver.fetch.urgent
    driver.do(Held(2, until=driver.now + 1000))
    assert driver.of(ScheduleTick) == [ScheduleTick(10)]
    driver.tick()
    assert driver.fetch is not None
    assert driver.fetch.urgent
    driver.fails().tick()
    assert driver.fetch is not None
    assert not driver.fetch.urgent


def test_a_hold_that_was_waited_out_makes_nobody_urgent() -> None:
    driver = Driver(attempted_at=900.0).start().do(Held(1, until=1030.0)).tick()
    assert driver.fetch is not None
    assert not driver.fetch.urgent


@pytest.mark.parametrize("config", [None, CONFIG])
def test_a_refresh_is_not_held_by_others_where_metadata_come_first_either(config: OIDCConfig | None) -> None:
    driver = Driver(oidc_config=config, rules=Rules(), config_at=0.0, attempted_at=900.0, refresh_at=9e9)
    driver.wait(METADATA_AGE_S).do(Refresh())
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover(instead_of=config)
    assert driver.fetch.urgent


def test_a_retry_after_that_others_were_given_holds_a_refresh_too() -> None:
    driver = with_token(300).wait(10).do(Refresh())
    assert driver.fetch is not None
    assert driver.fetch.urgent
    driver.do(Held(2, until=driver.now + 30, by_provider=True))
    driver.do(Refresh())
    assert driver.fetch is None
    assert driver.tick().fetch is not None
    assert driver.now == 1040


def test_when_the_issuer_is_back_the_held_go_spread_by_jitter() -> None:
    driver = Driver(attempted_at=900.0, rng=Fixed(0.5)).start()
    driver.do(Held(1, until=1030.0)).do(Released(within_s=4))
    assert driver.of(ScheduleTick) == [ScheduleTick(2)]


def test_when_the_issuer_is_back_a_backoff_is_cut_short_but_no_block() -> None:
    driver = Driver(rng=Fixed(1)).start()
    for _ in range(6):
        driver.fails().tick()
    driver.fails().wait(1).do(Released(within_s=0))
    assert driver.fetch is not None
    driver.fails(INVALID_CLIENT).wait(1)
    assert driver.do(Released(within_s=0)).fetch is None


def test_the_first_attempt_is_never_held_by_others() -> None:
    driver = Driver().start()
    assert driver.fetch is not None
    assert driver.fetch.urgent


# --- values ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [Driver().state, Rules(), Driver().start().state.flight, *with_token(300).effects, *Driver().start().effects],
)
def test_what_it_knows_and_wants_cannot_be_changed(value: Any) -> None:
    name = next(iter(value.__slots__))
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")


# --- succession -------------------------------------------------------------------------------------------------------------


def test_a_successor_keeps_the_token_and_the_refresh_point() -> None:
    driver = with_token(300).wait(10)
    successor = Driver(adopt(driver.state, in_flight=False, withdrawn=False), now=driver.now).start()
    assert successor.state.token is driver.state.token
    assert successor.fetch is None
    assert successor.of(ScheduleTick) == [ScheduleTick(230)]


def test_a_successor_waits_for_its_predecessors_flight() -> None:
    driver = Driver().start().sent()
    driver.join()
    successor = Driver(adopt(driver.state, in_flight=True, withdrawn=False), now=driver.now).start()
    assert successor.fetch is None
    assert successor.state.waiters == ()
    reader = successor.join()
    successor.succeeds()
    assert reader.outcomes == [successor.state.token]


def test_a_successor_keeps_the_minimum_interval_and_the_backoff() -> None:
    driver = Driver().start().sent()
    successor = Driver(adopt(driver.state, in_flight=False, withdrawn=False), now=driver.now).start()
    assert successor.fetch is None
    assert successor.of(ScheduleTick) == [ScheduleTick(1)]


def test_a_successor_does_not_take_over_a_rejected_token() -> None:
    driver = with_token(300).wait(10)
    successor = Driver(adopt(driver.state, in_flight=False, withdrawn=True), now=driver.now).start()
    assert successor.state.token is None
    assert successor.fetch is not None
