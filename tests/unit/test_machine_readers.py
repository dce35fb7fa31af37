"""The manager's decisions, row by row: readers that wait."""

import pytest
from fakes import Fixed
from machine_driver import DOWN, INVALID_CLIENT, Driver, refused, with_token

from oidc_actor.machine.effects import Reply
from oidc_actor.machine.events import CheckNow, Refresh, Refusal, Tick
from oidc_actor.machine.schedule import next_attempt_at, refusal
from oidc_actor.machine.state import Denial, Rules
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.secrets import Secret

# --- readers ----------------------------------------------------------------------------------------------------------


def test_a_reader_is_served_from_a_live_token_whatever_is_under_way() -> None:
    driver = with_token(300).wait(250).do(Tick())
    assert driver.state.attempt is not None
    assert driver.join().outcomes == [driver.state.token]


def test_one_attempt_serves_every_waiter() -> None:
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
    driver.tick().succeeds()
    assert patient.outcomes == [driver.state.token]


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
    assert hasty.message == f"no token yet; {trouble}; the next attempt is due in {retry_in_s:.1f} s"
    assert (hasty.cause, hasty.retry_in_s) == (error, retry_in_s)


def test_what_a_reader_is_told_whose_patience_ends_during_an_attempt() -> None:
    driver = Driver().start()
    under_way = "a request is under way"
    assert refusal(driver.state, driver.now) == Refusal(f"no token yet; {under_way}")
    driver.fails().tick()
    trouble = "the last attempt failed: no answer"
    assert refusal(driver.state, driver.now) == Refusal(f"no token yet; {trouble}; {under_way}", cause=DOWN)


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
    short, plain = driver.join(min_validity=299), driver.join(min_validity=200)
    driver.succeeds("b", lifetime=250)
    assert refused(short).message == (
        "no token that is valid for another 299 s: the present one is for 250.0 s; the next attempt is due in 190.0 s"
    )
    assert refused(short).retry_in_s == 190
    assert plain.outcomes == [driver.state.token]


def test_a_refusal_names_the_next_attempt_also_where_it_comes_soon() -> None:
    driver = Driver(rules=Rules(discovers=False, min_interval_s=0.25)).start().sent()
    reader = driver.join(min_validity=1)
    driver.succeeds(lifetime=0.5)
    assert refused(reader) == Refusal(out_of_reach(1, 0.5), None, 0.25)


def test_what_is_left_of_a_new_token_is_what_falls_short_and_what_its_refusal_names() -> None:
    driver = Driver().start().sent()
    reader = driver.join(timeout=500, min_validity=200)
    driver.wait(290).succeeds(lifetime=300, ago=290)
    assert refused(reader) == Refusal(out_of_reach(200, 10), None, 0.0)


def out_of_reach(asked: float, most: float) -> str:
    return (
        f"min_validity: expected less than {most:.1f} seconds, the most that a token lives here when it comes, got {asked:g}; "
        "no new token is asked for"
    )


@pytest.mark.parametrize("asked", [300, 300.5, 3600])
def test_what_no_new_token_reaches_costs_no_request_and_is_refused_at_once(asked: float) -> None:
    driver = with_token(300).wait(100)
    reader = driver.join(timeout=60, min_validity=asked)
    assert driver.fetch is None
    assert refused(reader) == Refusal(out_of_reach(asked, 300), None, 140)
    driver.do(CheckNow(min_validity_s=asked))
    assert driver.fetch is None
    assert next_attempt_at(driver.state) == driver.state.refresh_at


def test_it_is_refused_at_once_during_an_attempt_and_after_the_token_s_end_too() -> None:
    driver = with_token(300).wait(240).do(Tick())
    assert driver.state.attempt is not None
    assert refused(driver.join(min_validity=400)).message == out_of_reach(400, 300)
    driver.wait(60).fails()
    assert refused(driver.join(min_validity=400)).message == out_of_reach(400, 300)


def test_before_the_first_token_it_is_unknown_so_that_the_first_one_answers() -> None:
    driver = Driver().start().fails().tick()
    reader = driver.join(timeout=60, min_validity=400)
    assert reader.outcomes == []
    driver.succeeds(lifetime=300)
    assert refused(reader).message == out_of_reach(400, 300)


def test_the_longest_of_the_last_three_says_what_is_in_reach() -> None:
    driver = with_token(3600)
    for lifetime in (300, 200):
        driver.wait(5).refresh()
        driver.succeeds(lifetime=lifetime)
    driver.wait(5).join(min_validity=3599)
    assert driver.fetch is not None  # the first one of the three would have done
    driver.succeeds(lifetime=100)
    assert refused(driver.wait(5).join(min_validity=300)).message == out_of_reach(300, 300)
    assert driver.fetch is None


def test_what_has_gone_before_a_token_comes_is_out_of_reach() -> None:
    driver = Driver().start().sent().wait(2).succeeds(lifetime=300, ago=2)
    assert refused(driver.wait(5).join(min_validity=298)).message == out_of_reach(298, 298)


@pytest.mark.parametrize(
    ("prepare", "asked", "text"),
    [
        (lambda: Driver().start(), {}, "no token yet; "),
        (lambda: Driver().start(), {"min_validity_s": 5.0}, "no token yet; "),
        (lambda: with_token(300).wait(300), {}, "no valid token: the last one has expired; "),
        (
            lambda: with_token(300).wait(100),
            {"min_validity_s": 250.0},
            "no token that is valid for another 250 s: the present one is for 200.0 s; ",
        ),
        (
            lambda: with_token(300).wait(10).do(Refresh(None, Secret("a"))),
            {"min_validity_s": 5.0},
            "no token: the last one was rejected; ",
        ),
        (lambda: with_token(300), {"wants_refresh": True}, "no new token; "),
    ],
)
def test_a_refusal_says_what_is_missing_of_what_was_asked_for(prepare, asked, text: str) -> None:
    driver = prepare()
    assert refusal(driver.state, driver.now, **asked).message.startswith(text)


def test_each_waiter_is_told_of_what_it_asked_for_itself() -> None:
    driver = with_token(300).wait(10)
    plain, refreshing = driver.join(min_validity=295), driver.refresh()
    driver.fails(TokenRequestError("HTTP 503", status=503, retry_after_s=30))
    assert refused(plain).message.startswith("no token that is valid for another 295 s: ")
    assert refused(refreshing).message.startswith("no new token; the last attempt failed: HTTP 503; ")


def test_a_token_that_lives_just_so_long_falls_short() -> None:
    driver = with_token(300).wait(100)
    assert driver.join(min_validity=199.9).outcomes == [driver.state.token]
    assert driver.join(min_validity=200).outcomes == []
    assert driver.state.attempt is not None


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
    assert driver.do(CheckNow(min_validity_s=199)).fetch is None
    assert driver.do(CheckNow(min_validity_s=250)).fetch is not None


def test_a_first_attempt_that_is_put_off_is_made_for_the_first_reader() -> None:
    driver = Driver(denial=Denial(1010.0)).start()
    assert driver.fetch is None
    driver.join(timeout=60)
    assert driver.fetch is not None
