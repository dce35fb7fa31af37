"""The demo's verdicts: each promise can break, and breaks for its own figure only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from oidc_actor.cli.demo.promises import CRASHES, FAST, HERD, NORMAL, Figures, as_json, judge

GOOD = Figures(
    duration_s=9.0,
    reads=1000,
    refreshes=2,
    outage_s=2.0,
    token_left_s=0.5,
    crashes=CRASHES,
    restarts=CRASHES,
    crash_requests=0,
    herd=HERD,
    herd_served=HERD,
    herd_requests=1,
    token_requests=8,
)


def broken(**changes: Any) -> list[str]:
    return [promise.text for promise in judge(replace(GOOD, **changes), FAST) if not promise.kept]


def test_good_figures_keep_all_promises() -> None:
    assert broken() == []
    assert as_json(GOOD, judge(GOOD, FAST))["kept"] is True


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"failed_reads": 1, "first_failure": "NoTokenError: x"}, "No read failed"),
        ({"reads": 0}, "No read failed"),
        ({"refreshes": 1}, "Refreshed"),
        ({"token_left_s": 0.0}, "outage"),
        ({"token_left_s": -0.1}, "outage"),
        ({"outage_s": 0.0}, "outage"),
        ({"restarts": CRASHES - 1}, "crash"),
        ({"crashes": 1, "restarts": 1}, "crash"),
        ({"crash_requests": 2}, "crash"),
        ({"herd_served": HERD - 1}, "One request"),
        ({"herd_requests": 2}, "One request"),
        ({"herd_requests": 0}, "One request"),
        ({"duration_s": 16.0}, "within"),
        ({"unfinished": "scene 1 stopped"}, "within"),
    ],
)
def test_each_promise_can_break(changes: dict[str, Any], words: str) -> None:
    (text,) = broken(**changes)
    assert words in text
    assert as_json(GOOD, judge(replace(GOOD, **changes), FAST))["kept"] is False


def test_a_story_that_never_began_breaks_everything() -> None:
    assert len([promise for promise in judge(Figures(unfinished="no token"), NORMAL) if promise.kept]) == 0


def test_one_extra_request_for_all_crashes_is_allowed() -> None:
    assert broken(crash_requests=1) == []


def test_the_paces_are_those_that_were_promised() -> None:
    assert (NORMAL.token_lifetime_s, NORMAL.limit_s) == (10, 45.0)
    assert FAST.limit_s == 15.0
