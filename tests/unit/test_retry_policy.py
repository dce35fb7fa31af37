"""How long a manager waits after a failure."""

import random
import sys
from dataclasses import FrozenInstanceError

import pytest
from fakes import Fixed
from hypothesis import given
from hypothesis import strategies as st

from oidc_actor import ConfigError, RetryPolicy
from oidc_actor.machine.failure_policy import probe_delay_s, retry_delay_s

pytestmark = pytest.mark.P5


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (9, 60), (10_000, 60)])
def test_a_transient_failure_waits_up_to_a_doubled_time(failures: int, longest: float) -> None:
    assert retry_delay_s(RetryPolicy(), failures, Fixed(1)) == longest
    assert retry_delay_s(RetryPolicy(), failures, Fixed(0)) == 0


@pytest.mark.parametrize(("failures", "longest"), [(1, 300), (2, 600), (3, 1200), (4, 2400), (5, 3600), (10_000, 3600)])
def test_a_permanent_failure_waits_between_half_and_the_whole_of_a_doubled_time(failures: int, longest: float) -> None:
    assert probe_delay_s(RetryPolicy(), failures, Fixed(1)) == longest
    assert probe_delay_s(RetryPolicy(), failures, Fixed(0)) == longest / 2


@given(st.integers(1, 10**9), st.integers())
def test_delays_stay_within_the_policy(failures: int, seed: int) -> None:
    policy, rng = RetryPolicy(initial_s=2, maximum_s=50), random.Random(seed)
    assert 0 <= retry_delay_s(policy, failures, rng) <= 50
    assert 60 <= probe_delay_s(policy, failures, rng) <= 3600


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"initial_s": 0}, "initial_s"),
        ({"initial_s": -1}, "initial_s"),
        ({"initial_s": float("nan")}, "initial_s"),
        ({"maximum_s": float("inf")}, "maximum_s"),
        ({"maximum_s": 10**400}, "maximum_s"),
        ({"maximum_s": True}, "maximum_s"),
        ({"initial_s": "1"}, "initial_s"),
        ({"initial_s": 5, "maximum_s": 4}, "maximum_s"),
        ({"probe_initial_s": 119}, "probe_initial_s"),
        ({"probe_initial_s": 500, "probe_maximum_s": 400}, "probe_maximum_s"),
    ],
)
def test_a_bad_policy_names_its_field(options: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        RetryPolicy(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_s": 0}, "initial_s: expected finite seconds above 0, got 0"),
        ({"initial_s": 5, "maximum_s": 4}, "maximum_s: expected at least initial_s=5, got 4"),
        (
            {"probe_initial_s": 119},
            "probe_initial_s: expected at least 120 seconds, so that no probe comes sooner than 60 after a permanent "
            "error, got 119",
        ),
        (
            {"probe_initial_s": 500, "probe_maximum_s": 400},
            "probe_maximum_s: expected at least probe_initial_s=500, got 400",
        ),
    ],
)
def test_a_bad_policy_says_what_was_expected_and_what_came(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RetryPolicy(**options)
    assert str(caught.value) == f"RetryPolicy.{message}"


def test_a_policy_is_a_value() -> None:
    policy = RetryPolicy()
    with pytest.raises(FrozenInstanceError):
        policy.initial_s = 1.0  # type: ignore[misc]
    assert not hasattr(policy, "__dict__")


def test_the_most_that_a_policy_may_be() -> None:
    most = sys.float_info.max
    policy = RetryPolicy(initial_s=most, maximum_s=most, probe_initial_s=most, probe_maximum_s=most)
    assert retry_delay_s(policy, 1, Fixed(1)) == probe_delay_s(policy, 1, Fixed(1)) == most


def test_the_least_that_a_policy_may_be() -> None:
    policy = RetryPolicy(initial_s=1e-3, maximum_s=1e-3, probe_initial_s=120, probe_maximum_s=120)
    assert probe_delay_s(policy, 1, Fixed(0)) == 60
