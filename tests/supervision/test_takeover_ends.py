"""Live Pykka actors that are taken over while they start or end: the end is told, once and with its reason."""

import threading
from typing import Any

import pykka
import pytest
from pykka import ActorDeadError, ActorRegistry
from specimens import DEADLINE_S, Boom, Plain, Pooled, Stuck, Watch, end_hooks, eventually

from supervision import (
    KILLED,
    NORMAL,
    ChildSpec,
    Crash,
    Exit,
    Ignore,
    NoProcess,
    StartError,
    Supervisor,
    call,
    kill,
    monitor,
    register,
    whereis,
)
from supervision.lifecycle import abandoned_count


@pytest.mark.parametrize(
    ("message", "reason", "hook"),
    [(Boom, Crash, "on_failure"), (Exit, type(NORMAL), "on_stop")],
    ids=["crash", "Exit"],
)
def test_an_end_by_the_message_in_hand_is_told_with_its_reason(message: Any, reason: Any, hook: str) -> None:
    ran: list[Any] = []
    ref = Plain.start(None, ran)
    with Stuck() as stuck:
        stuck.then = lambda _: (_ for _ in ()).throw(message())
        stuck.grip(ref)
        watch = Watch(ref)
        stuck.go()
    assert isinstance(watch.reason(), reason)
    assert end_hooks(ran) == [hook]
    assert len(watch.downs) == 1
    assert ActorRegistry.get_all() == []


def test_a_stop_that_is_under_way_at_the_take_over_is_told_as_one() -> None:
    ran: list[Any] = []
    in_hook, go = threading.Event(), threading.Event()

    def slow() -> None:
        in_hook.set()
        assert go.wait(DEADLINE_S)

    ref = Plain.start({"on_stop": slow}, ran)
    stopped = ref.stop(block=False)
    assert in_hook.wait(DEADLINE_S)
    watch = Watch(ref)  # Pykka counts it as dead already, and so do we
    go.set()
    assert watch.reason() is not None
    assert stopped.get(timeout=DEADLINE_S) is True
    assert end_hooks(ran) == ["on_stop"]
    assert len(watch.downs) == 1


@pytest.mark.parametrize("late", [None, Boom, Exit, SystemExit, "stop"])
def test_killing_it_while_it_is_in_pykkas_loop_abandons_its_thread(late: Any) -> None:
    def then(actor: Any) -> None:
        if late == "stop":
            actor._stop()
        elif late is not None:
            raise late

    ran: list[Any] = []
    ref = Plain.start(None, ran)
    bystander = Pooled.start_link()
    with Stuck() as stuck:
        stuck.then = then
        stuck.grip(ref)
        watch = Watch(ref)
        queued = ref.ask(1, block=False)
        kill(ref)
        assert watch.downs[0].reason == KILLED
        assert abandoned_count() == 1
        with pytest.raises(ActorDeadError):
            queued.get(timeout=0)
    eventually(lambda: abandoned_count() == 0)
    eventually(lambda: not any(thread.name.startswith("Plain") for thread in threading.enumerate()))
    assert end_hooks(ran) == []
    assert len(watch.downs) == 1
    assert call(bystander, 1) == 1


def test_a_kill_in_its_on_start_abandons_that() -> None:
    ran: list[Any] = []
    with Stuck() as stuck:
        ref = Plain.start({"on_start": lambda: stuck(None)}, ran)
        assert stuck.entered.wait(DEADLINE_S)
        watch = Watch(ref)
        kill(ref)
        assert watch.downs[0].reason == KILLED
        with pytest.raises(ActorDeadError):
            ref.ask(1, timeout=0)
    eventually(lambda: abandoned_count() == 0)
    assert ran == ["__init__", "on_start"]


@pytest.mark.parametrize("outcome", [Boom, Ignore, Exit])
def test_a_supervisor_hears_what_a_slow_raw_on_start_raised(outcome: Any) -> None:
    adopted = threading.Event()

    def slow() -> None:
        assert adopted.wait(DEADLINE_S)
        raise outcome

    def start() -> Any:
        ref = Plain.start({"on_start": slow})
        monitor(ref, lambda _: None)
        adopted.set()
        return ref

    sup = Supervisor.start_link([])
    spec = ChildSpec("it", start, restart="temporary")
    if outcome is Ignore:
        assert Supervisor.start_child(sup, spec) is None
    else:
        with pytest.raises(StartError) as raised:
            Supervisor.start_child(sup, spec)
        assert isinstance(raised.value.cause, outcome)
    assert ActorRegistry.get_all() == [sup]


def test_in_its_own_init_an_actor_is_not_alive_yet() -> None:
    outcomes: list[Any] = []

    class Early(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            try:
                register("early", self.actor_ref)
            except NoProcess as error:
                outcomes.append(error)
            self.actor_ref.tell("to myself")

        def on_receive(self, message: Any) -> Any:
            outcomes.append(message)
            return message

    sup = Supervisor.start_link([ChildSpec("it", Early)])
    ref = Supervisor.which_children(sup)[0].ref
    assert call(ref, 1) == 1
    assert isinstance(outcomes[0], NoProcess)
    assert outcomes[1:] == ["to myself", 1]
    assert whereis("early") is None
