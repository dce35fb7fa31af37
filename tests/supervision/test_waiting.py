"""Finite seconds beyond what threading can wait are as good as any, and no wait of the main thread is deaf to Ctrl-C."""

import threading
from typing import Any

import pytest
from actors import Pooled, every_kind, spawn
from children import ThreadProbe, Watch, World, ref_of, states
from fakes import Stopwatch
from pykka import ActorRegistry
from threads import DEADLINE_S, run

from supervision import SHUTDOWN, DynamicSupervisor, Supervisor, call, stop
from supervision.runtime.waits import LONGEST_S, TURN_S, wait_for

AGES_S = [1e10, 1e12, 1e300]

ages = pytest.mark.parametrize("seconds", AGES_S)


@ages
@every_kind
def test_a_call_and_a_stop_may_take_ages(kind: str, seconds: float) -> None:
    ref = spawn(kind)
    assert call(ref, 1, timeout=seconds) == 1
    stop(ref, timeout=seconds)


@ages
@every_kind
def test_so_may_pykkas_own_waits(kind: str, seconds: float) -> None:
    ref = spawn(kind)
    flag = ref.actor_stopped
    if kind in ("pooled", "threaded"):
        assert ref.ask(1, timeout=seconds) == 1
    else:
        call(ref, 1)  # a raw one is ours by now
        flag = ref.actor_stopped
    with run(lambda: flag.wait(seconds)):
        stop(ref)


@ages
def test_a_child_may_take_ages_to_leave(seconds: float, world: World) -> None:
    """A supervisor waits for it, be it terminated, a sibling of a crash, or stopped with the supervisor."""
    sup = Supervisor.start_link([world.spec(child, shutdown=seconds) for child in "ab"], max_seconds=seconds)
    Supervisor.terminate_child(sup, "a")
    assert states(sup) == {"a": "stopped", "b": "running"}
    watch = Watch(ref_of(sup, "b"))
    Supervisor.stop(sup, timeout=seconds)
    assert watch.reason() == SHUTDOWN


@ages
def test_so_may_all_children_of_a_dynamic_supervisor(seconds: float, world: World) -> None:
    sup = DynamicSupervisor.start_link()
    refs = [DynamicSupervisor.start_child(sup, world.spec(child, ThreadProbe, shutdown=seconds)) for child in "ab"]
    DynamicSupervisor.terminate_child(sup, refs[0])
    watch = Watch(sup)
    DynamicSupervisor.stop(sup, timeout=seconds)
    assert watch.reason() == SHUTDOWN
    assert world.log() == ["start a", "start b", "stop a", "stop b"]


@ages
def test_a_start_may_take_ages(seconds: float) -> None:
    ref: Any = Pooled.start_link(start_timeout=seconds)
    assert ActorRegistry.get_all() == [ref]
    stop(ref, timeout=DEADLINE_S)


class Waits:
    """A wait that is over at one of its turns."""

    def __init__(self, over_at: int) -> None:
        self.asked: list[float] = []
        self._over_at = over_at

    def __call__(self, seconds: float) -> bool:
        self.asked.append(seconds)
        return len(self.asked) == self._over_at


@pytest.mark.parametrize(
    ("seconds", "waited"), [(-1.0, 0.0), (60.0, 60.0), (LONGEST_S, LONGEST_S), (1e300, LONGEST_S), (None, LONGEST_S)]
)
def test_other_threads_wait_in_one_turn_and_as_long_as_threading_can(seconds: float | None, waited: float) -> None:
    wait = Waits(over_at=1)
    with run(lambda: wait_for(wait, seconds)):
        pass
    assert wait.asked == [waited]
    assert waited < threading.TIMEOUT_MAX


@pytest.mark.parametrize("seconds", [60.0, 1e300, None])
def test_the_main_thread_waits_wait_for(seconds: float | None) -> None:
    wait = Waits(over_at=3)
    assert wait_for(wait, seconds)
    assert wait.asked == [TURN_S, TURN_S, TURN_S]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.5, TURN_S])
def test_a_short_wait_has_one_turn(seconds: float) -> None:
    wait = Waits(over_at=0)
    assert not wait_for(wait, seconds)
    assert wait.asked == [max(0.0, seconds)]


def test_the_turns_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Stopwatch(100.0)
    monkeypatch.setattr("supervision.runtime.waits.time.monotonic", clock)
    asked: list[float] = []

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        clock.advance(seconds)
        return False

    assert not wait_for(wait, 2.5)
    assert asked == [TURN_S, TURN_S, 0.5]


@pytest.mark.parametrize(("seconds", "asked"), [(60.0, 60.0), (1e300, LONGEST_S), (None, LONGEST_S)])
def test_another_thread_which_gets_no_signal_waits_in_one_go(seconds: float | None, asked: float) -> None:
    wait = Waits(over_at=1)
    with run(lambda: wait_for(wait, seconds)):
        pass
    assert wait.asked == [asked]
