"""SUPERVISION.md 1.6: a restart that fails is tried again through the mailbox; the sequences are OTP's."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from probes import DEADLINE_S, KINDS, Clock, Post, Scripted, Watch, World, crash, die, quiet, ref_of, states

from supervision import (
    SHUTDOWN,
    AlreadyPresent,
    ChildCounts,
    ChildNotFound,
    ChildRestarting,
    DynamicSupervisor,
    Exit,
    Supervisor,
    register,
    unregister,
    whereis,
)

BOOM = Scripted("boom")
pytestmark = pytest.mark.usefixtures("clock")


@contextmanager
def between_attempts(world: World, sup: Any, child_id: str) -> Iterator[Post]:
    """Crash a child, hold the supervisor in the start of its next incarnation, and let that start fail at the end.

    What is posted meanwhile stands in the mailbox before the second attempt: it is served while the child is restarting.
    """
    entered, leave = threading.Event(), threading.Event()

    def held_start() -> None:
        entered.set()
        assert leave.wait(DEADLINE_S)
        world.gone(child_id)
        raise BOOM

    world.script(child_id, held_start)
    die(ref_of(sup, child_id), BOOM)
    assert entered.wait(DEADLINE_S)
    yield Post(sup)
    leave.set()


# --- attempts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_restarts", [0, 1, 3])
def test_a_child_that_never_starts_again_gets_exactly_n_attempts(max_restarts: int, kind: type, world: World) -> None:
    """[OTP] always-failing start with intensity 3: three attempts, then exit ``shutdown``."""
    sup = Supervisor.start_link([world.spec("a", kind), world.spec("b", kind)], max_restarts=max_restarts)
    watch = Watch(sup)
    world.log()
    world.script("a", *["fail"] * 10)
    assert not crash(sup, "a")
    assert watch.reason() == SHUTDOWN
    assert world.log() == ["end a", *["fail a"] * max_restarts, "stop b"]


def test_two_failures_and_a_success_fill_the_window(world: World) -> None:
    """[OTP] crash, two failing restarts, the third succeeds with intensity 3: alive; one more crash is the end."""
    sup = Supervisor.start_link(world.specs("a"), max_restarts=3)
    world.script("a", "fail", "fail")
    world.log()
    assert crash(sup, "a")
    assert world.log() == ["end a", "fail a", "fail a", "start a"]
    assert not crash(sup, "a")


@pytest.mark.parametrize("failure", [Scripted("x"), SystemExit(), KeyboardInterrupt(), Exit(SHUTDOWN)])
def test_whatever_a_restart_raises_is_a_failed_attempt(failure: BaseException, world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab"))
    world.script("a", failure)
    assert crash(sup, "a")
    assert states(sup) == {"a": "running", "b": "running"}


def test_each_failed_attempt_of_a_group_counts(world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab"), strategy="one_for_all", max_restarts=2)
    world.script("b", "fail", "fail")
    world.log()
    assert not crash(sup, "a")
    assert world.log() == ["end a", "stop b", "start a", "fail b", "stop a", "start a", "fail b", "stop a"]


# --- the exact sequences ----------------------------------------------------------------------------------------------


def test_one_for_all_a_sibling_fails(world: World) -> None:
    """[OTP] stop c, stop b, start a, start b(fail), stop a, start a, start b, start c."""
    sup = Supervisor.start_link(world.specs("abc"), strategy="one_for_all")
    world.script("b", "fail")
    world.log()
    assert crash(sup, "a")
    assert world.log() == [
        *("end a", "stop c", "stop b", "start a", "fail b"),
        *("stop a", "start a", "start b", "start c"),
    ]


def test_rest_for_one_a_sibling_fails(world: World) -> None:
    """[OTP] earlier successes stay, the retry goes on from b: start a, start b(fail), start b, start c."""
    sup = Supervisor.start_link(world.specs("abc"), strategy="rest_for_one")
    world.script("b", "fail")
    world.log()
    assert crash(sup, "a")
    assert world.log() == ["end a", "stop c", "stop b", "start a", "fail b", "start b", "start c"]


def test_one_for_all_the_first_one_fails_twice(world: World) -> None:
    sup = Supervisor.start_link(world.specs("abc"), strategy="one_for_all")
    world.script("a", "fail", "fail")
    world.log()
    assert crash(sup, "b")
    assert world.log() == ["end b", "stop c", "stop a", "fail a", "fail a", "start a", "start b", "start c"]


def test_one_for_one_two_children_fail_in_turns(world: World) -> None:
    """Each has its retry in the mailbox: neither waits for the other to succeed."""
    sup = Supervisor.start_link(world.specs("ab"), max_restarts=10)
    other = ref_of(sup, "b")
    with between_attempts(world, sup, "a"):
        world.script("a", "fail", "fail")
        world.script("b", "fail", "fail")
        die(other, BOOM)
        world.log()
    assert quiet(sup)
    assert world.log() == ["fail b", "fail a", "fail b", "fail a", "start b", "start a"]


@pytest.mark.parametrize(
    ("strategy", "waiting"),
    [
        ("one_for_one", {"a": "running", "b": "restarting", "c": "running"}),
        ("rest_for_one", {"a": "running", "b": "restarting", "c": "stopped"}),
        ("one_for_all", {"a": "running", "b": "restarting", "c": "stopped"}),
    ],
)
def test_only_the_failing_one_is_restarting(strategy: Any, waiting: dict[str, str], world: World) -> None:
    """DESIGN: one that waits behind a failing one is ``stopped`` with ref ``None``."""
    sup = Supervisor.start_link(world.specs("abc"), strategy=strategy)
    with between_attempts(world, sup, "b") as post:
        rows = post.send("which_children")
        counts = post.send("count_children")
    assert {row.id: row.state for row in rows()} == waiting
    assert all((row.ref is None) is (row.state != "running") for row in rows())
    active = sum(state == "running" for state in waiting.values())
    assert counts() == ChildCounts(3, active, 0, 3)
    assert quiet(sup)
    assert set(states(sup).values()) == {"running"}


# --- the API between two attempts -------------------------------------------------------------------------------------


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


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_taken_meanwhile_is_a_failed_attempt(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="contested"), world.spec("b")], max_restarts=3)
    watch = Watch(sup)
    thief = ref_of(sup, "b")

    old = Watch(ref_of(sup, "a"))
    with between_attempts(world, sup, "a"):
        assert old.reason()
        unregister("contested")
        register("contested", thief)
    assert watch.reason() == SHUTDOWN
    assert whereis("contested") is None


# --- a dynamic supervisor ---------------------------------------------------------------------------------------------


def test_a_dynamic_child_is_tried_again(world: World) -> None:
    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, world.spec("a"))
    world.script("a", "fail", "fail")
    world.log()
    die(ref, BOOM)
    assert quiet(sup, DynamicSupervisor)
    assert world.log() == ["end a", "fail a", "fail a", "start a"]


def test_a_dynamic_supervisor_gives_up(world: World) -> None:
    sup = DynamicSupervisor.start_link(max_restarts=2)
    watch = Watch(sup)
    ref = DynamicSupervisor.start_child(sup, world.spec("a"))
    DynamicSupervisor.start_child(sup, world.spec("b"))
    world.script("a", *["fail"] * 5)
    world.log()
    die(ref, BOOM)
    assert watch.reason() == SHUTDOWN
    assert world.log() == ["end a", "fail a", "fail a", "stop b"]


# --- reports ----------------------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_reported_by_the_type_of_its_error_only(
    world: World, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    world.script("a", ValueError("hunter2"))
    with caplog.at_level(logging.DEBUG, "supervision"):
        assert crash(sup, "a")
    failed = [record.fields for record in caplog.records if record.event == "child_restart_failed"]
    assert [fields["error"] for fields in failed] == ["ValueError"]
    assert "hunter2" not in str(failed)
