""".github/design/supervision.md 1.8: significant children and automatic shutdown."""

import logging
from typing import Any

import pytest
from children import Scripted, Watch, World, crash, die, quiet, ref_of, states
from holding import held

from supervision import NORMAL, SHUTDOWN, Exit, Shutdown, Supervisor, kill

BOOM = Scripted("boom")
ORDERLY = (Exit(), Exit(SHUTDOWN), Exit(Shutdown("done")))


def family(
    world: World, restart: str, auto_shutdown: str, significant: str = "a", ids: str = "abc", **flags: Any
) -> Any:
    """A supervisor over children of which those named are significant and have that restart type."""
    specs = [
        world.spec(child, restart=restart, significant=True) if child in significant else world.spec(child)
        for child in ids
    ]
    return Supervisor.start_link(specs, auto_shutdown=auto_shutdown, **flags)


@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
@pytest.mark.parametrize("how", [*ORDERLY, BOOM, None], ids=repr)
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_the_only_significant_child_ends(
    restart: str, how: BaseException | None, auto_shutdown: str, world: World
) -> None:
    """A transient one counts on orderly ends only, for else it is restarted; a temporary one on any end. [OTP]"""
    sup = family(world, restart, auto_shutdown)
    watch = Watch(sup)
    if how is None:
        world.gone("a")
    die(ref_of(sup, "a"), how)
    if restart == "transient" and how not in ORDERLY:
        assert quiet(sup)
        assert set(states(sup).values()) == {"running"}
        return
    assert not quiet(sup)
    assert watch.reason() == SHUTDOWN
    first = [] if how is None else ["stop a" if how in ORDERLY else "end a"]
    assert world.log()[3:] == [*first, "stop c", "stop b"]


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_any_and_all_of_several(restart: str, world: World) -> None:
    every = family(world, restart, "all_significant", "ab")
    assert crash(every, "a", Exit())
    assert not crash(every, "b", Exit())

    either = family(world, restart, "any_significant", "ab")
    assert not crash(either, "b", Exit())


def test_a_restarting_significant_child_is_still_active(world: World) -> None:
    """The other one ends while this one waits for its next try: not the last one yet."""
    sup = family(world, "transient", "all_significant", "ab", max_restarts=5)
    refs = ref_of(sup, "a"), ref_of(sup, "b")
    world.script("a", "fail")
    with held(sup):
        die(refs[0], BOOM)
        die(refs[1], Exit())
    assert quiet(sup)
    assert states(sup) == {"a": "running", "b": "stopped", "c": "running"}
    assert not crash(sup, "a", Exit())


def test_an_insignificant_end_has_no_such_effect(world: World) -> None:
    sup = family(world, "transient", "any_significant")
    Supervisor.start_child(sup, world.spec("t", restart="temporary"))
    assert crash(sup, "t")
    assert crash(sup, "b")


@pytest.mark.parametrize("restart", ["transient", "temporary"])
@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
def test_terminate_child_does_not_trigger(auto_shutdown: str, restart: str, world: World) -> None:
    sup = family(world, restart, auto_shutdown)
    Supervisor.terminate_child(sup, "a")
    assert quiet(sup)
    assert "a" not in states(sup) or states(sup)["a"] == "stopped"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_a_sibling_that_ends_for_a_restart_does_not_trigger(restart: str, strategy: str, world: World) -> None:
    """OTP's case ``significant_bystander``."""
    sup = family(world, restart, "any_significant", significant="b", strategy=strategy)
    assert crash(sup, "a")
    assert states(sup).get("b") == ("running" if restart == "transient" else None)


def test_after_a_terminated_one_the_last_of_the_others_triggers(world: World) -> None:
    sup = family(world, "transient", "all_significant", "ab")
    Supervisor.terminate_child(sup, "a")
    assert not crash(sup, "b", Exit())


def test_it_goes_up_the_tree(world: World) -> None:
    """``significant_escalation``: the reason is ``shutdown``, an orderly end of a significant supervisor."""
    inner = Supervisor.child_spec(
        [world.spec("x", restart="temporary", significant=True)],
        id="inner",
        auto_shutdown="any_significant",
        restart="transient",
        significant=True,
    )
    top = Supervisor.start_link([world.spec("a"), inner], auto_shutdown="any_significant")
    watch = Watch(top)
    die(ref_of(ref_of(top, "inner"), "x"), Exit())
    assert watch.reason() == SHUTDOWN
    assert world.live() == []


def test_a_permanent_supervisor_that_shut_itself_down_is_restarted(world: World) -> None:
    inner = Supervisor.child_spec(
        [world.spec("x", restart="temporary", significant=True)], id="inner", auto_shutdown="any_significant"
    )
    top = Supervisor.start_link([inner])
    old = ref_of(top, "inner")
    watch = Watch(old)
    die(ref_of(old, "x"), Exit())
    assert watch.reason() == SHUTDOWN
    assert states(ref_of(top, "inner")) == {"x": "running"}


def test_one_added_later_counts_too(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"), auto_shutdown="any_significant")
    Supervisor.start_child(sup, world.spec("s", restart="transient", significant=True))
    assert not crash(sup, "s", Exit())


def test_a_killed_temporary_one_counts(world: World) -> None:
    sup = family(world, "temporary", "any_significant")
    watch = Watch(sup)
    world.gone("a")
    kill(ref_of(sup, "a"))
    assert watch.reason() == SHUTDOWN


def test_it_is_reported(world: World, caplog: pytest.LogCaptureFixture) -> None:
    sup = family(world, "transient", "any_significant")
    with caplog.at_level(logging.INFO, "supervision"):
        assert not crash(sup, "a", Exit())
    told = [record.fields for record in caplog.records if record.event == "supervisor_auto_shutdown"]
    assert [(fields["child"], fields["auto_shutdown"]) for fields in told] == [("a", "any_significant")]


def test_never_is_never(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", restart="transient"), world.spec("b", restart="temporary")])
    assert die(ref_of(sup, "a"), Exit()) == NORMAL
    assert crash(sup, "b")
    assert states(sup) == {"a": "stopped"}
