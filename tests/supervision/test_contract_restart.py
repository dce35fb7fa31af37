""".github/design/supervision.md 1.3: restart type against exit reason, one test for each cell and kind of actor."""

from typing import Any

import pytest
from children import KINDS, Scripted, Watch, World, crash, die, quiet, ref_of, states
from holding import held
from threads import eventually

from supervision import (
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ChildCounts,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    Exit,
    Ignore,
    Server,
    Shutdown,
    Supervisor,
    cast,
    stop,
)
from supervision.exits import is_orderly, leaves_as_asked, must_restart, reason_of

RESTARTS = ("permanent", "transient", "temporary")
BOOM = Scripted("boom")

# How a child ends, with what reason, and whether that is an orderly end.
ENDS: dict[str, tuple[BaseException | None, Any, bool]] = {
    "normal": (Exit(), NORMAL, True),
    "shutdown": (Exit(SHUTDOWN), SHUTDOWN, True),
    "shutdown-with-detail": (Exit(Shutdown("moved")), Shutdown("moved"), True),
    "killed": (None, KILLED, False),
    "exit-killed": (Exit(KILLED), KILLED, False),
    "noproc": (Exit(NOPROC), NOPROC, False),
    "exit-crash": (Exit(Crash(BOOM)), Crash(BOOM), False),
    "exception": (BOOM, Crash(BOOM), False),
    "ignore-in-a-handler": (ignored := Ignore(), Crash(ignored), False),
    "custom": (custom := Exit("no atom of ours"), Crash(custom), False),
    "system-exit": (leave := SystemExit(0), Crash(leave), False),
    "keyboard-interrupt": (interrupt := KeyboardInterrupt(), Crash(interrupt), False),
    "generator-exit": (closed := GeneratorExit(), Crash(closed), False),
}


def expected(restart: str, orderly: bool) -> str | None:
    """The table: the state after the end, ``None`` where the child is forgotten."""
    if restart == "temporary":
        return None
    return "stopped" if restart == "transient" and orderly else "running"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", RESTARTS)
def test_restart_decision(restart: str, end: str, kind: type, world: World) -> None:
    how, reason, orderly = ENDS[end]
    sup = Supervisor.start_link([world.spec("a", kind, restart=restart), world.spec("b", kind)])
    old = ref_of(sup, "a")
    if how is None:
        world.gone("a")
    assert die(old, how) == reason
    assert quiet(sup)
    state = expected(restart, orderly)
    assert states(sup) == {"b": "running"} if state is None else {"a": state, "b": "running"}
    assert world.log().count("start a") == (2 if state == "running" else 1)
    if state is not None:
        new = ref_of(sup, "a")
        assert new is not old
        assert (new is not None and new.is_alive()) == (state == "running")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", RESTARTS)
def test_restart_decision_of_a_dynamic_supervisor(restart: str, end: str, world: World) -> None:
    how, reason, orderly = ENDS[end]
    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, world.spec("a", restart=restart))
    if how is None:
        world.gone("a")
    assert die(ref, how) == reason
    restarted = expected(restart, orderly) == "running"
    assert DynamicSupervisor.count_children(sup) == ChildCounts(restarted, restarted, 0, restarted)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", RESTARTS)
def test_the_pure_decision_is_the_same_table(restart: Any, end: str) -> None:
    how, reason, orderly = ENDS[end]
    if how is not None:
        assert reason_of(how) == reason
    assert is_orderly(reason) is orderly
    assert must_restart(restart, reason) is (expected(restart, orderly) == "running")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("restart", RESTARTS)
def test_a_terminated_child_is_not_restarted(restart: str, kind: type, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, restart=restart)])
    watch = Watch(ref_of(sup, "a"))
    Supervisor.terminate_child(sup, "a")
    assert watch.reason() == SHUTDOWN
    assert states(sup) == ({} if restart == "temporary" else {"a": "stopped"})
    assert world.log() == ["start a", "stop a"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("restart", RESTARTS)
def test_a_child_stopped_for_its_siblings_restart(restart: str, strategy: str, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a"), world.spec("b", restart=restart)], strategy=strategy)
    world.log()
    assert crash(sup, "a")
    if restart == "temporary":
        assert states(sup) == {"a": "running"}
        assert world.log() == ["end a", "stop b", "start a"]
    else:
        assert states(sup) == {"a": "running", "b": "running"}
        assert world.log() == ["end a", "stop b", "start a", "start b"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_sibling_that_had_ended_for_good_is_started_again(strategy: str, world: World) -> None:
    """[OTP] transient stopped normally, or terminated by hand: every specification in the range is started."""
    specs = [world.spec("a"), world.spec("b", restart="transient"), world.spec("c"), world.spec("d")]
    sup = Supervisor.start_link(specs, strategy=strategy)
    assert die(ref_of(sup, "b"), Exit()) == NORMAL
    Supervisor.terminate_child(sup, "c")
    assert states(sup) == {"a": "running", "b": "stopped", "c": "stopped", "d": "running"}
    world.log()
    assert crash(sup, "a")
    assert world.log() == ["end a", "stop d", "start a", "start b", "start c", "start d"]


def test_a_restart_that_is_ignored_keeps_the_specification(world: World) -> None:
    """[OTP] specs 1, active 0."""
    sup = Supervisor.start_link(world.specs("a"))
    world.script("a", "ignore")
    assert crash(sup, "a")
    assert states(sup) == {"a": "stopped"}
    assert Supervisor.count_children(sup) == ChildCounts(1, 0, 0, 1)


def test_a_restart_that_is_ignored_removes_a_dynamic_child(world: World) -> None:
    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, world.spec("a"))
    world.script("a", "ignore")
    die(ref, BOOM)
    assert DynamicSupervisor.which_children(sup) == []


@pytest.mark.parametrize("how", [stop, lambda ref: ref.stop(timeout=10)], ids=["stop", "pykka-stop"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_permanent_child_stopped_from_outside_is_restarted(kind: type, how: Any, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", kind)])
    watch = Watch(ref_of(sup, "a"))
    how(ref_of(sup, "a"))
    assert watch.reason() == NORMAL
    assert quiet(sup)
    assert world.log() == ["start a", "stop a", "start a"]


class Brief(Server):
    """Ends in ``on_continue``, before anybody can watch it."""

    def __init__(self, how: BaseException) -> None:
        super().__init__()
        self.how = how

    def on_continue(self) -> None:
        raise self.how


def test_a_child_that_ends_at_once_still_ends_with_its_own_reason() -> None:
    """A link has no gap between start and watch, as a monitor would: a normal end is never taken for ``NOPROC``."""
    sup = Supervisor.start_link([], max_restarts=0)
    for number in range(100):
        Supervisor.start_child(sup, ChildSpec(number, Brief, (Exit(),), restart="transient"))
    eventually(lambda: set(states(sup).values()) == {"stopped"})
    assert {branch.last_exit for branch in Supervisor.tree(sup).children} == {NORMAL}


def test_a_dynamic_child_that_ends_at_once_still_ends_with_its_own_reason() -> None:
    sup = DynamicSupervisor.start_link(max_restarts=0)
    spec = ChildSpec("a", Brief, (Exit(SHUTDOWN),), restart="transient")
    for _ in range(100):
        DynamicSupervisor.start_child(sup, spec)
    eventually(lambda: DynamicSupervisor.which_children(sup) == [])


def test_a_child_that_crashes_at_once_is_restarted_until_the_window_is_full() -> None:
    sup = Supervisor.start_link([])
    watch = Watch(sup)
    Supervisor.start_child(sup, ChildSpec("a", Brief, (BOOM,)))
    assert watch.reason() == SHUTDOWN


def test_a_request_that_stands_before_a_death_wins(world: World) -> None:
    """Terminated while its Down is already in the mailbox: the Down is discarded, the child not restarted."""
    sup = Supervisor.start_link(world.specs("a"))
    ref = ref_of(sup, "a")
    with held(sup) as post:
        answer = post.send("terminate_child", "a")
        die(ref, BOOM)
    answer()
    assert states(sup) == {"a": "stopped"}
    assert world.log() == ["start a", "end a"]
    assert str(Supervisor.tree(sup).children[0].last_exit) == "Crash(Scripted)"


# --- what an end leaves alone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize(
    ("restart", "how"), [("transient", Exit()), ("transient", Exit(SHUTDOWN)), ("temporary", BOOM)]
)
def test_siblings_are_not_touched_by_an_end_that_is_not_restarted(
    restart: str, how: BaseException, strategy: str, world: World
) -> None:
    specs = [world.spec("a"), world.spec("b", restart=restart), world.spec("c")]
    sup = Supervisor.start_link(specs, strategy=strategy, max_restarts=0)
    refs = [ref_of(sup, "a"), ref_of(sup, "c")]
    world.log()
    die(ref_of(sup, "b"), how)
    assert quiet(sup)
    assert [ref_of(sup, "a"), ref_of(sup, "c")] == refs
    assert len(world.log()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_under_cast_is_a_crash_and_one_in_an_end_hook_is_not(kind: type, world: World) -> None:
    """A raise in an end hook is logged and changes neither the reason, nor the restart, nor the number of Downs."""

    class Stubborn(kind):  # type: ignore[misc, valid-type]
        def on_terminate(self, reason: Any) -> None:
            raise SystemExit("in the end hook")

        def on_stop(self) -> None:
            raise SystemExit("in the end hook")

        def on_failure(self, *_: Any) -> None:
            raise SystemExit("in the end hook")

    for restart, how, reason in (("transient", Exit(), NORMAL), ("transient", BOOM, Crash(BOOM))):
        sup = Supervisor.start_link([world.spec("a", Stubborn, restart=restart)])
        watch = Watch(ref_of(sup, "a"))
        cast(ref_of(sup, "a"), how)
        assert watch.reason() == reason
        world.gone("a")
        assert quiet(sup)
        assert states(sup) == {"a": "stopped" if reason == NORMAL else "running"}
        assert len(watch.downs) == 1
        Supervisor.stop(sup)
        world.gone("a")


@pytest.mark.parametrize(
    ("restart", "brutally", "reason", "fine"),
    [
        ("permanent", False, SHUTDOWN, True),
        ("permanent", False, NORMAL, False),
        ("permanent", False, Shutdown("x"), False),
        ("permanent", False, KILLED, False),
        ("transient", False, NORMAL, True),
        ("temporary", False, Shutdown("x"), True),
        ("transient", False, Crash(BOOM), False),
        ("permanent", True, KILLED, True),
        ("permanent", True, SHUTDOWN, False),
        ("transient", True, SHUTDOWN, True),
        ("temporary", True, NORMAL, True),
        ("temporary", True, Crash(BOOM), False),
        ("temporary", False, KILLED, False),
    ],
)
def test_which_ends_under_shutdown_deserve_a_warning(restart: Any, brutally: bool, reason: Any, fine: bool) -> None:
    assert leaves_as_asked(restart, brutally, reason) is fine
