""".github/design/supervision.md 1.10: DynamicSupervisor, as Elixir's."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from children import KINDS, PlainProbe, Probe, Scripted, ThreadProbe, Watch, World, crash, die, quiet, ref_of
from holding import held

from supervision import (
    NORMAL,
    SHUTDOWN,
    AlreadyStarted,
    Backoff,
    ChildCounts,
    ChildInfo,
    ChildNotFound,
    ChildSpec,
    DynamicSupervisor,
    Exit,
    Ignore,
    MaxChildren,
    StartError,
    Supervisor,
    call,
    kill,
    named,
    register,
    whereis,
)

BOOM = Scripted("boom")
FOR_EVER = Backoff(initial=3_600, maximum=3_600, jitter=0)

start = DynamicSupervisor.start_child
which = DynamicSupervisor.which_children
count = DynamicSupervisor.count_children


@pytest.fixture
def sup() -> Any:
    return DynamicSupervisor.start_link()


def all_restarted(sup: Any) -> bool:
    return quiet(sup, DynamicSupervisor)


def test_it_begins_empty(sup: Any) -> None:
    assert which(sup) == []
    assert count(sup) == ChildCounts(0, 0, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_need_not_be_unique(kind: type, sup: Any, world: World) -> None:
    refs = [start(sup, ChildSpec("same", kind, (world, number))) for number in range(3)]
    assert len(set(refs)) == 3
    assert which(sup) == [ChildInfo("same", ref, "running", "worker") for ref in refs]


def test_the_same_specification_may_be_started_many_times(sup: Any) -> None:
    spec = ChildSpec("a", Probe, (World(), "a"))
    assert len({start(sup, spec) for _ in range(5)}) == 5


def test_counts_are_elixirs(sup: Any, world: World) -> None:
    """specs is the number of children; supervisors and workers include those being restarted."""
    start(sup, world.spec("a"))
    start(sup, Supervisor.child_spec([], id="s"))
    waiting = start(sup, world.spec("r", backoff=FOR_EVER))
    die(waiting, BOOM)
    assert count(sup) == ChildCounts(specs=3, active=2, supervisors=1, workers=2)
    assert [(row.id, row.state, row.ref is None) for row in which(sup)] == [
        ("a", "running", False),
        ("s", "running", False),
        ("r", "restarting", True),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_one_for_one_only(kind: type, sup: Any, world: World) -> None:
    refs = [start(sup, world.spec(child, kind)) for child in "abc"]
    world.log()
    die(refs[1], BOOM)
    assert all_restarted(sup)
    assert world.log() == ["end b", "start b"]
    now = {row.id: row.ref for row in which(sup)}
    assert (now["a"], now["c"]) == (refs[0], refs[2])
    assert now["b"] not in refs


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_extra_arguments_come_first_at_every_start(kind: type, world: World) -> None:
    """elixir-lang #7369: a restart with extra arguments once crashed the supervisor."""
    sup = DynamicSupervisor.start_link(extra_args=("x", "y"))
    ref = start(sup, world.spec("a", kind, "own"))
    for _ in range(2):
        die(ref, BOOM)
        assert all_restarted(sup)
        ref = which(sup)[0].ref
    assert world.starts["a"] == [("x", "y", "own")] * 3


def test_extra_arguments_reach_callables_too(world: World) -> None:
    seen: list[Any] = []

    def make(*args: Any, **kwargs: Any) -> Any:
        seen.append((args, kwargs))
        return Probe.start_link(world, "a")

    sup = DynamicSupervisor.start_link(extra_args=[1])  # type: ignore[arg-type]
    start(sup, ChildSpec("a", make, (2,), {"three": 3}))
    assert seen == [((1, 2), {"three": 3})]


# --- max_children -----------------------------------------------------------------------------------------------------


def test_max_children_is_checked_before_the_start(world: World) -> None:
    sup = DynamicSupervisor.start_link(max_children=2)
    first = start(sup, world.spec("a"))
    start(sup, world.spec("b"))
    with pytest.raises(MaxChildren) as caught:
        start(sup, world.spec("c"))
    assert caught.value.max_children == 2
    assert world.log() == ["start a", "start b"]
    DynamicSupervisor.terminate_child(sup, first)
    assert start(sup, world.spec("c")).is_alive()


def test_max_children_zero_is_legal(world: World) -> None:
    with pytest.raises(MaxChildren):
        start(DynamicSupervisor.start_link(max_children=0), world.spec("a"))


def test_children_being_restarted_count(world: World) -> None:
    sup = DynamicSupervisor.start_link(max_children=1)
    die(start(sup, world.spec("a", backoff=FOR_EVER)), BOOM)
    with pytest.raises(MaxChildren):
        start(sup, world.spec("b"))


@pytest.mark.parametrize("how", ["fail", "ignore"])
def test_one_that_did_not_start_takes_no_place(how: str, world: World) -> None:
    sup = DynamicSupervisor.start_link(max_children=1)
    world.script("a", how)
    if how == "fail":
        with pytest.raises(StartError):
            start(sup, world.spec("a"))
    else:
        assert start(sup, world.spec("a")) is None
    assert which(sup) == []
    assert start(sup, world.spec("a")).is_alive()


@pytest.mark.parametrize(("restart", "how"), [("temporary", BOOM), ("transient", Exit())])
def test_one_that_ended_for_good_gives_its_place_back(restart: Any, how: BaseException, world: World) -> None:
    sup = DynamicSupervisor.start_link(max_children=1)
    die(start(sup, world.spec("a", restart=restart)), how)
    assert start(sup, world.spec("b")).is_alive()


# --- starts that fail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [Scripted("x"), SystemExit(), KeyboardInterrupt(), Exit(NORMAL)], ids=repr)
def test_the_raw_reason_is_the_cause_and_the_supervisor_lives(failure: BaseException, sup: Any, world: World) -> None:
    world.script("a", failure)
    with pytest.raises(StartError) as caught:
        start(sup, world.spec("a"))
    assert caught.value.child_id == "a"
    assert caught.value.cause is failure
    assert which(sup) == []


def test_a_taken_name(sup: Any, world: World) -> None:
    owner = start(sup, world.spec("a", name="taken"))
    with pytest.raises(AlreadyStarted) as caught:
        start(sup, world.spec("b", name="taken"))
    assert caught.value.ref is owner is whereis("taken")
    assert count(sup).specs == 1


def test_a_start_callable_may_ignore(sup: Any) -> None:
    def ignore() -> Any:
        raise Ignore

    assert start(sup, ChildSpec("a", ignore)) is None
    assert which(sup) == []


# --- terminate_child --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_terminate_by_ref_forgets_the_child(restart: Any, sup: Any, world: World) -> None:
    ref, other = start(sup, world.spec("a", restart=restart)), start(sup, world.spec("b"))
    watch = Watch(ref)
    assert DynamicSupervisor.terminate_child(sup, ref) is None
    assert watch.reason() == SHUTDOWN
    assert [row.ref for row in which(sup)] == [other]
    with pytest.raises(ChildNotFound):
        DynamicSupervisor.terminate_child(sup, ref)
    assert world.log() == ["start a", "start b", "stop a"]


def test_terminate_a_child_being_restarted_by_its_last_ref(sup: Any, world: World) -> None:
    ref = start(sup, world.spec("a", backoff=FOR_EVER))
    die(ref, BOOM)
    assert [row.state for row in which(sup)] == ["restarting"]
    assert DynamicSupervisor.terminate_child(sup, ref) is None
    assert which(sup) == []


def test_an_older_ref_is_nobodys(sup: Any, world: World) -> None:
    old = start(sup, world.spec("a"))
    die(old, BOOM)
    assert all_restarted(sup)
    with pytest.raises(ChildNotFound):
        DynamicSupervisor.terminate_child(sup, old)
    assert count(sup).active == 1


def test_anything_else_is_not_found_and_untouched(sup: Any, world: World) -> None:
    start(sup, world.spec("a", name="the-a"))
    stranger = Probe.start_link(world, "stranger")
    for what in (stranger, "a", "the-b", None, 7, ["a"], sup):
        with pytest.raises(ChildNotFound):
            DynamicSupervisor.terminate_child(sup, what)
    assert stranger.is_alive()
    assert count(sup).active == 1


def starts_under_a_name(world: World, child_id: str) -> Any:
    return Probe.start_link(world, child_id, name="it")


NAMED: dict[str, Callable[[World], ChildSpec]] = {
    "pooled": lambda world: world.spec("a", Probe, name="it"),
    "threaded": lambda world: world.spec("a", ThreadProbe, name="it"),
    "plain": lambda world: world.spec("a", PlainProbe, name="it"),
    "callable": lambda world: ChildSpec("a", starts_under_a_name, (world, "a")),
    "supervisor": lambda world: Supervisor.child_spec([world.spec("a")], id="s", name="it"),
    "dynamic supervisor": lambda world: DynamicSupervisor.child_spec(id="d", name="it"),
}


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("by", [str, named])
@pytest.mark.parametrize("restarting", [False, True])
def test_terminate_by_name(kind: str, by: Any, restarting: bool, sup: Any, world: World) -> None:
    """.github/design/supervision.md 1.10: also in its backoff, and a name that its start gave it."""
    ref = start(sup, dataclasses.replace(NAMED[kind](world), backoff=FOR_EVER))
    other = start(sup, world.spec("b", name="other"))
    if restarting:
        world.gone("a")
        kill(ref)
        assert [row.state for row in which(sup)] == ["restarting", "running"]
    DynamicSupervisor.terminate_child(sup, by("it"))
    assert [row.ref for row in which(sup)] == [other]
    assert whereis("it") is None
    with pytest.raises(ChildNotFound, match="name 'other'"):
        DynamicSupervisor.terminate_child(sup, by("it"))


def test_terminate_by_any_of_several_names(sup: Any, world: World) -> None:
    ref = start(sup, world.spec("a", name="first"))
    register("second", ref)
    DynamicSupervisor.terminate_child(sup, "second")
    assert which(sup) == []


def test_a_name_is_the_childs_in_its_backoff_also_where_a_stranger_has_it(sup: Any, world: World) -> None:
    die(start(sup, world.spec("a", name="it", backoff=FOR_EVER)), BOOM)
    stranger = Probe.start_link(world, "stranger", name="it")
    DynamicSupervisor.terminate_child(sup, "it")
    assert which(sup) == []
    assert stranger.is_alive()


def test_a_terminated_child_is_not_restarted_by_its_late_down(sup: Any, world: World) -> None:
    ref = start(sup, world.spec("a"))
    with held(sup) as post:
        answer = post.send("terminate_child", ref)
        die(ref, BOOM)
    assert answer() is None
    assert which(sup) == []
    assert world.log() == ["start a", "end a"]


def test_a_terminated_childs_retry_does_nothing(sup: Any, world: World) -> None:
    ref = start(sup, world.spec("a"))
    world.script("a", "fail")
    with held(sup) as post:
        die(ref, BOOM)
        answer = post.send("terminate_child", ref)
    assert answer() is None
    assert all_restarted(sup)
    assert which(sup) == []
    assert world.log() == ["start a", "end a", "fail a"]


# --- giving up and ending ---------------------------------------------------------------------------------------------


def test_it_gives_up_like_the_other_one(world: World) -> None:
    top = Supervisor.start_link([DynamicSupervisor.child_spec(id="d", max_restarts=1, name="dynamic")])
    old = Watch(whereis("dynamic"))
    for child in "ab":
        die(start("dynamic", world.spec(child)), BOOM)
    assert old.reason() == SHUTDOWN
    assert quiet(top)
    assert which("dynamic") == []  # restarted, without its children
    assert world.live() == []


def test_a_child_ended_while_others_are_being_restarted(sup: Any, world: World) -> None:
    refs = [start(sup, world.spec(child)) for child in "abc"]
    world.script("a", "fail")
    with held(sup):
        for ref in refs[:2]:
            die(ref, BOOM)
    assert all_restarted(sup)
    assert {row.id for row in which(sup)} == {"a", "b", "c"}
    assert count(sup).active == 3


def test_it_nests_and_its_children_are_reached_by_ref(sup: Any, world: World) -> None:
    inner = start(sup, Supervisor.child_spec(world.specs("xy"), id="inner"))
    assert crash(inner, "x")
    assert call(ref_of(inner, "y"), "hello") == "hello"
    DynamicSupervisor.terminate_child(sup, inner)
    assert world.live() == []
