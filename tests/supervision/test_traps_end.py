"""Pykka's traps at the end of an actor, and when it does not come to one."""

import inspect
import threading
from typing import Any

import pykka
import pytest
from probes import ref_of
from pykka import ActorDeadError, ActorRegistry
from specimens import (
    DEADLINE_S,
    Boom,
    Plain,
    Pooled,
    Stuck,
    Threaded,
    Watch,
    end_hooks,
    eventually,
    every_guest,
    every_kind,
    run,
    spawn,
)

from supervision import (
    KILLED,
    NORMAL,
    CallTimeout,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    ServerDied,
    StartError,
    Supervisor,
    call,
    kill,
    monitor,
    register,
    send_after,
    stop,
    unregister,
    whereis,
)
from supervision.lifecycle import abandoned_count, life_of


def _raised(function: Any, *args: Any) -> Any:
    try:
        function(*args)
    except BaseException as error:
        return type(error)
    return None


# --- P11, P12: a stop waits for its turn, and may come late -----------------------------------------------------------


@every_kind
def test_p11_a_stop_is_handled_in_its_turn(kind: str) -> None:
    handled: list[int] = []
    ref = spawn(kind)
    watch = Watch(ref)
    with Stuck() as stuck:
        stuck.grip(ref)
        for number in range(3):
            ref.tell(lambda _, number=number: handled.append(number))
        stopped = ref.stop(block=False)
        for number in range(3, 6):
            ref.tell(lambda _, number=number: handled.append(number))
        stuck.go()
    assert stopped.get(timeout=DEADLINE_S) is True
    assert watch.reason() == NORMAL
    assert handled == [0, 1, 2]


@every_guest
def test_p11_a_backlog_longer_than_the_shutdown_time_is_abandoned(cls: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("it", cls, shutdown=0.05)])
    ref = ref_of(sup, "it")
    with Stuck() as stuck:
        stuck.grip(ref)
        asked = ref.ask("in the backlog", block=False)
        watch = Watch(ref)
        Supervisor.stop(sup, timeout=DEADLINE_S)
        assert watch.reason() == KILLED
        with pytest.raises(ActorDeadError):
            asked.get(timeout=0)


@every_kind
def test_p12_a_stop_that_timed_out_goes_on(kind: str) -> None:
    ref = spawn(kind)
    with Stuck() as stuck:
        stuck.grip(ref)
        watch = Watch(ref)
        with pytest.raises(CallTimeout):
            stop(ref, timeout=0.01)
        assert ref.is_alive()
        stuck.go()
    assert watch.reason() == NORMAL
    assert len(watch.downs) == 1


# --- P13: the stopped flag --------------------------------------------------------------------------------------------


@every_kind
def test_p13_setting_the_stopped_flag_by_hand_makes_no_zombie(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    assert call(ref, 1) == 1
    ref.actor_stopped.set()
    assert call(ref, 2) == 2
    assert ref in ActorRegistry.get_all()
    ref.stop(timeout=DEADLINE_S)
    assert watch.reason() == NORMAL
    assert len(end_hooks(ran)) == 1


@pytest.mark.parametrize("kind", ["managed", "raw"])
def test_p13_a_pykka_actors_own_helper_thread_sees_the_flag_before_on_stop_is_done(kind: str) -> None:
    def joins(*_: Any) -> None:
        actor[0].helper.join(DEADLINE_S)
        joined.append(not actor[0].helper.is_alive())

    def starts_helper(self: Any) -> None:
        actor.append(self)
        self.helper = threading.Thread(target=self.actor_stopped.wait, args=(DEADLINE_S * 2,), daemon=True)
        self.helper.start()

    actor: list[Any] = []
    joined: list[bool] = []
    ref = spawn(kind, {"on_stop": joins})
    watch = Watch(ref)
    call(ref, starts_helper)
    ref.tell(lambda self: self.stop())
    watch.reason()
    assert joined == [True]


def test_p13_waiting_for_the_flag_leaves_nothing_behind() -> None:
    ref = Pooled.start_link()
    for _ in range(100):
        assert ref.actor_stopped.wait(0) is False
    assert not ref.actor_inbox._bells
    ref.stop(timeout=DEADLINE_S)
    assert ref.actor_stopped.wait(0) is True


# --- P14, P24: abandon instead of kill --------------------------------------------------------------------------------


@every_kind
def test_p14_killing_a_stuck_actor_abandons_its_thread(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    register("it", ref)
    watch = Watch(ref)
    names_at_death: list[Any] = []
    monitor(ref, lambda _: names_at_death.append((whereis("it"), ref in ActorRegistry.get_all())))
    with Stuck() as stuck:
        in_hand = ref.ask(stuck, block=False)
        assert stuck.entered.wait(DEADLINE_S)
        queued, stopped = ref.ask(1, block=False), ref.stop(block=False)
        before = abandoned_count()
        kill(ref)
        assert watch.downs[0].reason == KILLED  # told before kill() returned
        assert names_at_death == [(None, False)]
        assert abandoned_count() == before + 1
        for future in (in_hand, queued):
            with pytest.raises(ActorDeadError):
                future.get(timeout=0)
        assert stopped.get(timeout=0) is True
        with pytest.raises(NoProcess):
            call(ref, 1)
        kill(ref)
        assert abandoned_count() == before + 1
    eventually(lambda: abandoned_count() == before)
    assert end_hooks(ran) == []
    assert len(watch.downs) == 1


@every_kind
def test_p14_nothing_that_an_abandoned_handler_does_with_its_actor_has_an_effect(kind: str) -> None:
    def late(actor: Any) -> str:
        outcomes["own name"] = _raised(register, "late", actor.actor_ref)
        unregister("it")
        outcomes["timer"] = send_after(0, actor.actor_ref, "late").cancel()
        outcomes["tell"] = _raised(actor.actor_ref.tell, "late")
        outcomes["monitor"] = _raised(monitor, successor, actor.actor_ref)
        raise Boom

    outcomes: dict[str, Any] = {}
    ref = spawn(kind)
    life = life_of(ref)
    if kind == "raw":
        call(ref, 1)
    register("it", ref)
    watch = Watch(ref)
    with Stuck() as stuck:
        stuck.then = late
        stuck.grip(ref)
        kill(ref)
        successor = Pooled.start_link(name="it")
    assert outcomes == {"own name": NoProcess, "timer": False, "tell": ActorDeadError, "monitor": NoProcess}
    assert whereis("late") is None
    assert whereis("it") is successor
    assert [down.reason for down in watch.downs] == [KILLED]
    assert life is not None
    assert life.reason == KILLED


@pytest.mark.parametrize("cls", [Pooled, Threaded])
def test_p14_a_stuck_on_start_is_abandoned_too(cls: Any) -> None:
    ran: list[Any] = []
    with Stuck() as stuck:
        with pytest.raises(StartError) as raised:
            cls.start_link({"on_start": lambda: stuck(None)}, ran, name="it", start_timeout=0.05)
        assert isinstance(raised.value.cause, TimeoutError)
        assert whereis("it") is None
        assert abandoned_count() == 1
    eventually(lambda: abandoned_count() == 0)
    assert ran == ["__init__", "on_start"]


@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_p14_so_is_one_that_somebody_else_kills(cls: Any) -> None:
    def start() -> None:
        with pytest.raises(StartError):
            DynamicSupervisor.start_child(sup, ChildSpec("it", cls, ({"on_start": lambda: stuck(None)}, ran)))

    ran: list[Any] = []
    sup = DynamicSupervisor.start_link()
    with Stuck() as stuck, run(start):
        assert stuck.entered.wait(DEADLINE_S)
        kill(next(ref for ref in ActorRegistry.get_all() if ref.actor_class is cls))
    assert ran == ["__init__", "on_start"]
    assert DynamicSupervisor.which_children(sup) == []


@every_kind
def test_p14_killing_an_idle_actor_abandons_nothing(kind: str) -> None:
    ref = spawn(kind)
    assert call(ref, 1) == 1
    watch = Watch(ref)
    eventually(lambda: life_of(ref).busy is None)  # type: ignore[union-attr]
    kill(ref)
    assert watch.downs[0].reason == KILLED
    assert abandoned_count() == 0
    assert not life_of(ref).abandoned  # type: ignore[union-attr]


@every_kind
def test_p14_two_who_kill_at_once_count_once(kind: str) -> None:
    ref = spawn(kind)
    with Stuck() as stuck:
        stuck.grip(ref)
        watch = Watch(ref)
        barrier = threading.Barrier(8)

        def killer() -> None:
            barrier.wait(DEADLINE_S)
            kill(ref)

        with run(*[killer] * 8):
            pass
        assert abandoned_count() == 1
        assert len(watch.downs) == 1
    eventually(lambda: abandoned_count() == 0)


@every_kind
def test_p14_an_actor_may_kill_itself(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    with pytest.raises(ServerDied) as raised:
        call(ref, lambda actor: kill(actor.actor_ref))
    assert raised.value.reason == watch.reason() == KILLED
    assert abandoned_count() == 0


@pytest.mark.parametrize("start", [Threaded, Plain, lambda: Plain.start()], ids=["threaded", "managed", "raw"])
def test_p14_the_threads_of_supervised_actors_are_daemons(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "use_daemon_thread", False)
    sup = Supervisor.start_link([ChildSpec("it", start)])
    assert call(ref_of(sup, "it"), lambda _: threading.current_thread().daemon) is True


# --- P15: two kinds of no answer --------------------------------------------------------------------------------------


@every_kind
def test_p15_a_timeout_is_the_callers_only_and_the_work_is_done(kind: str) -> None:
    ref = spawn(kind)
    done = threading.Event()
    with Stuck() as stuck:
        stuck.grip(ref)
        with pytest.raises(CallTimeout):
            call(ref, lambda _: done.set(), timeout=0.01)
        with pytest.raises(pykka.Timeout):
            ref.ask(1, timeout=0.01)
        stuck.go()
    assert done.wait(DEADLINE_S)
    assert call(ref, 1) == 1
    ref.stop(timeout=DEADLINE_S)
    eventually(lambda: not ref.is_alive())
    with pytest.raises(NoProcess):
        call(ref, 1)


def test_p15_a_call_has_a_deadline_by_default() -> None:
    assert inspect.signature(call).parameters["timeout"].default == 5.0
