""".github/design/supervision.md 1.7: what is killed: an abandoned handler has no effect, a killed supervisor's children leave."""

from typing import Any

import pytest
from children import KINDS, Probe, Scripted, Watch, World, die, quiet, ref_of, states
from holding import Gate
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually, in_background

from supervision import (
    KILLED,
    SHUTDOWN,
    DynamicSupervisor,
    ServerDied,
    SupervisionError,
    Supervisor,
    call,
    kill,
    register,
    send_after,
    whereis,
)
from supervision.process.process import abandoned_count

BOOM = Scripted("boom")


# --- what an abandoned handler can still do ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_a_killed_actor_still_does_has_an_effect(kind: type, world: World, gate: Gate) -> None:
    heard: list[str] = []

    def late(actor: Any) -> str:
        send_after(0, actor.actor_ref, lambda _: heard.append("its timer"))
        gate()
        for attempt in (lambda: register("late", actor.actor_ref), lambda: actor.actor_ref.tell("to itself")):
            try:
                attempt()
            except Exception as error:
                heard.append(type(error).__name__)
        heard.append("crashes")
        raise BOOM

    sup = Supervisor.start_link([world.spec("a", kind)], max_restarts=1)
    ref = ref_of(sup, "a")
    watch = Watch(ref)
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(call(ref, late))
        except SupervisionError as error:
            answers.append(error)

    asker = in_background(ask)
    gate.await_entry()
    world.gone("a")
    kill(ref)
    asker.join(DEADLINE_S)
    assert isinstance(answers[0], ServerDied)
    assert answers[0].reason == KILLED
    assert quiet(sup)
    successor = ref_of(sup, "a")
    gate.go()
    eventually(lambda: abandoned_count() == 0)
    assert heard == ["NoProcess", "ActorDeadError", "crashes"]
    assert whereis("late") is None
    assert len(answers) == len(watch.downs) == 1
    assert ref_of(sup, "a") is successor
    assert states(sup) == {"a": "running"}


# --- supervisors that are killed ----------------------------------------------------------------------------------------


def test_the_children_of_a_killed_supervisor_leave_in_order(world: World) -> None:
    """OTP's link: no child is left without a supervisor. All are asked, and run their end hooks."""
    sup = Supervisor.start_link([*world.specs("ab"), Supervisor.child_spec(world.specs("xy"), id="inner")])
    watches = [Watch(row.ref) for row in Supervisor.which_children(sup)]
    kill(sup)
    assert [watch.reason() for watch in watches] == [SHUTDOWN] * 3
    eventually(lambda: world.live() == [])
    eventually(lambda: ActorRegistry.get_all() == [])


def test_a_nested_supervisor_out_of_time_does_not_leak_its_children(world: World, gate: Gate) -> None:
    """OTP leaks them here (ERL-724)."""

    class Slow(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()

    inner = Supervisor.child_spec(
        [world.spec("x"), world.spec("y", Slow, shutdown=0.05)], id="inner", shutdown=0.0, name="inner"
    )
    sup = Supervisor.start_link([inner])
    x = Watch(ref_of("inner", "x"))
    y = Watch(ref_of("inner", "y"))
    Supervisor.terminate_child(sup, "inner")
    assert x.reason() == SHUTDOWN  # by the time terminate_child returns no actor of the inner tree is alive
    assert y.reason() == KILLED
    world.gone("y")
    assert world.live() == []
    assert Supervisor.restart_child(sup, "inner").is_alive()
    gate.go()


def test_a_killed_supervisor_is_restarted_after_its_children_have_left(world: World) -> None:
    """Else the old children would hold the names, and the new ones would fail to start until the window is full."""
    inner = Supervisor.child_spec(
        [world.spec(child, name=f"name-{child}") for child in "abc"], id="inner", name="inner"
    )
    top = Supervisor.start_link([inner], max_restarts=1)
    world.log()
    kill("inner")
    assert quiet(top)
    log = world.log()
    assert sorted(log[:3]) == [
        "stop a",
        "stop b",
        "stop c",
    ]  # all at the same time: no supervisor is left to wait for each
    assert log[3:] == ["start a", "start b", "start c"]
    assert states("inner") == {"a": "running", "b": "running", "c": "running"}


def test_each_child_of_a_killed_supervisor_is_abandoned_at_its_own_deadline(world: World, gate: Gate) -> None:
    class Hung(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()

    specs = [world.spec("a", Hung, shutdown=60.0), world.spec("b"), world.spec("c", Hung, shutdown=0.1)]
    specs += [world.spec("d", Hung, shutdown=0.05), world.spec("e", Hung, shutdown="brutal_kill")]
    sup = Supervisor.start_link(specs)
    a, *others = [Watch(row.ref) for row in Supervisor.which_children(sup)]
    kill(sup)
    assert [watch.reason() for watch in others] == [SHUTDOWN, KILLED, KILLED, KILLED]
    assert a.downs == []  # it is in its end hook, with time left
    gate.go()
    assert a.reason() == SHUTDOWN
    for child in "cde":
        world.gone(child)


def test_a_supervisor_killed_in_the_middle_of_a_restart_starts_nothing_more(world: World, gate: Gate) -> None:
    class Slow(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()
            super().on_terminate(reason)

    specs = [world.spec("a"), world.spec("b", Slow, shutdown="infinity"), world.spec("c")]
    sup = Supervisor.start_link(specs, strategy="one_for_all")
    world.log()
    die(ref_of(sup, "a"), BOOM)
    gate.await_entry()  # the supervisor waits for b
    kill(sup)
    gate.go()
    eventually(lambda: abandoned_count() == 0)
    eventually(lambda: world.live() == [])
    assert world.log() == ["end a", "stop c", "stop b"]


def test_a_killed_dynamic_supervisor_takes_its_children_along(world: World) -> None:
    top = Supervisor.start_link([DynamicSupervisor.child_spec(id="d", name="dynamic")])
    for child in "abc":
        DynamicSupervisor.start_child("dynamic", world.spec(child, name=f"name-{child}"))
    kill("dynamic")
    assert quiet(top)
    assert world.live() == []
    assert DynamicSupervisor.which_children("dynamic") == []
    for child in "abc":
        DynamicSupervisor.start_child("dynamic", world.spec(child, name=f"name-{child}"))
