""".github/design/supervision.md 1.5: the window of restarts, as pure arithmetic; its formula is OTP's."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervision.strategy import Intensity


def lasts(times: list[float], max_restarts: int, max_seconds: float) -> int:
    """How many attempts are made before the supervisor gives up."""
    window = Intensity(max_restarts, max_seconds)
    for made, now in enumerate(times):
        if not window.attempt(now):
            return made
    return len(times)


@pytest.mark.parametrize(
    ("times", "max_restarts", "max_seconds", "made"),
    [
        ([0], 0, 5, 0),
        ([0, 0, 0, 0], 3, 5, 3),
        ([0, 1, 2, 3], 3, 5, 3),
        ([0, 5], 1, 5, 1),  # exactly a window old still counts
        ([0, 5.000001], 1, 5, 2),
        ([0, 4.9, 5.1, 9.8], 2, 5, 3),  # the second and third still stand when the fourth comes
        ([0, 4.9, 5.1, 9.91], 2, 5, 4),
        ([0, 10, 20, 30, 40], 1, 5, 5),
        ([0, 0.5, 1.0, 1.5], 2, 1, 2),
        ([0, 0.6, 1.2, 1.8, 2.4], 2, 1, 5),
    ],
)
def test_the_window(times: list[float], max_restarts: int, max_seconds: float, made: int) -> None:
    assert lasts(times, max_restarts, max_seconds) == made


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 40), max_size=30).map(sorted),
    st.integers(0, 5),
    st.integers(1, 10),
)
def test_the_window_is_otps_formula(times: list[int], max_restarts: int, max_seconds: int) -> None:
    """``keep = [t in restarts while t >= now - period]``, and give up when ``[now] + keep`` is longer than allowed."""
    restarts: list[int] = []
    expected = len(times)
    for made, now in enumerate(times):
        restarts = [now, *(t for t in restarts if t >= now - max_seconds)]
        if len(restarts) > max_restarts:
            expected = made
            break
    assert lasts([float(t) for t in times], max_restarts, max_seconds) == expected


@settings(deadline=None)
@given(st.lists(st.floats(0, 100, allow_nan=False), max_size=30).map(sorted), st.integers(0, 5), st.floats(0.1, 10))
def test_the_window_forgets_what_no_longer_counts(times: list[float], max_restarts: int, max_seconds: float) -> None:
    window = Intensity(max_restarts, max_seconds)
    for now in times:
        may_be_made = window.attempt(now)
        assert window.attempts[-1] == now
        assert window.attempts[0] >= now - max_seconds
        assert may_be_made is (len(window.attempts) <= max_restarts)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_restarts": True}, TypeError, "max_restarts: expected an int of at least 0, got True"),
        ({"max_restarts": 1.0}, TypeError, "max_restarts: expected an int of at least 0, got 1.0"),
        ({"max_restarts": -1}, ValueError, "max_restarts: expected an int of at least 0, got -1"),
        ({"max_seconds": True}, TypeError, "max_seconds: expected seconds above 0, got True"),
        ({"max_seconds": "5"}, TypeError, "max_seconds: expected seconds above 0, got '5'"),
        ({"max_seconds": 0}, ValueError, "max_seconds: expected finite seconds above 0, got 0"),
        ({"max_seconds": float("inf")}, ValueError, "max_seconds: expected finite seconds above 0, got inf"),
        ({"max_seconds": float("nan")}, ValueError, "max_seconds: expected finite seconds above 0, got nan"),
    ],
)
def test_a_window_that_cannot_be(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Intensity(**{"max_restarts": 3, "max_seconds": 5.0, **options})
    assert str(caught.value) == message
