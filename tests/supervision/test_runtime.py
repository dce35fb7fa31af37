"""The pool that servers run on, threads of their own, and the roster they stand in."""

import contextlib
import inspect
import threading
import time
from typing import Any

import pykka
import pytest
from pykka import ActorRegistry
from specimens import DEADLINE_S, SERVERS, Plain, Pooled, Stuck, Threaded, Watch, eventually, run, spawn

from supervision import (
    CallTimeout,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    Exit,
    Server,
    Shutdown,
    Supervisor,
    call,
    cast,
    dispatch,
    kill,
    monitor,
    stop,
)
from supervision.lifecycle import life_of


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pool of this test's own."""
    made = dispatch._Pool()
    monkeypatch.setattr(dispatch, "_pool", made)
    return made


# --- the pool grows only for waits ------------------------------------------------------------------------------------


def test_an_idle_pooled_actor_has_no_thread(pool: dispatch._Pool) -> None:
    before = threading.active_count()
    refs = [Pooled.start_link() for _ in range(200)]
    assert sum(call(ref, 1) for ref in refs) == 200
    assert pool.workers <= dispatch.WORKERS
    assert threading.active_count() <= before + dispatch.WORKERS


@pytest.mark.parametrize("how", ["call", "ask"])
def test_a_chain_of_nested_calls_longer_than_the_pool_does_not_deadlock(pool: dispatch._Pool, how: str) -> None:
    def pass_on(rest: list[Any]) -> Any:
        if not rest:
            return lambda _: "the end"
        send = pass_on(rest[1:])
        if how == "call":
            return lambda _: call(rest[0], send, timeout=DEADLINE_S)
        return lambda _: rest[0].ask(send, timeout=DEADLINE_S)

    refs = [Pooled.start_link() for _ in range(30 * dispatch.WORKERS)]
    assert call(refs[0], pass_on(refs[1:]), timeout=DEADLINE_S) == "the end"
    assert pool.blocked == 0


def test_start_and_stop_inside_handlers_do_not_deadlock(pool: dispatch._Pool) -> None:
    def deeper(left: int) -> Any:
        def handler(_: Any) -> int:
            if not left:
                return 0
            ref = Pooled.start_link()
            depth = 1 + int(call(ref, deeper(left - 1), timeout=DEADLINE_S))
            stop(ref, timeout=DEADLINE_S)
            return depth

        return handler

    with run(*[lambda: call(Pooled.start_link(), deeper(20), timeout=DEADLINE_S)] * 4):
        pass
    assert pool.blocked == 0


def test_one_wait_inside_another_counts_once(pool: dispatch._Pool) -> None:
    ref = Pooled.start_link()
    seen: list[int] = []

    def handler(_: Any) -> None:
        with dispatch.blocking(), dispatch.blocking():
            seen.append(pool.blocked)
        seen.append(pool.blocked)

    call(ref, handler)
    assert seen == [1, 0]


def test_stuck_handlers_on_all_workers_do_not_stop_the_others(pool: dispatch._Pool) -> None:
    victims = [Pooled.start_link() for _ in range(3 * dispatch.WORKERS)]
    free = Pooled.start_link()
    stuck = [Stuck() for _ in victims]
    try:
        for handler, victim in zip(stuck, victims, strict=True):
            victim.tell(handler)
        for handler in stuck:
            assert handler.entered.wait(DEADLINE_S)
        assert call(free, 1, timeout=DEADLINE_S) == 1
        assert pool.workers <= len(victims) + dispatch.WORKERS
    finally:
        for handler in stuck:
            handler.go()
    for victim in victims:
        assert call(victim, 1) == 1


def test_workers_of_killed_actors_are_stood_in_for_and_come_back(pool: dispatch._Pool) -> None:
    victims = [Pooled.start_link() for _ in range(2 * dispatch.WORKERS)]
    stuck = [Stuck() for _ in victims]
    try:
        for handler, victim in zip(stuck, victims, strict=True):
            handler.grip(victim)
            kill(victim)
        assert pool.blocked == len(victims)
        assert call(Pooled.start_link(), 1) == 1
    finally:
        for handler in stuck:
            handler.go()
    eventually(lambda: pool.blocked == 0)


def test_workers_that_are_too_many_leave_when_idle(pool: dispatch._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "IDLE_S", 0.01)
    refs = [Pooled.start_link() for _ in range(5 * dispatch.WORKERS)]

    def chain(rest: list[Any]) -> Any:
        return (lambda _: call(rest[0], chain(rest[1:]))) if rest else (lambda _: pool.workers)

    assert call(refs[0], chain(refs[1:])) > dispatch.WORKERS
    eventually(lambda: pool.workers <= dispatch.WORKERS, f"{pool.workers} workers")
    eventually(lambda: pool.workers == dispatch.WORKERS == pool.idle)
    assert sum(call(ref, 1) for ref in refs) == len(refs)


def test_of_many_spares_most_leave_without_a_pause(pool: dispatch._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "IDLE_S", 1_000.0)
    refs = [Pooled.start_link() for _ in range(100)]

    def chain(rest: list[Any]) -> Any:
        return (lambda _: call(rest[0], chain(rest[1:]))) if rest else (lambda _: pool.workers)

    assert call(refs[0], chain(refs[1:])) >= 100
    eventually(lambda: pool.workers <= dispatch.SPARES + 1, f"{pool.workers} workers")
    assert sum(call(ref, 1) for ref in refs) == len(refs)


def test_workers_that_leave_at_once_do_not_all_leave(pool: dispatch._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "IDLE_S", 0.001)
    refs = [Pooled.start_link() for _ in range(12)]
    for _ in range(50):
        with run(*[lambda ref=ref: call(ref, lambda _: call(Pooled.start_link(), 1)) for ref in refs[:4]]):
            pass
        assert sum(call(ref, 1) for ref in refs) == 12
    eventually(lambda: pool.workers == dispatch.WORKERS)


def test_a_flooded_actor_delays_the_others_by_a_batch_only(pool: dispatch._Pool) -> None:
    order: list[str] = []
    flooded = [Pooled.start_link() for _ in range(dispatch.WORKERS)]
    other = Pooled.start_link()
    with Stuck() as first:
        handlers = [first] + [Stuck() for _ in flooded[1:]]
        for handler, ref in zip(handlers, flooded, strict=True):
            handler.grip(ref)
            for _ in range(1000):
                ref.tell(lambda _: order.append("flood"))
        answer = other.ask(lambda _: order.append("other"), block=False)
        for handler in handlers:
            handler.go()
        answer.get(timeout=DEADLINE_S)
    assert order.index("other") <= 20 * dispatch.WORKERS


def test_a_wait_for_the_stopped_flag_is_stood_in_for(pool: dispatch._Pool) -> None:
    refs = [Pooled.start_link() for _ in range(3 * dispatch.WORKERS)]
    ended = Pooled.start_link()
    done = [ref.ask(lambda _: ended.actor_stopped.wait(DEADLINE_S), block=False) for ref in refs]
    eventually(lambda: len(ended.actor_inbox._bells or ()) == len(refs))
    stop(ended)
    assert all(future.get(timeout=DEADLINE_S) for future in done)


def test_an_exception_that_somebody_injects_into_a_worker_costs_one_actor(pool: dispatch._Pool) -> None:
    import ctypes

    class Injected(BaseException):
        pass

    ref, other = Pooled.start_link(), Pooled.start_link()
    watch = Watch(ref)
    busy, go = threading.Event(), threading.Event()
    ident: list[int] = []

    def handler(_: Any) -> None:
        ident.append(threading.get_ident())
        busy.set()
        while not go.wait(0.001):
            pass

    asked = ref.ask(handler, block=False)
    assert busy.wait(DEADLINE_S)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident[0]), ctypes.py_object(Injected))
    assert isinstance(watch.reason(), Crash)
    go.set()
    with pytest.raises(pykka.ActorDeadError):
        asked.get(timeout=DEADLINE_S)
    assert call(other, 1) == 1


# --- what got past the loop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
def test_a_fault_in_the_loop_itself_ends_the_actor_and_answers_its_callers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervision.lifecycle import loop

    fault = RuntimeError("in the loop")

    def break_off(life: Any, envelope: Any) -> None:
        raise fault

    ref = spawn(kind)
    watch = Watch(ref)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "handle", break_off)
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
    eventually(lambda: life_of(ref).busy is None)  # type: ignore[union-attr]
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

    with Stuck() as stuck:
        stuck.grip(ref)
        took_s = ask() if where == "outside" else call(Pooled.start_link(), ask)
    assert 0.1 <= took_s < 2.0


def test_a_reply_at_the_last_moment_is_one_or_the_other() -> None:
    ref = Pooled.start_link()
    for number in range(300):
        with contextlib.suppress(CallTimeout):
            assert call(ref, number, timeout=0.00005) == number
    assert call(ref, 1) == 1


# --- Pykka's registry -------------------------------------------------------------------------------------------------


def test_stopping_many_pooled_actors_is_linear_and_the_registry_stays_truthful() -> None:
    def stop_all(count: int) -> float:
        refs = [Pooled.start() for _ in range(count)]
        for ref in refs:
            assert ref.actor_inbox.closed is False
        assert len(ActorRegistry.get_all()) == count
        victims = refs[::2]
        began = time.process_time()
        for ref in victims:
            ref.stop(block=True)
        middle = time.process_time()
        assert set(ActorRegistry.get_all()) == set(refs[1::2])
        again = time.process_time()
        ActorRegistry.stop_all()
        took_s = time.process_time() - again + middle - began
        assert ActorRegistry.get_all() == []
        return took_s

    stop_all(500)
    few, many = stop_all(2_000), stop_all(20_000)
    assert many < 25 * few, f"{few:.2f} s for 2,000 and {many:.2f} s for 20,000"


def test_the_roster_answers_as_pykkas_list_did() -> None:
    refs = [Pooled.start_link(), Plain.start(), Threaded.start_link()]
    assert ActorRegistry.get_all() == refs
    assert ActorRegistry.get_by_class(pykka.ThreadingActor) == [refs[1]]
    assert ActorRegistry.get_by_class(Server) == [refs[0], refs[2]]
    assert ActorRegistry.get_by_class_name("Threaded") == [refs[2]]
    assert ActorRegistry.get_by_urn(refs[0].actor_urn) is refs[0]
    assert ActorRegistry.get_by_urn("urn:nobody") is None
    handled: list[str] = []
    ActorRegistry.broadcast(lambda actor: handled.append(type(actor).__name__), target_class=Server)
    assert [ref.ask(1) for ref in refs] == [1, 1, 1]
    assert sorted(handled) == ["Pooled", "Threaded"]
    ActorRegistry.unregister(refs[0])
    ActorRegistry.unregister(refs[0])
    assert ActorRegistry.get_all() == refs[1:]
    ActorRegistry.register(refs[0])


def test_a_server_that_pykka_started_leaves_in_constant_time_too() -> None:
    ActorRegistry._actor_refs = []  # as Pykka has it
    ref = Pooled.start()
    assert not isinstance(ActorRegistry._actor_refs, list)
    assert ActorRegistry.get_all() == [ref]


# --- leftovers --------------------------------------------------------------------------------------------------------


def test_a_thousand_dynamic_children_come_and_go_without_a_trace(pool: dispatch._Pool) -> None:
    sup = DynamicSupervisor.start_link()
    refs = [DynamicSupervisor.start_child(sup, ChildSpec("it", Pooled)) for _ in range(1_000)]
    downs: list[Any] = []
    for ref in refs:
        monitor(ref, downs.append)
    DynamicSupervisor.stop(sup)
    assert len(downs) == 1_000
    assert len({down.ref for down in downs}) == 1_000
    assert pool.workers <= dispatch.WORKERS + 1


def test_an_ended_actor_is_not_kept_alive_by_its_ref() -> None:
    import gc
    import weakref

    for cls in (Pooled, Threaded):
        ref = cls.start_link()
        gone = weakref.ref(life_of(ref).actor)  # type: ignore[union-attr]
        stop(ref)
        eventually(lambda gone=gone: gc.collect() >= 0 and gone() is None)
    sup = Supervisor.start_link([ChildSpec("it", Plain, restart="temporary")])
    ref = Supervisor.which_children(sup)[0].ref
    gone = weakref.ref(life_of(ref).actor)  # type: ignore[union-attr]
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
