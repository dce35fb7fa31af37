"""Under load, with a thread switch every microsecond: supervisors with many users, and a thousand restarts that leave nothing."""

import contextlib
import gc
import logging
import random
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pykka
import pytest
from actors import Boom, Plain, Pooled, Threaded
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    DynamicSupervisor,
    Server,
    Supervisor,
    cast,
    monitor,
    send_after,
)
from supervision.process import registry
from supervision.process.registry import process_of

pytestmark = pytest.mark.usefixtures("switch_often")


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
    assert registry._names.value.table == {}
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
    assert registry._names.value.table == {}


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
        return len(ActorRegistry.get_all()), len(registry._names.value.table), len(process_of(sup).observers or ())  # type: ignore[union-attr]

    rounds(50)
    threads = threading.active_count() + 1
    before = left()
    tracemalloc.start()
    try:
        rounds(20)
        gc.collect()
        sizes = [tracemalloc.get_traced_memory()[0]]
        for _ in range(4):
            rounds(250)
            assert left() == before
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # What a restart leaves behind is there after each 250; a table of the process that grows, also of other tests' garbage, once.
    grown = [later - earlier for earlier, later in pairwise(sizes)]
    assert min(grown) < 12_500, f"{grown} bytes more after each 250 restarts"
    assert not seen.doubles
