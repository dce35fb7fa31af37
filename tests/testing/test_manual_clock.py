"""Time passes when told to, and what falls due in it is sent in order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pykka
import pytest

from oidc_actor.testing.manual_clock import ManualClock
from supervision import Server, stop


class Diary(Server):
    """Writes down what it is told, and when by the clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self.lines: list[tuple[str, float]] = []

    def on_receive(self, message: Any) -> Any:
        if message == "read":
            return list(self.lines)
        self.lines.append((message, self._clock()))
        return None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_s=100.0)


@pytest.fixture
def diary(clock: ManualClock) -> Any:
    ref = Diary.start_link(clock, name="diary")
    yield ref
    stop(ref)


def read(diary: pykka.ActorRef[Any]) -> list[tuple[str, float]]:
    return diary.ask("read", timeout=10)


def test_it_stands_still_until_it_is_advanced(clock: ManualClock) -> None:
    assert (clock(), clock()) == (100.0, 100.0)
    clock.advance(0.5)
    assert clock() == 100.5


def test_its_wall_clock_goes_along(clock: ManualClock) -> None:
    before = clock.wall()
    clock.advance(7200)
    assert clock.wall() - before == pytest.approx(7200)
    assert abs(before - time.time()) < 60


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_it_does_not_run_backwards(clock: ManualClock, seconds: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        clock.advance(seconds)
    assert clock() == 100.0


def test_messages_come_when_they_are_due_in_order(clock: ManualClock, diary: pykka.ActorRef[Any]) -> None:
    clock.send_after(30, diary, "third")
    clock.send_after(10, "diary", "first")
    clock.send_after(10, diary, "second")
    clock.advance(9.9)
    assert read(diary) == []
    clock.advance(0.1)
    assert read(diary) == [("first", 110.0), ("second", 110.0)]
    clock.advance(1000)
    assert [line for line, _ in read(diary)] == ["first", "second", "third"]


def test_a_cancelled_message_is_never_sent(clock: ManualClock, diary: pykka.ActorRef[Any]) -> None:
    timer = clock.send_after(10, diary, "no")
    assert timer.cancel()
    assert not timer.cancel()
    clock.advance(10)
    assert read(diary) == []


def test_a_sent_message_cannot_be_cancelled(clock: ManualClock, diary: pykka.ActorRef[Any]) -> None:
    timer = clock.send_after(10, diary, "yes")
    clock.advance(10)
    assert not timer.cancel()
    assert read(diary) == [("yes", 110.0)]


def test_it_says_when_the_next_is_due(clock: ManualClock, diary: pykka.ActorRef[Any]) -> None:
    assert clock.next_in_s is None
    first = clock.send_after(10, diary, "a")
    clock.send_after(15, diary, "b")
    clock.advance(4)
    assert clock.next_in_s == 6.0
    first.cancel()
    assert clock.next_in_s == 11.0


def test_a_message_to_nobody_is_dropped(clock: ManualClock) -> None:
    clock.send_after(1, "nobody by that name", "hello")
    clock.advance(1)
    assert clock.next_in_s is None


def test_a_ref_means_that_incarnation(clock: ManualClock) -> None:
    first = Diary.start_link(clock, name="heir")
    clock.send_after(1, first, "to the dead")
    clock.send_after(1, "heir", "to the name")
    stop(first)
    second = Diary.start_link(clock, name="heir")
    clock.advance(1)
    assert [line for line, _ in read(second)] == ["to the name"]
    stop(second)


def test_each_message_is_sent_once_however_many_advance(clock: ManualClock, diary: pykka.ActorRef[Any]) -> None:
    for number in range(200):
        clock.send_after(number / 10, diary, str(number))
    gate = threading.Barrier(4)

    def advance(_: int) -> None:
        gate.wait(10)
        for _ in range(50):
            clock.advance(0.1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(advance, range(4)))
    assert [line for line, _ in read(diary)] == [str(number) for number in range(200)]
    assert clock() == pytest.approx(120.0)
