""".github/design/supervision.md 1.1: a supervisor's flags are checked before anything starts, and a misfit is warned of."""

import logging

import pytest
from children import World

from supervision import DynamicSupervisor, Supervisor
from supervision.strategy import SupervisorFlags

NAN, INF = float("nan"), float("inf")


# --- flags ------------------------------------------------------------------------------------------------------------

BAD_FLAGS = [
    ("strategy", "one_for_none", ValueError),
    ("strategy", None, ValueError),
    ("strategy", "simple_one_for_one", ValueError),
    ("max_restarts", -1, ValueError),
    ("max_restarts", 1.5, TypeError),
    ("max_restarts", True, TypeError),
    ("max_restarts", None, TypeError),
    ("max_seconds", 0, ValueError),
    ("max_seconds", -1.0, ValueError),
    ("max_seconds", INF, ValueError),
    ("max_seconds", NAN, ValueError),
    ("max_seconds", "5", TypeError),
    ("auto_shutdown", "always", ValueError),
    ("auto_shutdown", None, ValueError),
]


@pytest.mark.parametrize(("flag", "value", "error"), BAD_FLAGS)
def test_a_bad_flag_is_named_before_anything_starts(flag: str, value: object, error: type, world: World) -> None:
    for entry in (Supervisor.start_link, lambda children, **flags: Supervisor.child_spec(children, id="s", **flags)):
        with pytest.raises(error, match=f"^{flag}: expected"):
            entry(world.specs("a"), **{flag: value})
    assert world.log() == []


@pytest.mark.parametrize(
    ("flag", "value", "error"),
    [
        *(row for row in BAD_FLAGS if row[0].startswith("max_")),
        ("max_children", -1, ValueError),
        ("max_children", 1.0, TypeError),
        ("max_children", True, TypeError),
        ("extra_args", "ab", TypeError),
        ("extra_args", 7, TypeError),
    ],
)
def test_a_bad_flag_of_a_dynamic_supervisor_is_named(flag: str, value: object, error: type) -> None:
    for entry in (DynamicSupervisor.start_link, lambda **flags: DynamicSupervisor.child_spec(id="d", **flags)):
        with pytest.raises(error, match=f"^{flag}: expected"):
            entry(**{flag: value})


@pytest.mark.parametrize("entry", [Supervisor.start_link, Supervisor.child_spec])
def test_an_unknown_flag_is_named(entry: object) -> None:
    with pytest.raises(TypeError, match="intensity"):
        entry([], intensity=1)  # type: ignore[operator]
    with pytest.raises(TypeError, match="max_children"):
        entry([], max_children=1)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["", 7, b"a"], ids=repr)
@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_a_bad_name_of_a_supervisor_is_refused(kind: type, name: object) -> None:
    with pytest.raises((TypeError, ValueError), match="name"):
        kind.start_link(*([[]] if kind is Supervisor else []), name=name)


def test_the_default_flags_are_elixirs() -> None:
    flags = SupervisorFlags()
    assert (flags.strategy, flags.max_restarts, flags.max_seconds, flags.auto_shutdown) == (
        "one_for_one",
        3,
        5.0,
        "never",
    )


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_a_significant_child_needs_auto_shutdown(restart: str, world: World) -> None:
    spec = world.spec("a", restart=restart, significant=True)
    with pytest.raises(ValueError, match=r"significant of 'a': needs a supervisor with auto_shutdown"):
        Supervisor.start_link([spec])
    sup = Supervisor.start_link([])
    with pytest.raises(ValueError, match=r"significant of 'a'"):
        Supervisor.start_child(sup, spec)
    assert world.log() == []


def test_a_dynamic_supervisor_takes_no_significant_child(world: World) -> None:
    sup = DynamicSupervisor.start_link()
    with pytest.raises(ValueError, match="significant"):
        DynamicSupervisor.start_child(sup, world.spec("a", restart="transient", significant=True))


# --- warnings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "max_restarts", "shutdown", "warned"),
    [
        ("one_for_all", 3, 5.1, True),
        ("rest_for_one", 3, 6, True),
        ("one_for_all", 3, 5.0, False),
        ("one_for_one", 3, 60.0, False),  # no child is stopped for a sibling
        ("one_for_all", 0, 60.0, False),  # the first crash ends it
        ("one_for_all", 3, "infinity", False),
        ("one_for_all", 3, "brutal_kill", False),
    ],
)
def test_a_shutdown_longer_than_the_window_is_warned_of(
    strategy: str,
    max_restarts: int,
    shutdown: float | str,
    warned: bool,
    world: World,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "supervision"):
        spec = world.spec("slow", shutdown=shutdown)
        sup = Supervisor.start_link([spec], strategy=strategy, max_restarts=max_restarts, max_seconds=5.0)
        Supervisor.start_child(sup, world.spec("late", shutdown=shutdown))
    told = [record.fields["child"] for record in caplog.records if record.event == "shutdown_exceeds_window"]
    assert told == (["slow", "late"] if warned else [])
