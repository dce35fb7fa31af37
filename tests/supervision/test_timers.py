"""Timers: after ``cancel`` a message is never handled, wherever it was; one to a ref is for that incarnation only."""

import contextlib
import threading
from typing import Any

import pytest
from actors import Pooled, Threaded, every_kind, spawn
from children import Watch
from holding import Gate
from threads import DEADLINE_S, eventually, run

from supervision import NoProcess, call, cast, kill, send_after, stop, whereis
from supervision.runtime import timer_thread


class FakeTime:
    """The timers' clock: it moves when told, and the timer thread is told that it has."""

    def __init__(self) -> None:
        self._at = 100.0
        self.thread = timer_thread._TimerThread(lambda: self._at)

    def forward(self, seconds: float) -> None:
        self._at += seconds
        self.thread.queue.put(None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    made = FakeTime()
    monkeypatch.setattr(timer_thread._timer_thread, "value", made.thread)
    return made


def waits_in(ref: Any, count: int = 1) -> bool:
    return ref.actor_inbox.qsize() >= count


@every_kind
def test_the_message_comes_when_it_is_due_and_as_from_cast(kind: str, clock: FakeTime) -> None:
    ref = spawn(kind)
    handled = threading.Event()
    timer = send_after(10, ref, lambda _: handled.set())
    clock.forward(9.9)
    assert call(ref, 1) == 1
    assert not handled.is_set()
    clock.forward(0.2)
    assert handled.wait(DEADLINE_S)
    eventually(lambda: "done" in repr(timer))
    assert timer.cancel() is False


def test_messages_come_in_the_order_they_are_due(clock: FakeTime) -> None:
    ref = Pooled.start_link()
    handled: list[int] = []
    done = threading.Event()
    for delay in (5, 1, 3, 2, 4):
        send_after(delay, ref, lambda _, delay=delay: handled.append(delay))
    send_after(6, ref, lambda _: done.set())
    clock.forward(10)
    assert done.wait(DEADLINE_S)
    assert handled == [1, 2, 3, 4, 5]


def test_messages_due_together_come_in_the_order_they_were_set(clock: FakeTime) -> None:
    ref = Pooled.start_link()
    handled: list[int] = []
    done = threading.Event()
    for number in range(100):
        send_after(1, ref, lambda _, number=number: handled.append(number))
    send_after(1, ref, lambda _: done.set())
    clock.forward(1)
    assert done.wait(DEADLINE_S)
    assert handled == list(range(100))


@every_kind
def test_p28_cancel_before_it_is_due(kind: str, clock: FakeTime) -> None:
    ref = spawn(kind)
    handled: list[Any] = []
    timer = send_after(1, ref, lambda _: handled.append("cancelled"))
    assert "pending" in repr(timer)
    assert timer.cancel() is True
    assert timer.cancel() is False
    done = threading.Event()
    send_after(1, ref, lambda _: done.set())
    clock.forward(2)
    assert done.wait(DEADLINE_S)
    assert handled == []


@every_kind
def test_p28_cancel_while_it_lies_in_the_mailbox(kind: str, clock: FakeTime) -> None:
    """``threading.Timer`` cannot do that."""
    ref = spawn(kind)
    handled: list[Any] = []
    if kind == "raw":
        call(ref, 1)
    with Gate() as stuck:
        stuck.grip(ref)
        timer = send_after(1, ref, lambda _: handled.append("cancelled"))
        clock.forward(2)
        eventually(lambda: waits_in(ref))
        assert timer.cancel() is True
    assert call(ref, 1) == 1
    assert handled == []


@every_kind
def test_p28_cancel_in_its_own_handler_is_too_late(kind: str, clock: FakeTime) -> None:
    ref = spawn(kind)
    outcomes: list[bool] = []
    done = threading.Event()
    timers: list[Any] = []

    def handler(_: Any) -> None:
        outcomes.append(timers[0].cancel())
        done.set()

    timers.append(send_after(1, ref, handler))
    clock.forward(1)
    assert done.wait(DEADLINE_S)
    assert outcomes == [False]


def test_p28_either_it_is_handled_or_cancel_says_true() -> None:
    """With the real clock, cancelled at about the moment that it is due."""
    ref = Threaded.start_link()
    handled: list[int] = []
    cancelled: list[int] = []
    timers = [send_after(number / 50_000, ref, lambda _, n=number: handled.append(n)) for number in range(1_000)]
    for number, timer in enumerate(timers):
        if timer.cancel():
            cancelled.append(number)
    late = len(handled)
    assert call(ref, 1) == 1
    eventually(lambda: len(handled) + len(cancelled) >= 1_000)
    assert late <= len(handled)
    assert sorted(handled + cancelled) == list(range(1_000))


@every_kind
def test_p28_a_timer_to_a_dead_actor_troubles_nobody(
    kind: str, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    ref = spawn(kind)
    timer = send_after(1, ref, "to the dead")
    watch = Watch(ref)
    stop(ref)
    watch.reason()
    assert send_after(1, ref, "to the dead").cancel() is False
    clock.forward(2)
    fired = threading.Event()
    send_after(0, Pooled.start_link(), lambda _: fired.set())
    assert fired.wait(DEADLINE_S)
    assert timer.cancel() is False
    assert "timer_callback_failed" not in caplog.text


@every_kind
def test_a_timer_to_a_ref_never_reaches_the_next_incarnation_and_one_to_a_name_does(kind: str, clock: FakeTime) -> None:
    from supervision import register

    ref = spawn(kind)
    register("it", ref)
    handled: list[Any] = []
    send_after(1, ref, lambda actor: handled.append(("ref", actor.actor_ref)))
    send_after(1, "it", lambda actor: handled.append(("name", actor.actor_ref)))
    watch = Watch(ref)
    kill(ref)
    watch.reason()
    successor = Pooled.start_link(name="it")
    done = threading.Event()
    send_after(1, successor, lambda _: done.set())
    clock.forward(1)
    assert done.wait(DEADLINE_S)
    assert handled == [("name", successor)]


def test_a_timer_to_a_name_that_nobody_has_when_it_is_due_is_dropped(clock: FakeTime) -> None:
    timer = send_after(1, "nobody", "dropped")
    clock.forward(1)
    eventually(lambda: "done" in repr(timer))
    assert timer.cancel() is False
    assert whereis("nobody") is None


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan")])
def test_a_delay_out_of_range_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="delay_s"):
        send_after(delay, Pooled.start_link(), "never")


@pytest.mark.parametrize("delay", ["1", None, True])
def test_a_delay_of_another_type_is_refused(delay: Any) -> None:
    with pytest.raises(TypeError, match="delay_s"):
        send_after(delay, Pooled.start_link(), "never")


def test_a_target_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="server"):
        send_after(1, 3, "never")  # type: ignore[arg-type]


def test_one_thread_serves_all_timers_and_cancelled_ones_take_no_room(clock: FakeTime) -> None:
    ref = Pooled.start_link()
    before = threading.active_count()
    for _ in range(20):
        for timer in [send_after(1_000, ref, "never") for _ in range(500)]:
            timer.cancel()
    assert threading.active_count() <= before + 1
    assert len(timer_thread._timer_thread.value._heap) < 1_000


def test_a_timer_that_is_cancelled_before_the_thread_looks_again_does_not_wake_it(
    clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most timers watch over what ends long before: a change of threads for each would cost more than all else of it."""
    ref, wakes = Pooled.start_link(), []
    fired = threading.Event()
    send_after(1, ref, lambda _: fired.set())
    eventually(lambda: clock.thread._sleeps_until == 101.0)

    class Noting:
        def put(self, none: None) -> None:
            if threading.current_thread() is threading.main_thread():  # another thread's timers are none of the test's
                wakes.append(none)

    monkeypatch.setattr(clock.thread, "queue", Noting())
    for _ in range(timer_thread.MOST_NEW - 1):
        send_after(1, ref, "never").cancel()
    assert wakes == []
    send_after(1, ref, "never").cancel()  # so many that they take room
    assert wakes == [None]
    send_after(0.9, ref, "never")
    assert wakes == [None, None]
    monkeypatch.undo()
    clock.thread.queue.put(None)


def test_a_thread_that_has_overslept_is_woken_by_the_next_timer(clock: FakeTime) -> None:
    """While a machine is suspended its clock goes on, and the thread's own wait does not."""
    ref, fired = Pooled.start_link(), threading.Event()
    send_after(10, ref, "never")
    eventually(lambda: clock.thread._sleeps_until == 110.0)
    clock._at += 3600.0
    send_after(20, ref, "never")
    send_after(0, ref, lambda _: fired.set())
    assert fired.wait(DEADLINE_S)


def test_a_callback_that_raises_ends_no_timer(clock: FakeTime, caplog: pytest.LogCaptureFixture) -> None:
    def raises() -> None:
        raise ValueError("a fault of ours")

    fired = threading.Event()
    timer_thread.call_later(0, raises)
    timer_thread.call_later(0, fired.set)
    assert fired.wait(DEADLINE_S)
    assert "timer_callback_failed" in caplog.text


def test_a_sooner_timer_wakes_the_thread_that_sleeps_for_a_later_one() -> None:
    ref = Pooled.start_link()
    send_after(1_000, ref, "never")
    fired = threading.Event()
    send_after(0.01, ref, lambda _: fired.set())
    assert fired.wait(DEADLINE_S)


def test_timers_set_and_cancelled_by_many_threads_at_once() -> None:
    refs = [Pooled.start_link() for _ in range(4)]
    handled = [0] * 4
    kept = 200

    def churn(number: int) -> None:
        def count(_: Any) -> None:
            handled[number] += 1

        for turn in range(2 * kept):
            timer = send_after(0.001, refs[number], count)
            if turn % 2 and not timer.cancel():
                handled[number] -= 1  # it was handled after all

    with run(*[lambda number=number: churn(number) for number in range(4)]):
        pass
    eventually(lambda: handled == [kept] * 4, f"{handled}")
    for ref in refs:
        with contextlib.suppress(NoProcess):
            cast(ref, "still here")
            assert call(ref, 1) == 1
