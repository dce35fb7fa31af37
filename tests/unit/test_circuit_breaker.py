"""What the managers of one issuer know together."""

from dataclasses import FrozenInstanceError

import pytest
from fakes import Fixed

from oidc_actor import RetryPolicy
from oidc_actor.machine.circuit_breaker import Haste, Hold, Outage, Pace, admit, failed, retry_at, step_aside
from oidc_actor.machine.failure_policy import Rng

pytestmark = pytest.mark.P6

LEASE_S = 11.0
PACE = Pace(RetryPolicy(initial_s=4), 1.0, LEASE_S)


def down(outage: Outage, who: int, now: float, *, early: bool = False, rng: Rng | None = None) -> Outage:
    return failed(outage, who, now, early=early, pace=PACE, rng=rng or Fixed(1))


def held(outage: Outage, who: int, now: float, haste: Haste = Haste.CALM) -> Hold | None:
    return admit(outage, who, now, haste=haste, pace=PACE)[1]


@pytest.mark.parametrize("value", [Outage(), Hold(1.0)])
def test_what_they_know_cannot_be_changed(value: Outage | Hold) -> None:
    with pytest.raises(FrozenInstanceError):
        value.until = 0.0  # type: ignore[misc]
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("haste", Haste)
def test_while_all_is_well_everybody_may_go(haste: Haste) -> None:
    assert admit(Outage(), 1, 0.0, haste=haste, pace=PACE) == (Outage(), None)


def test_after_a_failure_the_others_wait_for_the_one_that_had_it() -> None:
    outage = down(Outage(), 1, 100.0)
    assert held(outage, 2, 101.0) == Hold(115.0)
    assert held(outage, 1, 101.0) is None


def test_a_prober_that_never_comes_back_is_replaced() -> None:
    outage, hold = admit(down(Outage(), 1, 100.0), 2, 115.0, haste=Haste.CALM, pace=PACE)
    assert hold is None
    assert outage.prober == 2
    assert held(outage, 3, 116.0) == Hold(126.0, probing=True)


# --- haste ------------------------------------------------------------------------------------------------------------


def test_who_is_asked_for_a_token_waits_for_the_backoff_only() -> None:
    outage = down(Outage(), 1, 100.0)
    assert held(outage, 2, 101.0, Haste.ASKED) == Hold(104.0)
    outage, hold = admit(outage, 2, 104.0, haste=Haste.ASKED, pace=PACE)
    assert (hold, outage.prober) == (None, 2)


def test_and_never_longer_than_the_policy_says() -> None:
    outage = down(down(down(Outage(), 1, 90.0), 1, 95.0), 1, 100.0)
    assert outage.probe_at == 116.0
    assert held(outage, 2, 100.5, Haste.ASKED) == Hold(105.0)
    assert held(outage, 2, 105.0, Haste.ASKED) is None
    assert held(outage, 2, 105.0) == Hold(127.0)


def test_but_no_sooner_than_the_minimum_interval_after_the_last_probe() -> None:
    outage = down(Outage(), 1, 100.0, rng=Fixed(0))
    assert held(outage, 2, 100.5, Haste.ASKED) == Hold(101.0)
    assert held(outage, 2, 101.0, Haste.ASKED) is None


@pytest.mark.parametrize("haste", [Haste.PRESSING, Haste.EXPLICIT])
def test_who_is_in_greater_haste_goes_all_the_same(haste: Haste) -> None:
    assert held(down(Outage(), 1, 100.0), 2, 100.0, haste) is None


@pytest.mark.parametrize("haste", [Haste.CALM, Haste.ASKED, Haste.PRESSING])
def test_there_is_one_probe_at_a_time(haste: Haste) -> None:
    outage, _ = admit(down(Outage(), 1, 100.0), 1, 101.0, haste=Haste.CALM, pace=PACE)
    assert held(outage, 2, 111.9, haste) == Hold(112.0, probing=True)
    assert held(outage, 2, 112.0, haste) is None  # it has been lost
    outage = down(outage, 1, 102.0)
    assert held(outage, 2, 102.0, haste) in (None, Hold(107.0), Hold(121.0))


def test_but_for_one_that_a_caller_wants_now() -> None:
    outage, _ = admit(down(Outage(), 1, 100.0), 1, 101.0, haste=Haste.CALM, pace=PACE)
    assert held(outage, 2, 101.0, Haste.EXPLICIT) is None


def test_a_prober_whose_attempt_was_lost_may_try_again() -> None:
    outage, _ = admit(down(Outage(), 1, 100.0), 1, 101.0, haste=Haste.CALM, pace=PACE)
    assert held(outage, 1, 102.0) is None


# --- what a failure adds ----------------------------------------------------------------------------------------------


def test_a_failure_of_somebody_else_changes_nothing() -> None:
    outage = down(Outage(), 1, 100.0)
    assert down(outage, 2, 101.0) == outage
    probing, _ = admit(outage, 1, 101.0, haste=Haste.CALM, pace=PACE)
    assert down(probing, 2, 101.5) == probing


def test_forty_that_fail_at_once_are_one_failure() -> None:
    outage = Outage()
    for who in range(40):
        outage = down(outage, who, 100.0)
    assert (outage.failures, outage.prober, outage.probe_at) == (1, 0, 104.0)


def test_a_failure_after_the_probers_time_makes_another_prober() -> None:
    outage = down(down(Outage(), 1, 100.0), 2, 115.0)
    assert (outage.prober, outage.probe_at, outage.until) == (2, 123.0, 134.0)


def test_the_probers_next_failure_puts_the_others_off_again() -> None:
    outage = down(down(Outage(), 1, 100.0), 1, 101.0)
    assert (outage.prober, outage.until, outage.failures) == (1, 120.0, 2)


def test_an_attempt_that_a_live_tokens_end_brought_forward_lengthens_no_wait() -> None:
    outage = down(Outage(), 1, 100.0, early=True)
    assert outage.failures == 1
    for now in range(101, 110):
        outage = down(outage, 1, now, early=True)
        assert (outage.failures, outage.probe_at) == (1, now + 4)
    assert down(outage, 1, 110.0).failures == 2


def test_the_wait_that_the_provider_asked_for_is_part_of_the_plan() -> None:
    outage = failed(Outage(), 1, 100.0, early=False, pace=PACE, rng=Fixed(1), not_before=130.0)
    assert (outage.probe_at, outage.until) == (130.0, 141.0)


def test_who_has_failed_asks_again_with_the_next_probe() -> None:
    outage = down(Outage(), 1, 100.0)
    assert retry_at(outage, 101.0) == 104.0
    assert retry_at(outage, 105.0) == 105.0
    probing, _ = admit(outage, 1, 101.0, haste=Haste.CALM, pace=PACE)
    assert retry_at(probing, 101.5) == 101.5  # and is held until that one has ended


# --- a prober that is none any more -----------------------------------------------------------------------------------


def test_a_prober_that_steps_aside_leaves_the_probe_to_any_other() -> None:
    outage, _ = admit(down(Outage(), 1, 100.0), 1, 101.0, haste=Haste.CALM, pace=PACE)
    assert step_aside(outage, 2) == outage
    assert held(step_aside(outage, 1), 2, 101.0) is None
    assert step_aside(outage, 1).failures == outage.failures
