""".github/design/supervision.md 1.7: a supervisor that ends: how its children leave, how long it waits, who hears of it."""

import threading
import time
from typing import Any

import pytest
from children import KINDS, Probe, Scripted, ThreadProbe, Watch, World, die, ref_of, states
from holding import Gate
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually, in_background

from supervision import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    CallTimeout,
    DynamicSupervisor,
    NoProcess,
    ServerDied,
    SupervisionError,
    Supervisor,
    call,
    cast,
    stop,
)

BOOM = Scripted("boom")


# --- a supervisor that ends -------------------------------------------------------------------------------------------


def test_children_leave_one_after_the_other(world: World, gate: Gate) -> None:
    """The next one is not asked before the one in hand has left: the times add up."""

    class Slow(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()
            super().on_terminate(reason)

    sup = Supervisor.start_link([world.spec("a"), world.spec("b", Slow), world.spec("c")])
    watch = Watch(sup)
    cast_ref = ref_of(sup, "a")
    stopper = in_background(lambda: Supervisor.stop(sup))
    gate.await_entry()
    assert call(cast_ref, "still there?") == "still there?"
    assert world.log() == ["start a", "start b", "start c", "stop c"]
    gate.go()
    assert watch.reason() == SHUTDOWN
    stopper.join(DEADLINE_S)
    assert world.log() == ["stop b", "stop a"]


def test_each_child_has_its_own_time(world: World, gate: Gate) -> None:
    specs = [
        world.spec("a"),
        world.spec("b", shutdown="brutal_kill"),
        world.spec("c", shutdown=0.05),
        world.spec("d", shutdown="infinity"),
    ]
    sup = Supervisor.start_link(specs)
    watches = {row.id: Watch(row.ref) for row in Supervisor.which_children(sup)}
    cast(ref_of(sup, "c"), gate)
    gate.await_entry()
    world.log()
    Supervisor.stop(sup)
    assert {child: watch.reason() for child, watch in watches.items()} == {
        "a": SHUTDOWN,
        "b": KILLED,
        "c": KILLED,
        "d": SHUTDOWN,
    }
    assert world.log() == ["stop d", "stop a"]


def test_a_child_that_dies_while_its_supervisor_stops_is_not_restarted(world: World) -> None:
    """``sup_stop_race``: b dies while c is being stopped; the order goes on undisturbed."""
    victims: list[Any] = []

    class Murderer(Probe):
        def on_terminate(self, reason: Any) -> None:
            super().on_terminate(reason)
            die(victims[0], BOOM)

    sup = Supervisor.start_link([world.spec("a"), world.spec("b", ThreadProbe), world.spec("c", Murderer)])
    victims.append(ref_of(sup, "b"))
    watch = Watch(sup)
    world.log()
    Supervisor.stop(sup)
    assert watch.reason() == SHUTDOWN
    assert world.log() == ["stop c", "end b", "stop a"]


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_stop_waits_for_the_whole_tree(kind: str, world: World) -> None:
    if kind == "static":
        sup = Supervisor.start_link([Supervisor.child_spec(world.specs("xy"), id="inner"), *world.specs("ab")])
    else:
        sup = DynamicSupervisor.start_link()
        for child in "ab":
            DynamicSupervisor.start_child(sup, world.spec(child))
        DynamicSupervisor.start_child(sup, Supervisor.child_spec(world.specs("xy"), id="inner"))
    watch = Watch(sup)
    assert (Supervisor if kind == "static" else DynamicSupervisor).stop(sup) is None
    assert world.live() == []
    assert watch.reason() == SHUTDOWN
    assert ActorRegistry.get_all() == []


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_stop_at_its_deadline_raises_and_goes_on(kind: Any, world: World, gate: Gate) -> None:
    sup = kind.start_link([]) if kind is Supervisor else kind.start_link()
    ref = kind.start_child(sup, world.spec("a"))
    watch = Watch(sup)
    cast(ref, gate)
    gate.await_entry()
    with pytest.raises(CallTimeout):
        kind.stop(sup, timeout=0.02)
    gate.go()
    assert watch.reason() == SHUTDOWN
    with pytest.raises(NoProcess):
        kind.stop(sup)


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_stop_of_something_else(kind: Any, world: World) -> None:
    with pytest.raises(NoProcess):
        kind.stop("nobody")
    worker = Probe.start_link(world, "w")
    with pytest.raises(TypeError, match="sup: expected a"):
        kind.stop(worker)
    assert worker.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_stop_on_an_instance_stays_pykkas(kind: type, world: World) -> None:
    """``self.stop()`` inside a handler ends the actor after what is in its mailbox, as ever."""
    sup = Supervisor.start_link([world.spec("a", kind, restart="transient")])
    watch = Watch(ref_of(sup, "a"))
    call(ref_of(sup, "a"), lambda actor: actor.stop())
    assert watch.reason() == NORMAL
    assert states(sup) == {"a": "stopped"}


def test_calls_that_wait_for_a_supervisor_that_stops_hear_of_it(world: World, gate: Gate) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    cast(ref_of(sup, "a"), gate)
    gate.await_entry()
    outcome: list[BaseException] = []
    in_background(lambda: Supervisor.stop(sup))
    eventually(lambda: sup not in ActorRegistry.get_all())  # it is ending

    def ask() -> None:
        try:
            Supervisor.count_children(sup)
        except SupervisionError as error:
            outcome.append(error)

    asker = in_background(ask)
    gate.go()
    asker.join(DEADLINE_S)
    assert isinstance(outcome[0], ServerDied | NoProcess)


# --- a dynamic supervisor that ends -------------------------------------------------------------------------------------


def test_a_dynamic_supervisor_asks_all_at_once(world: World) -> None:
    """Every end hook waits for the others: it only ends if they run at the same time."""
    together = threading.Barrier(6)

    class Sociable(ThreadProbe):
        def on_terminate(self, reason: Any) -> None:
            together.wait(DEADLINE_S)
            super().on_terminate(reason)

    sup = DynamicSupervisor.start_link()
    for number in range(6):
        DynamicSupervisor.start_child(sup, world.spec(number, Sociable))
    DynamicSupervisor.stop(sup)
    assert not together.broken
    assert world.live() == []


def test_its_deadlines_run_side_by_side(world: World, gate: Gate) -> None:
    sup = DynamicSupervisor.start_link()
    watches = []
    for number in range(16):
        ref = DynamicSupervisor.start_child(sup, world.spec(number, ThreadProbe, shutdown=0.3))
        watches.append(Watch(ref))
        cast(ref, gate)
    quick = Watch(DynamicSupervisor.start_child(sup, world.spec("quick")))
    gate.await_entry()
    began = time.monotonic()
    DynamicSupervisor.stop(sup)
    assert time.monotonic() - began < 16 * 0.3 / 2  # the maximum, not the sum
    assert {watch.reason() for watch in watches} <= {KILLED}
    assert quick.reason() == SHUTDOWN
    for number in range(16):
        world.gone(number)


# --- Pykka's way to stop everything -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_stop_all_ends_supervisors_too(strategy: Any, world: World) -> None:
    inner = Supervisor.child_spec(world.specs("xy"), id="inner", strategy=strategy)
    top = Supervisor.start_link([*world.specs("ab"), inner, DynamicSupervisor.child_spec(id="d", name="d")])
    DynamicSupervisor.start_child("d", world.spec("z"))
    watch = Watch(top)
    ActorRegistry.stop_all(block=True, timeout=DEADLINE_S)
    assert watch.reason() in (NORMAL, SHUTDOWN)
    assert ActorRegistry.get_all() == []
    assert world.live() == []


def test_a_supervisor_stops_like_any_server(world: World) -> None:
    for how, reason in (
        (stop, NORMAL),
        (lambda sup: sup.stop(timeout=DEADLINE_S), NORMAL),
        (Supervisor.stop, SHUTDOWN),
    ):
        sup = Supervisor.start_link(world.specs("ab"), name="again")
        watch = Watch(sup)
        how(sup)
        assert watch.reason() == reason
        assert world.live() == []
        with pytest.raises(NoProcess):
            Supervisor.count_children("again")
