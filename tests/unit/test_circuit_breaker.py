"""What the managers of one issuer know together."""

from dataclasses import FrozenInstanceError

import pytest
from fakes import Fixed

from oidc_actor import RetryPolicy
from oidc_actor.machine.circuit_breaker import CircuitBreaker, Limits, allow, record_failure, release_probe, retry_at
from oidc_actor.machine.events import Allowed, Denied, Haste
from oidc_actor.machine.failure_policy import Rng

pytestmark = pytest.mark.P6

LEASE_S = 11.0
LIMITS = Limits(RetryPolicy(initial_s=4), 1.0, LEASE_S)


def down(
    breaker: CircuitBreaker, who: int, now: float, *, early: bool = False, rng: Rng | None = None
) -> CircuitBreaker:
    return record_failure(breaker, who, now, early=early, limits=LIMITS, rng=rng or Fixed(1))


def denied(breaker: CircuitBreaker, who: int, now: float, haste: Haste = Haste.CALM) -> Denied | None:
    answer = allow(breaker, who, now, haste=haste, limits=LIMITS)[1]
    return answer if isinstance(answer, Denied) else None


@pytest.mark.parametrize("value", [CircuitBreaker(), Denied(1.0)])
def test_what_they_know_cannot_be_changed(value: CircuitBreaker | Denied) -> None:
    with pytest.raises(FrozenInstanceError):
        value.until = 0.0  # type: ignore[misc]
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("haste", Haste)
def test_while_all_is_well_everybody_may_go(haste: Haste) -> None:
    assert allow(CircuitBreaker(), 1, 0.0, haste=haste, limits=LIMITS) == (CircuitBreaker(), Allowed())


def test_after_a_failure_the_others_wait_for_the_one_that_had_it() -> None:
    breaker = down(CircuitBreaker(), 1, 100.0)
    assert denied(breaker, 2, 101.0) == Denied(115.0)
    assert denied(breaker, 1, 101.0) is None


def test_a_owner_that_never_comes_back_is_replaced() -> None:
    breaker, answer = allow(down(CircuitBreaker(), 1, 100.0), 2, 115.0, haste=Haste.CALM, limits=LIMITS)
    assert answer == Allowed()
    assert breaker.owner == 2
    assert denied(breaker, 3, 116.0) == Denied(126.0, probing=True)


# --- haste ------------------------------------------------------------------------------------------------------------


def test_who_is_asked_for_a_token_waits_for_the_backoff_only() -> None:
    breaker = down(CircuitBreaker(), 1, 100.0)
    assert denied(breaker, 2, 101.0, Haste.ASKED) == Denied(104.0)
    breaker, answer = allow(breaker, 2, 104.0, haste=Haste.ASKED, limits=LIMITS)
    assert (answer, breaker.owner) == (Allowed(), 2)


def test_and_never_longer_than_the_policy_says() -> None:
    breaker = down(down(down(CircuitBreaker(), 1, 90.0), 1, 95.0), 1, 100.0)
    assert breaker.probe_at == 116.0
    assert denied(breaker, 2, 100.5, Haste.ASKED) == Denied(105.0)
    assert denied(breaker, 2, 105.0, Haste.ASKED) is None
    assert denied(breaker, 2, 105.0) == Denied(127.0)


def test_but_no_sooner_than_the_minimum_interval_after_the_last_probe() -> None:
    breaker = down(CircuitBreaker(), 1, 100.0, rng=Fixed(0))
    assert denied(breaker, 2, 100.5, Haste.ASKED) == Denied(101.0)
    assert denied(breaker, 2, 101.0, Haste.ASKED) is None


@pytest.mark.parametrize("haste", [Haste.PRESSING, Haste.EXPLICIT])
def test_who_is_in_greater_haste_goes_all_the_same(haste: Haste) -> None:
    assert denied(down(CircuitBreaker(), 1, 100.0), 2, 100.0, haste) is None


@pytest.mark.parametrize("haste", [Haste.CALM, Haste.ASKED, Haste.PRESSING])
def test_there_is_one_probe_at_a_time(haste: Haste) -> None:
    breaker, _ = allow(down(CircuitBreaker(), 1, 100.0), 1, 101.0, haste=Haste.CALM, limits=LIMITS)
    assert denied(breaker, 2, 111.9, haste) == Denied(112.0, probing=True)
    assert denied(breaker, 2, 112.0, haste) is None  # it has been lost
    breaker = down(breaker, 1, 102.0)
    assert denied(breaker, 2, 102.0, haste) in (None, Denied(107.0), Denied(121.0))


def test_but_for_one_that_a_caller_wants_now() -> None:
    breaker, _ = allow(down(CircuitBreaker(), 1, 100.0), 1, 101.0, haste=Haste.CALM, limits=LIMITS)
    assert denied(breaker, 2, 101.0, Haste.EXPLICIT) is None


def test_a_owner_whose_attempt_was_lost_may_try_again() -> None:
    breaker, _ = allow(down(CircuitBreaker(), 1, 100.0), 1, 101.0, haste=Haste.CALM, limits=LIMITS)
    assert denied(breaker, 1, 102.0) is None


# --- what a failure adds ----------------------------------------------------------------------------------------------


def test_a_failure_of_somebody_else_changes_nothing() -> None:
    breaker = down(CircuitBreaker(), 1, 100.0)
    assert down(breaker, 2, 101.0) == breaker
    probing, _ = allow(breaker, 1, 101.0, haste=Haste.CALM, limits=LIMITS)
    assert down(probing, 2, 101.5) == probing


def test_forty_that_fail_at_once_are_one_failure() -> None:
    breaker = CircuitBreaker()
    for who in range(40):
        breaker = down(breaker, who, 100.0)
    assert (breaker.failures, breaker.owner, breaker.probe_at) == (1, 0, 104.0)


def test_a_failure_after_the_owners_time_makes_another_owner() -> None:
    breaker = down(down(CircuitBreaker(), 1, 100.0), 2, 115.0)
    assert (breaker.owner, breaker.probe_at, breaker.until) == (2, 123.0, 134.0)


def test_the_owners_next_failure_puts_the_others_off_again() -> None:
    breaker = down(down(CircuitBreaker(), 1, 100.0), 1, 101.0)
    assert (breaker.owner, breaker.until, breaker.failures) == (1, 120.0, 2)


def test_an_attempt_that_a_live_tokens_end_brought_forward_lengthens_no_wait() -> None:
    breaker = down(CircuitBreaker(), 1, 100.0, early=True)
    assert breaker.failures == 1
    for now in range(101, 110):
        breaker = down(breaker, 1, now, early=True)
        assert (breaker.failures, breaker.probe_at) == (1, now + 4)
    assert down(breaker, 1, 110.0).failures == 2


def test_the_wait_that_the_provider_asked_for_is_part_of_the_plan() -> None:
    breaker = record_failure(CircuitBreaker(), 1, 100.0, early=False, limits=LIMITS, rng=Fixed(1), not_before=130.0)
    assert (breaker.probe_at, breaker.until) == (130.0, 141.0)


def test_who_has_failed_asks_again_with_the_next_probe() -> None:
    breaker = down(CircuitBreaker(), 1, 100.0)
    assert retry_at(breaker, 101.0) == 104.0
    assert retry_at(breaker, 105.0) == 105.0
    probing, _ = allow(breaker, 1, 101.0, haste=Haste.CALM, limits=LIMITS)
    assert retry_at(probing, 101.5) == 101.5  # and is held until that one has ended


# --- a owner that is none any more -----------------------------------------------------------------------------------


def test_a_owner_that_steps_aside_leaves_the_probe_to_any_other() -> None:
    breaker, _ = allow(down(CircuitBreaker(), 1, 100.0), 1, 101.0, haste=Haste.CALM, limits=LIMITS)
    assert release_probe(breaker, 2) == breaker
    assert denied(release_probe(breaker, 1), 2, 101.0) is None
    assert release_probe(breaker, 1).failures == breaker.failures
