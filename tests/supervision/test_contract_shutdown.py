"""SUPERVISION.md 1.7: how a child is ended, and what is said of it; what cannot be ended is abandoned."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from probes import DEADLINE_S, KINDS, Probe, Scripted, ThreadProbe, Watch, World, die, eventually, quiet, ref_of, states
from pykka import ActorRegistry

from supervision import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    CallTimeout,
    ChildSpec,
    DynamicSupervisor,
    Exit,
    NoProcess,
    ServerDied,
    Shutdown,
    SupervisionError,
    Supervisor,
    call,
    cast,
    kill,
    monitor,
    register,
    send_after,
    stop,
    whereis,
)
from supervision.lifecycle import abandoned_count

BOOM = Scripted("boom")


class Gate:
    """A handler that is in, until it is let go."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self, actor: Any = None) -> str:
        self.entered.set()
        assert self.leave.wait(DEADLINE_S)
        return "late"

    def await_entry(self) -> None:
        assert self.entered.wait(DEADLINE_S)


@pytest.fixture
def gate() -> Any:
    made = Gate()
    yield made
    made.leave.set()
    eventually(lambda: abandoned_count() == 0)


def in_background(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def endings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Every child's end that was reported: its id, the level, the reason."""
    rows = [(record.fields, record.levelname) for record in caplog.records if record.event == "child_ended"]
    return [(fields["child"], level, fields["reason"]) for fields, level in rows]


# --- shutdown x outcome -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shutdown", "reason", "log"),
    [
        (5.0, SHUTDOWN, ["start a", "stop a"]),
        ("infinity", SHUTDOWN, ["start a", "stop a"]),
        ("brutal_kill", KILLED, ["start a"]),
    ],
)
def test_an_idle_child(
    shutdown: Any, reason: Any, log: list[str], kind: type, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, shutdown=shutdown)])
    watch = Watch(ref_of(sup, "a"))
    with caplog.at_level(logging.INFO, "supervision"):
        assert Supervisor.terminate_child(sup, "a") is None
    assert watch.reason() == reason
    assert world.log() == log
    assert endings(caplog) == [("a", "INFO", str(reason))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shutdown", [0.05, 0, "brutal_kill"])
def test_a_stuck_handler_is_abandoned(
    shutdown: Any, kind: type, world: World, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, shutdown=shutdown)])
    ref = ref_of(sup, "a")
    watch = Watch(ref)
    cast(ref, gate)
    gate.await_entry()
    with caplog.at_level(logging.INFO, "supervision"):
        assert Supervisor.terminate_child(sup, "a") is None  # always succeeds for the caller
    assert watch.reason() == KILLED
    assert states(sup) == {"a": "stopped"}
    assert abandoned_count() == 1
    assert [record.event for record in caplog.records].count("thread_abandoned") == 1
    assert endings(caplog) == [("a", "INFO" if shutdown == "brutal_kill" else "WARNING", "KILLED")]
    gate.leave.set()
    eventually(lambda: abandoned_count() == 0)
    assert world.log() == ["start a"]  # no end hook, not even late
    assert len(watch.downs) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shutdown", [DEADLINE_S, "infinity"])
def test_a_busy_child_is_waited_for(shutdown: Any, kind: type, world: World, gate: Gate) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, shutdown=shutdown)])
    watch = Watch(ref_of(sup, "a"))
    cast(ref_of(sup, "a"), gate)
    gate.await_entry()
    terminator = in_background(lambda: Supervisor.terminate_child(sup, "a"))
    terminator.join(0.05)
    assert terminator.is_alive()
    gate.leave.set()
    assert watch.reason() == SHUTDOWN
    terminator.join(DEADLINE_S)
    assert world.log() == ["start a", "stop a"]


def test_what_is_in_the_mailbox_is_handled_first(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    handled: list[int] = []
    for number in range(100):
        cast(ref_of(sup, "a"), lambda _, number=number: handled.append(number))
    Supervisor.terminate_child(sup, "a")
    assert handled == list(range(100))


def test_a_stuck_end_hook_is_abandoned_too(world: World, gate: Gate) -> None:
    class Lingering(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()

    sup = Supervisor.start_link([world.spec("a", Lingering, shutdown=0.05)])
    watch = Watch(ref_of(sup, "a"))
    Supervisor.terminate_child(sup, "a")
    assert watch.reason() == KILLED
    world.gone("a")


@pytest.mark.parametrize("restart", ["permanent", "transient"])
@pytest.mark.parametrize("how", [Exit(), Exit(Shutdown("moved")), BOOM], ids=repr)
def test_a_child_that_ends_its_own_way_while_asked_to(
    how: BaseException, restart: Any, world: World, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Its reason is reported, as odd where OTP finds it odd; the caller hears nothing of it, and nobody is restarted."""

    def leave(actor: Any) -> None:
        gate()
        raise how

    sup = Supervisor.start_link([world.spec("a", restart=restart)])
    ref = ref_of(sup, "a")
    cast(ref, leave)
    gate.await_entry()
    with caplog.at_level(logging.INFO, "supervision"):
        terminator = in_background(lambda: Supervisor.terminate_child(sup, "a"))
        eventually(lambda: not ref.actor_inbox.empty())  # the request to leave is there
        gate.leave.set()
        terminator.join(DEADLINE_S)
        assert states(sup) == {"a": "stopped"}
    odd = restart == "permanent" or how is BOOM
    assert [(child, level) for child, level, _ in endings(caplog)] == [("a", "WARNING" if odd else "INFO")]
    assert world.log().count("start a") == 1


# --- a supervisor that ends -------------------------------------------------------------------------------------------


def test_children_leave_one_after_the_other(world: World, gate: Gate) -> None:
    """The next one is not asked before the one in hand has left: the times add up."""

    class Slow(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()
            super().on_terminate(reason)

    sup = Supervisor.start_link([world.spec("a"), world.spec("b", Slow), world.spec("c")])
    watch = Watch(sup)
    cast_ref = ref_of(sup, "a")
    stopper = in_background(lambda: Supervisor.stop(sup))
    gate.await_entry()
    assert call(cast_ref, "still there?") == "still there?"
    assert world.log() == ["start a", "start b", "start c", "stop c"]
    gate.leave.set()
    assert watch.reason() == SHUTDOWN
    stopper.join(DEADLINE_S)
    assert world.log() == ["stop b", "stop a"]


def test_each_child_has_its_own_time(world: World, gate: Gate) -> None:
    specs = [
        world.spec("a"),
        world.spec("b", shutdown="brutal_kill"),
        world.spec("c", shutdown=0.05),
        world.spec("d", shutdown="infinity"),
    ]
    sup = Supervisor.start_link(specs)
    watches = {row.id: Watch(row.ref) for row in Supervisor.which_children(sup)}
    cast(ref_of(sup, "c"), gate)
    gate.await_entry()
    world.log()
    Supervisor.stop(sup)
    assert {child: watch.reason() for child, watch in watches.items()} == {
        "a": SHUTDOWN,
        "b": KILLED,
        "c": KILLED,
        "d": SHUTDOWN,
    }
    assert world.log() == ["stop d", "stop a"]


def test_a_child_that_dies_while_its_supervisor_stops_is_not_restarted(world: World) -> None:
    """``sup_stop_race``: b dies while c is being stopped; the order goes on undisturbed."""
    victims: list[Any] = []

    class Murderer(Probe):
        def on_terminate(self, reason: Any) -> None:
            super().on_terminate(reason)
            die(victims[0], BOOM)

    sup = Supervisor.start_link([world.spec("a"), world.spec("b", ThreadProbe), world.spec("c", Murderer)])
    victims.append(ref_of(sup, "b"))
    watch = Watch(sup)
    world.log()
    Supervisor.stop(sup)
    assert watch.reason() == SHUTDOWN
    assert world.log() == ["stop c", "end b", "stop a"]


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_stop_waits_for_the_whole_tree(kind: str, world: World) -> None:
    if kind == "static":
        sup = Supervisor.start_link([Supervisor.child_spec(world.specs("xy"), id="inner"), *world.specs("ab")])
    else:
        sup = DynamicSupervisor.start_link()
        for child in "ab":
            DynamicSupervisor.start_child(sup, world.spec(child))
        DynamicSupervisor.start_child(sup, Supervisor.child_spec(world.specs("xy"), id="inner"))
    watch = Watch(sup)
    assert (Supervisor if kind == "static" else DynamicSupervisor).stop(sup) is None
    assert world.live() == []
    assert watch.reason() == SHUTDOWN
    assert ActorRegistry.get_all() == []


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_stop_at_its_deadline_raises_and_goes_on(kind: Any, world: World, gate: Gate) -> None:
    sup = kind.start_link([]) if kind is Supervisor else kind.start_link()
    ref = kind.start_child(sup, world.spec("a"))
    watch = Watch(sup)
    cast(ref, gate)
    gate.await_entry()
    with pytest.raises(CallTimeout):
        kind.stop(sup, timeout=0.02)
    gate.leave.set()
    assert watch.reason() == SHUTDOWN
    with pytest.raises(NoProcess):
        kind.stop(sup)


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_stop_of_something_else(kind: Any, world: World) -> None:
    with pytest.raises(NoProcess):
        kind.stop("nobody")
    worker = Probe.start_link(world, "w")
    with pytest.raises(TypeError, match="sup: expected a"):
        kind.stop(worker)
    assert worker.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_stop_on_an_instance_stays_pykkas(kind: type, world: World) -> None:
    """``self.stop()`` inside a handler ends the actor after what is in its mailbox, as ever."""
    sup = Supervisor.start_link([world.spec("a", kind, restart="transient")])
    watch = Watch(ref_of(sup, "a"))
    call(ref_of(sup, "a"), lambda actor: actor.stop())
    assert watch.reason() == NORMAL
    assert states(sup) == {"a": "stopped"}


def test_calls_that_wait_for_a_supervisor_that_stops_hear_of_it(world: World, gate: Gate) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    cast(ref_of(sup, "a"), gate)
    gate.await_entry()
    outcome: list[BaseException] = []
    in_background(lambda: Supervisor.stop(sup))
    eventually(lambda: sup not in ActorRegistry.get_all())  # it is ending

    def ask() -> None:
        try:
            Supervisor.count_children(sup)
        except SupervisionError as error:
            outcome.append(error)

    asker = in_background(ask)
    gate.leave.set()
    asker.join(DEADLINE_S)
    assert isinstance(outcome[0], ServerDied | NoProcess)


# --- a dynamic supervisor that ends -------------------------------------------------------------------------------------


def test_a_dynamic_supervisor_asks_all_at_once(world: World) -> None:
    """Every end hook waits for the others: it only ends if they run at the same time."""
    together = threading.Barrier(6)

    class Sociable(ThreadProbe):
        def on_terminate(self, reason: Any) -> None:
            together.wait(DEADLINE_S)
            super().on_terminate(reason)

    sup = DynamicSupervisor.start_link()
    for number in range(6):
        DynamicSupervisor.start_child(sup, world.spec(number, Sociable))
    DynamicSupervisor.stop(sup)
    assert not together.broken
    assert world.live() == []


def test_its_deadlines_run_side_by_side(world: World, gate: Gate) -> None:
    sup = DynamicSupervisor.start_link()
    watches = []
    for number in range(8):
        ref = DynamicSupervisor.start_child(sup, world.spec(number, ThreadProbe, shutdown=0.2))
        watches.append(Watch(ref))
        cast(ref, gate)
    quick = Watch(DynamicSupervisor.start_child(sup, world.spec("quick")))
    gate.await_entry()
    began = time.monotonic()
    DynamicSupervisor.stop(sup)
    assert time.monotonic() - began < 8 * 0.2 / 2  # the maximum, not the sum
    assert {watch.reason() for watch in watches} <= {KILLED}
    assert quick.reason() == SHUTDOWN
    for number in range(8):
        world.gone(number)


# --- what an abandoned handler can still do ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_a_killed_actor_still_does_has_an_effect(kind: type, world: World, gate: Gate) -> None:
    heard: list[str] = []

    def late(actor: Any) -> str:
        send_after(0, actor.actor_ref, lambda _: heard.append("its timer"))
        gate()
        for attempt in (lambda: register("late", actor.actor_ref), lambda: actor.actor_ref.tell("to itself")):
            try:
                attempt()
            except Exception as error:
                heard.append(type(error).__name__)
        heard.append("crashes")
        raise BOOM

    sup = Supervisor.start_link([world.spec("a", kind)], max_restarts=1)
    ref = ref_of(sup, "a")
    watch = Watch(ref)
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(call(ref, late))
        except SupervisionError as error:
            answers.append(error)

    asker = in_background(ask)
    gate.await_entry()
    world.gone("a")
    kill(ref)
    asker.join(DEADLINE_S)
    assert isinstance(answers[0], ServerDied)
    assert answers[0].reason == KILLED
    assert quiet(sup)
    successor = ref_of(sup, "a")
    gate.leave.set()
    eventually(lambda: abandoned_count() == 0)
    assert heard == ["NoProcess", "ActorDeadError", "crashes"]
    assert whereis("late") is None
    assert len(answers) == len(watch.downs) == 1
    assert ref_of(sup, "a") is successor
    assert states(sup) == {"a": "running"}


# --- supervisors that are killed ----------------------------------------------------------------------------------------


def test_the_children_of_a_killed_supervisor_leave_in_order(world: World) -> None:
    """OTP's link: nobody is left without a supervisor. They are asked, and run their end hooks."""
    sup = Supervisor.start_link([*world.specs("ab"), Supervisor.child_spec(world.specs("xy"), id="inner")])
    watches = [Watch(row.ref) for row in Supervisor.which_children(sup)]
    kill(sup)
    assert [watch.reason() for watch in watches] == [SHUTDOWN] * 3
    eventually(lambda: world.live() == [])
    eventually(lambda: ActorRegistry.get_all() == [])


def test_a_nested_supervisor_out_of_time_does_not_leak_its_children(world: World, gate: Gate) -> None:
    """OTP leaks them here (ERL-724)."""

    class Slow(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()

    inner = Supervisor.child_spec(
        [world.spec("x"), world.spec("y", Slow, shutdown=0.05)], id="inner", shutdown=0.0, name="inner"
    )
    sup = Supervisor.start_link([inner])
    x = Watch(ref_of("inner", "x"))
    y = Watch(ref_of("inner", "y"))
    Supervisor.terminate_child(sup, "inner")
    assert x.reason() == SHUTDOWN  # by the time terminate_child returns nobody of the inner tree is alive
    assert y.reason() == KILLED
    world.gone("y")
    assert world.live() == []
    assert Supervisor.restart_child(sup, "inner").is_alive()
    gate.leave.set()


def test_a_killed_supervisor_is_restarted_after_its_children_have_left(world: World) -> None:
    """Else the old children would hold the names, and the new ones would fail to start until the window is full."""
    inner = Supervisor.child_spec(
        [world.spec(child, name=f"name-{child}") for child in "abc"], id="inner", name="inner"
    )
    top = Supervisor.start_link([inner], max_restarts=1)
    world.log()
    kill("inner")
    assert quiet(top)
    log = world.log()
    assert sorted(log[:3]) == ["stop a", "stop b", "stop c"]  # all at the same time: nobody is left to wait for each
    assert log[3:] == ["start a", "start b", "start c"]
    assert states("inner") == {"a": "running", "b": "running", "c": "running"}


def test_a_supervisor_killed_in_the_middle_of_a_restart_starts_nothing_more(world: World, gate: Gate) -> None:
    class Slow(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()
            super().on_terminate(reason)

    specs = [world.spec("a"), world.spec("b", Slow, shutdown="infinity"), world.spec("c")]
    sup = Supervisor.start_link(specs, strategy="one_for_all")
    world.log()
    die(ref_of(sup, "a"), BOOM)
    gate.await_entry()  # the supervisor waits for b
    kill(sup)
    gate.leave.set()
    eventually(lambda: abandoned_count() == 0)
    eventually(lambda: world.live() == [])
    assert world.log() == ["end a", "stop c", "stop b"]


def test_a_killed_dynamic_supervisor_takes_its_children_along(world: World) -> None:
    top = Supervisor.start_link([DynamicSupervisor.child_spec(id="d", name="dynamic")])
    for child in "abc":
        DynamicSupervisor.start_child("dynamic", world.spec(child, name=f"name-{child}"))
    kill("dynamic")
    assert quiet(top)
    assert world.live() == []
    assert DynamicSupervisor.which_children("dynamic") == []
    for child in "abc":
        DynamicSupervisor.start_child("dynamic", world.spec(child, name=f"name-{child}"))


# --- Pykka's way to stop everything -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_stop_all_ends_supervisors_too(strategy: Any, world: World) -> None:
    inner = Supervisor.child_spec(world.specs("xy"), id="inner", strategy=strategy)
    top = Supervisor.start_link([*world.specs("ab"), inner, DynamicSupervisor.child_spec(id="d", name="d")])
    DynamicSupervisor.start_child("d", world.spec("z"))
    watch = Watch(top)
    ActorRegistry.stop_all(block=True, timeout=DEADLINE_S)
    assert watch.reason() in (NORMAL, SHUTDOWN)
    assert ActorRegistry.get_all() == []
    assert world.live() == []


def test_a_supervisor_stops_like_any_server(world: World) -> None:
    for how, reason in (
        (stop, NORMAL),
        (lambda sup: sup.stop(timeout=DEADLINE_S), NORMAL),
        (Supervisor.stop, SHUTDOWN),
    ):
        sup = Supervisor.start_link(world.specs("ab"), name="again")
        watch = Watch(sup)
        how(sup)
        assert watch.reason() == reason
        assert world.live() == []
        with pytest.raises(NoProcess):
            Supervisor.count_children("again")


# --- calls that could only deadlock -------------------------------------------------------------------------------------


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
