"""Servers on the pool and on threads of their own: order, one hook at a time, deadlines, and no trace after the end."""

import contextlib
import inspect
import threading
import time
from typing import Any

import pykka
import pytest
from actors import SERVERS, Plain, Pooled, Threaded, spawn
from children import Watch
from holding import Gate
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import (
    CallTimeout,
    ChildSpec,
    Crash,
    Exit,
    Shutdown,
    Supervisor,
    call,
    cast,
    kill,
    stop,
)
from supervision.process.registry import process_of

# --- what got past the loop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
def test_a_fault_in_the_loop_itself_ends_the_actor_and_answers_its_callers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervision.process.process import Process

    fault = RuntimeError("in the loop")

    def break_off(process: Any, envelope: Any) -> None:
        raise fault

    ref = spawn(kind)
    watch = Watch(ref)
    with monkeypatch.context() as patch:
        patch.setattr(Process, "_handle", break_off)
        asked = ref.ask(1, block=False)
        assert watch.reason() == Crash(fault)
    with pytest.raises(pykka.ActorDeadError):
        asked.get(timeout=DEADLINE_S)
    assert ActorRegistry.get_all() == []
    assert call(spawn(kind), 1) == 1


@pytest.mark.parametrize("kind", SERVERS)
def test_logging_that_raises_keeps_nobody_from_dying(kind: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import logging

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    logger = logging.getLogger("supervision")
    handler = Broken()
    logger.addHandler(handler)
    try:
        ref = spawn(kind, {"on_terminate": ValueError("one more to report")})
        watch = Watch(ref)
        with pytest.raises(KeyError):
            call(ref, KeyError("reported"))
        assert isinstance(watch.reason(), Crash)
    finally:
        logger.removeHandler(handler)
    assert "disk full" in capsys.readouterr().err


# --- on_continue, order, hooks one at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
def test_on_continue_runs_before_any_queued_message(kind: str) -> None:
    ran: list[Any] = []

    class Early({"pooled": Pooled, "threaded": Threaded}[kind]):  # type: ignore[misc]
        def on_start(self) -> None:
            self.actor_ref.tell(lambda _: ran.append("early"))

    ref = Early.start_link({"on_continue": lambda: ran.append("continue")})
    call(ref, lambda _: ran.append("call"))
    assert ran == ["continue", "early", "call"]


@pytest.mark.parametrize("kind", SERVERS)
def test_an_actors_handlers_never_run_two_at_a_time_and_in_order(kind: str) -> None:
    ref = spawn(kind)
    running = threading.Lock()
    seen: dict[int, list[int]] = {number: [] for number in range(4)}

    def handler(sender: int, number: int) -> Any:
        def handle(_: Any) -> None:
            assert running.acquire(blocking=False)
            seen[sender].append(number)
            running.release()

        return handle

    with run(*[lambda s=s: [cast(ref, handler(s, number)) for number in range(500)] for s in seen]):
        pass
    assert call(ref, 1) == 1
    assert seen == {sender: list(range(500)) for sender in seen}


def test_a_server_on_a_thread_of_its_own_stays_on_it() -> None:
    ref = Threaded.start_link()
    idents = {call(ref, lambda _: threading.get_ident()) for _ in range(50)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_its_thread_ends_with_it() -> None:
    ref = Threaded.start_link()
    thread = call(ref, lambda _: threading.current_thread())
    stop(ref)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_the_thread_of_a_killed_idle_server_ends_too() -> None:
    ref = Threaded.start_link()
    thread = call(ref, lambda _: threading.current_thread())
    eventually(lambda: not process_of(ref).is_busy)  # type: ignore[union-attr]
    kill(ref)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


# --- deadlines of Pykka's asks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pooled", "threaded", "managed"])
@pytest.mark.parametrize("where", ["outside", "in a handler"])
def test_an_ask_times_out_at_its_deadline(kind: str, where: str) -> None:
    ref = spawn(kind)

    def ask(_: Any = None) -> float:
        began = time.monotonic()
        with pytest.raises(pykka.Timeout):
            ref.ask(1, timeout=0.1)
        return time.monotonic() - began

    with Gate() as stuck:
        stuck.grip(ref)
        took_s = ask() if where == "outside" else call(Pooled.start_link(), ask)
    assert 0.1 <= took_s < 2.0


def test_a_reply_at_the_last_moment_is_one_or_the_other() -> None:
    ref = Pooled.start_link()
    for number in range(300):
        with contextlib.suppress(CallTimeout):
            assert call(ref, number, timeout=0.00005) == number
    assert call(ref, 1) == 1


# --- leftovers --------------------------------------------------------------------------------------------------------


def test_an_ended_actor_is_not_kept_alive_by_its_ref() -> None:
    import gc
    import weakref

    for cls in (Pooled, Threaded):
        ref = cls.start_link()
        gone = weakref.ref(process_of(ref).actor)  # type: ignore[union-attr]
        stop(ref)
        eventually(lambda gone=gone: gc.collect() >= 0 and gone() is None)
    sup = Supervisor.start_link([ChildSpec("it", Plain, restart="temporary")])
    ref = Supervisor.which_children(sup)[0].ref
    gone = weakref.ref(process_of(ref).actor)  # type: ignore[union-attr]
    stop(ref)
    eventually(lambda: gc.collect() >= 0 and gone() is None)


def test_every_public_wait_has_a_deadline_or_says_none() -> None:
    for function in (call, stop):
        assert inspect.signature(function).parameters["timeout"].default == 5.0
    assert inspect.signature(Supervisor.stop).parameters["timeout"].default is None


@pytest.mark.parametrize("kind", SERVERS)
def test_an_exit_in_on_continue_is_orderly(kind: str) -> None:
    watched = threading.Event()

    def leaves() -> None:
        assert watched.wait(DEADLINE_S)
        raise Exit(Shutdown("nothing to do"))

    ran: list[Any] = []
    ref = spawn(kind, {"on_continue": leaves}, ran)
    watch = Watch(ref)
    watched.set()
    assert watch.reason() == Shutdown("nothing to do")
    assert ran == ["__init__", "on_start", "on_continue", "on_terminate"]
