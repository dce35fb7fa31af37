""".github/design/supervision.md 1.7: calls to a supervisor that could only deadlock are errors at once; all others are served."""

import threading
import time
from typing import Any

import pytest
from children import KINDS, Probe, Scripted, Watch, World, ref_of, states
from threads import DEADLINE_S

from supervision import (
    SHUTDOWN,
    ChildSpec,
    DynamicSupervisor,
    SupervisionError,
    Supervisor,
    call,
    cast,
    monitor,
    whereis,
)

BOOM = Scripted("boom")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("way", ["class", "callable"])
def test_a_call_to_its_supervisor_from_on_start_is_an_error_at_once(
    way: str, depth: int, kind: Any, world: World
) -> None:
    raised: list[BaseException] = []

    def ask() -> None:
        for attempt in (lambda: Supervisor.count_children("top"), lambda: Supervisor.stop("top")):
            try:
                attempt()
            except SupervisionError as error:
                raised.append(error)

    world.script("a", ask)
    children = [ChildSpec("a", kind if way == "class" else lambda *args: kind.start(*args), (world, "a"))]
    if depth:
        children = [Supervisor.child_spec(children, id="inner")]
    Supervisor.start_link(children, name="top")
    assert [type(error) for error in raised] == [SupervisionError, SupervisionError]


def test_a_call_to_its_supervisor_from_an_end_hook_it_waits_for_is_an_error_at_once(world: World) -> None:
    raised: list[BaseException] = []

    class Curious(Probe):
        def on_terminate(self, reason: Any) -> None:
            super().on_terminate(reason)
            try:
                Supervisor.which_children("top")
            except SupervisionError as error:
                raised.append(error)

    Supervisor.start_link([world.spec("a", Curious)], name="top")
    Supervisor.terminate_child("top", "a")
    assert [type(error) for error in raised] == [SupervisionError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("way", ["static", "dynamic by ref", "dynamic by name"])
def test_a_child_that_has_itself_terminated_hears_of_it_at_once(way: str, depth: int, kind: Any, world: World) -> None:
    """The supervisor would wait for the handler, and the handler for the supervisor, until the child is abandoned."""
    raised: list[Any] = []
    spec = world.spec("a", kind, name="a", shutdown="infinity")
    if depth:
        spec = Supervisor.child_spec([spec], id="top", name="top")
    if way == "static":
        sup = Supervisor.start_link([spec])
        target: Any = spec.id
    else:
        sup = DynamicSupervisor.start_link()
        ref = DynamicSupervisor.start_child(sup, spec)
        target = ref if way == "dynamic by ref" else spec.name

    def leave(_: Any) -> str:
        try:
            (Supervisor if way == "static" else DynamicSupervisor).terminate_child(sup, target)
        except SupervisionError as error:
            raised.append(str(error))
        return "still here"

    assert call("a", leave, timeout=DEADLINE_S) == "still here"
    assert len(raised) == 1
    assert ("before that one's handler has returned" if depth else "raise Exit() instead") in raised[0]
    (Supervisor if way == "static" else DynamicSupervisor).terminate_child(sup, target)  # any other caller may
    assert whereis("a") is None


def test_a_child_may_have_a_sibling_terminated(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="a"), world.spec("b", name="b")])
    call("a", lambda _: Supervisor.terminate_child(sup, "b"))
    assert [whereis("a") is not None, whereis("b")] == [True, None]


def test_a_child_may_call_its_supervisor_from_any_other_hook(world: World) -> None:
    counted: list[int] = []

    class Asks(Probe):
        def on_continue(self) -> None:
            counted.append(Supervisor.count_children("top").specs)

        def on_receive(self, message: Any) -> Any:
            return Supervisor.start_child("top", world.spec("b"))

    sup = Supervisor.start_link([world.spec("a", Asks)], name="top")
    assert call(ref_of(sup, "a"), "start") is ref_of(sup, "b")
    assert counted == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_watcher_may_ask_the_supervisor_of_what_it_watched(kind: type, world: World) -> None:
    """It runs on the thread that has just ended, for which the supervisor waits before it starts the next incarnation."""
    answers: list[Any] = []
    answered = threading.Event()
    sup = Supervisor.start_link([world.spec("a", kind)])

    def look(_: Any) -> None:
        began = time.monotonic()
        answers.append(states(sup))
        answers.append(time.monotonic() - began)
        answered.set()

    ref = ref_of(sup, "a")
    monitor(ref, look)
    cast(ref, BOOM)
    assert answered.wait(DEADLINE_S)
    assert answers[0] == {"a": "running"}
    assert answers[1] < 2.0  # the supervisor gives up on the thread at once, and not only at its deadline


@pytest.mark.parametrize("kind", KINDS)
def test_a_watcher_may_stop_the_supervisor_of_what_it_watched(kind: type, world: World) -> None:
    done = threading.Event()
    sup = Supervisor.start_link([world.spec("a", kind), world.spec("b", kind)])
    watch = Watch(sup)

    def stop_it(_: Any) -> None:
        began = time.monotonic()
        Supervisor.stop(sup)
        if time.monotonic() - began < 2.0:
            done.set()

    monitor(ref_of(sup, "a"), stop_it)
    cast(ref_of(sup, "a"), BOOM)
    assert watch.reason() == SHUTDOWN
    assert done.wait(DEADLINE_S)
    assert world.live() == []
