"""The manager's decisions, row by row: secrets that change, and the issuer's other managers."""

import pytest
from fakes import Fixed
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, Driver, refused, with_token

from oidc_actor.machine.effects import AskPermission, CheckSecrets, Discover, Report, ScheduleTick
from oidc_actor.machine.events import (
    Allowed,
    BreakerClosed,
    CertificateRenewed,
    CheckNow,
    Denied,
    Haste,
    Refresh,
    SecretsChecked,
    Started,
    Tick,
)
from oidc_actor.machine.schedule import WATCH_S, next_attempt_at
from oidc_actor.machine.state import METADATA_AGE_S, Denial, Rules
from oidc_actor.machine.transitions import adopt, step
from oidc_actor.values.errors import SecretUnavailable
from oidc_actor.values.oidc_config import OIDCConfig

# --- secrets that change ----------------------------------------------------------------------------------------------


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
    assert driver.do(CheckNow()).of(CheckSecrets) == [CheckSecrets()]
    assert driver.do(CheckNow()).of(CheckSecrets) == []


def test_the_files_are_looked_at_for_a_reader_whom_the_live_token_does_not_serve_and_for_no_other() -> None:
    driver = with_token(300, rules=Rules(discovers=False, watches_files=True)).tick().fails(INVALID_CLIENT)
    assert driver.do(CheckNow(min_validity_s=59)).of(CheckSecrets) == []
    assert driver.do(CheckNow(min_validity_s=61)).of(CheckSecrets) == [CheckSecrets()]


def test_the_look_at_the_files_does_not_outlast_a_readers_deadline() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT).wait(2)
    reader = driver.join(timeout=1)
    driver.wait(1).do(Tick())
    assert refused(reader).retry_in_s is not None


def test_a_successor_looks_at_the_files_itself() -> None:
    driver = (
        Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT).wait(2).do(CheckNow())
    )
    successor = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now).start()
    assert successor.do(CheckNow()).of(CheckSecrets) == [CheckSecrets()]


def test_a_changed_file_is_nothing_to_a_manager_that_is_well() -> None:
    driver = with_token(300, rules=Rules(discovers=False, watches_files=True)).wait(10)
    assert driver.do(SecretsChecked(True)).fetch is None
    assert driver.do(Tick()).of(CheckSecrets) == []


def test_a_missing_file_is_watched_for_too() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True), rng=Fixed(1), failures=5).start()
    driver.fails(SecretUnavailable("missing"))
    assert driver.of(ScheduleTick) == [ScheduleTick(WATCH_S)]
    driver.wait(2)
    assert not driver.state.blocked
    assert next_attempt_at(driver.state) > driver.now
    assert driver.do(Tick()).of(CheckSecrets) == [CheckSecrets()]
    assert driver.do(SecretsChecked(True)).fetch is not None


def test_a_renewed_certificate_makes_the_token_due_at_the_issuers_pace() -> None:
    driver = with_token(3600).wait(5)
    driver.denied(driver.now + 7).do(CertificateRenewed())
    assert (driver.haste, driver.fetch) == (Haste.CALM, None)
    assert driver.reports[0] == "certificate_renewed"
    assert driver.do(CertificateRenewed()).reports == []  # said once
    driver.wait(7).do(Tick())
    assert driver.fetch is not None
    assert driver.state.token is not None, "readers have the former one meanwhile"


def test_a_renewed_certificate_is_tried_again_until_there_is_a_token_of_it() -> None:
    driver = with_token(3600, rules=Rules(discovers=False, watches_files=True)).wait(10).do(CertificateRenewed())
    driver.fails(SecretUnavailable("half of it"))
    assert driver.of(ScheduleTick)[-1].delay_s <= WATCH_S
    driver.wait(1).do(SecretsChecked(True))
    assert driver.fetch is not None
    assert driver.succeeds(lifetime=3600).state.refresh_at > driver.now + 3000


def test_a_certificate_is_nothing_without_a_token_that_may_be_bound_to_it() -> None:
    driver = Driver().start().fails(DOWN)
    due = next_attempt_at(driver.state)
    assert driver.do(CertificateRenewed()).reports == []
    assert (driver.fetch, next_attempt_at(driver.state)) == (None, due)


def test_a_renewal_during_an_attempt_is_told_of_again_after_it() -> None:
    driver = with_token(3600).wait(10).do(Refresh())
    assert driver.fetch is not None
    assert driver.do(CertificateRenewed()).reports == []
    driver.succeeds(lifetime=3600).wait(5).do(CertificateRenewed())
    assert driver.reports[0] == "certificate_renewed"


def test_during_an_attempt_the_files_are_nobodys_business() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT)
    driver.wait(3600).do(Tick())
    assert driver.state.attempt is not None
    assert driver.do(SecretsChecked(True)).reports == []
    assert driver.do(CheckNow()).of(CheckSecrets) == []
    driver.fails(INVALID_CLIENT).wait(2)
    assert driver.do(Tick()).fetch is None


def test_other_events_do_not_put_the_look_off() -> None:
    driver = Driver(rules=Rules(discovers=False, watches_files=True)).start().fails(INVALID_CLIENT)
    due = driver.state.refresh_timer
    for _ in range(9):
        driver.wait(WATCH_S / 10).do(CheckNow())
        assert driver.state.refresh_timer == due


# --- the issuer's other managers --------------------------------------------------------------------------------------


def test_an_answer_that_was_not_asked_for_is_ignored() -> None:
    driver = Driver().start()
    for answer in (Denied(until=1030.0), Allowed()):
        before = driver.state
        assert driver.do(answer).state == before
        assert driver.effects == []
    driver.succeeds()
    for answer in (Denied(until=1030.0), Allowed()):
        assert driver.do(answer).effects == []


def test_an_attempt_that_is_denied_never_was() -> None:
    driver = Driver(attempted_at=900.0, attempts=7).denied(until=1030.0).start()
    assert driver.fetch is None
    assert driver.state.attempt is None
    assert (driver.state.attempts, driver.state.attempted_at) == (7, 900.0)
    assert driver.of(ScheduleTick) == [ScheduleTick(30)]


def test_a_denial_is_reported_with_its_length() -> None:
    driver = Driver(attempted_at=900.0).denied(until=1030.12344).start()
    assert driver.of(Report) == [Report("issuer_held", 0, {"wait_s": 30.123})]


def test_it_is_asked_once_and_the_tick_waits_for_the_answer() -> None:
    state, effects = step(Driver().state, Started(), 1000.0, Fixed(0))
    assert effects == [AskPermission(Haste.PRESSING)]
    assert step(state, Tick(), 1000.0, Fixed(0)) == (state, [])


def test_a_successor_asks_anew() -> None:
    state, _ = step(Driver().state, Started(), 1000.0, Fixed(0))
    assert Driver(adopt(state, under_way=False, rejected=False)).start().fetch is not None


def test_a_refresh_that_is_denied_by_the_provider_is_not_forgotten() -> None:
    driver = with_token(300).wait(10).denied(until=1040.0, by_provider=True).do(Refresh())
    assert driver.fetch is None
    assert driver.tick().fetch is not None
    assert driver.now == 1040


def test_a_patience_that_was_cut_short_ends_with_the_outage() -> None:
    driver = with_token(300).wait(260).denied(until=2260.0).do(Tick()).do(BreakerClosed(within_s=0))
    assert driver.haste is Haste.CALM


def test_a_success_ends_the_denial() -> None:
    driver = Driver(denial=Denial(5000.0)).start()
    assert driver.fetch is None
    driver.do(Refresh()).succeeds()
    assert driver.of(ScheduleTick) == [ScheduleTick(240)]


def test_a_reader_is_refused_if_the_denial_outlasts_it() -> None:
    driver = Driver(attempted_at=900.0).denied(until=1030.0).start().denied(until=1030.0)
    patient, hasty = driver.join(timeout=60), driver.join(timeout=5)
    assert refused(hasty).retry_in_s == 30
    assert patient.outcomes == []


def test_a_live_tokens_end_bounds_the_patience() -> None:
    driver = with_token(300).wait(260).denied(until=2260.0).do(Tick())
    assert driver.haste is Haste.CALM
    assert driver.of(ScheduleTick) == [ScheduleTick(10)]
    assert driver.tick().haste is Haste.PRESSING
    assert driver.fails().tick().haste is Haste.CALM
    assert driver.fails(retry_at=driver.now + 1000).tick().haste is Haste.PRESSING


def test_a_live_tokens_end_does_not_shorten_what_the_provider_asked_for() -> None:
    driver = with_token(300).wait(260).denied(until=2260.0, by_provider=True).do(Tick())
    assert driver.of(ScheduleTick) == [ScheduleTick(1000)]
    assert driver.do(Refresh()).fetch is None


def test_an_attempt_after_the_wait_that_the_provider_asked_for_presses_nobody() -> None:
    driver = with_token(3000).wait(2940).denied(until=3960.0, by_provider=True).do(Tick()).tick()
    assert (driver.now, driver.haste) == (3960, Haste.CALM)
    assert driver.fetch is not None
    assert not driver.fetch.early


def test_a_denial_that_was_waited_out_makes_nobody_urgent() -> None:
    driver = Driver(attempted_at=900.0).denied(until=1030.0).start().tick()
    assert driver.haste is Haste.CALM


@pytest.mark.parametrize("config", [None, CONFIG])
def test_a_refresh_is_not_denied_by_others_where_metadata_come_first_either(config: OIDCConfig | None) -> None:
    driver = Driver(oidc_config=config, rules=Rules(), config_at=0.0, attempted_at=900.0, refresh_at=9e9)
    driver.wait(METADATA_AGE_S).do(Refresh())
    assert driver.fetch is not None
    assert driver.fetch.grant == Discover(instead_of=config)
    assert driver.of(AskPermission) == [AskPermission(Haste.EXPLICIT, discovers=config is None)]


def test_a_retry_after_that_others_were_given_holds_a_refresh_too() -> None:
    driver = with_token(300).wait(10).denied(until=1040.0, by_provider=True).do(Refresh())
    assert driver.haste is Haste.EXPLICIT
    driver.do(Refresh())
    assert driver.fetch is None
    assert driver.tick().fetch is not None
    assert driver.now == 1040


def test_when_the_issuer_is_back_the_denied_go_spread_by_jitter() -> None:
    driver = Driver(attempted_at=900.0, rng=Fixed(0.5)).denied(until=1030.0).start().do(BreakerClosed(within_s=4))
    assert driver.of(ScheduleTick) == [ScheduleTick(2)]


def test_when_the_issuer_is_back_a_backoff_is_cut_short_but_no_block() -> None:
    driver = Driver(rng=Fixed(1)).start()
    for _ in range(6):
        driver.fails().tick()
    driver.fails().wait(1).do(BreakerClosed(within_s=0))
    assert driver.fetch is not None
    driver.fails(INVALID_CLIENT).wait(1)
    assert driver.do(BreakerClosed(within_s=0)).fetch is None


def test_the_first_attempt_waits_for_no_rate_of_others() -> None:
    assert Driver().start().haste is Haste.PRESSING
