"""Monitors whose callable blocks: everybody else is told, restarted, answered and let go before it."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from actors import Boom, begin, every_child, every_kind, every_watcher, spawn
from children import Watch, ref_of
from holding import Gate
from threads import DEADLINE_S, run

from supervision import (
    NORMAL,
    SHUTDOWN,
    ChildSpec,
    Exit,
    NoProcess,
    ServerDied,
    Supervisor,
    call,
    cast,
    kill,
    monitor,
    register,
    stop,
    whereis,
)


@pytest.fixture
def stuck() -> Iterator[Gate]:
    with Gate() as made:
        yield made


@every_kind
@every_watcher
@pytest.mark.parametrize("how", ["crash", "kill", "stop"])
def test_those_who_block_are_told_after_everybody_else(how: str, kind: str, watcher: Any, stuck: Gate) -> None:
    """A watching actor hears, names are free, callers have their answers, and a stop returns."""
    ref, mine = spawn(kind), begin(watcher)
    register("it", ref)
    monitor(ref, stuck)
    monitor(ref, mine)
    with run(lambda: kill(ref) if how == "kill" else None):
        if how == "crash":
            cast(ref, Boom())
        elif how == "stop":
            stop("it", timeout=DEADLINE_S)
        assert stuck.entered.wait(DEADLINE_S)
        assert whereis("it") is None
        assert len(call(mine, "heard")) == 1
        with pytest.raises(NoProcess):
            call(ref, 1)
        stuck.go()


@every_child
@pytest.mark.parametrize("how", ["asked", "killed"])
def test_a_supervisor_does_not_wait_for_those_who_block(how: str, cls: Any, stuck: Gate) -> None:
    """Neither for the thread that they run on, nor on its own."""
    sup = Supervisor.start_link([ChildSpec("x", cls, shutdown="brutal_kill" if how == "killed" else 0.1)])
    monitor(ref_of(sup, "x"), stuck)
    with run(lambda: Supervisor.terminate_child(sup, "x")):
        assert stuck.entered.wait(DEADLINE_S)
    assert not stuck.left.is_set()
    assert [row.state for row in Supervisor.which_children(sup)] == ["stopped"]


@every_child
def test_a_crashed_child_is_restarted_while_they_block(cls: Any, stuck: Gate) -> None:
    sup = Supervisor.start_link([ChildSpec("x", cls)])
    first = ref_of(sup, "x")
    monitor(first, stuck)
    cast(first, SystemExit())
    assert stuck.entered.wait(DEADLINE_S)
    assert ref_of(sup, "x") is not first
    assert not stuck.left.is_set()


@every_child
def test_a_killed_supervisors_children_are_cut_loose_while_they_block(cls: Any, stuck: Gate) -> None:
    """The children that are killed at once do not keep the others from being asked to leave."""
    spec = ChildSpec("a", cls, shutdown="brutal_kill")
    sup = Supervisor.start_link([spec, ChildSpec("b", cls, shutdown="infinity")])
    last = Watch(ref_of(sup, "b"))
    monitor(ref_of(sup, "a"), stuck)
    kill(sup)
    assert last.reason() == SHUTDOWN
    assert stuck.entered.wait(DEADLINE_S)
    assert not stuck.left.is_set()


@every_kind
def test_an_asker_whose_call_ends_the_actor_does_not_wait_for_those_who_block(kind: str, stuck: Gate) -> None:
    ref = spawn(kind)
    monitor(ref, stuck)
    with pytest.raises(ServerDied):
        call(ref, Exit(), timeout=DEADLINE_S)
    assert not stuck.left.is_set()


@every_kind
def test_callables_keep_their_order(kind: str) -> None:
    ref, heard, last = spawn(kind), [], threading.Event()
    for number in range(5):
        monitor(ref, lambda down, number=number: heard.append((number, down.reason)))  # type: ignore[misc]
    monitor(ref, lambda _: last.set())
    stop(ref)
    assert last.wait(DEADLINE_S)
    assert heard == [(number, NORMAL) for number in range(5)]
