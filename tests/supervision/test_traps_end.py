"""Pykka's traps at the end of an actor."""

import inspect
import threading
from typing import Any

import pykka
import pytest
from actors import Pooled, end_hooks, every_child, every_kind, spawn
from children import Watch, ref_of
from holding import Gate
from pykka import ActorDeadError, ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import (
    KILLED,
    NORMAL,
    CallTimeout,
    ChildSpec,
    NoProcess,
    Supervisor,
    call,
    stop,
)
from supervision.process import mailbox
from supervision.runtime.waits import Bell

# --- P11, P12: a stop waits for its turn, and may come late -----------------------------------------------------------


@every_kind
def test_p11_a_stop_is_handled_in_its_turn(kind: str) -> None:
    handled: list[int] = []
    ref = spawn(kind)
    watch = Watch(ref)
    with Gate() as stuck:
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


@every_child
def test_p11_a_backlog_longer_than_the_shutdown_time_is_abandoned(cls: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("it", cls, shutdown=0.05)])
    ref = ref_of(sup, "it")
    with Gate() as stuck:
        stuck.grip(ref)
        asked = ref.ask("in the backlog", block=False)
        watch = Watch(ref)
        Supervisor.stop(sup, timeout=DEADLINE_S)
        assert watch.reason() == KILLED
        with pytest.raises(ActorDeadError):
            asked.get(timeout=0)


@every_kind
def test_p11_a_proxys_stop_is_answered_before_the_end_hook_and_every_other_stop_after_it(kind: str) -> None:
    with Gate() as hook:
        ref = spawn(kind, dict.fromkeys(("on_stop", "on_terminate"), hook))
        ref.proxy().stop().get(timeout=DEADLINE_S)  # as with Pykka alone (its issue 231)
        hook.await_entry()
        assert not hook.left.is_set()
    for way in (
        stop,
        lambda ref: ref.stop(timeout=DEADLINE_S),
        lambda ref: ref.stop(block=False).get(timeout=DEADLINE_S),
    ):
        order: list[str] = []
        with Gate() as hook:
            ref = spawn(kind, dict.fromkeys(("on_stop", "on_terminate"), hook))
            with run(lambda: (way(ref), order.append("stopped"))):  # noqa: B023 - it ends in this round
                hook.await_entry()
                order.append("let go")
                hook.go()
        assert order == ["let go", "stopped"]


@every_kind
def test_p12_a_stop_that_timed_out_goes_on(kind: str) -> None:
    ref = spawn(kind)
    with Gate() as stuck:
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


def test_p13_who_waits_for_the_flag_just_as_it_is_set_takes_it_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    flag = mailbox.Mailbox()

    def late() -> Bell:
        flag._closed = True  # as the first line of its `close` does, after this thread has looked
        return Bell()

    heard: list[bool] = []
    with run(lambda: heard.append(flag.wait(6 * DEADLINE_S))):
        eventually(lambda: flag in mailbox._closings.value, "the one that waits")
        monkeypatch.setattr(mailbox, "Bell", late)
        assert flag.wait(0) is True
        flag.close()
    assert heard == [True]


def test_p13_waiting_for_the_flag_leaves_nothing_behind() -> None:
    ref = Pooled.start_link()
    for _ in range(100):
        assert ref.actor_stopped.wait(0) is False
    ref.stop(timeout=DEADLINE_S)
    assert ref.actor_stopped.wait(0) is True


# --- P15: two kinds of no answer --------------------------------------------------------------------------------------


@every_kind
def test_p15_a_timeout_is_the_callers_only_and_the_work_is_done(kind: str) -> None:
    ref = spawn(kind)
    done = threading.Event()
    with Gate() as stuck:
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
