"""Whoever keeps something for a child's successor is told when there will be none."""

from __future__ import annotations

from typing import Any

import pytest
from children import World, ref_of, states

from supervision import Backoff, Supervisor, kill
from supervision.child_process import may_be_restarted, when_ended_for_good

LATER = Backoff(initial=30, jitter=0)


class Heir:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    def __call__(self, ref: Any, asked: bool) -> None:
        self.told.append(asked)


def killed(sup: Any, child_id: str) -> tuple[Any, Heir]:
    ref, heir = ref_of(sup, child_id), Heir()
    when_ended_for_good(ref, heir)
    kill(ref)
    Supervisor.count_children(sup)  # it has heard of the death
    return ref, heir


def test_a_child_that_is_to_be_restarted_may_return(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=LATER)])
    ref, heir = killed(sup, "a")
    assert states(sup) == {"a": "restarting"}
    assert may_be_restarted(ref)
    assert heir.told == []


@pytest.mark.parametrize(
    "end", [lambda sup: Supervisor.terminate_child(sup, "a"), Supervisor.stop], ids=["terminate", "stop"]
)
def test_one_that_is_stopped_meanwhile_does_not(world: World, end: Any) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=LATER)])
    ref, heir = killed(sup, "a")
    end(sup)
    assert not may_be_restarted(ref)
    assert heir.told == [True]


def test_one_that_is_not_restarted_does_not(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", restart="temporary")])
    ref, heir = killed(sup, "a")
    assert not may_be_restarted(ref)
    assert heir.told == [False]


def test_one_whose_specification_is_deleted_does_not(world: World) -> None:
    specs = [world.spec("a", backoff=LATER), world.spec("b")]
    sup = Supervisor.start_link(specs, strategy="rest_for_one")
    ref, heir = ref_of(sup, "b"), Heir()
    when_ended_for_good(ref, heir)
    killed(sup, "a")
    assert states(sup) == {"a": "restarting", "b": "stopped"}
    assert may_be_restarted(ref)
    Supervisor.delete_child(sup, "b")
    assert not may_be_restarted(ref)
    assert heir.told == [True]


def test_one_that_is_stopped_while_it_runs_hears_of_that_itself(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a")])
    heir = Heir()
    when_ended_for_good(ref_of(sup, "a"), heir)
    Supervisor.stop(sup)
    assert heir.told == []


def test_it_returns_with_its_supervisor_or_not_at_all(world: World) -> None:
    inner = Supervisor.child_spec([world.spec("a")], id="inner", backoff=LATER)
    outer = Supervisor.start_link([inner])
    ref = ref_of(ref_of(outer, "inner"), "a")
    killed(outer, "inner")
    assert may_be_restarted(ref)
    kill(outer)
    assert not may_be_restarted(ref)
