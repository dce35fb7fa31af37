""".github/design/supervision.md 1.6: what a supervisor answers, and what may be done, between two attempts of a restart."""

from typing import Any

import pytest
from children import Watch, World, die, quiet, ref_of, states
from holding import BOOM, between_attempts
from threads import DEADLINE_S

from supervision import (
    SHUTDOWN,
    AlreadyPresent,
    ChildNotFound,
    ChildRestarting,
    Supervisor,
)

pytestmark = pytest.mark.usefixtures("clock")


@pytest.mark.parametrize(
    ("operation", "argument", "error"),
    [
        ("start_child", "spec", AlreadyPresent),
        ("restart_child", "a", ChildRestarting),
        ("delete_child", "a", ChildRestarting),
    ],
)
def test_what_a_restarting_child_refuses(operation: str, argument: str, error: type, world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    with between_attempts(world, sup, "a") as post:
        answer = post.send(operation, world.spec("a") if argument == "spec" else argument)
    with pytest.raises(error) as caught:
        answer()
    assert caught.value.child_id == "a"
    assert quiet(sup)
    assert states(sup) == {"a": "running"}


def test_the_specification_of_a_restarting_child_can_be_read(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    with between_attempts(world, sup, "a") as post:
        answer = post.send("get_childspec", "a")
    assert answer() == world.spec("a")


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_terminate_child_cancels_the_pending_retry(strategy: Any, world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab"), strategy=strategy)
    with between_attempts(world, sup, "a") as post:
        answer = post.send("terminate_child", "a")
        world.log()
    assert answer() is None
    assert states(sup) == {"a": "stopped", "b": "running" if strategy == "one_for_one" else "stopped"}
    assert [line for line in world.log() if line.endswith("a")] == []
    assert Supervisor.restart_child(sup, "a").is_alive()


def test_a_cancelled_child_can_be_deleted_and_added_again(world: World) -> None:
    """The retry of the old one, still in the mailbox, is none of the new one's business."""
    sup = Supervisor.start_link(world.specs("a"), max_restarts=1)
    with between_attempts(world, sup, "a") as post:
        answers = [post.send("terminate_child", "a"), post.send("delete_child", "a")]
        answers += [post.send("start_child", world.spec("a"))]
        world.log()
    ref = answers[-1]()
    assert quiet(sup)
    assert ref_of(sup, "a") is ref
    assert world.log() == ["start a"]
    assert [answer() for answer in answers[:2]] == [None, None]


def test_a_cancelled_and_restarted_child_hears_nothing_of_the_old_retry(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"), max_restarts=1)
    with between_attempts(world, sup, "a") as post:
        post.send("terminate_child", "a")
        answer = post.send("restart_child", "a")
    ref = answer()
    assert quiet(sup)
    assert ref_of(sup, "a") is ref


def test_a_siblings_group_restart_takes_over_a_pending_retry(world: World) -> None:
    """b waits for its next try; a crashes and restarts both: b's own retry, still in the mailbox, is ignored."""
    sup = Supervisor.start_link(world.specs("ab"), strategy="rest_for_one", max_restarts=10)
    ref = ref_of(sup, "a")
    with between_attempts(world, sup, "b"):
        die(ref, BOOM)
        world.log()
    assert quiet(sup)
    assert world.log() == ["start a", "start b"]
    assert states(sup) == {"a": "running", "b": "running"}


def test_stopping_the_supervisor_is_served_between_two_attempts(world: World) -> None:
    """``hanging_restart_loop``: a child that can never start again does not keep its supervisor from stopping."""
    sup = Supervisor.start_link(world.specs("ab"), max_restarts=1_000_000)
    watch = Watch(sup)
    world.script("a", *["fail"] * 100_000)
    die(ref_of(sup, "a"), BOOM)
    Supervisor.stop(sup, timeout=DEADLINE_S)
    assert watch.reason() == SHUTDOWN
    assert world.live() == []


def test_the_api_is_served_while_a_child_fails_without_end(world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab"), max_restarts=1_000_000)
    world.script("a", *["fail"] * 100_000)
    die(ref_of(sup, "a"), BOOM)
    assert states(sup)["b"] == "running"
    Supervisor.start_child(sup, world.spec("c"))
    Supervisor.terminate_child(sup, "a")
    assert states(sup) == {"a": "stopped", "b": "running", "c": "running"}


def test_the_unknown_stays_unknown_between_attempts(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    with between_attempts(world, sup, "a") as post:
        answers = [post.send(operation, "zzz") for operation in ("terminate_child", "restart_child", "delete_child")]
    for answer in answers:
        with pytest.raises(ChildNotFound):
            answer()
