""".github/design/supervision.md 1.5: how many restarts, in which window, what giving up looks like. The clock is the test's."""

import logging
from typing import Any

import pytest
from children import Clock, Scripted, Watch, World, crash, die, quiet, ref_of, states
from holding import held

from supervision import SHUTDOWN, DynamicSupervisor, Exit, NoProcess, Supervisor, whereis

BOOM = Scripted("boom")
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")

# --- a supervisor -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("max_restarts", [0, 1, 2, 5])
def test_n_restarts_are_made_and_the_next_one_ends_it(
    max_restarts: int, strategy: Any, clock: Clock, world: World
) -> None:
    sup = Supervisor.start_link(world.specs("abc"), strategy=strategy, max_restarts=max_restarts)
    watch = Watch(sup)
    for _ in range(max_restarts):
        assert crash(sup, "b")
    world.log()
    last = ref_of(sup, "b")
    assert not crash(sup, "b")
    assert watch.reason() == SHUTDOWN
    assert world.log() == ["end b", "stop c", "stop a"]  # [OTP]; the child that failed is not stopped again
    assert not last.is_alive()
    assert world.live() == []
    with pytest.raises(NoProcess):
        Supervisor.count_children(sup)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_the_window_is_inclusive_and_success_does_not_empty_it(kind: str, clock: Clock, world: World) -> None:
    def one_more(sup: Any) -> bool:
        if kind == "static":
            return crash(sup, "a")
        die(DynamicSupervisor.which_children(sup)[0].ref, BOOM)
        return quiet(sup, DynamicSupervisor)

    def make() -> Any:
        clock.at = 1_000.0
        if kind == "static":
            return Supervisor.start_link(world.specs("a"), max_restarts=1, max_seconds=5.0)
        sup = DynamicSupervisor.start_link(max_restarts=1, max_seconds=5.0)
        DynamicSupervisor.start_child(sup, world.spec("a"))
        return sup

    exact = make()
    assert one_more(exact)
    clock.at += 5.0
    assert not one_more(exact)

    later = make()
    for _ in range(4):
        assert one_more(later)
        clock.at += 5.001


def test_one_window_for_all_children(clock: Clock, world: World) -> None:
    sup = Supervisor.start_link(world.specs("abc"), max_restarts=2)
    assert crash(sup, "a")
    assert crash(sup, "b")
    assert not crash(sup, "c")


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_is_one_entry(strategy: Any, clock: Clock, world: World) -> None:
    sup = Supervisor.start_link(world.specs("abcdef"), strategy=strategy, max_restarts=2)
    assert crash(sup, "a")
    assert crash(sup, "a")
    assert not crash(sup, "a")


@pytest.mark.parametrize(
    ("strategy", "survives"), [("one_for_one", False), ("one_for_all", True), ("rest_for_one", True)]
)
def test_two_that_died_before_the_supervisor_looked(strategy: Any, survives: bool, clock: Clock, world: World) -> None:
    """[OTP] one_for_all consumes the second exit while it stops the siblings: one entry; one_for_one counts two."""
    sup = Supervisor.start_link(world.specs("ab"), strategy=strategy, max_restarts=1)
    refs = [ref_of(sup, "a"), ref_of(sup, "b")]
    world.log()
    with held(sup):
        for ref in refs:
            die(ref, BOOM)
    assert quiet(sup) is survives
    assert world.log() == ["end a", "end b", "start a", *(["start b"] if survives else ["stop a"])]


def test_rest_for_one_counts_two_that_died_from_the_end(clock: Clock, world: World) -> None:
    """The later one first: its restart leaves the earlier one's exit in the mailbox, which then counts too."""
    sup = Supervisor.start_link(world.specs("ab"), strategy="rest_for_one", max_restarts=1)
    first, second = ref_of(sup, "b"), ref_of(sup, "a")
    world.log()
    with held(sup):
        die(first, BOOM)
        die(second, BOOM)
    assert not quiet(sup)
    assert world.log() == ["end b", "end a", "start b", "stop b"]


def test_what_is_done_by_hand_is_never_counted(clock: Clock, world: World) -> None:
    """[OTP] five cycles at intensity 0 survive."""
    sup = Supervisor.start_link(world.specs("a"), max_restarts=0)
    for _ in range(5):
        Supervisor.terminate_child(sup, "a")
        assert Supervisor.restart_child(sup, "a").is_alive()
        Supervisor.start_child(sup, world.spec("b"))
        Supervisor.terminate_child(sup, "b")
        Supervisor.delete_child(sup, "b")
    assert states(sup) == {"a": "running"}


def test_an_end_that_is_not_restarted_is_not_counted(clock: Clock, world: World) -> None:
    sup = Supervisor.start_link([], max_restarts=0)
    for number in range(5):
        Supervisor.start_child(sup, world.spec(number, restart="temporary"))
        assert crash(sup, number)
        Supervisor.start_child(sup, world.spec("t", restart="transient"))
        assert crash(sup, "t", Exit())
        Supervisor.delete_child(sup, "t")


def test_the_failing_start_of_a_new_child_is_not_counted(clock: Clock, world: World) -> None:
    sup = Supervisor.start_link([], max_restarts=0)
    world.script("a", *["fail"] * 5)
    for _ in range(5):
        with pytest.raises(Exception, match="did not start"):
            Supervisor.start_child(sup, world.spec("a"))
    assert Supervisor.start_child(sup, world.spec("a")).is_alive()


def test_an_ignored_restart_is_counted(clock: Clock, world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab"), max_restarts=1)
    world.script("a", "ignore")
    assert crash(sup, "a")
    assert states(sup) == {"a": "stopped", "b": "running"}
    assert not crash(sup, "b")


# --- giving up, one level up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("restart", "after"), [("permanent", {"inner": "running"}), ("transient", {"inner": "stopped"}), ("temporary", {})]
)
def test_a_supervisor_that_gave_up_is_restarted_only_if_it_is_permanent(
    restart: Any, after: dict[str, str], clock: Clock, world: World
) -> None:
    """[OTP] it ends with ``shutdown``, which is an orderly end."""
    inner = Supervisor.child_spec(world.specs("xy"), id="inner", max_restarts=0, restart=restart)
    top = Supervisor.start_link([inner])
    old = ref_of(top, "inner")
    watch = Watch(old)
    world.log()
    die(ref_of(old, "x"), BOOM)
    assert watch.reason() == SHUTDOWN
    assert states(top) == after
    fresh = ["start x", "start y"] if restart == "permanent" else []
    assert world.log() == ["end x", "stop y", *fresh]


def test_a_restarted_supervisor_starts_its_static_children_only(clock: Clock, world: World) -> None:
    inner = Supervisor.child_spec(world.specs("xy"), id="inner", max_restarts=0, name="inner")
    top = Supervisor.start_link([inner])
    Supervisor.terminate_child("inner", "y")
    Supervisor.delete_child("inner", "y")
    Supervisor.start_child("inner", world.spec("z"))
    old = whereis("inner")
    watch = Watch(old)
    die(ref_of("inner", "z"), BOOM)
    assert watch.reason() == SHUTDOWN
    assert quiet(top)
    assert whereis("inner") is not old
    assert states("inner") == {"x": "running", "y": "running"}


def test_giving_up_goes_up_the_tree(clock: Clock, world: World) -> None:
    inner = Supervisor.child_spec(world.specs("x"), id="inner", max_restarts=0)
    middle = Supervisor.child_spec([inner], id="middle", max_restarts=0)
    top = Supervisor.start_link([middle], max_restarts=0)
    watch = Watch(top)
    middle_ref = ref_of(top, "middle")
    die(ref_of(ref_of(middle_ref, "inner"), "x"), BOOM)
    assert watch.reason() == SHUTDOWN
    assert world.live() == []


def test_giving_up_is_reported_once_with_the_child(
    clock: Clock, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    sup = Supervisor.start_link([world.spec("a", name="the-a")], max_restarts=1, max_seconds=2.0)
    with caplog.at_level(logging.INFO, "supervision"):
        assert crash(sup, "a")
        assert not crash(sup, "a")
    told = [(record.event, record.fields) for record in caplog.records if record.fields.get("child") == "a"]
    assert [event for event, _ in told] == ["child_ended", "child_restarted", "child_ended", "supervisor_gave_up"]
    fixed = {"supervisor": str(sup), "child": "a", "name": "the-a"}
    assert told[0][1] == {**fixed, "restarts": 0, "reason": "Crash(Scripted)", "restart": True}
    assert told[1][1] == {**fixed, "restarts": 1}
    failure = {"error": "Scripted: a", "exception": told[3][1]["exception"]}
    assert told[3][1] == {**fixed, "restarts": 1, "max_restarts": 1, "max_seconds": 2.0, **failure}


def test_the_last_reason_is_kept(clock: Clock, world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    error = Scripted("first")
    assert crash(sup, "a", error)
    kept = Supervisor.tree(sup).children[0].last_exit
    assert (str(kept), str(kept.exception)) == ("Crash(Scripted)", "first")  # type: ignore[union-attr]
