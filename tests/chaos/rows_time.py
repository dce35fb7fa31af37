"""Rows about clocks that jump, and time that passes unseen."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from chaos.readers import refused
from chaos.scenario import add, row
from chaos.world import World

from oidc_actor import TokenManager
from oidc_actor.clock import default_clock

real_time = time.time


@contextmanager
def wall_moved(by_s: float) -> Iterator[None]:
    """Every reading of the wall clock is off by so much."""
    with mock.patch("time.time", side_effect=lambda: real_time() + by_s):
        yield


@contextmanager
def time_zone(name: str) -> Iterator[None]:
    """The process is in another time zone (or its daylight saving time ends)."""
    with mock.patch.dict(os.environ, TZ=name):
        time.tzset()
        yield
    time.tzset()


def clock_step(stepped: Callable[[], object]) -> Callable[[World], None]:
    """Real time, two-second tokens: the wall clock steps, then the provider goes away."""

    def play(world: World) -> None:
        began = time.monotonic()
        name = world.ready_manager(clock=default_clock)
        token, before = TokenManager.get_access_token(name), world.requests
        with stepped():  # type: ignore[attr-defined] # a context manager
            same = all(TokenManager.get_access_token(name, timeout=0) == token for _ in range(1000))
            early = time.monotonic() - began < 0.7
            world.check("live token after the step", "served" if same else "lost", same or not early)
            world.check("requests because of it", world.requests - before, world.requests == before or not early)
            world.backend.fail()
            never = threading.Event()
            while refused(name) is None:
                assert time.monotonic() - began < 6, "a token that never ends"
                never.wait(0.005)
            lived = time.monotonic() - began
            world.check("the last token was served for, by its life", f"{lived / 2:.2f}", 0.6 < lived / 2 < 2.1)

    return play


_STEPS = {
    "wall_clock_2_h_ahead": lambda: wall_moved(7200),
    "wall_clock_2_h_back": lambda: wall_moved(-7200),
    "daylight_saving_ends": lambda: time_zone("XXX+5"),
}
for _name, _step in _STEPS.items():
    add(
        _name,
        "peers: wall clock",
        "a step of the wall clock neither ends a live token nor revives a dead one",
        clock_step(_step),
        lifetime_s=2,
    )


@row("pain 8", "thawed after three hours, it gives out no dead token, and asks once for a new one")
def suspended(world: World) -> None:
    name = world.ready_manager()
    dead, before = TokenManager.get_access_token(name), world.requests
    with world.readers(name) as readers:
        world.proxy.stall(None)
        world.clock.advance(3 * 3600)
        first = refused(name)
        world.wait_for_requests(before + 1)
        world.proxy.heal()
        new = TokenManager.get_access_token(name, timeout=10)
    expired = [text for text in readers.failed if "an expired token at" in text]
    world.check("first read", type(first).__name__, first is not None)
    world.check("reads of the dead token", f"{len(expired)} of {readers.reads}", not expired and readers.reads)
    world.check("token requests", world.requests - before, world.requests - before == 1)
    world.expect("afterwards", "a new token", new != dead)


class _Frozen:
    """A clock without timers of its own: the manager's are late, as those of a process that has just been thawed."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@row("pain 8", "a read checks the clock itself: it does not rely on a timer that is late")
def timers_late_after_a_suspend(world: World) -> None:
    clock = _Frozen()
    name = world.ready_manager(clock=clock)
    source = TokenManager.source(name)
    wrong = 0
    for _ in range(20):
        dead = source.access_token(timeout=5)
        clock.now += world.lifetime_s
        try:
            wrong += source.access_token(timeout=0) == dead
        except Exception:
            continue
    world.check("dead tokens given out", f"{wrong} of 20", wrong == 0)
