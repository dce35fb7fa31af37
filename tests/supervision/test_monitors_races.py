"""Monitors that race the end, or are taken back: at whatever moment, one Down or none."""

import contextlib
import threading
from typing import Any

import pytest
from actors import Pooled, PooledWatcher, begin, every_kind, every_watcher, spawn
from children import Watch
from holding import Gate
from threads import DEADLINE_S, eventually, run

from supervision import (
    KILLED,
    NOPROC,
    NoProcess,
    call,
    demonitor,
    kill,
    monitor,
    register,
    stop,
    whereis,
)
from supervision.process import registry
from supervision.process.registry import process_of


@every_watcher
@pytest.mark.parametrize("kind", ["pooled", "raw"])
def test_demonitor_takes_back_a_down_that_lies_in_the_mailbox(watcher: Any, kind: str) -> None:
    ref, mine = spawn(kind), begin(watcher)
    in_hand = call(mine, lambda _: None) or Gate()
    with in_hand:
        mine.tell(in_hand)
        assert in_hand.entered.wait(DEADLINE_S)
        dropped, kept = monitor(ref, mine), monitor(ref, mine)
        done = Watch(ref)
        stop(ref)
        done.reason()
        assert not mine.actor_inbox.empty()
        demonitor(dropped)
        demonitor(dropped)
    assert [down.monitor for down in call(mine, "heard")] == [kept]


@every_kind
def test_after_demonitor_nobody_is_told(kind: str) -> None:
    ref = spawn(kind)
    downs: list[Any] = []
    made = monitor(ref, downs.append)
    demonitor(made)
    watch = Watch(ref)
    stop(ref)
    watch.reason()
    demonitor(made)
    assert downs == []


@every_kind
def test_a_watcher_may_take_back_another_that_is_just_to_be_told(kind: str) -> None:
    ref = spawn(kind)
    downs: list[Any] = []
    others: list[Any] = []
    monitor(ref, lambda _: demonitor(others[0]))
    others.append(monitor(ref, downs.append))
    watch = Watch(ref)
    stop(ref)
    watch.reason()
    assert downs == []


def test_an_actor_that_demonitors_in_a_handler_hears_nothing_after_it() -> None:
    """The death happens at any moment of that handler; what counts is what comes after demonitor has returned."""
    for _ in range(200):
        mine, ref = PooledWatcher.start_link(), Pooled.start_link()
        made = monitor(ref, mine)

        def drops(watcher: Any, made: Any = made) -> None:
            demonitor(made)
            watcher.heard.clear()

        with run(lambda ref=ref: stop(ref), lambda mine=mine, drops=drops: call(mine, drops)):
            pass
        assert call(mine, "heard") == []


@every_kind
def test_a_monitor_races_the_end_and_hears_of_it_once(kind: str) -> None:
    for _ in range(20):
        ref = spawn(kind)
        downs: list[Any] = []
        barrier = threading.Barrier(5)

        def watch(ref: Any = ref, downs: Any = downs, barrier: Any = barrier) -> None:
            barrier.wait(DEADLINE_S)
            monitor(ref, downs.append)

        def end(ref: Any = ref, barrier: Any = barrier) -> None:
            barrier.wait(DEADLINE_S)
            kill(ref)

        with run(*[watch] * 4, end):
            pass
        eventually(lambda downs=downs: len(downs) == 4)
        assert {down.reason for down in downs} <= {KILLED, NOPROC}
        assert len({down.monitor for down in downs}) == 4


class _EndsItFirst:
    """In the place of a mailbox's lock: whoever takes it finds that the actor has ended at the last moment."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref
        self._lock = ref.actor_inbox.lock
        self._ended = False

    def __enter__(self) -> None:
        if not self._ended:
            self._ended = True
            kill(self._ref)
        self._lock.acquire()

    def __exit__(self, *_raised: object) -> None:
        self._lock.release()


class _EndsFirst(dict[Any, None]):
    """In the place of a process's observers: a thread that adds one finds that the actor has ended at the last moment."""

    def __init__(self, ref: Any) -> None:
        super().__init__(process_of(ref).observers)  # type: ignore[union-attr]
        self._ref = ref

    def __setitem__(self, watch: Any, nothing: None) -> None:
        kill(self._ref)
        super().__setitem__(watch, nothing)


@every_kind
def test_an_end_at_the_last_moment_before_monitor_or_register(kind: str) -> None:
    downs: list[Any] = []
    for function in (lambda ref: monitor(ref, downs.append), lambda ref: register("it", ref)):
        ref = spawn(kind)
        assert call(ref, 1) == 1
        watch = Watch(ref)
        ref.actor_inbox.lock = _EndsItFirst(ref)
        ref.actor_inbox.process.observers = _EndsFirst(ref)
        with contextlib.suppress(NoProcess):
            function(ref)
        assert watch.reason() == KILLED
    assert [down.reason for down in downs] == [NOPROC]
    assert whereis("it") is None
    assert registry._names.value.table == {}
