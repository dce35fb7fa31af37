"""The pool: bounded, on demand, fair between lanes, gone when idle."""

import threading

import pytest
from threads import DEADLINE_S, eventually

from oidc_actor.manager import workers
from oidc_actor.manager.workers import HTTP_WORKERS, LISTENER_WORKERS, WorkerPool
from supervision.runtime.timer_thread import call_later

pytestmark = pytest.mark.P12


class Gate:
    """Jobs that run until they are let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.running: list[str] = []
        self.done: list[str] = []
        self.lock = threading.Lock()

    def job(self, name: str):
        def run() -> None:
            with self.lock:
                self.running.append(name)
            assert self.open.wait(DEADLINE_S)
            with self.lock:
                self.done.append(name)

        return run


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open.set()


def test_no_thread_before_there_is_a_job() -> None:
    assert WorkerPool("test", threads=3, per_lane=2).threads == 0


def test_at_most_so_many_threads_and_each_job_once(gate: Gate) -> None:
    pool = WorkerPool("test", threads=3, per_lane=3)
    for number in range(20):
        pool.submit(number, gate.job(str(number)))
    eventually(lambda: len(gate.running) == 3)
    assert pool.threads == 3
    gate.open.set()
    eventually(lambda: not pool.busy)
    assert sorted(gate.done, key=int) == [str(number) for number in range(20)]


def test_one_lane_does_not_take_all_threads(gate: Gate) -> None:
    pool = WorkerPool("test", threads=4, per_lane=2)
    for number in range(10):
        pool.submit("dead", gate.job(f"dead {number}"))
    eventually(lambda: len(gate.running) == 2)
    done = threading.Event()
    pool.submit("alive", done.set)
    assert done.wait(DEADLINE_S)
    assert len(gate.running) == 2


def test_lanes_take_turns(gate: Gate) -> None:
    pool = WorkerPool("test", threads=1, per_lane=1)
    pool.submit("first", gate.job("first"))
    eventually(lambda: gate.running)
    for lane in "aabbcc":
        pool.submit(lane, gate.job(lane))
    gate.open.set()
    eventually(lambda: not pool.busy)
    assert gate.done == ["first", *"abcabc"]


def test_a_lane_with_one_thread_is_a_queue() -> None:
    pool = WorkerPool("test", threads=4, per_lane=1)
    order: list[int] = []
    for number in range(200):
        pool.submit("lane", lambda number=number: order.append(number))
    eventually(lambda: not pool.busy)
    assert order == list(range(200))


def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "IDLE_S", 0.01)
    pool = WorkerPool("test", threads=3, per_lane=3)
    for number in range(9):
        pool.submit(number, lambda: None)
    eventually(lambda: pool.threads == 0)
    done = threading.Event()
    pool.submit("again", done.set)
    assert done.wait(DEADLINE_S)


def test_a_waiting_thread_is_used_again() -> None:
    pool = WorkerPool("test", threads=3, per_lane=3)
    names = set()
    for _ in range(20):
        done = threading.Event()
        pool.submit("lane", lambda done=done: (names.add(threading.current_thread().ident), done.set()))
        assert done.wait(DEADLINE_S)
        eventually(lambda: not pool.busy)
        eventually(lambda: pool.resting == pool.threads)
    assert len(names) == 1


@pytest.mark.P10
def test_its_threads_are_daemons() -> None:
    pool = WorkerPool("oidc-test", threads=1, per_lane=1)
    found: list[threading.Thread] = []
    pool.submit("lane", lambda: found.append(threading.current_thread()))
    eventually(lambda: found)
    assert found[0].daemon
    assert found[0].name == "oidc-test"


def test_where_no_thread_can_be_had_the_submitter_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = WorkerPool("test", threads=2, per_lane=2)
    ran = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.submit("lane", ran.set)
    assert not pool.busy
    pool.submit("other", lambda: None)
    eventually(lambda: not pool.busy)
    assert not ran.is_set()


def test_what_a_job_held_is_let_go() -> None:
    import gc
    import weakref

    class Held:
        pass

    pool = WorkerPool("test", threads=1, per_lane=1)
    held = Held()
    gone = weakref.ref(held)
    done = threading.Event()
    pool.submit("lane", lambda held=held: done.set())
    del held
    assert done.wait(DEADLINE_S)
    eventually(lambda: (gc.collect(), gone() is None)[1])


@pytest.mark.P10
def test_a_job_that_does_not_end_is_left_behind_and_its_lane_goes_on(gate: Gate) -> None:
    pool = WorkerPool("test", threads=1, per_lane=1, patience_s=0.02)
    late, done = threading.Semaphore(0), threading.Event()
    for lane in ("a", "a", "b"):
        pool.submit(lane, gate.job(lane), late=late.release)
    pool.submit("a", done.set)  # one thread, and three that it waits for in two lanes
    assert done.wait(DEADLINE_S)
    for _ in range(3):
        assert late.acquire(timeout=DEADLINE_S)
    assert sorted(gate.running) == ["a", "a", "b"]
    assert pool.threads <= 1
    eventually(lambda: not pool.busy)
    gate.open.set()
    eventually(lambda: len(gate.done) == 3)
    again = threading.Event()
    pool.submit("a", again.set)  # what came back late has upset no count
    assert again.wait(DEADLINE_S)
    eventually(lambda: not pool.busy)
    assert (pool._running, pool.threads) == (0, 1)
    assert not late.acquire(blocking=False)


def test_a_job_without_a_word_for_it_is_never_left_behind(gate: Gate) -> None:
    pool = WorkerPool("test", threads=1, per_lane=1, patience_s=0.0)
    pool.submit("a", gate.job("a"))
    ended = threading.Event()
    pool.submit("b", ended.set)
    eventually(lambda: gate.running)
    later = threading.Event()
    call_later(0.01, later.set)  # due after any that the pool would have set
    assert later.wait(DEADLINE_S)
    assert not ended.is_set()
    gate.open.set()
    assert ended.wait(DEADLINE_S)


def test_the_bounds_of_the_process() -> None:
    assert HTTP_WORKERS.value._limit == 32
    assert HTTP_WORKERS.value._per_lane < HTTP_WORKERS.value._limit
    assert LISTENER_WORKERS.value._per_lane == 1


def test_several_dead_lanes_leave_a_thread_to_whoever_comes_next(gate: Gate) -> None:
    pool = WorkerPool("test", threads=32, per_lane=16)
    for dead, share in ((1, 16), (2, 8), (3, 4), (4, 2)):
        for _ in range(40):
            pool.submit(dead, gate.job(str(dead)))
        eventually(lambda dead=dead, share=share: gate.running.count(str(dead)) == share)
    done = threading.Event()
    pool.submit("alive", done.set)
    assert done.wait(DEADLINE_S)
    assert len(gate.running) == 30


def test_busy_lanes_come_out_even() -> None:
    pool = WorkerPool("test", threads=32, per_lane=16)
    first, second = Gate(), Gate()
    for _ in range(40):
        pool.submit("a", first.job("a"))
    for _ in range(40):
        pool.submit("b", second.job("b"))
    eventually(lambda: (len(first.running), len(second.running)) == (16, 8))
    first.open.set()  # whatever of it ends makes room for the other's, too
    eventually(lambda: len(first.done) == 40)
    eventually(lambda: len(second.running) == 16)
    second.open.set()
    eventually(lambda: not pool.busy)


def test_the_last_thread_to_rest_is_the_first_to_work() -> None:
    pool = WorkerPool("test", threads=3, per_lane=3)
    meeting = threading.Barrier(3)
    for lane in "abc":
        pool.submit(lane, lambda: meeting.wait(DEADLINE_S) and None)
    eventually(lambda: pool.resting == 3)
    last = pool._resting[-1]
    for _ in range(5):
        eventually(lambda: pool.resting == 3)
        pool.submit("d", lambda: None)
        eventually(lambda: not pool.busy)
        eventually(lambda: pool.resting == 3)
        assert pool._resting[-1] is last
