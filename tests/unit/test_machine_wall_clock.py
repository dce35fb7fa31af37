"""The manager's decisions, row by row: the wall clock has jumped."""

import pytest
from machine_driver import DOWN, INVALID_CLIENT, Driver, Reader, refused, with_token

from oidc_actor.machine.effects import Publish, Report, Withhold
from oidc_actor.machine.events import CheckNow, ClockJumped, FetchSucceeded, Refresh, Rejected, Tick, Wait
from oidc_actor.machine.invalidation import tokens_to_revoke
from oidc_actor.machine.schedule import next_attempt_at
from oidc_actor.machine.state import Rules
from oidc_actor.machine.transitions import adopt
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse

pytestmark = pytest.mark.P11

BUSY = TokenRequestError("HTTP 503", status=503, retry_after_s=30)


def jumps(driver: Driver, ahead_s: float, turn_in_s: float = 0.0) -> Driver:
    return driver.do(ClockJumped(ahead_s, driver.now + turn_in_s))


def test_a_token_past_its_end_by_the_wall_clock_is_withheld_and_refreshed() -> None:
    driver = jumps(with_token(300).wait(10), 7200)
    token = driver.state.token
    assert token is not None
    assert driver.of(Withhold) == [Withhold(token)]
    assert driver.reported == [Report("clock_jumped", 1, {"jump_s": 7200, "withheld": True})]
    assert driver.fetch is not None
    reader = driver.join()
    assert reader.outcomes == []
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]
    assert driver.of(Publish)[0].is_new
    assert driver.join().outcomes == [driver.state.token]


@pytest.mark.parametrize(
    ("jump_s", "refreshed", "withheld"), [(229, False, False), (230, True, False), (290, True, True)]
)
def test_what_lies_in_the_jump_decides(jump_s: float, refreshed: bool, withheld: bool) -> None:
    driver = jumps(with_token(300).wait(10), jump_s)
    assert (driver.fetch is not None) is refreshed
    assert bool(driver.of(Withhold)) is withheld
    assert (driver.join().outcomes == []) is withheld


@pytest.mark.parametrize("step_s", [-7200, -1, 0, 4])
def test_a_step_back_and_a_small_one_mean_nothing(step_s: float) -> None:
    driver = jumps(with_token(300).wait(10), step_s)
    assert driver.effects == []
    assert driver.join().outcomes == [driver.state.token]


def test_a_step_back_and_forth_again_means_nothing() -> None:
    driver = jumps(with_token(300).wait(10), -7200)
    assert jumps(driver, 0).effects == []


def test_it_is_refreshed_at_the_issuer_s_pace_or_as_soon_as_somebody_asks() -> None:
    driver = jumps(with_token(300).wait(10), 7200, turn_in_s=60)
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == driver.now + 60
    driver.join(timeout=5)
    assert driver.fetch is not None


def test_without_an_outcome_it_is_served_on_after_ten_seconds() -> None:
    driver = jumps(with_token(300).wait(10), 7200)
    token, reader, short = driver.state.token, driver.join(timeout=20), driver.join(timeout=20, min_validity=285)
    assert token is not None
    driver.wait(9.9).do(Tick())
    assert reader.outcomes == []
    driver.tick()
    assert driver.now == 1020
    assert reader.outcomes == [token]
    assert short.outcomes == []
    assert driver.of(Publish) == [Publish(token, 1300, 0.0, is_new=False)]
    assert driver.reported == [Report("token_served_on", 2, {"expires_in_s": 280.0})]
    assert driver.join().outcomes == [token]
    driver.succeeds("b")
    assert short.outcomes == [driver.state.token]


@pytest.mark.parametrize("error", [DOWN, BUSY, INVALID_CLIENT])
def test_a_failure_is_an_outcome_and_the_token_is_served_on_at_once(error: TokenRequestError) -> None:
    driver = jumps(with_token(300).wait(10), 7200)
    token, reader, refreshing = driver.state.token, driver.join(), driver.refresh()
    assert token is not None
    driver.fails(error)
    assert reader.outcomes == [token]
    assert refused(refreshing).cause is error
    assert "token_served_on" in driver.reports
    assert driver.join().outcomes == [token]
    driver.wait(290)
    assert driver.join(timeout=0).outcomes != [token]  # to its end by the boot clock, no longer


def test_while_the_issuer_is_known_to_be_down_it_is_withheld_for_ten_seconds() -> None:
    driver = jumps(with_token(300).wait(10).denied(until=1070.0), 7200).denied(until=1070.0)
    token, reader = driver.state.token, driver.join(timeout=15)
    hasty = driver.join(timeout=5)
    assert "by the wall clock, which has jumped" in refused(hasty).message
    assert reader.outcomes == []  # it is served on before its patience ends
    driver.tick()
    assert driver.now == 1020
    assert reader.outcomes == [token]


def test_a_wait_from_before_the_jump_has_passed_too() -> None:
    driver = with_token(300).wait(290).do(Tick())
    driver.fails(INVALID_CLIENT).wait(1)
    assert next_attempt_at(driver.state) > driver.now + 60
    jumps(driver, 7200)
    assert driver.fetch is not None


def test_a_retry_after_holds_all_the_same() -> None:
    driver = with_token(300).wait(245).do(Tick()).fails(BUSY).wait(1)
    jumps(driver, 7200)
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == driver.now + 29


def test_a_second_jump_withholds_it_again_and_one_meanwhile_makes_it_no_longer() -> None:
    driver = jumps(with_token(300).wait(10), 7200)
    driver.wait(5)
    jumps(driver, 7300)
    assert driver.state.withheld_until == 1020
    driver.fails()  # it was sent before the second one
    assert driver.join().outcomes == []
    driver.fails()
    assert driver.join().outcomes == [driver.state.token]
    jumps(driver.wait(5), 7310)
    assert driver.of(Withhold)
    assert driver.state.withheld_until == driver.now + 10


def test_each_token_is_judged_by_what_the_wall_clock_has_gained_since_its_own_request() -> None:
    driver = with_token(300).wait(10).do(Refresh()).sent()
    attempt = driver.state.attempt
    after = ParsedToken(TokenResponse("b", expires_in=300), 300.0, "expires_in")
    driver.do(FetchSucceeded(attempt.number, attempt.request, driver.now, after, None, 7200))
    assert jumps(driver, 7201).effects == []
    assert driver.join().outcomes == [driver.state.token]
    assert jumps(driver, 7200 + 300).of(Withhold)


def test_without_a_live_token_there_is_nothing_to_decide() -> None:
    assert jumps(Driver().start(), 7200).effects == []
    driver = with_token(300).wait(300).do(Tick())
    assert jumps(driver, 7200).effects == []


def test_nobody_gets_a_withheld_token_but_it_is_revoked_with_the_rest() -> None:
    driver = jumps(with_token(300, rules=Rules(discovers=False, revokes=True)).wait(10), 7200)
    driver.do(CheckNow())
    reader = Reader(driver.now + 5, rejected=Rejected("https://a.example:443", Secret("other")))
    driver.do(Wait(reader))
    assert reader.outcomes == []
    assert [secret for _, secret in tokens_to_revoke(driver.state, driver.now)[0].tokens] == [Secret("a")]


def test_a_rejected_token_is_not_served_on() -> None:
    driver = jumps(with_token(300).wait(10), 7200)
    driver.do(Refresh(None, Secret("a"))).fails()
    assert driver.of(Publish) == []
    assert driver.state.token is None


def test_a_successor_goes_on_withholding_it_and_serves_it_on_in_time() -> None:
    driver = jumps(with_token(300).wait(10), 7200, turn_in_s=60)
    heir = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now).start()
    assert heir.join(timeout=5, min_validity=1).outcomes == []
    heir = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now).start().tick()
    assert heir.now == 1020
    assert heir.of(Publish)


def test_what_a_request_from_before_the_jump_brings_is_withheld_when_it_comes() -> None:
    driver = Driver().start()
    reader = driver.join(timeout=20)
    jumps(driver, 7200)
    driver.succeeds("old")
    assert (driver.of(Publish), reader.outcomes) == ([], [])
    driver.tick()
    assert driver.fetch is not None
    driver.succeeds("new")
    assert reader.outcomes == [driver.state.token]
    assert driver.of(Publish)[0].is_new


def test_without_another_it_is_served_after_all() -> None:
    driver = Driver().start()
    reader = driver.join(timeout=20)
    jumps(driver, 7200).succeeds("old")
    driver.tick().fails(DOWN)
    assert reader.outcomes == [driver.state.token]


@pytest.mark.parametrize("jump_s", [5, 200])
def test_what_outlives_the_jump_answers_its_readers(jump_s: float) -> None:
    driver = Driver().start()
    reader = driver.join(timeout=20)
    jumps(driver, jump_s).succeeds("old", lifetime=300)
    assert reader.outcomes == [driver.state.token]
    assert next_attempt_at(driver.state) == driver.state.refresh_at


def test_a_request_that_leaves_after_the_jump_is_not_concerned() -> None:
    driver = jumps(with_token(300).wait(250).tick(), 7200)
    driver.sent().fails(DOWN)
    assert driver.of(Publish)[0].token is driver.state.token


def test_where_a_request_from_before_the_jump_fails_the_refresh_follows_at_once() -> None:
    driver = jumps(with_token(300).wait(250).tick(), 7200, turn_in_s=1)
    reader = driver.join(timeout=20)
    driver.fails(DOWN)
    assert (driver.of(Publish), reader.outcomes) == ([], [])
    assert next_attempt_at(driver.state) == driver.now + 1
    driver.tick().succeeds("new")
    assert reader.outcomes == [driver.state.token]


def test_a_reader_that_asked_not_long_ago_has_the_wait_of_a_token_that_is_withheld_anew_cut_short() -> None:
    driver = with_token(4000).wait(3940).do(Tick()).fails(retry_at=5000.0)
    driver.state = driver.state._replace(asked_at=driver.now)
    driver.do(ClockJumped(7200, driver.now + 60))
    assert next_attempt_at(driver.state) == driver.now + 5
