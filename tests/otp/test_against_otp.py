"""A short round against Erlang/OTP and Elixir, and faults planted in our supervision, which it finds."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from otp import differences, ours, scenario
from otp.erlang import Erlang, missing, term
from otp.judge import compared, judge, shrunk, side_by_side
from pages import blocks

from supervision import exits, strategy, supervising, supervisor
from supervision.children import Child

SEED, SCENARIOS = 1000, 100
ONE_RUN = 500  # until the first mismatch, which mostly comes soon


@pytest.fixture(scope="module")
def erlang() -> Iterator[Erlang]:
    absent = missing()
    if absent and os.environ.get("OIDC_ACTOR_REQUIRE_PROVIDERS") == "1":
        pytest.fail(f"{absent}, and OIDC_ACTOR_REQUIRE_PROVIDERS=1 forbids skipping", pytrace=False)
    if absent:
        pytest.skip(absent)
    with Erlang() as running:
        yield running


@pytest.fixture(autouse=True)
def _in_silence(caplog: pytest.LogCaptureFixture) -> None:
    for logger in ("supervision", "pykka"):  # thousands of crashes, each with its traceback
        caplog.set_level(logging.CRITICAL, logger)


def test_ours_does_what_otp_does(erlang: Erlang) -> None:
    found = [side_by_side(mismatch) for mismatch in judge(erlang, SEED, SCENARIOS)]
    assert not found, "\n\n".join(found)


# --- planted faults ---------------------------------------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def a_window_that_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    def attempt(window: strategy.Intensity, now: float) -> bool:
        rightly(window, now)
        return len(window.attempts) <= window.max_restarts + 1

    rightly = strategy.Intensity.attempt
    patch.setattr(strategy.Intensity, "attempt", attempt)


def a_window_that_forgets_nothing(patch: pytest.MonkeyPatch) -> None:
    def attempt(window: strategy.Intensity, now: float) -> bool:
        window.attempts.append(now)
        return len(window.attempts) <= window.max_restarts

    patch.setattr(strategy.Intensity, "attempt", attempt)


def a_retry_that_is_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(supervising.AnySupervisor, "_try_again", lambda _, child: child.ended("restarting"))


def a_retry_that_is_not_cancelled(patch: pytest.MonkeyPatch) -> None:
    cancel = supervising.AnySupervisor._request_exit

    def request_exit(sup: Any, child: Child, **how: Any) -> Any:
        retry = child.retry
        request = cancel(sup, child, **how)
        child.retry = retry
        return request

    patch.setattr(supervising.AnySupervisor, "_request_exit", request_exit)


def siblings_that_stop_in_start_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(supervising, "reversed", list, raising=False)


def children_that_stop_in_start_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(supervisor, "reversed", list, raising=False)


def a_transient_child_that_is_always_restarted(patch: pytest.MonkeyPatch) -> None:
    rightly = exits.must_restart
    patch.setattr(exits, "must_restart", lambda restart, reason: restart == "transient" or rightly(restart, reason))


def a_significant_child_that_is_none(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(supervisor, "ends_supervisor", lambda *_: False)


FAULTS: list[Patch] = [
    a_window_that_is_off_by_one,
    a_window_that_forgets_nothing,
    a_retry_that_is_lost,
    a_retry_that_is_not_cancelled,
    siblings_that_stop_in_start_order,
    children_that_stop_in_start_order,
    a_transient_child_that_is_always_restarted,
    a_significant_child_that_is_none,
]


@pytest.mark.parametrize("plant", FAULTS)
def test_a_planted_fault_is_found_within_one_run(erlang: Erlang, plant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert next(judge(erlang, SEED, ONE_RUN, within_s=1.0), None) is not None


def test_the_scenario_of_a_mismatch_is_made_small(erlang: Erlang, monkeypatch: pytest.MonkeyPatch) -> None:
    a_window_that_is_off_by_one(monkeypatch)
    mismatch = next(judge(erlang, SEED, ONE_RUN))
    small = shrunk(erlang, mismatch)
    assert len(term(small.scenario)) < len(term(mismatch.scenario)) / 2
    assert small.theirs != small.ours
    assert "\n ! " in side_by_side(small)


# --- the command, the scenarios, the page -----------------------------------------------------------------------------

ONE_CHILD = {
    "dynamic": False,
    "strategy": "one_for_one",
    "max_restarts": 1,
    "max_seconds": 1000,
    "auto_shutdown": "never",
    "children": [
        {"id": "a", "restart": "permanent", "shutdown": 5000, "significant": False}
        | {"kind": "pooled", "stop": "prompt", "name": None}
    ],
}
TWO_CRASHES: Any = {
    "top": {"id": "top", "supervisor": ONE_CHILD},
    "scripts": {},
    "dynamic": {"top": False},
    "above": {"a": "top"},
    "steps": [{"at": "top", "age": 0, "actions": [["die", "a", "crash"]]}] * 2,
}


def test_the_page_shows_how_a_mismatch_is_printed(erlang: Erlang, monkeypatch: pytest.MonkeyPatch) -> None:
    a_window_that_is_off_by_one(monkeypatch)
    mismatch = compared(123, TWO_CRASHES, *erlang.play([TWO_CRASHES]), ours.play(TWO_CRASHES))
    assert mismatch is not None
    (block,) = [block for block in blocks("tests/otp/README.md") if block.language == "text"]
    assert block.text == side_by_side(mismatch) + "\n"


def test_the_command_prints_figures_and_says_by_its_status_whether_all_agreed(erlang: Erlang) -> None:
    command = [sys.executable, str(Path(__file__).parent), "--scenarios", "5", "--seed", "1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("seed 1\nseed 1, scenarios 5, steps ")
    assert ", agreed 5, seconds " in run.stdout


def test_a_seed_makes_one_scenario_and_scenarios_have_what_they_should() -> None:
    made = [scenario.make(seed) for seed in range(SEED, SEED + SCENARIOS)]
    assert made == [scenario.make(seed) for seed in range(SEED, SEED + SCENARIOS)]
    text = "".join(map(term, made))
    for strategy_ in ("one_for_one", "one_for_all", "rest_for_one", '"dynamic">>=>true'):
        assert strategy_ in text
    for word in (
        *scenario.DEATHS,
        "fail",
        "ignore",
        "exit",
        "brutal_kill",
        "hangs",
        "takes along",
        "any_significant",
        "shared",
    ):
        assert f'<<"{word}">>' in text, word


def test_each_difference_says_how_it_is_judged() -> None:
    for one in differences.DIFFERENCES:
        assert (one.theirs is None and one.ours is None) is ("traces:" not in one.judged)
