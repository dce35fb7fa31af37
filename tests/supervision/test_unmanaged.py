"""Running actors that Pykka alone has started: they are talked to and left as they are, or refused with what to do."""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from actors import Boom, Plain, Pooled, Threaded, every_base, raised
from holding import Gate
from pykka import ActorDeadError, ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import (
    CallTimeout,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    ServerDied,
    StartError,
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
from supervision.process.pykka_internals import actor_of


def state(ref: Any) -> Any:
    """Whatever a take-over would have changed: the actor's own, and the ref's."""
    actor = actor_of(ref)
    inbox = ref.actor_inbox
    return (
        *(inbox, ref.actor_stopped, actor.actor_inbox, actor.actor_stopped, type(inbox), type(ref.actor_stopped)),
        *(inbox.put, vars(inbox).get("_put"), {name for name, value in vars(actor).items() if callable(value)}),
    )


# --- what goes, and changes nothing -----------------------------------------------------------------------------------

TALKS: dict[str, Callable[[Any], Any]] = {
    "call": lambda ref: call(ref, 1),
    "cast": lambda ref: cast(ref, 1),
    "call in no time": lambda ref: call(ref, 1, timeout=None),
    "call in vain": lambda ref: raised(call, ref, Boom()),
    "send_after": lambda ref: send_after(0, ref, 1),
    "a cancelled timer": lambda ref: send_after(60, ref, 1).cancel(),
    "monitor": lambda ref: raised(monitor, ref, print),
    "register": lambda ref: raised(register, "it", ref),
    "kill": lambda ref: raised(kill, ref),
    "supervise": lambda ref: raised(Supervisor.start_link, [ChildSpec("it", lambda: ref)]),
    "watch with it": lambda ref: raised(monitor, Pooled.start_link(), ref),
}


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
def test_it_stays_as_it_is(talk: Any) -> None:
    ref = Plain.start()
    before = state(ref)
    talk(ref)
    assert call(ref, "after") == "after"
    assert state(ref) == before
    assert type(ref.actor_inbox) is queue.Queue
    assert ref in ActorRegistry.get_all()


def test_a_call_has_the_handlers_answer_or_its_exception_unchanged() -> None:
    ref = Plain.start()
    assert call(ref, 7) == 7
    for error in (Boom("own"), ActorDeadError("another's"), pykka.Timeout("another's"), CallTimeout("x", 1.0)):
        with pytest.raises(type(error)) as caught:
            call(ref, error)
        assert caught.value is error
    assert call(ref, 8) == 8


def test_its_log_is_pykkas(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ref = Plain.start()
    with pytest.raises(Boom):
        call(ref, Boom("lost"))
    assert [(record.name, record.levelno) for record in caplog.records] == [("pykka", logging.INFO)]
    assert "lost" in caplog.text


def test_a_cast_that_fails_ends_it_as_in_pykka(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[Any] = []
    ref = Plain.start(None, ran)
    cast(ref, Boom())
    eventually(lambda: "on_failure" in ran)
    assert not ref.is_alive()
    assert "Unhandled exception in" in caplog.text


def test_no_answer_in_time_and_nobody_there() -> None:
    ref = Plain.start()
    with Gate() as stuck:
        stuck.grip(ref)
        with pytest.raises(CallTimeout):
            call(ref, 1, timeout=0.01)
        with pytest.raises(CallTimeout):
            stop(ref, timeout=0.01)
    eventually(lambda: not ref.is_alive())
    with pytest.raises(NoProcess):
        call(ref, 1)
    with pytest.raises(NoProcess):
        stop(ref)
    cast(ref, 1)
    kill(ref)
    send_after(0, ref, 1)


def test_what_is_left_in_its_queue_when_it_ends() -> None:
    ref, queued = Plain.start(), threading.Event()
    with Gate() as stuck:
        stuck.grip(ref)
        ref.stop(block=False)

        def asks() -> None:
            with pytest.raises(ServerDied):
                call(ref, 1, timeout=None)
            queued.set()

        with run(asks):
            eventually(lambda: ref.actor_inbox.qsize() == 2)
            stuck.go()
    assert queued.is_set()


@every_base
def test_a_base_exception_ends_all_as_in_pykka_and_its_caller_hears(error: BaseException) -> None:
    ref, other = Plain.start(), Plain.start()
    with pytest.raises(ServerDied):
        call(ref, error, timeout=None)
    eventually(lambda: not other.is_alive())


def test_a_message_that_pykka_loses_is_waited_for_no_longer_than_the_actor_lives() -> None:
    ref = Plain.start()
    put = ref.actor_inbox.put
    lost = threading.Event()
    ref.actor_inbox.put = lambda envelope: put(envelope) if type(envelope.message) is not str else lost.set()
    kinds: list[Any] = []
    with run(lambda: kinds.append(raised(lambda: call(ref, "lost", timeout=None)))):
        assert lost.wait(DEADLINE_S)
        ref.stop(timeout=DEADLINE_S)
    assert kinds == [ServerDied]


def test_a_stop_runs_its_hook_and_is_over_on_return() -> None:
    ran: list[Any] = []
    ref = Plain.start(None, ran)
    stop(ref)
    assert "on_stop" in ran
    assert not ref.is_alive()
    assert ref not in ActorRegistry.get_all()


@pytest.mark.parametrize("asks", [call, lambda ref, _: stop(ref)], ids=["call", "stop"])
def test_a_call_to_itself_is_seen_at_once(asks: Any) -> None:
    ref = Plain.start()
    with pytest.raises(SupervisionError, match="calls itself"):
        call(ref, lambda self: asks(self.actor_ref, 1), timeout=DEADLINE_S)


def test_in_its_constructor_nobody_is_there_yet() -> None:
    kinds: list[Any] = []

    class Early(Plain):
        def __init__(self) -> None:
            super().__init__()
            kinds.append(raised(call, self.actor_ref, 1))

    assert Early.start().is_alive()
    assert kinds == [NoProcess]


@pytest.mark.parametrize("cls", [Pooled, Threaded])
def test_a_chain_of_more_waits_than_the_pool_has_workers(cls: Any) -> None:
    ref = Plain.start()
    servers = [cls.start_link() for _ in range(40)]
    answers: list[Any] = []
    with run(*[lambda s=server: answers.append(call(s, lambda _: call(ref, 1))) for server in servers]):
        pass
    assert answers == [1] * 40


# --- what is refused, with what to do ---------------------------------------------------------------------------------

REFUSED: dict[str, Callable[[Any], Any]] = {
    "monitor": lambda ref: monitor(ref, print),
    "register": lambda ref: register("it", ref),
    "kill": kill,
    "watch with it": lambda ref: monitor(Pooled.start_link(), ref),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("when", ["idle", "busy", "starting"])
def test_what_cannot_be_promised_is_refused_with_how_to_start_it(refused: Any, when: str) -> None:
    go = threading.Event()
    ref = Plain.start({"on_start": lambda: go.wait(DEADLINE_S)} if when == "starting" else None)
    with Gate() as stuck:
        if when == "busy":
            stuck.grip(ref)
        with pytest.raises(SupervisionError, match=r"start it as a child, .*ChildSpec\(id, Plain, args\)"):
            refused(ref)
    go.set()
    assert whereis("it") is None
    assert call(ref, 1) == 1


@pytest.mark.parametrize("name", [None, "it"])
def test_a_start_callable_that_returns_one_that_ran_before(name: str | None) -> None:
    ref = Plain.start()
    with pytest.raises(StartError, match="start it as a child") as caught:
        Supervisor.start_link([ChildSpec("it", lambda: ref, name=name)])
    assert isinstance(caught.value.cause, SupervisionError)
    assert call(ref, 1) == 1
    sup = DynamicSupervisor.start_link()
    with pytest.raises(StartError):
        DynamicSupervisor.start_child(sup, ChildSpec("it", lambda: ref, name=name))
    assert DynamicSupervisor.which_children(sup) == []
    assert ref.is_alive()


def test_one_that_is_no_supervisor_is_refused_as_any_other() -> None:
    with pytest.raises(TypeError, match="expected a Supervisor, got Plain"):
        Supervisor.which_children(Plain.start())


def test_one_that_has_ended_is_gone_for_all() -> None:
    ref, downs = Plain.start(), []
    ref.stop(timeout=DEADLINE_S)
    monitor(ref, downs.append)
    assert [str(down.reason) for down in downs] == ["NOPROC"]
    with pytest.raises(NoProcess):
        register("it", ref)


class OwnThread(Plain):
    """Makes its own thread, in its own way."""

    def _start_actor_loop(self) -> None:
        threading.Thread(target=self._actor_loop, name="its own", daemon=True).start()


@pytest.mark.parametrize("start", [OwnThread, OwnThread.start, lambda: OwnThread.start()])
def test_one_that_a_supervisor_starts_is_never_a_stranger(start: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("it", start, name="it")])
    ref, down = whereis("it"), threading.Event()
    assert ref is not None
    monitor(ref, lambda _: down.set())
    kill(ref)
    assert down.wait(DEADLINE_S)
    eventually(lambda: whereis("it") is not None)
    Supervisor.stop(sup)
