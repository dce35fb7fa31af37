"""What the managers of one issuer know together."""

from dataclasses import FrozenInstanceError

import pytest

from oidc_actor.decisions.outage import Hold, Outage, admit, asked_to_wait, failed

LEASE_S = 11.0


@pytest.mark.parametrize("value", [Outage(), Hold(1.0, by_provider=True)])
def test_what_they_know_cannot_be_changed(value: Outage | Hold) -> None:
    with pytest.raises(FrozenInstanceError):
        value.until = 0.0  # type: ignore[misc]
    assert not hasattr(value, "__dict__")


def test_while_all_is_well_everybody_may_go() -> None:
    outage = Outage()
    assert admit(outage, 1, 0.0, urgent=False, lease_s=LEASE_S) == (outage, None)


def test_after_a_failure_the_others_wait_for_the_one_that_had_it() -> None:
    outage = failed(Outage(), 1, 100.0, retry_within_s=4, lease_s=LEASE_S)
    assert admit(outage, 2, 101.0, urgent=False, lease_s=LEASE_S)[1] == Hold(115.0, by_provider=False)
    assert admit(outage, 1, 101.0, urgent=False, lease_s=LEASE_S)[1] is None


def test_a_prober_that_never_comes_back_is_replaced() -> None:
    outage = failed(Outage(), 1, 100.0, retry_within_s=4, lease_s=LEASE_S)
    outage, hold = admit(outage, 2, 115.0, urgent=False, lease_s=LEASE_S)
    assert hold is None
    assert outage.prober == 2
    assert admit(outage, 3, 116.0, urgent=False, lease_s=LEASE_S)[1] == Hold(126.0, by_provider=False)


def test_the_urgent_go_all_the_same() -> None:
    outage = failed(Outage(), 1, 100.0, retry_within_s=4, lease_s=LEASE_S)
    assert admit(outage, 2, 101.0, urgent=True, lease_s=LEASE_S)[1] is None


def test_nobody_goes_before_the_provider_allows_it() -> None:
    outage = asked_to_wait(Outage(), 100.0, 30)
    for who in (1, 2):
        assert admit(outage, who, 129.9, urgent=True, lease_s=LEASE_S)[1] == Hold(130.0, by_provider=True)
    assert admit(outage, 1, 130.0, urgent=False, lease_s=LEASE_S)[1] is None


def test_a_shorter_retry_after_does_not_shorten_a_longer_one() -> None:
    outage = asked_to_wait(asked_to_wait(Outage(), 100.0, 30), 101.0, 1)
    assert outage.floor == 130.0


def test_a_failure_of_somebody_else_does_not_take_the_probe_away() -> None:
    outage = failed(Outage(), 1, 100.0, retry_within_s=4, lease_s=LEASE_S)
    outage = failed(outage, 2, 101.0, retry_within_s=60, lease_s=LEASE_S)
    assert (outage.prober, outage.until, outage.failures) == (1, 115.0, 2)


def test_a_failure_after_the_probers_time_makes_another_prober() -> None:
    outage = failed(Outage(), 1, 100.0, retry_within_s=4, lease_s=LEASE_S)
    outage = failed(outage, 2, 115.0, retry_within_s=60, lease_s=LEASE_S)
    assert (outage.prober, outage.until) == (2, 186.0)


def test_the_probers_next_failure_puts_the_others_off_again() -> None:
    outage = failed(Outage(), 1, 100.0, retry_within_s=4, lease_s=LEASE_S)
    outage = failed(outage, 1, 101.0, retry_within_s=8, lease_s=LEASE_S)
    assert (outage.prober, outage.until, outage.failures) == (1, 120.0, 2)
