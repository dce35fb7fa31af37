"""What is kept for a child's successor is told of the child's end, and can go when there will be none."""

from __future__ import annotations

from typing import Any

import pytest
from children import World, ref_of, states
from threads import eventually

from supervision import KILLED, NORMAL, Backoff, Server, Supervisor, kill, monitor, stop
from supervision.monitors import keep_for_successor, may_be_restarted

LATER = Backoff(initial=30, jitter=0)


class Notes:
    """What is kept: the reasons of the ends that it was told of, and for each that is final whether it was asked for."""

    def __init__(self) -> None:
        self.ends: list[Any] = []
        self.told: list[bool] = []

    def owner_ended(self, ref: Any, reason: Any) -> None:
        self.ends.append((ref, reason))

    def not_restarted(self, ref: Any, asked: bool) -> None:
        self.told.append(asked)


def killed(sup: Any, child_id: str) -> tuple[Any, Notes]:
    ref, notes = ref_of(sup, child_id), Notes()
    keep_for_successor(ref, notes)
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
    keep_for_successor(ref, notes)
    killed(sup, "a")
    assert states(sup) == {"a": "restarting", "b": "stopped"}
    assert may_be_restarted(ref)
    Supervisor.delete_child(sup, "b")
    assert not may_be_restarted(ref)
    assert notes.told == [True]


def test_a_child_that_is_stopped_while_it_runs_learns_of_that_in_its_end_hook(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a")])
    notes = Notes()
    keep_for_successor(ref_of(sup, "a"), notes)
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


@pytest.mark.parametrize(("end", "reason"), [(kill, KILLED), (stop, NORMAL)])
def test_what_is_kept_is_told_of_each_end_once_and_before_monitors(end: Any, reason: Any) -> None:
    told_before: list[Any] = []
    ref, notes = Server.start_link(), Notes()
    monitor(ref, lambda _: told_before.append(list(notes.ends)))
    keep_for_successor(ref, notes)
    end(ref)
    eventually(lambda: told_before)
    assert told_before == [[(ref, reason)]]
    assert notes.ends == [(ref, reason)]


def test_what_comes_after_the_end_is_told_at_once() -> None:
    ref, notes = Server.start_link(), Notes()
    kill(ref)
    keep_for_successor(ref, notes)
    assert notes.ends == [(ref, KILLED)]


def test_what_it_raises_is_logged_and_keeps_no_monitor_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Notes):
        def owner_ended(self, ref: Any, reason: Any) -> None:
            raise ValueError("of what is kept")

    told: list[Any] = []
    ref = Server.start_link()
    monitor(ref, told.append)
    keep_for_successor(ref, Fails())
    kill(ref)
    assert [down.reason for down in told] == [KILLED]
    assert "watcher_failed" in caplog.text
