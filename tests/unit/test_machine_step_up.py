"""The manager's decisions, row by row: a resource server that takes the token, and wants another one for a request."""

import math
from typing import Any

import pytest
from machine_driver import DOWN, INVALID_CLIENT, INVALID_GRANT, Driver, Reader, Rejected, with_token

from oidc_actor.credentials.parameters import StepUp
from oidc_actor.machine.effects import FullGrant, GiveUpLease, Redeem, Reject
from oidc_actor.machine.events import Accepted, ClaimGranted, HeldLease, Refresh, Refusal, TokenAdopted, Wait
from oidc_actor.machine.state import Rules, Sharing
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse

A, B = "https://a.example:443", "https://b.example:443"
WRITE, READ = StepUp(("write",)), StepUp(("read",))
INVALID_SCOPE = TokenRequestError("HTTP 400: invalid_scope", status=400, error="invalid_scope", retryable=False)


def wants(driver: Driver, text: str, step_up: StepUp = WRITE, *, origin: str = A, timeout: float = 5.0) -> Reader:
    reader = Reader(driver.now + timeout, rejected=Rejected(origin, Secret(text), step_up))
    driver.do(Wait(reader))
    return reader


def asked_for(driver: Driver) -> StepUp | None:
    """What the request that has just been sent asks for besides."""
    assert driver.fetch is not None
    return driver.fetch.step_up


def is_refused(reader: Reader) -> bool:
    return [type(one) for one in reader.outcomes] == [Refusal]


def test_a_first_challenge_is_answered_at_once_and_no_reader_loses_the_token() -> None:
    driver = with_token(300).wait(10)
    reader = wants(driver, "a")
    assert driver.of(Reject) == []
    assert asked_for(driver) == WRITE
    assert driver.reports == ["step_up_wanted"]
    assert driver.join().outcomes == [driver.state.token]
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]
    assert driver.state.step_up_at == math.inf


def test_what_was_wanted_is_wanted_of_every_token_from_then_on_with_what_comes_later() -> None:
    driver = with_token(300).wait(10)
    wants(driver, "a")
    driver.succeeds("b").tick()
    assert asked_for(driver) == WRITE
    driver.succeeds("c").do(Accepted(A, Secret("c"))).wait(60)
    wants(driver, "c", READ)
    assert asked_for(driver) == StepUp(("write", "read"))


def test_scopes_that_the_provider_gives_by_default_are_wanted_on() -> None:
    driver = Driver().start().succeeds("a", scope="x y").wait(10)
    wants(driver, "a")
    assert asked_for(driver) == StepUp(("x", "y", "write"))


@pytest.mark.parametrize("granted", ["x write", "x"])
def test_what_the_token_was_asked_for_is_not_asked_for_again(granted: str) -> None:
    driver = with_token(300).wait(10)
    wants(driver, "a")
    driver.succeeds("b", scope=granted).wait(60)
    for _ in range(5):
        assert is_refused(wants(driver, "b"))
        assert driver.fetch is None


def test_a_challenge_after_another_is_answered_at_a_growing_pace() -> None:
    driver, waits = with_token(3000).wait(10), []
    for number in range(6):
        wants(driver, f"{'a' if not number else number - 1}", StepUp((f"s{number}",)), timeout=1000.0)
        due_in_s = 0.0
        while driver.fetch is None:
            before = driver.now
            driver.tick()
            due_in_s += driver.now - before
        waits.append(due_in_s)
        driver.succeeds(str(number), 3000).do(Accepted(A, Secret(str(number))))
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_server_that_names_ever_new_scopes_makes_no_token_grow_without_end() -> None:
    driver = with_token(3000).wait(10)
    for number in range(6):
        wants(driver, "a", StepUp((f"{number}{'s' * 1000}",)), origin=f"https://{number}.example", timeout=500.0)
    assert driver.state.step_up is not None
    scopes = driver.state.step_up.scopes
    assert [scope[0] for scope in scopes] == ["0", "1", "2", "3"]
    driver.succeeds("b", 3000).tick()
    driver.succeeds("c", 3000, scope=" ".join(scopes)).wait(600)
    assert is_refused(wants(driver, "c", StepUp(("s" * 1000,))))
    assert driver.fetch is None
    wants(driver, "c")
    assert driver.fetch is not None


def test_a_crowd_of_wishes_of_one_origin_does_not_spoil_another_s() -> None:
    driver = with_token(3000).wait(10)
    for number in range(100):
        wants(driver, "a", StepUp((f"s{number}",)), timeout=500.0)
    assert driver.state.step_up == StepUp(("s0", "s1", "s2"))
    driver.fails(INVALID_SCOPE).wait(2)
    wants(driver, "a", StepUp(("s200",)), timeout=500.0)
    wants(driver, "a", origin=B)
    assert asked_for(driver) == WRITE


def test_the_same_challenge_to_one_token_is_answered_once_and_other_origins_have_a_pace_of_their_own() -> None:
    driver = with_token(300).wait(10)
    wants(driver, "a")
    driver.fails(INVALID_SCOPE).wait(2)
    assert is_refused(wants(driver, "a"))
    assert driver.fetch is None
    wants(driver, "a", origin=B)
    assert asked_for(driver) == WRITE


@pytest.mark.parametrize("error", [INVALID_SCOPE, INVALID_GRANT])
def test_a_refusal_costs_the_manager_nothing(error: TokenRequestError) -> None:
    driver = with_token(300).wait(10)
    refresh_at, reader = driver.state.refresh_at, wants(driver, "a")
    driver.fails(error)
    assert is_refused(reader)
    assert driver.reports == ["step_up_refused"]
    state = driver.state
    assert (state.failures, state.blocked, state.last_error, state.step_up) == (0, False, None, None)
    assert state.token is not None
    assert state.refresh_timer == refresh_at
    driver.tick()
    assert asked_for(driver) is None


def test_without_a_live_token_the_request_goes_on_as_it_was_before() -> None:
    driver = with_token(300).wait(299)
    reader = wants(driver, "a", timeout=50.0)
    driver.wait(2).fails(INVALID_SCOPE)
    assert asked_for(driver) is None
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]


def test_one_who_waits_for_a_refresh_gets_one() -> None:
    driver = with_token(300).wait(10)
    wants(driver, "a")
    reader = Reader(driver.now + 5, wants_refresh=True)
    driver.do(Refresh(reader)).fails(INVALID_SCOPE)
    assert asked_for(driver) is None
    driver.succeeds("b")
    assert reader.outcomes == [driver.state.token]


@pytest.mark.parametrize("error", [DOWN, TokenRequestError("HTTP 503", status=503), INVALID_CLIENT])
def test_a_failure_of_another_kind_is_one_and_what_was_wanted_is_asked_for_no_more(error: TokenRequestError) -> None:
    driver = with_token(300).wait(10)
    wants(driver, "a")
    driver.fails(error)
    assert driver.state.failures == 1
    assert driver.state.step_up is None
    assert driver.reports == ["step_up_refused", "blocked" if error.permanent else "request_failed"]


def test_an_outage_takes_nothing_of_what_has_been_granted_and_a_refusal_does() -> None:
    driver = with_token(300).wait(10)
    wants(driver, "a")
    driver.succeeds("b").tick().fails(DOWN).tick()
    assert asked_for(driver) == WRITE
    driver.fails(INVALID_SCOPE)
    assert asked_for(driver) is None
    assert driver.state.failures == 1
    driver.succeeds("c")
    assert driver.state.stepped_up is None


def test_a_request_that_was_under_way_is_no_answer() -> None:
    driver = with_token(300).wait(10).do(Refresh())
    assert asked_for(driver) is None
    reader = wants(driver, "a")
    driver.wait(2).succeeds("b")
    assert reader.outcomes == []
    assert asked_for(driver) == WRITE
    driver.succeeds("c")
    assert reader.outcomes == [driver.state.token]


def with_refresh_token(**fields: Any) -> Driver:
    return Driver(**fields).start().succeeds("a", refresh_token="r").wait(10)


def test_a_refresh_token_brings_no_more_scopes_and_other_wishes_it_does() -> None:
    driver = with_refresh_token()
    wants(driver, "a", StepUp(claims="{}"))
    assert isinstance(driver.fetch.grant, Redeem)
    driver.succeeds("b").do(Accepted(A, Secret("b"))).wait(60)
    wants(driver, "b")
    assert isinstance(driver.fetch.grant, FullGrant)
    assert asked_for(driver) == StepUp(("write",), claims="{}")
    driver.succeeds("c", refresh_token="r2").tick()
    assert isinstance(driver.fetch.grant, Redeem)


def test_a_login_that_is_a_refresh_token_is_asked_for_more_and_survives_the_refusal() -> None:
    driver = with_refresh_token(rules=Rules(discovers=False, own_refresh_token=True))
    wants(driver, "a")
    assert driver.fetch.grant == Redeem(driver.state.oidc_config, Secret("r"))
    driver.fails(INVALID_GRANT)
    assert driver.state.refresh_token == Secret("r")
    assert driver.state.failures == 0


def test_a_rejected_or_an_older_token_is_not_asked_for_with_more() -> None:
    driver = with_token(300).wait(10)
    reader = wants(driver, "an older one")
    assert driver.fetch is None
    assert reader.outcomes == [driver.state.token]


def claimed(driver: Driver, event: type, *more: Any) -> Driver:
    """The store answers the claim under way."""
    attempt = driver.state.attempt
    assert attempt is not None
    return driver.do(event(attempt.number, attempt.request, driver.now, *more))


def test_the_lease_of_a_refused_wish_is_given_back_and_another_member_s_token_ends_it() -> None:
    driver = Driver(sharing=Sharing()).start()
    lease = HeldLease("c", 1, driver.now + 3)
    claimed(driver, ClaimGranted, lease).succeeds("a").wait(10)
    reader = wants(driver, "a")
    lease = HeldLease("c", 2, driver.now + 3)
    claimed(driver, ClaimGranted, lease).fails(INVALID_SCOPE)
    assert GiveUpLease(lease, "intact") in driver.effects
    assert is_refused(reader)
    reader = wants(driver.wait(60), "a", READ, origin=B)
    adopted = ParsedToken(TokenResponse("b"), 300.0, "expires_in")
    claimed(driver, TokenAdopted, adopted, driver.now + 300, 3)
    assert reader.outcomes == [driver.state.token]
    assert (driver.state.step_up, driver.state.step_up_at) == (None, math.inf)
