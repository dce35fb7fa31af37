"""subscribe: listeners hear of every new token, off the actor, one after another."""

import logging
import queue
import threading
from typing import Any

import pytest
from managers import Start
from threads import DEADLINE_S

import supervision.runtime.timer_thread
from oidc_actor import ConfigError, TokenManager, TokenResponse
from oidc_actor.manager import workers
from oidc_actor.streams import on_renewal
from supervision import NoProcess


@pytest.fixture
def heard():
    return queue.Queue()


def next_of(heard) -> str:
    return heard.get(timeout=DEADLINE_S).access_token


def refresh(clock) -> None:
    clock.advance(10)
    TokenManager.force_refresh("m", wait=True)


def test_every_new_token_is_heard_and_the_present_one_is_not(start: Start, clock, heard) -> None:
    start(name="m")
    TokenManager.get_token("m")
    TokenManager.subscribe("m", heard.put)
    refresh(clock)
    refresh(clock)
    token = heard.get(timeout=DEADLINE_S)
    assert isinstance(token, TokenResponse)
    assert (token.access_token, next_of(heard)) == ("t2", "t3")
    assert heard.empty()


def test_one_subscribed_before_the_first_token_hears_of_it(start: Start, transport, heard) -> None:
    with transport.held_back():
        ref = start()
        TokenManager.subscribe(ref, heard.put)
    assert next_of(heard) == "t1"


def test_a_cancelled_one_hears_no_more(start: Start, clock, heard) -> None:
    start(name="m")
    TokenManager.get_token("m")
    subscription = TokenManager.subscribe("m", heard.put)
    other: queue.Queue = queue.Queue()
    TokenManager.subscribe("m", other.put)
    subscription.cancel()
    subscription.cancel()
    refresh(clock)
    assert next_of(other) == "t2"
    assert heard.empty()


def test_the_same_listener_twice_hears_twice_until_one_is_cancelled(start: Start, clock, heard) -> None:
    start(name="m")
    TokenManager.get_token("m")
    first = TokenManager.subscribe("m", heard.put)
    TokenManager.subscribe("m", heard.put)
    refresh(clock)
    assert [next_of(heard), next_of(heard)] == ["t2", "t2"]
    first.cancel()
    refresh(clock)
    assert next_of(heard) == "t3"


def test_an_exception_is_logged_and_keeps_nobody_from_hearing(start: Start, clock, heard, caplog) -> None:
    start(name="m")
    TokenManager.get_token("m")

    def fails(token: TokenResponse) -> None:
        raise RuntimeError(f"cannot use {token.access_token}")

    TokenManager.subscribe("m", fails)
    TokenManager.subscribe("m", heard.put)
    with caplog.at_level(logging.ERROR, "oidc_actor"):
        refresh(clock)
        assert next_of(heard) == "t2"
    (record,) = [record for record in caplog.records if record.name == "oidc_actor"]
    assert "listener_failed" in record.getMessage()
    assert "RuntimeError" in record.getMessage()
    assert f"{__file__}:{fails.__code__.co_firstlineno + 1} in fails" in record.getMessage()
    assert "t2" not in caplog.text


def test_a_slow_one_delays_neither_the_manager_nor_other_managers(start: Start, clock, heard) -> None:
    gate = threading.Event()
    start(name="m")
    start(name="n")
    TokenManager.get_token("m")
    TokenManager.get_token("n")
    TokenManager.subscribe("m", lambda _: gate.wait(DEADLINE_S))
    TokenManager.subscribe("n", heard.put)
    try:
        refresh(clock)
        refresh(clock)
        TokenManager.force_refresh("n", wait=True)
        assert heard.get(timeout=DEADLINE_S)
        assert TokenManager.health("m").refreshes == 3
    finally:
        gate.set()


class LateTimers:
    """Ten seconds pass for a listener when the test says so."""

    def __init__(self) -> None:
        self._set: list[supervision.runtime.timer_thread.TimerHandle] = []

    def __call__(self, delay_s: float, callback) -> supervision.runtime.timer_thread.TimerHandle:
        assert delay_s == 10.0
        self._set.append(supervision.runtime.timer_thread.TimerHandle(callback))
        return self._set[-1]

    def ring(self) -> None:
        """For whoever is being told now."""
        for timer in self._set:
            callback = timer._take()
            if callback is not None:
                callback()


@pytest.fixture
def late_timers(monkeypatch):
    made = LateTimers()
    monkeypatch.setattr(workers, "call_later", made)
    return made


def test_one_that_hangs_does_not_keep_the_others_from_hearing(start: Start, clock, heard, caplog, late_timers) -> None:
    gate, told = threading.Event(), queue.Queue()
    start(name="m")
    TokenManager.get_token("m")

    def hangs(token: TokenResponse) -> None:
        told.put(token)
        gate.wait(DEADLINE_S)

    TokenManager.subscribe("m", hangs)
    TokenManager.subscribe("m", heard.put)
    with caplog.at_level(logging.WARNING, "oidc_actor"):
        refresh(clock)
        assert next_of(told) == "t2"
        late_timers.ring()
        assert next_of(heard) == "t2"
        refresh(clock)
        refresh(clock)
        assert [next_of(heard), next_of(heard)] == ["t3", "t4"]
    assert told.empty()  # never two calls of it at a time
    assert [record.getMessage().count("listener_late") for record in caplog.records] == [1]
    gate.set()
    assert next_of(told) == "t4"  # when it has returned, the newest that it missed
    refresh(clock)
    assert next_of(told) == "t5"


def test_one_that_raises_after_it_was_late_hears_of_the_next_all_the_same(
    start: Start, clock, heard, caplog, late_timers
) -> None:
    gate, told = threading.Event(), queue.Queue()
    start(name="m")
    TokenManager.get_token("m")

    def fails(token: TokenResponse) -> None:
        told.put(token)
        gate.wait(DEADLINE_S)
        raise RuntimeError

    TokenManager.subscribe("m", fails)
    TokenManager.subscribe("m", heard.put)
    with caplog.at_level(logging.ERROR, "oidc_actor"):
        refresh(clock)
        assert next_of(told) == "t2"
        late_timers.ring()
        assert next_of(heard) == "t2"
        refresh(clock)
        assert next_of(heard) == "t3"
        gate.set()
        assert next_of(told) == "t3"
        refresh(clock)
        assert [next_of(told), next_of(heard)] == ["t4", "t4"]
    assert "listener_failed" in caplog.text


def test_hanging_ones_of_many_managers_keep_no_other_manager_waiting(start: Start, clock, heard, late_timers) -> None:
    gate, told = threading.Event(), threading.Semaphore(0)
    names = [f"m{number}" for number in range(8)]  # more than there are threads

    def hangs(_: TokenResponse) -> None:
        told.release()
        gate.wait(DEADLINE_S)

    try:
        for name in names:
            start(name=name)
            TokenManager.get_token(name)
            TokenManager.subscribe(name, hangs)
        start(name="m")
        TokenManager.get_token("m")
        TokenManager.subscribe("m", heard.put)
        clock.advance(10)
        for name in [*names, "m"]:
            TokenManager.force_refresh(name, wait=True)
        for _ in names:
            assert told.acquire(timeout=DEADLINE_S)
            late_timers.ring()
        assert heard.get(timeout=DEADLINE_S)
    finally:
        gate.set()


def test_they_are_told_one_after_another_in_order(start: Start, clock, heard) -> None:
    running = threading.Lock()

    def listener(token: TokenResponse) -> None:
        assert running.acquire(blocking=False), "two at a time"
        try:
            heard.put(token)
        finally:
            running.release()

    start(name="m")
    TokenManager.get_token("m")
    for _ in range(3):
        TokenManager.subscribe("m", listener)
    for _ in range(5):
        refresh(clock)
    assert [next_of(heard) for _ in range(15)] == [f"t{number}" for number in range(2, 7) for _ in range(3)]


def test_they_hear_across_a_restart(start: Start, clock, heard) -> None:
    start(name="m")
    TokenManager.get_token("m")
    TokenManager.subscribe("m", heard.put)
    supervision.kill("m")
    start(name="m")
    refresh(clock)
    assert next_of(heard) == "t2"


def test_they_hear_no_more_after_a_stop(start: Start, clock, heard) -> None:
    start(name="m")
    TokenManager.get_token("m")
    TokenManager.subscribe("m", heard.put)
    TokenManager.stop("m")
    start(name="m")
    TokenManager.get_token("m")
    other: queue.Queue = queue.Queue()
    TokenManager.subscribe("m", other.put)
    refresh(clock)
    assert next_of(other) == "t3"
    assert heard.empty()


def test_of_nobody_is_noprocess() -> None:
    with pytest.raises(NoProcess):
        TokenManager.subscribe("nobody", print)


async def _awaited(token: object) -> None: ...


@pytest.mark.parametrize("listener", ["print", None, _awaited])
@pytest.mark.parametrize("subscribe", [TokenManager.subscribe, on_renewal])
def test_what_cannot_be_called_is_a_config_error(start: Start, subscribe: Any, listener: Any) -> None:
    with pytest.raises(ConfigError, match="listener"):
        subscribe(start(), listener)
