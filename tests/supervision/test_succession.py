"""What is kept for a child's successor can go when there will be none: a callback tells."""

from __future__ import annotations

from typing import Any

import pytest
from children import World, ref_of, states

from supervision import Backoff, Supervisor, kill
from supervision.monitors import may_be_restarted, when_ended_for_good

LATER = Backoff(initial=30, jitter=0)


class Notes:
    """What the callback was told: for each call, whether the end was asked for."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    def __call__(self, ref: Any, asked: bool) -> None:
        self.told.append(asked)


def killed(sup: Any, child_id: str) -> tuple[Any, Notes]:
    ref, notes = ref_of(sup, child_id), Notes()
    when_ended_for_good(ref, notes)
    kill(ref)
    Supervisor.count_children(sup)  # it has heard of the death
    return ref, notes


def test_a_child_that_is_to_be_restarted_has_not_ended_for_good(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=LATER)])
    ref, notes = killed(sup, "a")
    assert states(sup) == {"a": "restarting"}
    assert may_be_restarted(ref)
    assert notes.told == []


@pytest.mark.parametrize(
    "end", [lambda sup: Supervisor.terminate_child(sup, "a"), Supervisor.stop], ids=["terminate", "stop"]
)
def test_a_child_that_is_stopped_meanwhile_has(world: World, end: Any) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=LATER)])
    ref, notes = killed(sup, "a")
    end(sup)
    assert not may_be_restarted(ref)
    assert notes.told == [True]


def test_a_child_that_is_not_restarted_has(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", restart="temporary")])
    ref, notes = killed(sup, "a")
    assert not may_be_restarted(ref)
    assert notes.told == [False]


def test_a_child_whose_specification_is_deleted_has(world: World) -> None:
    specs = [world.spec("a", backoff=LATER), world.spec("b")]
    sup = Supervisor.start_link(specs, strategy="rest_for_one")
    ref, notes = ref_of(sup, "b"), Notes()
    when_ended_for_good(ref, notes)
    killed(sup, "a")
    assert states(sup) == {"a": "restarting", "b": "stopped"}
    assert may_be_restarted(ref)
    Supervisor.delete_child(sup, "b")
    assert not may_be_restarted(ref)
    assert notes.told == [True]


def test_a_child_that_is_stopped_while_it_runs_learns_of_that_in_its_end_hook(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a")])
    notes = Notes()
    when_ended_for_good(ref_of(sup, "a"), notes)
    Supervisor.stop(sup)
    assert notes.told == []


def test_a_child_may_be_restarted_with_its_supervisor_or_not_at_all(world: World) -> None:
    inner = Supervisor.child_spec([world.spec("a")], id="inner", backoff=LATER)
    outer = Supervisor.start_link([inner])
    ref = ref_of(ref_of(outer, "inner"), "a")
    killed(outer, "inner")
    assert may_be_restarted(ref)
    kill(outer)
    assert not may_be_restarted(ref)
