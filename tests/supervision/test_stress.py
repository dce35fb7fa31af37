"""Under load, with a thread switch every microsecond: nothing is lost, nothing hangs, nothing is left behind."""

import contextlib
import gc
import logging
import random
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from pykka import ActorDeadError, ActorRegistry
from specimens import DEADLINE_S, Boom, Plain, Pooled, Threaded, eventually, run

from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    Server,
    ServerDied,
    Supervisor,
    call,
    cast,
    dispatch,
    kill,
    monitor,
    send_after,
    stop,
)
from supervision.lifecycle import abandoned_count, life_of, names


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# --- asks that race stops ---------------------------------------------------------------------------------------------


class _Echo:
    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise Boom
        return message


class Echo(_Echo, Server):
    pass


class ThreadEcho(Echo):
    runtime = "thread"


class PlainEcho(_Echo, pykka.ThreadingActor):
    use_daemon_thread = True


ASKERS = 3
ASKS = 30


@pytest.mark.parametrize(("cls", "count"), [(Echo, 1_500), (ThreadEcho, 300), (PlainEcho, 300)])
def test_no_ask_is_lost_and_no_stop_hangs(cls: Any, count: int) -> None:
    """Each actor gets 90 asks from three threads, and two stops at any point of that, and is watched by two."""
    seed = random.Random(1)
    downs: list[Any] = []
    futures: list[Any] = []
    stops: list[Any] = []

    def race(refs: list[Any], number: int) -> None:
        mine, last = [], []
        for ref in refs:
            for turn in range(ASKS):
                if (number == 0 and turn == stop_at[ref]) or (number == 1 and turn == stop_at[ref] // 2):
                    last.append(ref.stop(block=False))
                mine.append(ref.ask(turn, block=False))
        futures.extend(mine)
        stops.extend(last)

    for _ in range(0, count, 100):
        refs = [cls.start() for _ in range(100)]
        stop_at = {ref: seed.randrange(ASKS) for ref in refs}
        for ref in refs:
            monitor(ref, downs.append)
            monitor(ref, downs.append)
        with run(*[lambda refs=refs, number=number: race(refs, number) for number in range(ASKERS)]):
            pass
    answered = 0
    for future in futures:
        with contextlib.suppress(ActorDeadError):
            answered += future.get(timeout=DEADLINE_S) is not None  # pykka.Timeout: it was lost
    stopped = [future.get(timeout=DEADLINE_S) for future in stops]
    assert len(futures) == count * ASKERS * ASKS
    assert 0 < answered < len(futures)
    assert len(stopped) == 2 * count
    assert sum(stopped) >= count
    eventually(lambda: len(downs) >= 2 * count, f"{len(downs)} of {2 * count} told")
    assert len({down.monitor for down in downs}) == len(downs) == 2 * count
    assert ActorRegistry.get_all() == []


@pytest.mark.parametrize("cls", [Echo, ThreadEcho, PlainEcho])
def test_no_call_hangs_and_every_one_hears_the_truth(cls: Any) -> None:
    """Calls that race a crash, a stop or a kill end with an answer, or with the server's own reason."""

    lies: list[Any] = []

    def ask(ref: Any) -> None:
        for turn in range(10):
            with contextlib.suppress(NoProcess):
                try:
                    if call(ref, turn, timeout=DEADLINE_S) != turn:
                        lies.append(turn)
                except ServerDied as error:
                    if error.reason != life_of(ref).reason:  # type: ignore[union-attr]
                        lies.append(error)

    ends = (stop, kill, lambda ref: ref.stop(timeout=DEADLINE_S), lambda ref: cast(ref, "crash"))
    for end in ends * 20:
        ref = cls.start()
        monitor(ref, lambda _: None)
        with run(*[lambda ref=ref: ask(ref)] * 3, lambda ref=ref, end=end: end(ref)):
            pass
        eventually(lambda ref=ref: not ref.is_alive())
    assert not lies
    eventually(lambda: abandoned_count() == 0)


class Link(Server):
    """Passes a call on to the next in the chain. Chains only go upwards, or two of them could wait for each other."""

    def on_receive(self, chain: Any) -> Any:
        with contextlib.suppress(NoProcess, ServerDied):
            return call(f"link {chain[0]}", chain[1:], timeout=DEADLINE_S) if chain else "the end"


def test_actors_that_call_each_other_while_they_are_killed() -> None:
    done = threading.Event()
    ends: list[Any] = []

    def churn(number: int) -> None:
        while not done.is_set():
            kill(f"link {number}")
            Link.start_link(name=f"link {number}")

    def use(number: int) -> None:
        dice = random.Random(number)
        for _ in range(200):
            with contextlib.suppress(NoProcess, ServerDied):
                ends.append(call("link 0", sorted(dice.sample(range(1, 10), 4)), timeout=DEADLINE_S))

    for number in range(10):
        Link.start_link(name=f"link {number}")
    with run(*[lambda number=number: churn(number) for number in range(3, 10, 3)]):
        with run(*[lambda number=number: use(number) for number in range(4)]):
            pass
        done.set()
    assert "the end" in ends
    eventually(lambda: dispatch._pool.blocked == 0)
    eventually(lambda: abandoned_count() == 0)


# --- one supervisor, twenty users -------------------------------------------------------------------------------------


class Incarnations:
    """Counts the live incarnations of each id, hooks included."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.live: dict[Any, int] = {}
        self.starts = 0
        self.doubles: list[Any] = []

    def enter(self, child_id: Any) -> None:
        with self.lock:
            self.starts += 1
            self.live[child_id] = self.live.get(child_id, 0) + 1
            if self.live[child_id] > 1:
                self.doubles.append(child_id)

    def leave(self, child_id: Any) -> None:
        with self.lock:
            self.live[child_id] -= 1


class _Counted:
    def __init__(self, seen: Incarnations, child_id: Any) -> None:
        super().__init__()
        self.seen, self.child_id = seen, child_id

    def on_start(self) -> None:
        self.seen.enter(self.child_id)

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise Boom
        return message


class CountedServer(_Counted, Server):
    def on_terminate(self, reason: Any) -> None:
        self.seen.leave(self.child_id)


class CountedThread(CountedServer):
    runtime = "thread"


class CountedPlain(_Counted, pykka.ThreadingActor):
    use_daemon_thread = True

    def on_stop(self) -> None:
        self.seen.leave(self.child_id)

    def on_failure(self, *_raised: Any) -> None:
        self.seen.leave(self.child_id)


def started(seen: Incarnations, child_id: Any) -> Any:
    """The way of an existing Pykka system."""
    return CountedPlain.start(seen, child_id)


COUNTED = [CountedServer, CountedThread, CountedPlain, started]


def distinct(values: list[Any]) -> bool:
    return len(set(values)) == len(values)


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_twenty_threads_on_one_supervisor_while_its_children_crash(strategy: Any) -> None:
    seen = Incarnations()
    spec = {number: ChildSpec(number, COUNTED[number % 4], (seen, number), name=f"n{number}") for number in range(8)}
    sup = Supervisor.start_link(list(spec.values()), strategy=strategy, max_restarts=10**9)
    operations = {
        "crash": lambda number: cast(f"n{number}", "crash"),
        "terminate": lambda number: Supervisor.terminate_child(sup, number),
        "restart": lambda number: Supervisor.restart_child(sup, number),
        "delete": lambda number: Supervisor.delete_child(sup, number),
        "start": lambda number: Supervisor.start_child(sup, spec[number]),
        "which": lambda _: distinct([row.id for row in Supervisor.which_children(sup)]),
        "count": lambda _: (counts := Supervisor.count_children(sup)).active <= counts.specs <= 8,
        "spec": lambda number: Supervisor.get_childspec(sup, number) is spec[number],
    }
    wrong: list[Any] = []

    def use(user: int) -> None:
        dice = random.Random(user)
        for _ in range(60):
            operation = dice.choice([*operations, "crash", "crash", "crash"])
            with contextlib.suppress(ChildNotFound, ChildRunning, ChildRestarting, AlreadyPresent, AlreadyStarted):
                if operations[operation](dice.randrange(8)) is False:
                    wrong.append(operation)

    with run(*[lambda user=user: use(user) for user in range(20)]):
        pass
    assert not wrong
    Supervisor.stop(sup, timeout=DEADLINE_S)
    assert not seen.doubles
    assert seen.starts > 16
    assert all(count == 0 for count in seen.live.values())
    assert names._names.table == {}
    assert ActorRegistry.get_all() == []


def test_twenty_threads_on_one_dynamic_supervisor() -> None:
    seen = Incarnations()
    sup = DynamicSupervisor.start_link(max_restarts=10**9, max_children=100)

    def use(user: int) -> None:
        for turn in range(10):
            child_id = (user, turn)
            ref = DynamicSupervisor.start_child(sup, ChildSpec(child_id, COUNTED[turn % 4], (seen, child_id)))
            cast(ref, "crash")
            send_after(0, ref, "crash")
            with contextlib.suppress(ChildNotFound):
                DynamicSupervisor.terminate_child(sup, ref)
            rows = DynamicSupervisor.which_children(sup)
            mine = [row.ref for row in rows if row.id == child_id and row.ref is not None]
            if turn % 2:
                for last in mine:
                    with contextlib.suppress(ChildNotFound):
                        DynamicSupervisor.terminate_child(sup, last)

    with run(*[lambda user=user: use(user) for user in range(20)]):
        pass
    DynamicSupervisor.stop(sup, timeout=DEADLINE_S)
    assert not seen.doubles
    assert all(count == 0 for count in seen.live.values())
    assert ActorRegistry.get_all() == []


def test_many_start_and_stop_whole_trees_at_once() -> None:
    def grow(user: int) -> None:
        for turn in range(5):
            leaves = [ChildSpec(number, cls) for number, cls in enumerate((Pooled, Threaded, Plain))]
            inner = Supervisor.child_spec(leaves, id="inner", strategy="one_for_all")
            sup = Supervisor.start_link([inner], name=f"{user}.{turn}")
            Supervisor.stop(sup, timeout=DEADLINE_S)

    with run(*[lambda user=user: grow(user) for user in range(8)]):
        pass
    assert ActorRegistry.get_all() == []
    assert names._names.table == {}


# --- a thousand restarts leave nothing --------------------------------------------------------------------------------


@pytest.fixture
def no_log() -> Iterator[None]:
    """The test runner keeps all that is logged, tracebacks included."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("no_log")
@pytest.mark.parametrize("cls", COUNTED, ids=["pooled", "threaded", "managed", "raw"])
def test_a_thousand_crashes_and_restarts_leave_everything_as_it_was(cls: Any) -> None:
    sys.setswitchinterval(0.005)
    seen = Incarnations()
    sup = Supervisor.start_link([ChildSpec("it", cls, (seen, "it"), name="it")], max_restarts=10**9, max_seconds=0.001)

    def rounds(count: int) -> None:
        for _ in range(count):
            before = seen.starts
            told = threading.Event()
            monitor("it", lambda _, told=told: told.set())
            cast("it", "crash")
            assert told.wait(DEADLINE_S)
            assert Supervisor.count_children(sup).active == 1  # answered after the restart
            assert seen.starts == before + 1

    def left() -> tuple[int, ...]:
        gc.collect()
        eventually(lambda: threading.active_count() <= threads)
        return len(ActorRegistry.get_all()), len(names._names.table), len(life_of(sup).monitors or ())  # type: ignore[union-attr]

    rounds(50)
    threads = threading.active_count() + 1
    before = left()
    tracemalloc.start()
    try:
        rounds(20)
        gc.collect()
        bytes_before = tracemalloc.get_traced_memory()[0]
        rounds(1_000)
        assert left() == before
        grown = tracemalloc.get_traced_memory()[0] - bytes_before
    finally:
        tracemalloc.stop()
    assert grown < 50_000, f"{grown} bytes more after 1,000 restarts"
    assert not seen.doubles
