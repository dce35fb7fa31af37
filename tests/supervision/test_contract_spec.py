""".github/design/supervision.md 1.1: child specifications are checked before anything starts, and what is kept of them."""

import gc
import weakref

import pykka
import pytest
from children import Probe, World, states

from supervision import Backoff, ChildSpec, DynamicSupervisor, Server, StartError, Supervisor

NAN, INF = float("nan"), float("inf")


def returns_nothing_useful() -> object:
    return 7


# --- one specification ------------------------------------------------------------------------------------------------


def test_defaults_of_a_worker() -> None:
    spec = ChildSpec("a", Probe)
    assert (spec.args, spec.kwargs, spec.restart, spec.shutdown, spec.type) == ((), {}, "permanent", 5.0, "worker")
    assert (spec.significant, spec.name, spec.backoff) == (False, None, None)


def test_default_shutdown_of_a_supervisor_is_infinity() -> None:
    assert ChildSpec("a", Probe, type="supervisor").shutdown == "infinity"
    assert Supervisor.child_spec([], id="s").shutdown == "infinity"
    assert DynamicSupervisor.child_spec(id="d").shutdown == "infinity"
    assert Supervisor.child_spec([], id="s").type == DynamicSupervisor.child_spec(id="d").type == "supervisor"


@pytest.mark.parametrize("child_id", ["a", 0, None, ("pair", 1), frozenset()], ids=repr)
def test_an_id_is_any_hashable(child_id: object) -> None:
    assert ChildSpec(child_id, Probe).id == child_id


@pytest.mark.parametrize("shutdown", [0, 0.0, 0.5, 5, "infinity", "brutal_kill"])
@pytest.mark.parametrize("kind", ["worker", "supervisor"])
def test_every_legal_shutdown_for_both_types(shutdown: float | str, kind: str) -> None:
    assert ChildSpec("a", Probe, shutdown=shutdown, type=kind).shutdown == shutdown


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("id", [], TypeError),
        ("id", {}, TypeError),
        ("start", None, TypeError),
        ("start", "Probe", TypeError),
        ("args", "ab", TypeError),
        ("args", 7, TypeError),
        ("kwargs", [("a", 1)], TypeError),
        ("kwargs", {1: "a"}, TypeError),
        ("restart", "always", ValueError),
        ("restart", None, ValueError),
        ("restart", [], ValueError),
        ("shutdown", -1, ValueError),
        ("shutdown", -0.001, ValueError),
        ("shutdown", NAN, ValueError),
        ("shutdown", INF, ValueError),
        ("shutdown", "forever", ValueError),
        ("shutdown", True, TypeError),
        ("shutdown", [5], TypeError),
        ("type", "job", ValueError),
        ("type", None, ValueError),
        ("significant", 1, TypeError),
        ("significant", "yes", TypeError),
        ("significant", None, TypeError),
        ("name", "", TypeError),
        ("name", b"a", TypeError),
        ("name", 7, TypeError),
        ("backoff", 1.0, TypeError),
        ("backoff", True, TypeError),
        ("start_timeout", 0, ValueError),
        ("start_timeout", -1, ValueError),
        ("start_timeout", NAN, ValueError),
        ("start_timeout", INF, ValueError),
        ("start_timeout", True, TypeError),
        ("start_timeout", "1", TypeError),
    ],
)
def test_a_bad_field_is_named(field: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"ChildSpec\.{field}: .*got"):
        ChildSpec(**{"id": "a", "start": Probe, field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["id", "start"])
def test_a_missing_field_is_named(missing: str) -> None:
    given = {"id": "a", "start": Probe}
    del given[missing]
    with pytest.raises(TypeError, match=f"'{missing}'"):
        ChildSpec(**given)  # type: ignore[arg-type]


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(TypeError, match="silly_flag"):
        ChildSpec("a", Probe, silly_flag=True)  # type: ignore[call-arg]


def test_a_permanent_child_cannot_be_significant() -> None:
    with pytest.raises(ValueError, match=r"ChildSpec\.significant: a permanent child"):
        ChildSpec("a", Probe, significant=True)


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_a_child_that_may_end_for_good_can_be_significant(restart: str) -> None:
    assert ChildSpec("a", Probe, restart=restart, significant=True).significant


def test_a_specification_does_not_show_its_arguments() -> None:
    assert "hunter2" not in repr(ChildSpec("a", Probe, ("hunter2",), {"password": "hunter2"}))


def test_a_specification_is_a_value() -> None:
    given = {"x": 1}
    spec = ChildSpec("a", Probe, [1, 2], given)  # type: ignore[arg-type]
    given["x"] = 2
    assert (spec.args, spec.kwargs) == ((1, 2), {"x": 1})
    with pytest.raises(AttributeError):
        spec.id = "b"  # type: ignore[misc]


# --- a list of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("children", [None, 7, "ab", ChildSpec("a", Probe), [Probe], [None], [{"id": "a"}]], ids=repr)
@pytest.mark.parametrize("entry", [Supervisor.start_link, lambda it: Supervisor.child_spec(it, id="s")])
def test_what_is_no_list_of_specifications_is_refused(children: object, entry: object) -> None:
    with pytest.raises(TypeError, match="children: expected"):
        entry(children)  # type: ignore[operator]


def test_an_id_may_be_there_once(world: World) -> None:
    with pytest.raises(ValueError, match="the id 'a' is there twice"):
        Supervisor.start_link(world.specs("aba"))
    assert world.log() == []


def test_children_may_come_from_a_generator(world: World) -> None:
    sup = Supervisor.start_link(spec for spec in world.specs("ab"))
    assert states(sup) == {"a": "running", "b": "running"}


@pytest.mark.parametrize("start", [dict, object, pykka.Actor, Exception])
def test_a_class_that_is_no_actors_is_refused_before_anything_starts(start: type, world: World) -> None:
    bad = ChildSpec("bad", start)
    sup, dynamic = Supervisor.start_link([]), DynamicSupervisor.start_link()
    for entry in (
        lambda: Supervisor.start_link([world.spec("a"), bad]),
        lambda: Supervisor.child_spec([world.spec("a"), bad], id="s"),
        lambda: Supervisor.start_child(sup, bad),
        lambda: DynamicSupervisor.start_child(dynamic, bad),
    ):
        with pytest.raises(TypeError, match=r"ChildSpec\.start of 'bad'"):
            entry()
    assert world.log() == []


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
@pytest.mark.parametrize("spec", [None, Probe, {"id": "a", "start": Probe}], ids=repr)
def test_start_child_takes_specifications_only(kind: type, spec: object) -> None:
    sup = kind.start_link([]) if kind is Supervisor else kind.start_link()
    with pytest.raises(TypeError, match="spec: expected a ChildSpec"):
        kind.start_child(sup, spec)


def test_a_callable_that_returns_no_ref_is_a_start_error() -> None:
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([ChildSpec("a", returns_nothing_useful)])
    assert caught.value.child_id == "a"
    assert isinstance(caught.value.cause, TypeError)


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_get_childspec_gives_the_whole_specification_in_every_state(state: str, world: World) -> None:
    spec = world.spec("a", restart="transient", shutdown=1.5)
    sup = Supervisor.start_link([spec])
    if state == "stopped":
        Supervisor.terminate_child(sup, "a")
    assert Supervisor.get_childspec(sup, "a") == spec
    assert Supervisor.get_childspec(sup, "a").shutdown == 1.5


class Big:
    """An argument worth forgetting."""


class Forgetful(Server):
    def __init__(self, big: Big) -> None:
        super().__init__()


@pytest.mark.parametrize(("restart", "kept"), [("permanent", True), ("transient", True), ("temporary", False)])
@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_arguments_of_a_temporary_child_are_not_stored(kind: type, restart: str, kept: bool) -> None:
    sup = kind.start_link([]) if kind is Supervisor else kind.start_link()
    big = Big()
    seen = weakref.ref(big)
    kind.start_child(sup, ChildSpec("a", Forgetful, (big,), restart=restart))
    assert kind.count_children(sup).active == 1  # the request that carried the specification is over
    del big
    gc.collect()
    assert (seen() is not None) is kept


# --- a backoff --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"initial": -1}, ValueError, "initial"),
        ({"initial": "1"}, TypeError, "initial"),
        ({"maximum": INF}, ValueError, "maximum"),
        ({"initial": 2, "maximum": 1}, ValueError, "maximum"),
        ({"jitter": -0.1}, ValueError, "jitter"),
        ({"jitter": 1.1}, ValueError, "jitter"),
        ({"jitter": None}, TypeError, "jitter"),
        ({"reset_after": -1}, ValueError, "reset_after"),
        ({"reset_after": "soon"}, TypeError, "reset_after"),
    ],
)
def test_a_bad_backoff_is_named(fields: dict[str, object], error: type, named: str) -> None:
    with pytest.raises(error, match=rf"Backoff\.{named}: expected"):
        Backoff(**fields)  # type: ignore[arg-type]
