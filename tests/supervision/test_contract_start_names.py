""".github/design/supervision.md 1.2: names at the start: there in on_start, and free again after a start that fails."""

import contextlib
from typing import Any

import pytest
from children import KINDS, Probe, World, ref_of

from supervision import (
    AlreadyStarted,
    ChildSpec,
    DynamicSupervisor,
    StartError,
    Supervisor,
    register,
    whereis,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_childs_name_is_there_in_on_start_and_free_after_a_failed_one(kind: type, world: World) -> None:
    seen: list[Any] = []
    world.script("a", lambda: seen.append(whereis("the-name")))
    sup = Supervisor.start_link([world.spec("a", kind, name="the-name")])
    assert seen == [ref_of(sup, "a")] == [whereis("the-name")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_taken_child_name_fails_the_start_and_leaves_the_owner(kind: type, world: World) -> None:
    owner = Probe.start_link(world, "owner", name="taken")
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([world.spec("a"), world.spec("b", kind, name="taken")])
    assert caught.value.child_id == "b"
    assert isinstance(caught.value.cause, AlreadyStarted)
    assert caught.value.cause.ref is owner is whereis("taken")
    assert world.log() == ["start owner", "start a", "stop a"]


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_a_taken_supervisor_name(kind: type, world: World) -> None:
    args = [world.specs("a")] if kind is Supervisor else []
    first = kind.start_link(*args, name="sup")
    world.log()
    with pytest.raises(AlreadyStarted) as caught:
        kind.start_link(*args, name="sup")
    assert caught.value.ref is first is whereis("sup")
    assert world.log() == []


@pytest.mark.parametrize("how", ["fail", "ignore", SystemExit()])
def test_a_name_is_free_when_a_failed_or_ignored_start_returns(how: Any, world: World) -> None:
    """gen_server_SUITE ``otp_7669``: a hundred times."""
    for _ in range(100):
        world.script("a", how)
        with contextlib.suppress(StartError):
            assert Probe.start_link(world, "a", name="again") is None
        assert whereis("again") is None


def test_a_name_is_free_when_a_failed_start_of_a_supervisor_returns(world: World) -> None:
    for _ in range(50):
        world.script("b", "fail")
        with pytest.raises(StartError):
            Supervisor.start_link([world.spec("a", name="inner"), world.spec("b")], name="outer")
        assert whereis("outer") is None
        assert whereis("inner") is None


def test_a_callables_child_gets_the_specifications_name(world: World) -> None:
    sup = Supervisor.start_link([ChildSpec("a", lambda: Probe.start_link(world, "a"), name="given")])
    assert whereis("given") is ref_of(sup, "a")


def test_a_callables_child_whose_name_is_taken_is_ended_again(world: World) -> None:
    register("given", Probe.start_link(world, "owner"))
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([ChildSpec("a", lambda: Probe.start_link(world, "a"), name="given")])
    assert isinstance(caught.value.cause, AlreadyStarted)
    assert world.log() == ["start owner", "start a", "stop a"]
