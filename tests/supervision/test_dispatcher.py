"""The pool that servers run on: it grows only for waits, and shrinks again."""

import threading
from typing import Any

import pykka
import pytest
from actors import Pooled
from children import Watch
from holding import Gate
from threads import DEADLINE_S, eventually, run

from supervision import ChildSpec, Crash, DynamicSupervisor, call, kill, monitor, stop
from supervision.process.process import BATCH
from supervision.runtime import dispatcher

pytestmark = pytest.mark.P12


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pool of this test's own."""
    made = dispatcher._Pool()
    monkeypatch.setattr(dispatcher._pool, "value", made)
    return made


def test_an_idle_pooled_actor_has_no_thread(pool: dispatcher._Pool) -> None:
    before = threading.active_count()
    refs = [Pooled.start_link() for _ in range(200)]
    assert sum(call(ref, 1) for ref in refs) == 200
    assert pool.workers <= dispatcher.WORKERS
    assert threading.active_count() <= before + dispatcher.WORKERS


@pytest.mark.parametrize("how", ["call", "ask"])
def test_a_chain_of_nested_calls_longer_than_the_pool_does_not_deadlock(pool: dispatcher._Pool, how: str) -> None:
    def pass_on(rest: list[Any]) -> Any:
        if not rest:
            return lambda _: "the end"
        send = pass_on(rest[1:])
        if how == "call":
            return lambda _: call(rest[0], send, timeout=DEADLINE_S)
        return lambda _: rest[0].ask(send, timeout=DEADLINE_S)

    refs = [Pooled.start_link() for _ in range(30 * dispatcher.WORKERS)]
    assert call(refs[0], pass_on(refs[1:]), timeout=DEADLINE_S) == "the end"
    assert pool.blocked == 0


def test_start_and_stop_inside_handlers_do_not_deadlock(pool: dispatcher._Pool) -> None:
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


def test_one_wait_inside_another_counts_once(pool: dispatcher._Pool) -> None:
    ref = Pooled.start_link()
    seen: list[int] = []

    def handler(_: Any) -> None:
        with dispatcher.blocking(), dispatcher.blocking():
            seen.append(pool.blocked)
        seen.append(pool.blocked)

    call(ref, handler)
    assert seen == [1, 0]


def test_stuck_handlers_on_all_workers_do_not_stop_the_others(pool: dispatcher._Pool) -> None:
    victims = [Pooled.start_link() for _ in range(3 * dispatcher.WORKERS)]
    free = Pooled.start_link()
    stuck = [Gate() for _ in victims]
    try:
        for handler, victim in zip(stuck, victims, strict=True):
            victim.tell(handler)
        for handler in stuck:
            assert handler.entered.wait(DEADLINE_S)
        assert call(free, 1, timeout=DEADLINE_S) == 1
        assert pool.workers <= len(victims) + dispatcher.WORKERS
    finally:
        for handler in stuck:
            handler.go()
    for victim in victims:
        assert call(victim, 1) == 1


def test_workers_of_killed_actors_are_stood_in_for_and_come_back(pool: dispatcher._Pool) -> None:
    victims = [Pooled.start_link() for _ in range(2 * dispatcher.WORKERS)]
    stuck = [Gate() for _ in victims]
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


def test_workers_that_are_too_many_leave_when_idle(pool: dispatcher._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "IDLE_S", 0.01)
    refs = [Pooled.start_link() for _ in range(5 * dispatcher.WORKERS)]

    def chain(rest: list[Any]) -> Any:
        return (lambda _: call(rest[0], chain(rest[1:]), timeout=6 * DEADLINE_S)) if rest else (lambda _: pool.workers)

    assert call(refs[0], chain(refs[1:]), timeout=6 * DEADLINE_S) > dispatcher.WORKERS
    eventually(lambda: pool.workers <= dispatcher.WORKERS, f"{pool.workers} workers")
    eventually(lambda: pool.workers == dispatcher.WORKERS == pool.idle)
    assert sum(call(ref, 1) for ref in refs) == len(refs)


def test_of_many_spares_most_leave_without_a_pause(pool: dispatcher._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "IDLE_S", 1_000.0)
    refs = [Pooled.start_link() for _ in range(100)]

    def chain(rest: list[Any]) -> Any:
        return (lambda _: call(rest[0], chain(rest[1:]), timeout=6 * DEADLINE_S)) if rest else (lambda _: pool.workers)

    assert call(refs[0], chain(refs[1:]), timeout=6 * DEADLINE_S) >= 100
    eventually(lambda: pool.workers <= dispatcher.SPARES + 1, f"{pool.workers} workers")
    assert sum(call(ref, 1) for ref in refs) == len(refs)


def test_workers_that_leave_at_once_do_not_all_leave(pool: dispatcher._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "IDLE_S", 0.001)
    refs = [Pooled.start_link() for _ in range(12)]
    for _ in range(50):
        with run(*[lambda ref=ref: call(ref, lambda _: call(Pooled.start_link(), 1)) for ref in refs[:4]]):
            pass
        assert sum(call(ref, 1) for ref in refs) == 12
    eventually(lambda: pool.workers == dispatcher.WORKERS)


def test_a_flooded_actor_delays_the_others_by_a_batch_only(
    pool: dispatcher._Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "STALL_S", 2 * DEADLINE_S)  # no worker is added to the stalled ones
    handled: list[object] = []
    answered, late = threading.Event(), threading.Event()
    flooded = [Pooled.start_link() for _ in range(dispatcher.WORKERS)]
    other = Pooled.start_link()

    def one_of_many(_: object) -> None:
        handled.append(None)
        # A worker may lose its processor when it has taken the other one. It has taken it by now, or else never will.
        if len(handled) > BATCH * dispatcher.WORKERS and not answered.wait(DEADLINE_S):
            late.set()

    with Gate() as first:
        handlers = [first] + [Gate() for _ in flooded[1:]]
        for handler, ref in zip(handlers, flooded, strict=True):
            handler.grip(ref)
            for _ in range(1000):
                ref.tell(one_of_many)
        answer = other.ask(lambda _: answered.set(), block=False)
        for handler in handlers:
            handler.go()
        answer.get(timeout=2 * DEADLINE_S)
    assert not late.is_set()


def test_a_wait_for_the_stopped_flag_is_stood_in_for(pool: dispatcher._Pool) -> None:
    refs = [Pooled.start_link() for _ in range(3 * dispatcher.WORKERS)]
    ended = Pooled.start_link()
    done = [ref.ask(lambda _: ended.actor_stopped.wait(DEADLINE_S), block=False) for ref in refs]
    eventually(lambda: pool.blocked == len(refs))
    stop(ended)
    assert all(future.get(timeout=DEADLINE_S) for future in done)


def test_an_exception_that_somebody_injects_into_a_worker_costs_one_actor(pool: dispatcher._Pool) -> None:
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


def test_a_thousand_dynamic_children_come_and_go_without_a_trace(pool: dispatcher._Pool) -> None:
    sup = DynamicSupervisor.start_link()
    refs = [DynamicSupervisor.start_child(sup, ChildSpec("it", Pooled)) for _ in range(1_000)]
    downs: list[Any] = []
    for ref in refs:
        monitor(ref, downs.append)
    DynamicSupervisor.stop(sup)
    assert len(downs) == 1_000
    assert len({down.ref for down in downs}) == 1_000
    assert pool.workers <= dispatcher.WORKERS + 1
