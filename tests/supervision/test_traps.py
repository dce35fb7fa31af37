"""Pykka's traps, what its actors do that a supervisor must not let happen: errors, and what follows from them.

The rows are those of .github/design/supervision.md 2; P20 and P21 are Pykka's own proxies and broadcast, which stay as they are.
P22 is ``test_interpreter_exit``, P23 ``test_fork``, P28 ``test_timers``.
"""

import queue
from typing import Any

import pykka
import pytest
from actors import (
    BASES,
    SERVERS,
    Boom,
    Pooled,
    a_thread_may_die,
    end_hooks,
    every_base,
    every_kind,
    every_plain,
    every_server,
    spawn,
)
from children import Watch
from holding import Gate
from pykka import ActorDeadError, ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import (
    NORMAL,
    Crash,
    Exit,
    NoProcess,
    ServerDied,
    StartError,
    call,
    cast,
    monitor,
    stop,
)
from supervision.process.pykka_internals import Envelope

# --- P1: an error under ask, and one under tell -----------------------------------------------------------------------


@every_plain
def test_p1_an_error_under_ask_is_the_callers_and_a_pykka_actor_lives_on(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    with pytest.raises(Boom):
        ref.ask(Boom(), timeout=DEADLINE_S)
    with pytest.raises(Boom):
        call(ref, Boom())
    assert call(ref, "still here") == "still here"
    assert end_hooks(ran) == []


@every_server
def test_p1_an_error_under_call_is_the_callers_and_a_server_crashes(kind: str) -> None:
    boom = Boom()
    ref = spawn(kind)
    watch = Watch(ref)
    with pytest.raises(Boom) as raised:
        call(ref, boom)
    assert raised.value is boom
    assert watch.reason() == Crash(boom)


@every_server
def test_p1_a_server_may_opt_out_of_that(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pooled, "crash_on_call_error", False)
    ref = spawn(kind)
    with pytest.raises(Boom):
        call(ref, Boom())
    assert call(ref, "still here") == "still here"


@every_kind
def test_p1_an_error_under_tell_is_a_crash(kind: str) -> None:
    boom, ran = Boom(), []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    ref.tell(boom)
    assert watch.reason() == Crash(boom)
    assert end_hooks(ran) == (["on_terminate"] if kind in SERVERS else ["on_failure"])


# --- P2: one end hook, once -------------------------------------------------------------------------------------------

ENDS: dict[str, Any] = {
    "stop": lambda ref: stop(ref),
    "Pykka's stop": lambda ref: ref.stop(timeout=DEADLINE_S),
    "Pykka's stop, told": lambda ref: ref.tell(lambda actor: actor.stop()),
    "Exit": lambda ref: cast(ref, Exit()),
    "Exit under call": lambda ref: _call_to_death(ref, Exit()),
    "crash": lambda ref: cast(ref, Boom()),
    "SystemExit": lambda ref: cast(ref, SystemExit()),
    "stop_all": lambda ref: ActorRegistry.stop_all(timeout=DEADLINE_S),
}


def _call_to_death(ref: Any, message: Any) -> None:
    with pytest.raises(ServerDied):
        call(ref, message)


@every_kind
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_p2_exactly_one_end_hook_runs_at_every_end(kind: str, end: Any) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    end(ref)
    failed = isinstance(watch.reason(), Crash)
    expected = "on_terminate" if kind in SERVERS else "on_failure" if failed else "on_stop"
    assert end_hooks(ran) == [expected]
    assert len(watch.downs) == 1


@every_kind
@a_thread_may_die
@pytest.mark.parametrize("base", [Boom, Exit, SystemExit], ids=lambda base: base.__name__)
def test_p2_no_end_hook_runs_where_the_start_failed(kind: str, error: BaseException) -> None:
    ran: list[Any] = []
    with pytest.raises(StartError) as raised:
        spawn(kind, {"on_start": error}, ran)
    assert raised.value.cause is error
    assert end_hooks(ran) == []


# --- P5: no message is lost between the last look and the end ---------------------------------------------------------


@every_kind
def test_p5_what_waits_in_the_mailbox_at_the_end_is_answered(kind: str) -> None:
    ref = spawn(kind)
    boom = Boom()
    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            call(ref, 1)
        except ServerDied as error:
            outcomes.put(error.reason)

    with Gate() as stuck:
        stuck.then = lambda _: (_ for _ in ()).throw(boom)
        stuck.grip(ref)
        watch = Watch(ref)
        asked, stopped = ref.ask(1, block=False), ref.stop(block=False)
        with run(ask, ask):
            eventually(lambda: ref.actor_inbox.qsize() >= 4)
            stuck.go()
    assert outcomes.get(timeout=DEADLINE_S) == outcomes.get(timeout=DEADLINE_S) == watch.reason() == Crash(boom)
    with pytest.raises(ActorDeadError):
        asked.get(timeout=DEADLINE_S)
    assert stopped.get(timeout=DEADLINE_S) is True


@every_kind
def test_p5_what_comes_after_the_end_is_answered_too(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    inbox = ref.actor_inbox  # of somebody who has seen it alive a moment ago
    ref.stop(timeout=DEADLINE_S)
    watch.reason()
    asked = pykka.ThreadingFuture[Any]()
    inbox.put(Envelope(1, asked))
    with pytest.raises(ActorDeadError):
        asked.get(timeout=0)
    with pytest.raises(ActorDeadError):
        inbox.put(Envelope(1))
    with pytest.raises(ActorDeadError):
        ref.ask(1, timeout=DEADLINE_S)
    with pytest.raises(NoProcess):
        call(ref, 1)
    assert ref.stop(timeout=DEADLINE_S) is False


# --- P6: a BaseException in a handler ---------------------------------------------------------------------------------


@every_kind
@every_base
@pytest.mark.parametrize("how", ["tell", "ask", "call"])
def test_p6_a_base_exception_in_a_handler_ends_that_actor_only(
    kind: str, error: BaseException, how: str, onlooker: Any
) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    if how == "tell":
        ref.tell(error)
    elif how == "ask":
        with pytest.raises(ActorDeadError):
            ref.ask(error, timeout=DEADLINE_S)
    else:
        with pytest.raises(ServerDied) as raised:
            call(ref, error)
        assert raised.value.reason == Crash(error)
    assert watch.reason() == Crash(error)
    assert len(end_hooks(ran)) == 1
    assert call(onlooker, 1) == 1
    assert ref not in ActorRegistry.get_all()


@every_server
@every_base
def test_p6_a_base_exception_in_on_continue_is_a_crash(kind: str, error: BaseException, onlooker: Any) -> None:
    ran: list[Any] = []
    ref = spawn(kind, {"on_continue": error}, ran)
    eventually(lambda: not ref.is_alive())
    assert end_hooks(ran) == ["on_terminate"]
    assert call(onlooker, 1) == 1


# --- P8, P26: what the end hooks raise --------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("base", [Boom, *BASES], ids=lambda base: base.__name__)
@pytest.mark.parametrize("crashes", [True, False], ids=["crash", "stop"])
def test_p8_what_an_end_hook_raises_changes_nothing(
    kind: str, error: BaseException, crashes: bool, onlooker: Any
) -> None:
    ran: list[Any] = []
    boom = Boom()
    ref = spawn(kind, dict.fromkeys(("on_terminate", "on_stop", "on_failure"), error), ran)
    with Gate() as stuck:
        stuck.then = lambda actor: (_ for _ in ()).throw(boom) if crashes else actor.stop()
        stuck.grip(ref)
        watch = Watch(ref)
        stopped = ref.stop(block=False)
        asked = ref.ask(1, block=False)
        stuck.go()
    assert watch.reason() == (Crash(boom) if crashes else NORMAL)
    assert stopped.get(timeout=DEADLINE_S) is True
    with pytest.raises(ActorDeadError):
        asked.get(timeout=DEADLINE_S)
    assert len(end_hooks(ran)) == 1
    assert len(watch.downs) == 1
    assert call(onlooker, 1) == 1


@every_plain
def test_p26_the_death_is_told_without_any_help_from_on_failure(kind: str) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def tells_itself(_: Any) -> None:
        holder[0].tell("from on_failure, where it counts as dead")

    ref = spawn(kind, {"on_failure": tells_itself})
    holder = [ref]
    monitor(ref, told.put)
    ref.tell(Boom())
    assert isinstance(told.get(timeout=DEADLINE_S).reason, Crash)
