""".github/design/supervision.md 1.6: a restart that fails is tried again through the mailbox; the sequences are OTP's."""

from typing import Any

import pytest
from children import KINDS, Scripted, Watch, World, crash, die, quiet, ref_of, states
from holding import BOOM, between_attempts

from supervision import (
    SHUTDOWN,
    ChildCounts,
    DynamicSupervisor,
    Exit,
    Supervisor,
    register,
    unregister,
    whereis,
)

pytestmark = pytest.mark.usefixtures("clock")


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


def test_one_for_one_two_children_fail_wait_for(world: World) -> None:
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
    """.github/design/supervision.md 1.6: one that waits behind a failing one is ``stopped`` with ref ``None``."""
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
