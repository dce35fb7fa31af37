""".github/design/supervision.md 1.9: every call of the runtime API in every state of the child."""

from collections.abc import Callable
from typing import Any

import pytest
from children import Probe, Scripted, World, die, ref_of, states
from holding import held

from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    Backoff,
    ChildCounts,
    ChildInfo,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    StartError,
    SupervisionError,
    Supervisor,
    kill,
    whereis,
)

BOOM = Scripted("boom")
FOR_EVER = Backoff(initial=3_600, maximum=3_600, jitter=0)
STATES = ("running", "stopped", "restarting", "unknown")


def in_state(state: str, world: World, restart: str = "permanent") -> Any:
    """A supervisor named "sup" whose child "a" is in that state; a long backoff keeps it restarting."""
    sup = Supervisor.start_link([world.spec("a", restart=restart, backoff=FOR_EVER)], name="sup")
    if state == "stopped":
        Supervisor.terminate_child(sup, "a")
    elif state == "restarting":
        die(ref_of(sup, "a"), BOOM)
    elif state == "unknown":
        Supervisor.terminate_child(sup, "a")
        Supervisor.delete_child(sup, "a")
    assert states(sup) == ({} if state == "unknown" else {"a": state})
    world.log()
    return sup


REFUSED: dict[tuple[str, str], type[SupervisionError]] = {
    ("start_child", "running"): AlreadyStarted,
    ("start_child", "stopped"): AlreadyPresent,
    ("start_child", "restarting"): AlreadyPresent,
    ("terminate_child", "unknown"): ChildNotFound,
    ("restart_child", "running"): ChildRunning,
    ("restart_child", "restarting"): ChildRestarting,
    ("restart_child", "unknown"): ChildNotFound,
    ("delete_child", "running"): ChildRunning,
    ("delete_child", "restarting"): ChildRestarting,
    ("delete_child", "unknown"): ChildNotFound,
    ("get_childspec", "unknown"): ChildNotFound,
}

# What the state is after a call that is served.
SERVED = {
    ("start_child", "unknown"): "running",
    ("terminate_child", "running"): "stopped",
    ("terminate_child", "stopped"): "stopped",
    ("terminate_child", "restarting"): "stopped",
    ("restart_child", "stopped"): "running",
    ("delete_child", "stopped"): "unknown",
    ("get_childspec", "running"): "running",
    ("get_childspec", "stopped"): "stopped",
    ("get_childspec", "restarting"): "restarting",
}
OPERATIONS = ("start_child", "terminate_child", "restart_child", "delete_child", "get_childspec")


def perform(operation: str, sup: Any, world: World) -> Any:
    spec = world.spec("a", backoff=FOR_EVER)
    return getattr(Supervisor, operation)(sup, spec if operation == "start_child" else "a")


def test_the_table_has_no_hole() -> None:
    assert {(operation, state) for operation in OPERATIONS for state in STATES} == {*REFUSED, *SERVED}


@pytest.mark.parametrize(("operation", "state"), REFUSED)
def test_refused(operation: str, state: str, world: World) -> None:
    sup = in_state(state, world)
    before = Supervisor.which_children(sup)
    with pytest.raises(REFUSED[operation, state]) as caught:
        perform(operation, sup, world)
    if isinstance(caught.value, AlreadyStarted):
        assert caught.value.ref is ref_of(sup, "a")
    else:
        assert caught.value.child_id == "a"
    assert "'a'" in str(caught.value)
    assert Supervisor.which_children(sup) == before
    assert world.log() == []


@pytest.mark.parametrize("by_name", [True, False], ids=["name", "ref"])
@pytest.mark.parametrize(("operation", "state"), SERVED)
def test_served(operation: str, state: str, by_name: bool, world: World) -> None:
    sup = in_state(state, world)
    answer = perform(operation, "sup" if by_name else sup, world)
    after = SERVED[operation, state]
    assert states(sup) == ({} if after == "unknown" else {"a": after})
    if operation in ("start_child", "restart_child"):
        assert answer is ref_of(sup, "a")
        assert world.log() == ["start a"]
    elif operation == "get_childspec":
        assert answer == world.spec("a", backoff=FOR_EVER)
    else:
        assert answer is None


@pytest.mark.parametrize("state", STATES)
def test_which_and_count_children(state: str, world: World) -> None:
    sup = in_state(state, world)
    known, active = state != "unknown", state == "running"
    assert Supervisor.count_children(sup) == ChildCounts(known, active, 0, known)
    rows = Supervisor.which_children(sup)
    assert rows == ([ChildInfo("a", rows[0].ref, state, "worker")] if known else [])  # type: ignore[arg-type]
    assert all((row.ref is not None) is active for row in rows)


def test_counts_tell_supervisors_from_workers(world: World) -> None:
    sup = Supervisor.start_link(
        [
            *world.specs("ab"),
            Supervisor.child_spec([], id="s"),
            DynamicSupervisor.child_spec(id="d"),
            world.spec("odd", type="supervisor"),
        ]
    )
    Supervisor.terminate_child(sup, "s")
    Supervisor.terminate_child(sup, "b")
    assert Supervisor.count_children(sup) == ChildCounts(specs=5, active=3, supervisors=3, workers=2)
    assert [row.type for row in Supervisor.which_children(sup)] == ["worker", "worker", *["supervisor"] * 3]


@pytest.mark.parametrize(("kind", "active"), [(Supervisor, 0), (DynamicSupervisor, 1)])
def test_a_child_that_has_ended_unheard_is_listed_and_active_only_in_a_dynamic_supervisor(
    kind: Any, active: int, world: World
) -> None:
    sup = kind.start_link([]) if kind is Supervisor else kind.start_link()
    child = kind.start_child(sup, world.spec("a"))
    with held(sup) as post:
        rows, counts = post.send("which_children"), post.send("count_children")
        die(child, BOOM)
    assert [(row.ref, row.state) for row in rows()] == [(child, "running")]
    assert counts() == ChildCounts(1, active, 0, 1)


# --- temporary children -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["restart_child", "delete_child", "terminate_child", "get_childspec"])
def test_a_terminated_temporary_child_is_unknown(operation: str, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", restart="temporary")])
    Supervisor.terminate_child(sup, "a")
    assert Supervisor.which_children(sup) == []
    with pytest.raises(ChildNotFound):
        getattr(Supervisor, operation)(sup, "a")
    assert Supervisor.start_child(sup, world.spec("a", restart="temporary")).is_alive()


# --- starts that fail ---------------------------------------------------------------------------------------------------


def test_a_new_child_that_fails_is_not_kept(world: World) -> None:
    sup = Supervisor.start_link([])
    failure = Scripted("why")
    world.script("a", failure)
    with pytest.raises(StartError) as caught:
        Supervisor.start_child(sup, world.spec("a"))
    assert (caught.value.child_id, caught.value.cause) == ("a", failure)
    assert Supervisor.which_children(sup) == []
    assert Supervisor.start_child(sup, world.spec("a")).is_alive()


def test_a_restart_by_hand_that_fails_keeps_the_specification(world: World) -> None:
    sup = in_state("stopped", world)
    world.script("a", "fail", "ignore")
    with pytest.raises(StartError) as caught:
        Supervisor.restart_child(sup, "a")
    assert caught.value.child_id == "a"
    assert states(sup) == {"a": "stopped"}
    assert Supervisor.restart_child(sup, "a") is None  # ignored: ok(undefined)
    assert states(sup) == {"a": "stopped"}
    assert Supervisor.restart_child(sup, "a").is_alive()


@pytest.mark.parametrize("by", ["name", "callable"])
def test_a_new_child_that_is_already_started_elsewhere(by: str, world: World) -> None:
    owner = Probe.start_link(world, "owner", name="taken")
    sup = Supervisor.start_link([])

    def start() -> Any:
        return Probe.start_link(world, "a", name="taken")

    spec = world.spec("a", name="taken") if by == "name" else ChildSpec("a", start)
    with pytest.raises(AlreadyStarted) as caught:
        Supervisor.start_child(sup, spec)
    assert caught.value.ref is owner is whereis("taken")
    assert Supervisor.which_children(sup) == []


def test_a_supervisors_failing_new_child_names_the_whole_way(world: World) -> None:
    sup = Supervisor.start_link([])
    world.script("x", "fail")
    with pytest.raises(StartError) as caught:
        Supervisor.start_child(sup, Supervisor.child_spec(world.specs("x"), id="inner"))
    assert caught.value.child_id == "inner"
    assert isinstance(caught.value.cause, StartError)
    assert caught.value.cause.child_id == "x"


# --- what is no child ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["terminate_child", "restart_child", "delete_child", "get_childspec"])
def test_a_static_supervisor_knows_its_children_by_id_only(operation: str, world: World) -> None:
    """``child_adm``: by pid it is not found, and the child is untouched."""
    sup = Supervisor.start_link(world.specs("a"))
    ref = ref_of(sup, "a")
    for what in (ref, ["a"], {}, "A"):
        with pytest.raises(ChildNotFound):
            getattr(Supervisor, operation)(sup, what)
    assert ref_of(sup, "a") is ref
    assert ref.is_alive()


CALLS: dict[str, Callable[[Any, World], Any]] = {
    "start_child": lambda sup, world: Supervisor.start_child(sup, world.spec("a")),
    "terminate_child": lambda sup, world: Supervisor.terminate_child(sup, "a"),
    "restart_child": lambda sup, world: Supervisor.restart_child(sup, "a"),
    "delete_child": lambda sup, world: Supervisor.delete_child(sup, "a"),
    "get_childspec": lambda sup, world: Supervisor.get_childspec(sup, "a"),
    "which_children": lambda sup, world: Supervisor.which_children(sup),
    "count_children": lambda sup, world: Supervisor.count_children(sup),
    "tree": lambda sup, world: Supervisor.tree(sup),
    "stop": lambda sup, world: Supervisor.stop(sup),
    "dynamic start_child": lambda sup, world: DynamicSupervisor.start_child(sup, world.spec("a")),
    "dynamic which_children": lambda sup, world: DynamicSupervisor.which_children(sup),
    "dynamic count_children": lambda sup, world: DynamicSupervisor.count_children(sup),
    "dynamic stop": lambda sup, world: DynamicSupervisor.stop(sup),
}


@pytest.mark.parametrize("dead", ["never registered", "stopped", "killed", "dead ref"])
@pytest.mark.parametrize("operation", CALLS)
def test_a_supervisor_that_is_not_there(operation: str, dead: str, world: World) -> None:
    sup: Any = "nobody"
    if dead != "never registered":
        kind: Any = DynamicSupervisor if operation.startswith("dynamic") else Supervisor
        ref = kind.start_link(*([] if kind is DynamicSupervisor else [[]]), name="sup")
        (kill if dead == "killed" else Supervisor.stop)(ref)
        sup = ref if dead == "dead ref" else "sup"
    with pytest.raises(NoProcess) as caught:
        CALLS[operation](sup, world)
    assert caught.value.server == sup


@pytest.mark.parametrize("operation", [name for name in CALLS if name != "tree"])
def test_an_actor_that_is_no_supervisor_of_that_kind(operation: str, world: World) -> None:
    others = [Probe.start_link(world, "w")]
    if "stop" not in operation:  # any kind of supervisor can be stopped by either
        others.append(Supervisor.start_link([]) if operation.startswith("dynamic") else DynamicSupervisor.start_link())
    for other in others:
        with pytest.raises(TypeError, match="sup: expected a "):
            CALLS[operation](other, world)
        assert other.is_alive()


@pytest.mark.parametrize("operation", CALLS)
def test_what_is_neither_ref_nor_name(operation: str, world: World) -> None:
    for nonsense in (None, 7, b"sup"):
        with pytest.raises(TypeError, match="expected"):
            CALLS[operation](nonsense, world)


class OfTheProgram(Supervisor):
    """A subclass that a program makes for its own flags or names."""


class DynamicOfTheProgram(DynamicSupervisor):
    """The same of the other kind."""


def test_a_subclass_asks_any_supervisor_of_its_kind():
    plain, dynamic = Supervisor.start_link([]), DynamicSupervisor.start_link()
    assert OfTheProgram.which_children(plain) == DynamicOfTheProgram.which_children(dynamic) == []
    assert OfTheProgram.count_children(plain) == DynamicOfTheProgram.count_children(dynamic) == ChildCounts(0, 0, 0, 0)
    with pytest.raises(TypeError, match="expected a Supervisor, got DynamicSupervisor"):
        OfTheProgram.which_children(dynamic)
