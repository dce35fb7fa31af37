"""Reads in signal handlers, ``__del__`` and weakref callbacks: at every instruction of what they interrupt, on this thread.

A handler that waits must be served although what it interrupts is in the midst of the same, and what was interrupted must
end as if nothing had been.
"""

import gc
import json
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import AUTH
from interruptions import interrupted_everywhere
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import NoTokenError, OIDCConfig, RetryPolicy, TokenManager
from oidc_actor.adapters.headers import headers
from oidc_actor.metrics import ready
from oidc_actor.metrics.readings import Look
from oidc_actor.reading.cell import by_name
from oidc_actor.transport import Request, Response

NAME = "m"
LOOK = Look(10)


class Mint:
    """A provider in memory that answers at once."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, request: Request) -> Response:
        self.count += 1
        answer = {"access_token": f"t{self.count}", "token_type": "Bearer", "expires_in": 300}
        return Response(200, {}, json.dumps(answer))


@pytest.fixture
def manager() -> Iterator[Any]:
    """One whose attempts may follow each other at once."""
    ref = TokenManager.start_link(
        name=NAME,
        auth=AUTH,
        oidc_config=OIDCConfig(token_endpoint="https://auth.example.com/token"),
        transport=Mint(),
        min_interval_seconds=0.0001,
        retry=RetryPolicy(initial_s=0.0001),
    )
    TokenManager.get_token(NAME)
    yield ref
    TokenManager.stop(ref)


def misses() -> None:
    """Waits for what cannot come, not at all."""
    with pytest.raises(NoTokenError):
        TokenManager.get_token(NAME, timeout=0.0, min_validity=9e5)


def waits_a_moment() -> None:
    with pytest.raises(NoTokenError):
        TokenManager.get_token(NAME, timeout=0.0005, min_validity=9e5)


def refreshes() -> None:
    """Can only end when the manager, its request and its timers all go on."""
    TokenManager.force_refresh(NAME, wait=True, timeout=DEADLINE_S)


def rejects() -> None:
    """Takes the token back; the read waits for the next one, which the same threads bring."""
    TokenManager.force_refresh(NAME, rejected=TokenManager.get_access_token(NAME, timeout=DEADLINE_S))
    assert TokenManager.get_access_token(NAME, timeout=DEADLINE_S)


def subscribes() -> None:
    TokenManager.subscribe(NAME, print).cancel()


def asks() -> None:
    assert TokenManager.health(NAME).ready or True


def looks() -> None:
    ready()
    ready(NAME)
    assert [reading.manager for reading in LOOK("tokens")] == [NAME]
    headers(NAME, timeout=DEADLINE_S)
    TokenManager.source(NAME).access_token(DEADLINE_S)


WORK = [misses, waits_a_moment, refreshes, rejects, subscribes, asks, looks]
HANDLERS = [refreshes, rejects, subscribes, asks, looks]


def is_whole() -> None:
    """Nothing was lost, and nobody was forgotten."""
    cell = by_name[NAME]
    assert not cell.waiting
    assert not cell.subscriptions
    told: list[Any] = []
    subscription = TokenManager.subscribe(NAME, told.append)
    refreshes()
    eventually(lambda: told, "the listener's call")
    subscription.cancel()


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("work", WORK, ids=lambda f: f.__name__)
def test_a_handler_ends_wherever_it_interrupts_a_reader(manager, work: Callable[[], None], handler) -> None:
    assert interrupted_everywhere(work, handler) > 10
    is_whole()


def test_a_taken_back_token_is_not_read_by_a_handler_that_rejects_the_same(manager) -> None:
    """The one that interrupts may be the second to reject; after it no read gives the token, the first's neither."""
    rejected = ""

    def reject() -> None:
        TokenManager.force_refresh(NAME, rejected=rejected)

    def handler() -> None:
        if not rejected:  # the very first time, before there is one
            return
        reject()
        assert TokenManager.get_access_token(NAME, timeout=DEADLINE_S) != rejected

    def work() -> None:
        nonlocal rejected
        rejected = TokenManager.get_access_token(NAME, timeout=DEADLINE_S)
        reject()

    assert interrupted_everywhere(work, handler) > 10
    is_whole()


@pytest.mark.parametrize("work", [misses, subscribes, rejects], ids=lambda f: f.__name__)
def test_real_signals(manager, work: Callable[[], None]) -> None:
    handled, over = 0, False

    def handler(*_: object) -> None:
        nonlocal handled
        work()
        handled += 1
        if not over:  # else it would come when nothing handles it any more, and end the process
            signal.setitimer(signal.ITIMER_REAL, 0.0007)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        for _ in range(300):
            work()
        eventually(lambda: handled > 20)
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    is_whole()


@pytest.mark.parametrize("how", ["__del__", "weakref"])
@pytest.mark.parametrize("work", [refreshes, subscribes, asks], ids=lambda f: f.__name__)
def test_finalizers_that_the_collector_runs_on_any_thread(manager, how: str, work: Callable[[], None]) -> None:
    """Those of the library, too: with a threshold this low the collector runs in the midst of the manager's own turn."""
    ended = threading.Semaphore(0)
    watched: list[Any] = []

    def finalizer(*_: object) -> None:
        try:
            TokenManager.get_token(NAME, timeout=0.01)
            TokenManager.subscribe(NAME, print).cancel()
            TokenManager.force_refresh(NAME)
            supervision.cast(NAME, None)
        except NoTokenError:
            pass
        finally:
            ended.release()

    class Garbage:
        def __init__(self) -> None:
            self.me = self
            if how == "weakref":
                watched.append(weakref.ref(self, finalizer))

        if how == "__del__":
            __del__ = finalizer

    before = gc.get_threshold()
    gc.set_threshold(20)
    try:
        for _ in range(50):
            Garbage()
            work()
    finally:
        gc.set_threshold(*before)
    # Does nothing while another thread's collection has come to a finalizer that waits.
    for _ in range(50):
        eventually(lambda: ended.acquire(blocking=False) or gc.collect() < 0, "each finalizer")
    is_whole()
