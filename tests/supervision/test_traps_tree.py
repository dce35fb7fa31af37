"""Pykka's traps in a whole system: stopping all, names, unknown messages, reasons."""

import contextlib
import threading
from typing import Any

import pytest
from actors import PLAIN, Boom, Plain, Pooled, Threaded, end_hooks, every_child, every_kind, raised, spawn
from children import Watch, World, quiet, ref_of
from holding import Gate
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import (
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    Exit,
    NoProcess,
    Server,
    ServerDied,
    Shutdown,
    SupervisionError,
    Supervisor,
    call,
    cast,
    stop,
    whereis,
)

# --- P16, P17, P18: stop_all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@every_child
def test_p16_stop_all_ends_supervisors_too(strategy: Any, cls: Any) -> None:
    inner = Supervisor.child_spec([ChildSpec(number, cls) for number in range(3)], id="inner", strategy=strategy)
    sup = Supervisor.start_link([ChildSpec("first", cls), inner, ChildSpec("last", cls)], strategy=strategy)
    dynamic = DynamicSupervisor.start_link()
    for number in range(3):
        DynamicSupervisor.start_child(dynamic, ChildSpec(number, cls))
    watches = [Watch(sup), Watch(dynamic)]
    ActorRegistry.stop_all(timeout=DEADLINE_S)
    for watch in watches:
        watch.reason()
    assert ActorRegistry.get_all() == []


@pytest.mark.parametrize("how", ["as started", "after restarts"])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@every_child
def test_p16_stop_all_restarts_nothing_and_keeps_the_trees_own_order(strategy: Any, cls: Any, how: str) -> None:
    log: list[Any] = []

    def spec(child: Any) -> ChildSpec:
        def stopped(*_: Any) -> None:
            log.append(("stop", child))

        does = {"on_start": lambda: log.append(("start", child)), "on_terminate": stopped, "on_stop": stopped}
        return ChildSpec(child, cls, (does,))

    options: Any = {"strategy": strategy, "max_restarts": 100}
    inner = Supervisor.child_spec([spec(("inner", n)) for n in range(5)], id="inner", name="inner", **options)
    crowd = DynamicSupervisor.child_spec(id="crowd", name="crowd")
    sup = Supervisor.start_link([*map(spec, range(5)), inner, crowd, *map(spec, range(5, 10))], **options)
    if how == "after restarts":
        for parent, child in (("inner", ("inner", 2)), (sup, 3)):
            dead = Watch(ref_of(parent, child))
            cast(dead.monitor.ref, SystemExit())
            dead.reason()
            assert quiet(parent)
    DynamicSupervisor.start_child("crowd", spec("d"))
    log.clear()
    ActorRegistry.stop_all(timeout=DEADLINE_S)
    top = [("stop", n) for n in (9, 8, 7, 6, 5)]
    assert log == [
        *top,
        ("stop", "d"),
        *(("stop", ("inner", n)) for n in (4, 3, 2, 1, 0)),
        *(("stop", n) for n in (4, 3, 2, 1, 0)),
    ]
    assert ActorRegistry.get_all() == []


@every_child
def test_p16_stop_all_gives_a_stuck_child_its_shutdown_time_only(cls: Any) -> None:
    inner = Supervisor.child_spec([ChildSpec("x", cls, shutdown=0.1)], id="inner", name="inner")
    sup = Supervisor.start_link([ChildSpec("first", cls), inner])
    with Gate() as stuck:
        stuck.grip(ref_of("inner", "x"))
        with run(ActorRegistry.stop_all) as raised:
            assert Watch(sup).reason() in (NORMAL, NOPROC)
        assert not raised
    assert ActorRegistry.get_all() == []


def test_p17_a_supervisor_keeps_its_own_start_order(world: World) -> None:
    sup = Supervisor.start_link(world.specs("xy"))
    watch = Watch(ref_of(sup, "x"))
    cast(ref_of(sup, "x"), Boom())
    watch.reason()
    assert quiet(sup)
    assert ActorRegistry.get_all()[-3:] == [ref_of(sup, "y"), ref_of(sup, "x"), sup]  # the registry has x behind y now
    world.log()
    Supervisor.stop(sup, timeout=DEADLINE_S)
    assert world.log() == ["stop y", "stop x"]


@every_kind
@pytest.mark.parametrize("hook", ["handler", "end hook"])
def test_p18_stop_all_inside_an_actor_does_not_wait_for_itself(kind: str, hook: str, onlooker: Any) -> None:
    ran: list[Any] = []
    done = threading.Event()

    def stops_all(*_: Any) -> None:
        ActorRegistry.stop_all(timeout=DEADLINE_S)
        done.set()

    ref = spawn(kind, dict.fromkeys(("on_terminate", "on_stop"), stops_all) if hook == "end hook" else None, ran)
    watches = [Watch(ref), Watch(onlooker)]
    ref.tell(stops_all if hook == "handler" else (lambda actor: actor.stop()))
    assert done.wait(DEADLINE_S)
    assert [watch.reason() for watch in watches] == [NORMAL, NORMAL]
    assert len(end_hooks(ran)) == 1


@pytest.mark.parametrize("kind", ["pooled", "threaded"])
def test_p18_two_whose_end_hooks_stop_all_do_not_wait_for_each_other(kind: str) -> None:
    both = threading.Barrier(2)

    def stops_all(*_: Any) -> None:
        both.wait(DEADLINE_S)
        ActorRegistry.stop_all(timeout=DEADLINE_S)

    refs = [spawn(kind, dict.fromkeys(("on_terminate", "on_stop"), stops_all)) for _ in range(2)]
    watches = [Watch(ref) for ref in refs]
    for ref in refs:
        ref.tell(lambda actor: actor.stop())
    assert [watch.reason() for watch in watches] == [NORMAL, NORMAL]


@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_p18_a_stop_of_itself_in_on_start_does_not_deadlock(cls: Any) -> None:
    sup = Supervisor.start_link([])

    class Stopper(cls):  # type: ignore[misc]
        def on_start(self) -> None:
            self.actor_ref.stop(block=True, timeout=DEADLINE_S)

    ref = Supervisor.start_child(sup, ChildSpec("it", Stopper, restart="temporary"))
    eventually(lambda: not ref.is_alive())


@every_child
@pytest.mark.parametrize("hook", ["on_start", "end hook"])
def test_p18_stopping_the_supervisor_that_waits_does_not_deadlock(cls: Any, hook: str) -> None:
    def stops_it(*_: Any) -> None:
        whereis("sup").stop(block=True, timeout=DEADLINE_S)  # type: ignore[union-attr]

    does = {"on_start": stops_it} if hook == "on_start" else {"on_stop": stops_it, "on_terminate": stops_it}
    sup = Supervisor.start_link([], name="sup")
    watch = Watch(sup)
    with contextlib.suppress(ServerDied, NoProcess):
        Supervisor.start_child(sup, ChildSpec("it", cls, (does,), shutdown="infinity"))
        Supervisor.stop(sup, timeout=DEADLINE_S)
    assert watch.reason() in (NORMAL, SHUTDOWN)


@every_child
@pytest.mark.parametrize("hook", ["on_start", "end hook"])
def test_p18_a_call_that_could_only_deadlock_is_an_error_at_once(cls: Any, hook: str) -> None:
    outcomes: list[Any] = []

    def asks(*_: Any) -> None:
        outcomes.append(raised(Supervisor.which_children, "sup"))
        outcomes.append(raised(stop, "sup"))

    does = {"on_start": asks} if hook == "on_start" else {"on_stop": asks, "on_terminate": asks}
    sup = Supervisor.start_link([ChildSpec("it", cls, (does,))], name="sup")
    Supervisor.stop(sup, timeout=DEADLINE_S)
    assert outcomes == [SupervisionError, SupervisionError]


@every_child
def test_p18_a_child_cannot_wait_for_the_end_of_the_supervisors_above_it(cls: Any) -> None:
    inner = Supervisor.child_spec([ChildSpec("it", cls, shutdown="infinity", name="it")], id="inner", name="inner")
    sup = Supervisor.start_link([inner], name="outer")
    outcomes = call("it", lambda _: [raised(stop, "inner"), raised(Supervisor.stop, "outer"), raised(stop, "it")])
    assert outcomes == [SupervisionError] * 3
    watch = Watch(sup)
    cast("it", lambda _: whereis("outer").stop(block=True, timeout=DEADLINE_S))  # type: ignore[union-attr]
    assert watch.reason() == NORMAL


# --- P19, P25, P27: refs, unknown messages, reasons -------------------------------------------------------------------


@every_child
def test_p19_a_name_outlives_incarnations_and_a_ref_does_not(cls: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("it", cls, name="it")])
    first = whereis("it")
    watch = Watch(first)
    cast("it", Boom())
    watch.reason()
    assert quiet(sup)
    assert whereis("it") is ref_of(sup, "it") is not first
    assert call("it", 1) == 1
    with pytest.raises(NoProcess):
        call(first, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", ["pool", "thread"])
def test_p25_an_unknown_message_is_reported_by_its_type_and_survived(
    runtime: str, caplog: pytest.LogCaptureFixture
) -> None:
    quiet_one = type("Quiet", (Server,), {"runtime": runtime})
    ref = quiet_one.start_link()
    assert call(ref, {"password": "hunter2"}) is None
    cast(ref, {"password": "hunter2"})
    assert call(ref, 1) is None
    assert "unexpected_message" in caplog.text
    assert "hunter2" not in caplog.text


REASONS: dict[str, Any] = {
    "Exit()": (Exit(), NORMAL),
    "Exit(SHUTDOWN)": (Exit(SHUTDOWN), SHUTDOWN),
    "Exit(Shutdown)": (Exit(Shutdown("for lunch")), Shutdown("for lunch")),
    "Exit(KILLED)": (Exit(KILLED), KILLED),
}


@every_kind
@pytest.mark.parametrize(("message", "reason"), REASONS.values(), ids=REASONS.keys())
@pytest.mark.parametrize("how", ["cast", "call"])
def test_p27_exit_ends_any_actor_with_its_reason(kind: str, message: Any, reason: Any, how: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    if how == "cast":
        cast(ref, message)
    else:
        with pytest.raises(ServerDied) as raised:
            call(ref, message)
        assert raised.value.reason == reason
    assert watch.reason() == reason
    orderly = "on_failure" if reason == KILLED else "on_stop"
    assert end_hooks(ran) == [orderly if kind in PLAIN else "on_terminate"]


@every_kind
def test_p27_an_unknown_exit_reason_is_abnormal(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    odd = Exit("because")
    cast(ref, odd)
    assert watch.reason() == Crash(odd)
