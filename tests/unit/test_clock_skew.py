"""A provider's clock that is off this machine's: estimated from ``Date``, kept, reported once, and never believed too much."""

from dataclasses import FrozenInstanceError
from email.utils import formatdate

import pytest
from machine_driver import DOWN, Driver, with_token

from oidc_actor.machine.effects import Report
from oidc_actor.machine.health import health_of
from oidc_actor.protocol.response_fields import read_skew
from oidc_actor.transport import Response
from oidc_actor.values.clock import Skew

NOW = 1_700_000_000.0
AGREE, NEARLY, FAR = Skew(0.3, 0.6), Skew(-20.0, 1.0), Skew(-300.0, 1.0)


def dated(at: float) -> Response:
    return Response(200, {"Date": formatdate(at, usegmt=True)})


@pytest.mark.parametrize("ahead_s", [-7200, -61, 0, 5, 3600])
@pytest.mark.parametrize("took_s", [0.0, 0.4, 8.0])
@pytest.mark.parametrize("written", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("fraction", [0.0, 0.49, 0.99])
def test_the_true_skew_lies_within_the_estimate(ahead_s: int, took_s: float, written: float, fraction: float) -> None:
    began = NOW + fraction
    skew = read_skew(dated(int(began + took_s * written) + ahead_s), ended_wall=began + took_s, took_s=took_s)
    assert skew is not None
    assert abs(skew.ahead_s - ahead_s) <= skew.uncertainty_s
    assert abs(skew.least_s) <= abs(ahead_s)
    assert skew.uncertainty_s == pytest.approx(took_s / 2 + 0.5)


@pytest.mark.parametrize("headers", [{}, {"Date": ""}, {"Date": "yesterday"}])
def test_an_answer_without_a_date_shows_nothing(headers: dict[str, str]) -> None:
    assert read_skew(Response(200, headers), ended_wall=NOW, took_s=0.1) is None


@pytest.mark.parametrize(
    ("skew", "least_s", "tolerable"),
    [
        (Skew(0.4, 0.5), 0.0, True),
        (Skew(-0.5, 0.5), 0.0, True),
        (Skew(61.0, 1.0), 60.0, True),
        (Skew(61.5, 1.0), 60.5, False),
        (Skew(-61.5, 1.0), -60.5, False),
    ],
)
def test_only_what_is_certain_counts(skew: Skew, least_s: float, tolerable: bool) -> None:
    assert (skew.least_s, skew.is_tolerable) == (least_s, tolerable)


def test_an_estimate_is_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        AGREE.ahead_s = 0.0  # type: ignore[misc]
    assert not hasattr(AGREE, "__dict__")


def shown(driver: Driver) -> float | None:
    return health_of(driver.state, driver.now).clock_skew_s


def test_it_is_in_the_health_report() -> None:
    driver = Driver().start().sent()
    assert shown(driver) is None
    driver.succeeds(skew=NEARLY)
    assert shown(driver) == -20.0
    driver.tick().succeeds(skew=None)
    assert shown(driver) == -20.0
    driver.tick().fails(DOWN, skew=AGREE)
    assert shown(driver) == 0.0


def test_one_that_is_far_off_is_reported_when_it_is_noticed_and_not_again() -> None:
    driver = Driver().start().sent().succeeds(skew=NEARLY)
    assert "clock_skewed" not in driver.reports
    driver.tick().succeeds(skew=FAR)
    assert driver.reports.count("clock_skewed") == 1
    assert next(report for report in driver.reported if report.event == "clock_skewed").fields == {"skew_s": -300.0}
    driver.tick().succeeds(skew=FAR)
    driver.tick().fails(DOWN, skew=FAR)
    assert "clock_skewed" not in driver.reports
    driver.tick().succeeds(skew=AGREE).tick().fails(DOWN, skew=Skew(301.26, 1.0))
    assert driver.of(Report)[0] == Report("clock_skewed", driver.state.attempts, {"skew_s": 301.3})


def test_a_result_that_comes_too_late_says_nothing_of_the_clock() -> None:
    driver = with_token()
    driver.tick().sent()
    attempt = driver.state.attempt
    driver.succeeds()
    assert attempt is not None
    driver.late(attempt, skew=FAR)
    assert shown(driver) is None
