""".github/design/supervision.md 1.2: supervisors as children: they start depth first, and a failure is named on every level."""

import threading

import pytest
from children import Scripted, World, ref_of
from threads import DEADLINE_S

from supervision import (
    DynamicSupervisor,
    StartError,
    Supervisor,
    kill,
    whereis,
)


def test_nested_supervisors_start_depth_first_and_name_the_failing_child_on_every_level(world: World) -> None:
    world.script("y", "fail")
    inner = Supervisor.child_spec(world.specs("xyz"), id="inner")
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([world.spec("a"), inner, world.spec("b")])
    assert caught.value.child_id == "inner"
    assert isinstance(caught.value.cause, StartError)
    assert caught.value.cause.child_id == "y"
    assert isinstance(caught.value.cause.cause, Scripted)
    assert world.log() == ["start a", "start x", "fail y", "stop x", "stop a"]


def test_a_nested_supervisor_takes_every_option_of_start_link_and_of_a_specification(world: World) -> None:
    spec = Supervisor.child_spec(
        world.specs("a"),
        id="inner",
        strategy="one_for_all",
        max_restarts=1,
        max_seconds=2.0,
        auto_shutdown="any_significant",
        name="inner-name",
        restart="transient",
        shutdown=3.0,
        significant=True,
    )
    sup = Supervisor.start_link([spec], auto_shutdown="all_significant")
    assert whereis("inner-name") is ref_of(sup, "inner")
    assert (spec.restart, spec.shutdown, spec.significant, spec.name) == ("transient", 3.0, True, "inner-name")
    dynamic = DynamicSupervisor.child_spec(id="d", max_children=1, extra_args=(1,), name="d-name", restart="transient")
    assert Supervisor.start_child(sup, dynamic) is whereis("d-name")


def test_a_supervisor_killed_while_it_starts_starts_nothing_more(world: World) -> None:
    entered, go = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert go.wait(DEADLINE_S)

    world.script("b", slow)
    outcome: list[BaseException] = []

    def start() -> None:
        try:
            Supervisor.start_link(world.specs("abc"), name="doomed")
        except BaseException as error:
            outcome.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    assert entered.wait(DEADLINE_S)
    kill("doomed")
    starter.join(DEADLINE_S)
    go.set()
    assert isinstance(outcome[0], StartError)
    world.wait_for("stop a")
    world.wait_for("stop b")  # the one whose start was under way is ended when it comes up
    assert sorted(world.log()) == ["start a", "start b", "stop a", "stop b"]
