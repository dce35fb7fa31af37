""".github/design/supervision.md 1.2: starting is synchronous, in order, and all or nothing."""

import threading
from typing import Any

import pykka
import pytest
from children import KINDS, Probe, Scripted, World, ref_of, states
from holding import held
from threads import DEADLINE_S

from supervision import (
    ChildSpec,
    Exit,
    Ignore,
    Server,
    StartError,
    Supervisor,
    call,
    whereis,
)
from supervision.exits import Shutdown


@pytest.mark.parametrize("kind", KINDS)
def test_start_link_returns_after_every_on_start_in_list_order(kind: type, world: World) -> None:
    Supervisor.start_link(world.specs("abc", kind=kind))
    assert world.log() == ["start a", "start b", "start c"]


def test_a_slow_child_holds_the_starter_and_the_later_children(world: World) -> None:
    entered, go = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert go.wait(DEADLINE_S)

    world.script("b", slow)
    started: list[Any] = []
    starter = threading.Thread(target=lambda: started.append(Supervisor.start_link(world.specs("abc"))))
    starter.start()
    assert entered.wait(DEADLINE_S)
    assert world.log() == ["start a", "start b"]
    assert not started
    go.set()
    starter.join(DEADLINE_S)
    assert world.log() == ["start c"]
    assert states(started[0]) == {"a": "running", "b": "running", "c": "running"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("failure", [Scripted("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Exit("why")])
def test_a_failing_child_ends_the_start_in_reverse_order(kind: type, failure: BaseException, world: World) -> None:
    """[OTP] start a, b, c(fails): stop b, stop a; d is never started."""
    world.script("c", failure)
    with pytest.raises(StartError) as caught:
        Supervisor.start_link(world.specs("abcd", kind=kind), name="top")
    assert caught.value.child_id == "c"
    assert caught.value.cause is failure
    assert world.log() == ["start a", "start b", "fail c", "stop b", "stop a"]
    assert whereis("top") is None


class Broken(Server):
    def __init__(self) -> None:
        raise Scripted("in the constructor")


class BrokenPlain(pykka.ThreadingActor):
    def __init__(self) -> None:
        super().__init__()
        raise SystemExit("in the constructor")


class Forgotten(Server):
    def __init__(self) -> None:
        """Calls no super().__init__()."""


def broken_callable() -> Any:
    raise KeyError("in the callable")


@pytest.mark.parametrize(
    ("start", "cause"),
    [(Broken, Scripted), (BrokenPlain, SystemExit), (broken_callable, KeyError), (Forgotten, TypeError)],
)
def test_a_failure_in_a_constructor_or_callable_is_a_start_error(start: Any, cause: type, world: World) -> None:
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([world.spec("a"), ChildSpec("b", start)])
    assert caught.value.child_id == "b"
    assert isinstance(caught.value.cause, cause)
    assert world.log() == ["start a", "stop a"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_ignored_child_is_kept_stopped_and_the_start_goes_on(kind: type, world: World) -> None:
    world.script("b", "ignore")
    sup = Supervisor.start_link(world.specs("abc", kind=kind))
    assert world.log() == ["start a", "ignore b", "start c"]
    assert states(sup) == {"a": "running", "b": "stopped", "c": "running"}
    assert ref_of(sup, "b") is None
    assert Supervisor.restart_child(sup, "b") is ref_of(sup, "b") is not None


def test_an_ignored_temporary_child_is_dropped(world: World) -> None:
    world.script("a", "ignore", "ignore")
    sup = Supervisor.start_link([world.spec("a", restart="temporary"), world.spec("b")])
    assert states(sup) == {"b": "running"}
    assert Supervisor.start_child(sup, world.spec("a", restart="temporary")) is None
    assert states(sup) == {"b": "running"}


def test_start_child_of_an_ignored_child_answers_none_and_keeps_it(world: World) -> None:
    sup = Supervisor.start_link([])
    world.script("a", "ignore")
    assert Supervisor.start_child(sup, world.spec("a")) is None
    assert states(sup) == {"a": "stopped"}


def ignoring_callable() -> Any:
    raise Ignore


@pytest.mark.parametrize("start", [ignoring_callable, lambda: None])
def test_a_start_callable_may_ignore(start: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("a", start)])
    assert states(sup) == {"a": "stopped"}


def test_a_server_by_itself_may_ignore_its_start(world: World) -> None:
    world.script("a", "ignore")
    assert Probe.start_link(world, "a", name="me") is None
    assert whereis("me") is None


def test_the_failing_start_is_not_retried_and_is_no_restart(world: World) -> None:
    world.script("a", "fail", "ok")
    with pytest.raises(StartError):
        Supervisor.start_link(world.specs("a"), max_restarts=5)
    assert world.log() == ["fail a"]


# --- the ways to give a child ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_is_a_class_or_a_callable_that_returns_a_ref(kind: type, world: World) -> None:
    ways = [ChildSpec("class", kind, (world, "class"))]
    if issubclass(kind, Server):
        ways += [
            ChildSpec("start_link", kind.start_link, (world, "start_link")),
            ChildSpec("callable", lambda *args: kind.start_link(*args), (world, "callable")),
        ]
    else:
        ways += [ChildSpec("callable", lambda *args: kind.start(*args), (world, "callable"))]
    ways += [ChildSpec("start", kind.start, (world, "start"))]
    sup = Supervisor.start_link(ways)
    for spec in ways:
        assert call(ref_of(sup, spec.id), "hello") == "hello"
    assert [line.split()[1] for line in world.log()] == [spec.id for spec in ways]


@pytest.mark.parametrize("kind", KINDS)
def test_a_callable_whose_actor_fails_later_is_a_start_error(kind: type, world: World) -> None:
    """Pykka's ``start`` returns before ``on_start`` ran; the supervisor waits for it all the same."""
    world.script("a", "fail")
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([ChildSpec("a", lambda: kind.start(world, "a"))])
    assert caught.value.child_id == "a"


def test_keyword_arguments_reach_the_constructor() -> None:
    class Named(pykka.ThreadingActor):
        def __init__(self, first: int, *, second: int) -> None:
            super().__init__()
            self.both = first, second

        def on_receive(self, message: Any) -> Any:
            return self.both

    sup = Supervisor.start_link([ChildSpec("a", Named, (1,), {"second": 2})])
    assert call(ref_of(sup, "a"), "?") == (1, 2)


# --- a start that takes too long --------------------------------------------------------------------------------------


def test_a_start_timeout_kills_the_starter_and_frees_the_name(world: World) -> None:
    go = threading.Event()
    world.script("a", lambda: go.wait(DEADLINE_S))
    try:
        with pytest.raises(StartError) as caught:
            Probe.start_link(world, "a", name="slow", start_timeout=0.02)
        assert isinstance(caught.value.cause, TimeoutError)
        assert whereis("slow") is None
    finally:
        go.set()


def test_a_childs_start_timeout_is_a_start_error_of_that_child(world: World) -> None:
    go = threading.Event()
    world.script("b", lambda: go.wait(DEADLINE_S))
    try:
        with pytest.raises(StartError) as caught:
            Supervisor.start_link([world.spec("a"), world.spec("b", kwargs={"start_timeout": 0.02})])
        assert caught.value.child_id == "b"
        assert isinstance(caught.value.cause, TimeoutError)
    finally:
        go.set()
    assert world.log() == ["start a", "start b", "stop a"]


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_bad_start_timeout_is_named(timeout: Any, world: World) -> None:
    with pytest.raises((TypeError, ValueError), match="start_timeout"):
        Probe.start_link(world, "a", start_timeout=timeout)


# --- serving one at a time --------------------------------------------------------------------------------------------


def test_a_slow_start_delays_every_other_call(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    answered: list[Any] = []
    with held(sup):
        asker = threading.Thread(target=lambda: answered.append(Supervisor.count_children(sup)))
        asker.start()
        asker.join(0.05)
        assert asker.is_alive()
        assert not answered
    asker.join(DEADLINE_S)
    assert answered[0].specs == 1


def test_a_reason_is_no_start_outcome() -> None:
    """``Exit`` in ``on_start`` is a failed start, whatever its reason."""

    class Leaves(Server):
        def on_start(self) -> None:
            raise Exit(Shutdown("early"))

    with pytest.raises(StartError) as caught:
        Leaves.start_link()
    assert isinstance(caught.value.cause, Exit)
