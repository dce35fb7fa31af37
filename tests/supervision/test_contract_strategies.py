""".github/design/supervision.md 1.4: what a restart takes along, and in which order. The logs are OTP's."""

import threading
from typing import Any

import pytest
from children import KINDS, PlainProbe, Probe, Scripted, ThreadProbe, World, crash, die, quiet, ref_of, states
from hypothesis import given, settings
from hypothesis import strategies as st
from threads import DEADLINE_S, eventually

from supervision import ChildSpec, Exit, Supervisor, monitor
from supervision.runtime.dispatcher import OwnThread
from supervision.strategy import affected, ends_supervisor

IDS = "abcd"
TABLE = {
    ("one_for_one", "a"): ("", "a"),
    ("one_for_one", "b"): ("", "b"),
    ("one_for_one", "d"): ("", "d"),
    ("rest_for_one", "a"): ("dcb", "abcd"),
    ("rest_for_one", "b"): ("dc", "bcd"),
    ("rest_for_one", "d"): ("", "d"),
    ("one_for_all", "a"): ("dcb", "abcd"),
    ("one_for_all", "b"): ("dca", "abcd"),
    ("one_for_all", "d"): ("cba", "abcd"),
}


def lines(failed: str, stopped: str, started: str) -> list[str]:
    return [f"end {failed}", *(f"stop {child}" for child in stopped), *(f"start {child}" for child in started)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("strategy", "failed"), TABLE)
def test_stop_and_start_order(strategy: Any, failed: str, kind: type, world: World) -> None:
    sup = Supervisor.start_link(world.specs(IDS, kind=kind), strategy=strategy)
    before = {row.id: row.ref for row in Supervisor.which_children(sup)}
    assert world.log() == [f"start {child}" for child in IDS]
    assert crash(sup, failed)
    stopped, started = TABLE[strategy, failed]
    assert world.log() == lines(failed, stopped, started)
    after = {row.id: row.ref for row in Supervisor.which_children(sup)}
    assert {child for child in IDS if after[child] is not before[child]} == set(started)


@pytest.mark.parametrize(("strategy", "failed"), TABLE)
def test_kinds_of_actor_mix(strategy: Any, failed: str, world: World) -> None:
    kinds: list[type] = [Probe, PlainProbe, ThreadProbe, PlainProbe]
    sup = Supervisor.start_link(map(world.spec, IDS, kinds), strategy=strategy)
    world.log()
    assert crash(sup, failed)
    assert world.log() == lines(failed, *TABLE[strategy, failed])


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_only_those_alive_are_stopped(strategy: Any, world: World) -> None:
    sup = Supervisor.start_link(world.specs(IDS), strategy=strategy)
    Supervisor.terminate_child(sup, "c")
    world.log()
    assert crash(sup, "a")
    assert world.log() == lines("a", "db", "abcd")


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_an_ignored_sibling_does_not_stop_the_restart(strategy: Any, world: World) -> None:
    sup = Supervisor.start_link(world.specs("abc"), strategy=strategy)
    world.script("b", "ignore")
    world.log()
    assert crash(sup, "a")
    assert world.log() == ["end a", "stop c", "stop b", "start a", "ignore b", "start c"]
    assert states(sup) == {"a": "running", "b": "stopped", "c": "running"}


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_which_children_is_in_start_order_after_any_restart(strategy: Any, world: World) -> None:
    sup = Supervisor.start_link(world.specs(IDS), strategy=strategy)
    assert crash(sup, "b")
    assert list(states(sup)) == list(IDS)


def test_start_child_appends_to_the_start_order(world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab"), strategy="one_for_all")
    Supervisor.start_child(sup, world.spec("z"))
    world.log()
    assert crash(sup, "a")
    assert world.log() == lines("a", "zb", "abz")


def test_terminate_and_restart_keep_the_place(world: World) -> None:
    """[OTP] stop order z, b, a."""
    sup = Supervisor.start_link(world.specs("abz"))
    Supervisor.terminate_child(sup, "a")
    Supervisor.restart_child(sup, "a")
    world.log()
    Supervisor.stop(sup)
    assert world.log() == ["stop z", "stop b", "stop a"]


def test_delete_and_start_child_move_it_to_the_end(world: World) -> None:
    sup = Supervisor.start_link(world.specs("abz"))
    Supervisor.terminate_child(sup, "a")
    Supervisor.delete_child(sup, "a")
    Supervisor.start_child(sup, world.spec("a"))
    world.log()
    Supervisor.stop(sup)
    assert world.log() == ["stop a", "stop z", "stop b"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_supervisor_stops_its_children_in_reverse_order(kind: type, world: World) -> None:
    sup = Supervisor.start_link(world.specs(IDS, kind=kind))
    assert crash(sup, "b")  # a restart does not move a child
    world.log()
    Supervisor.stop(sup)
    assert world.log() == ["stop d", "stop c", "stop b", "stop a"]


def test_a_tree_stops_depth_first_in_reverse_order(world: World) -> None:
    inner = Supervisor.child_spec(world.specs("xy"), id="inner")
    sup = Supervisor.start_link([world.spec("a"), inner, world.spec("b")])
    assert world.log() == ["start a", "start x", "start y", "start b"]
    Supervisor.stop(sup)
    assert world.log() == ["stop b", "stop y", "stop x", "stop a"]


def test_a_nested_supervisor_is_restarted_as_a_whole(world: World) -> None:
    inner = Supervisor.child_spec(world.specs("xy"), id="inner", max_restarts=0)
    sup = Supervisor.start_link([world.spec("a"), inner, world.spec("b")], strategy="rest_for_one")
    world.log()
    old = ref_of(sup, "inner")
    die(ref_of(old, "x"), Scripted("x"))
    assert not quiet(old)
    eventually(lambda: ref_of(sup, "inner") != old, "the supervisor to have heard of it")
    assert quiet(sup)
    assert states(sup) == {"a": "running", "inner": "running", "b": "running"}
    assert world.log() == ["end x", "stop y", "stop b", "start x", "start y", "start b"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_temporary_sibling_is_stopped_and_never_started_again(strategy: Any, world: World) -> None:
    specs = [
        world.spec("a"),
        world.spec("t", restart="temporary"),
        world.spec("b"),
        world.spec("u", restart="temporary"),
    ]
    sup = Supervisor.start_link(specs, strategy=strategy)
    world.log()
    assert crash(sup, "a")
    assert world.log() == lines("a", "ubt", "ab")
    assert states(sup) == {"a": "running", "b": "running"}


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_any_hashable_id_works(strategy: Any, world: World) -> None:
    ids = [("pair", 1), None, 3.5, frozenset("x"), "a"]
    sup = Supervisor.start_link([world.spec(child_id) for child_id in ids], strategy=strategy)
    assert crash(sup, None)
    assert list(states(sup)) == ids


# --- the pure plan ----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]), st.integers(1, 9), st.data())
def test_which_children_a_restart_affects(strategy: Any, count: int, data: st.DataObject) -> None:
    ids = tuple(range(count))
    failed = data.draw(st.sampled_from(ids))
    expected = {"one_for_one": (failed,), "one_for_all": ids, "rest_for_one": ids[failed:]}
    assert tuple(affected(strategy, ids, failed)) == expected[strategy]


@pytest.mark.parametrize(
    ("auto_shutdown", "significant", "others_active", "ends"),
    [
        ("never", True, False, False),
        ("any_significant", True, True, True),
        ("any_significant", True, False, True),
        ("any_significant", False, False, False),
        ("all_significant", True, True, False),
        ("all_significant", True, False, True),
        ("all_significant", False, False, False),
    ],
)
def test_which_end_ends_the_supervisor(auto_shutdown: Any, significant: bool, others_active: bool, ends: bool) -> None:
    assert ends_supervisor(auto_shutdown, significant, others_active) is ends


def test_a_normal_end_of_everybody_leaves_an_empty_supervisor(world: World) -> None:
    sup = Supervisor.start_link([ChildSpec(i, Probe, (world, i), restart="temporary") for i in range(3)])
    for row in Supervisor.which_children(sup):
        die(row.ref, Exit())
    assert Supervisor.which_children(sup) == []


@pytest.mark.parametrize("kind", [ThreadProbe, PlainProbe])
def test_a_group_starts_again_only_when_the_threads_of_the_old_ones_are_gone(
    kind: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old thread still does after its actor's end keeps the next incarnation from its port and files."""
    started, too_early = threading.Event(), threading.Event()
    run = OwnThread.run

    class Lingers(kind):
        pass

    def lingering(self: OwnThread, process: Any) -> None:
        run(self, process)
        if process.ref.actor_class is Lingers and started.wait(0.2):
            too_early.set()

    monkeypatch.setattr(OwnThread, "run", lingering)
    sup = Supervisor.start_link([world.spec("a"), world.spec("b", Lingers)], strategy="one_for_all")
    world.script("a", started.set)
    assert crash(sup, "a")
    assert started.is_set()
    assert not too_early.is_set()
    assert world.log() == ["start a", "start b", "end a", "stop b", "start a", "start b"]


@pytest.mark.parametrize("kind", [ThreadProbe, PlainProbe])
def test_a_group_does_not_wait_for_a_watcher_on_an_old_ones_thread(kind: Any, world: World) -> None:
    """Nothing of the old incarnation is left by then, and a watcher may take as long as it likes."""
    sup = Supervisor.start_link([world.spec("a"), world.spec("b", kind)], strategy="one_for_all")
    started, returned = threading.Event(), threading.Event()

    def waits(_: Any) -> None:
        assert started.wait(DEADLINE_S)
        returned.set()

    monitor(ref_of(sup, "b"), waits)
    world.script("a", started.set)
    assert crash(sup, "a")
    assert returned.wait(DEADLINE_S)
    assert world.log() == ["start a", "start b", "end a", "stop b", "start a", "start b"]
