"""Beyond OTP: what a child's delay before its restart means for its siblings."""

from typing import Any

import pytest
from children import Scripted, World, die, ref_of, states
from holding import Timers, exactly, fall, held

from supervision import (
    Supervisor,
)

BOOM = Scripted("boom")


@pytest.mark.parametrize(
    ("strategy", "stopped", "started"),
    [
        ("one_for_one", [], ["b"]),
        ("rest_for_one", ["d", "c"], ["b", "c", "d"]),
        ("one_for_all", ["d", "c", "a"], ["a", "b", "c", "d"]),
    ],
)
def test_siblings_go_at_once_and_come_back_with_it(
    strategy: Any, stopped: list[str], started: list[str], timers: Timers, world: World
) -> None:
    """No child runs for the length of a delay without what it depends on."""
    specs = [world.spec("a"), world.spec("b", backoff=exactly()), world.spec("c"), world.spec("d")]
    sup = Supervisor.start_link(specs, strategy=strategy)
    world.log()
    fall(sup, "b", timers)
    assert world.log() == ["end b", *(f"stop {child}" for child in stopped)]
    waiting = {"b": "restarting", **dict.fromkeys(stopped, "stopped")}
    assert states(sup) == {child: waiting.get(child, "running") for child in "abcd"}
    timers[0].fire()
    assert set(states(sup).values()) == {"running"}
    assert world.log() == [f"start {child}" for child in started]


def test_rest_for_one_groups_a_delayed_child_with_one_that_fails_before_it(timers: Timers, world: World) -> None:
    """EEP 28: c waits in its delay, then a crashes: one restart of all of them, and c's own timer is off."""
    specs = [world.spec("a"), world.spec("b"), world.spec("c", backoff=exactly()), world.spec("d")]
    sup = Supervisor.start_link(specs, strategy="rest_for_one", max_restarts=1)
    fall(sup, "c", timers)
    world.log()
    die(ref_of(sup, "a"), BOOM)
    assert set(states(sup).values()) == {"running"}
    assert world.log() == ["end a", "stop b", "start a", "start b", "start c", "start d"]
    assert timers[0].cancelled
    timers[0].fire()
    assert set(states(sup).values()) == {"running"}
    assert world.log() == []


def test_rest_for_one_a_delayed_child_before_a_delayed_child_takes_it_over(timers: Timers, world: World) -> None:
    specs = [world.spec("a", backoff=exactly()), world.spec("b", backoff=exactly(initial=3)), world.spec("c")]
    sup = Supervisor.start_link(specs, strategy="rest_for_one", max_restarts=10)
    fall(sup, "b", timers)
    fall(sup, "a", timers)
    assert timers.delays == [3, 1]
    assert timers[0].cancelled
    assert states(sup) == {"a": "restarting", "b": "stopped", "c": "stopped"}
    world.log()
    timers[0].fire()
    assert states(sup) == {"a": "restarting", "b": "stopped", "c": "stopped"}
    timers[1].fire()
    assert set(states(sup).values()) == {"running"}
    assert world.log() == ["start a", "start b", "start c"]


def test_one_for_all_two_that_died_together_wait_once(timers: Timers, world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab", backoff=exactly()), strategy="one_for_all", max_restarts=1)
    refs = [ref_of(sup, "a"), ref_of(sup, "b")]
    with held(sup):
        for ref in refs:
            die(ref, BOOM)
    assert states(sup) == {"a": "restarting", "b": "stopped"}
    assert timers.delays == [1]
    timers[0].fire()
    assert set(states(sup).values()) == {"running"}


def test_a_group_attempt_that_fails_waits_by_the_failing_childs_backoff(timers: Timers, world: World) -> None:
    specs = [world.spec("a", backoff=exactly()), world.spec("b", backoff=exactly(initial=4)), world.spec("c")]
    sup = Supervisor.start_link(specs, strategy="one_for_all", max_restarts=10)
    world.script("b", "fail")
    fall(sup, "a", timers)
    world.log()
    timers[0].fire()
    assert states(sup) == {"a": "stopped", "b": "restarting", "c": "stopped"}
    assert world.log() == ["start a", "fail b", "stop a"]
    assert timers.delays == [1, 4]
    timers[1].fire()
    assert set(states(sup).values()) == {"running"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_temporary_sibling_is_gone_at_once(strategy: Any, timers: Timers, world: World) -> None:
    specs = [world.spec("a", backoff=exactly()), world.spec("t", restart="temporary")]
    sup = Supervisor.start_link(specs, strategy=strategy)
    fall(sup, "a", timers)
    assert states(sup) == {"a": "restarting"}
