"""A child that its supervisor ends only to start it again, or that may come back with its supervisor, can tell."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from actors import begin
from children import KINDS, PlainProbe, Probe, Scripted, Watch, crash, die, quiet, ref_of
from pykka import ActorRegistry
from threads import DEADLINE_S

import supervision
from supervision import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Backoff,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    Exit,
    StartError,
    Supervisor,
    cast,
    kill,
    monitor,
)
from supervision.exits import Shutdown, children_end_for_restart
from supervision.monitors import ends_for_restart

BOOM = Crash(Scripted("boom"))


class Ends:
    """What the children found out in their end hooks, and what a watcher of each did after it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards both
        self._hooks: dict[Any, list[bool]] = {}
        self._watchers: dict[Any, list[bool]] = {}

    def hook(self, child_id: Any, for_restart: bool) -> None:
        with self._changed:
            self._hooks.setdefault(child_id, []).append(for_restart)

    def watcher(self, child_id: Any, for_restart: bool) -> None:
        with self._changed:
            self._watchers.setdefault(child_id, []).append(for_restart)
            self._changed.notify_all()

    def __call__(self, ids: str) -> dict[str, bool]:
        """Whether the first end of each was part of a restart; fails unless all have ended before the deadline."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(ids) <= set(self._watchers), DEADLINE_S), self._watchers
            for child in ids:
                assert self._hooks[child][0] is self._watchers[child][0]
            return {child: self._watchers[child][0] for child in ids}

    def spec(self, child_id: str, kind: type = Probe, **options: Any) -> ChildSpec:
        return ChildSpec(child_id, _reporting(kind), (self, child_id), **options)

    def specs(self, ids: str, **options: Any) -> list[ChildSpec]:
        return [self.spec(child, **options) for child in ids]


def _reporting(kind: type) -> Any:
    base: Any = kind

    class Reporting(base):
        def on_start(self) -> None:
            self.told = self.world
            monitor(self.actor_ref, lambda down: self.told.watcher(self.child_id, ends_for_restart(down.ref)))

        def on_terminate(self, reason: Any) -> None:
            self.told.hook(self.child_id, ends_for_restart(self.actor_ref))

        def on_stop(self) -> None:
            self.told.hook(self.child_id, ends_for_restart(self.actor_ref))

        def on_failure(self, *_raised: Any) -> None:
            self.told.hook(self.child_id, ends_for_restart(self.actor_ref))

    return Reporting


@pytest.fixture
def ends() -> Ends:
    return Ends()


every_kind = pytest.mark.parametrize("kind", KINDS)


def inner(ends: Ends, ids: str, **options: Any) -> ChildSpec:
    return Supervisor.child_spec(ends.specs(ids), id="inner", name="inner", **options)


# --- part of a restart --------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize(("strategy", "siblings"), [("one_for_all", "acd"), ("rest_for_one", "cd")])
def test_a_sibling_that_is_started_again(strategy: Any, siblings: str, kind: type, ends: Ends) -> None:
    """It ends with ``SHUTDOWN`` all the same. The end of the child that crashed is the cause, and no part."""
    sup = Supervisor.start_link(ends.specs("abcd", kind=kind, restart="transient"), strategy=strategy)
    watches = [Watch(ref_of(sup, child)) for child in siblings]
    assert crash(sup, "b")
    assert ends("b" + siblings) == {"b": False, **dict.fromkeys(siblings, True)}
    assert [watch.reason() for watch in watches] == [SHUTDOWN] * len(watches)
    assert not any(ends_for_restart(row.ref) for row in Supervisor.which_children(sup))


@every_kind
def test_a_sibling_that_is_started_again_after_a_delay(kind: type, ends: Ends) -> None:
    slow = ends.spec("a", kind, backoff=Backoff(initial=60.0, maximum=60.0))
    sup = Supervisor.start_link([slow, ends.spec("b", kind)], strategy="one_for_all")
    die(ref_of(sup, "a"), Scripted("a"))
    assert ends("ab") == {"a": False, "b": True}


def test_a_sibling_that_is_stopped_for_the_next_attempt(ends: Ends) -> None:
    class SecondTime(_reporting(Probe)):  # type: ignore[misc]
        starts = 0

        def on_start(self) -> None:
            SecondTime.starts += 1
            if SecondTime.starts == 2:
                raise Scripted("second")
            super().on_start()

    specs = [ends.spec("a"), ChildSpec("b", SecondTime, (ends, "b"))]
    sup = Supervisor.start_link(specs, strategy="one_for_all", max_restarts=5)
    assert crash(sup, "b")
    assert SecondTime.starts == 3
    assert ends("a") == {"a": True}
    assert ends._hooks["a"] == [True, True]


def test_all_below_a_supervisor_that_is_one(ends: Ends) -> None:
    middle = Supervisor.child_spec([inner(ends, "ab"), DynamicSupervisor.child_spec(id="d", name="d")], id="middle")
    sup = Supervisor.start_link([middle, ends.spec("z")], strategy="one_for_all")
    DynamicSupervisor.start_child("d", ends.spec("c"))
    assert crash(sup, "z")
    assert ends("abcz") == {"a": True, "b": True, "c": True, "z": False}


def test_the_children_of_a_supervisor_that_has_given_up(ends: Ends) -> None:
    sup = Supervisor.start_link([inner(ends, "abc", max_restarts=0)])
    gone = Watch("inner")
    die(ref_of("inner", "b"), Scripted("b"))
    assert gone.reason() == SHUTDOWN
    assert ends("abc") == {"a": True, "b": False, "c": True}
    assert not ends_for_restart(gone.monitor.ref)
    assert quiet(sup)


def test_the_children_of_a_dynamic_supervisor_that_has_given_up(ends: Ends) -> None:
    sup = DynamicSupervisor.start_link(max_restarts=0)
    refs = [DynamicSupervisor.start_child(sup, ends.spec(child)) for child in "ab"]
    die(refs[0], Scripted("a"))
    assert ends("ab") == {"a": False, "b": True}


@every_kind
def test_the_children_of_a_supervisor_that_was_killed(kind: type, ends: Ends) -> None:
    sup = Supervisor.start_link([*ends.specs("ab", kind=kind), inner(ends, "c")])
    below = Watch("inner")
    kill(sup)
    assert ends("abc") == {"a": True, "b": True, "c": True}
    assert below.reason() == SHUTDOWN


def test_the_children_of_a_supervisor_that_has_failed(ends: Ends) -> None:
    class Fails(Supervisor):
        def on_receive(self, message: Any) -> Any:
            if isinstance(message, Scripted):
                raise message
            return super().on_receive(message)

    sup = Fails.start_link(ends.specs("a"))
    cast(sup, Scripted("sup"))
    assert ends("a") == {"a": True}


# --- not part of one -------------------------------------------------------------------------------------------------------


@every_kind
def test_a_temporary_sibling_which_is_forgotten(kind: type, ends: Ends) -> None:
    below = Supervisor.child_spec(ends.specs("c"), id="inner", restart="temporary")
    sup = Supervisor.start_link(
        [ends.spec("a", kind), ends.spec("b", kind, restart="temporary"), below], strategy="one_for_all"
    )
    assert crash(sup, "a")
    assert ends("abc") == {"a": False, "b": False, "c": False}


def fails_to_start(ends: Ends) -> None:
    def fails() -> None:
        raise Scripted("c")

    with pytest.raises(StartError):
        Supervisor.start_link([*ends.specs("a"), inner(ends, "b"), ChildSpec("c", fails)])


def tree(ends: Ends, *more: ChildSpec, **options: Any) -> Any:
    return Supervisor.start_link([*ends.specs("a"), inner(ends, "b"), *more], strategy="one_for_all", **options)


def terminates(ends: Ends) -> None:
    sup = tree(ends)
    Supervisor.terminate_child(sup, "a")
    Supervisor.terminate_child(sup, "inner")


def terminates_dynamic(ends: Ends) -> None:
    sup = DynamicSupervisor.start_link()
    for spec in (*ends.specs("a"), inner(ends, "b")):
        DynamicSupervisor.terminate_child(sup, DynamicSupervisor.start_child(sup, spec))


def stops_dynamic(ends: Ends) -> None:
    sup = DynamicSupervisor.start_link()
    for spec in (*ends.specs("a"), inner(ends, "b")):
        DynamicSupervisor.start_child(sup, spec)
    DynamicSupervisor.stop(sup)


def shuts_down(ends: Ends) -> None:
    last = ends.spec("c", restart="transient", significant=True)
    sup = tree(ends, last, auto_shutdown="any_significant")
    die(ref_of(sup, "c"), Exit())


def exits(ends: Ends) -> None:
    sup = Supervisor.start_link([ends.spec("a", restart="transient"), inner(ends, "b")])
    die(ref_of(sup, "a"), Exit(SHUTDOWN))
    die(ref_of("inner", "b"), Exit(NORMAL))


FOR_GOOD = {
    "terminate_child": terminates,
    "DynamicSupervisor.terminate_child": terminates_dynamic,
    "Supervisor.stop": lambda ends: Supervisor.stop(tree(ends)),
    "DynamicSupervisor.stop": stops_dynamic,
    "stop": lambda ends: supervision.stop(tree(ends)),
    "stop_all": lambda ends: (tree(ends), ActorRegistry.stop_all(timeout=DEADLINE_S)),
    "a failed start": fails_to_start,
    "auto_shutdown": shuts_down,
    "an exit of its own": exits,
}


@pytest.mark.parametrize("ends_them", FOR_GOOD.values(), ids=FOR_GOOD)
def test_one_that_is_stopped_for_good(ends_them: Any, ends: Ends) -> None:
    ends_them(ends)
    assert ends("ab") == {"a": False, "b": False}


def test_one_that_is_killed_in_a_group_restart(ends: Ends) -> None:
    """No hook of it runs that could ask."""
    sup = Supervisor.start_link([ends.spec("a"), ends.spec("b", shutdown="brutal_kill")], strategy="one_for_all")
    victim = Watch(ref_of(sup, "b"))
    assert crash(sup, "a")
    assert victim.reason() == KILLED
    assert not ends_for_restart(victim.monitor.ref)


@pytest.mark.parametrize("kind", [Probe, PlainProbe])
def test_one_that_nobody_supervises(kind: Any, ends: Ends) -> None:
    ref = begin(_reporting(kind), ends, "a")
    supervision.stop(ref)
    assert ends("a") == {"a": False}


# --- the decisions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gave_up", [False, True])
@pytest.mark.parametrize("for_restart", [False, True])
@pytest.mark.parametrize(
    ("reason", "failed"), [(NORMAL, False), (SHUTDOWN, False), (Shutdown("why"), False), (KILLED, True), (BOOM, True)]
)
def test_whether_the_children_end_for_a_restart(reason: Any, failed: bool, for_restart: bool, gave_up: bool) -> None:
    left = children_end_for_restart(reason, gave_up=gave_up, for_restart=for_restart)
    assert left is (failed or for_restart or gave_up)
