"""Pykka's traps where an actor does not come to its end: it is abandoned, instead of killed."""

import threading
from typing import Any

import pytest
from actors import Boom, Plain, Pooled, Threaded, end_hooks, every_kind, raised, spawn
from children import Watch, ref_of
from holding import Gate
from pykka import ActorDeadError, ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import (
    KILLED,
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
    unregister,
    whereis,
)
from supervision.process.process import abandoned_count
from supervision.process.registry import process_of


@every_kind
def test_p14_killing_a_stuck_actor_abandons_its_thread(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    register("it", ref)
    watch = Watch(ref)
    names_at_death: list[Any] = []
    monitor(ref, lambda _: names_at_death.append((whereis("it"), ref in ActorRegistry.get_all())))
    with Gate() as stuck:
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
        outcomes["own name"] = raised(register, "late", actor.actor_ref)
        unregister("it")
        outcomes["timer"] = send_after(0, actor.actor_ref, "late").cancel()
        outcomes["tell"] = raised(actor.actor_ref.tell, "late")
        outcomes["monitor"] = raised(monitor, successor, actor.actor_ref)
        raise Boom

    outcomes: dict[str, Any] = {}
    ref = spawn(kind)
    process = process_of(ref)
    if kind == "raw":
        call(ref, 1)
    register("it", ref)
    watch = Watch(ref)
    with Gate() as stuck:
        stuck.then = late
        stuck.grip(ref)
        kill(ref)
        successor = Pooled.start_link(name="it")
    assert outcomes == {"own name": NoProcess, "timer": False, "tell": ActorDeadError, "monitor": NoProcess}
    assert whereis("late") is None
    assert whereis("it") is successor
    assert [down.reason for down in watch.downs] == [KILLED]
    assert process is not None
    assert process.reason == KILLED


@pytest.mark.parametrize("cls", [Pooled, Threaded])
def test_p14_a_stuck_on_start_is_abandoned_too(cls: Any) -> None:
    ran: list[Any] = []
    with Gate() as stuck:
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
    with Gate() as stuck, run(start):
        assert stuck.entered.wait(DEADLINE_S)
        kill(next(ref for ref in ActorRegistry.get_all() if ref.actor_class is cls))
    assert ran == ["__init__", "on_start"]
    assert DynamicSupervisor.which_children(sup) == []


@every_kind
def test_p14_killing_an_idle_actor_abandons_nothing(kind: str) -> None:
    ref = spawn(kind)
    assert call(ref, 1) == 1
    watch = Watch(ref)
    eventually(lambda: not process_of(ref).is_busy)  # type: ignore[union-attr]
    kill(ref)
    assert watch.downs[0].reason == KILLED
    assert abandoned_count() == 0
    assert not process_of(ref).abandoned  # type: ignore[union-attr]


@every_kind
def test_p14_two_who_kill_at_once_count_once(kind: str) -> None:
    ref = spawn(kind)
    with Gate() as stuck:
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
