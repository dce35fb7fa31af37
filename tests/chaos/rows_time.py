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

from oidc_actor import TokenManager, after_restore
from oidc_actor.values.clock import default_clock

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


@row(
    "peers: wall clock",
    "a restored machine: no token that is past its end by the wall clock, once the clocks have been compared; one request",
)
def restored_machine(world: World) -> None:
    name = world.ready_manager()
    source = TokenManager.source(name)
    dead, before = source(), world.requests
    world.clock.advance(2)
    world.proxy.stall(None)
    with wall_moved(7200):
        after_restore()
        world.check("read of the dead token", type(refused(name)).__name__, refused(name) is not None)
        world.wait_for_requests(before + 1)
        world.proxy.heal()
        world.expect("afterwards", "a new token", source() != dead)
        world.settle(name)
        world.check("token requests", world.requests - before, world.requests - before == 1)
        new = source()
        world.clock.advance(2)
        after_restore()
        world.expect("at the next look", "the same token", source(timeout=0) == new)
    after_restore()
    world.expect("back at the old time", "the same token", source(timeout=0) == new)


@row(
    "peers: wall clock",
    "a wall clock that is wrong, with the provider away: the token is withheld for 10 s at most, and served to its end",
)
def wall_clock_2_h_ahead_and_no_provider(world: World) -> None:
    name = world.ready_manager()
    token, began = TokenManager.get_access_token(name), world.clock()
    world.clock.advance(2)
    world.proxy.stall(None)
    with wall_moved(7200):
        after_restore()
        jumped = world.clock()
        while refused(name) is not None and world.clock() - jumped < 60:
            world.clock.advance(0.5)
            TokenManager.health(name)  # answered after the tick
        held_s = world.clock() - jumped
        world.check("withheld for", f"{held_s:.1f} s", 9.5 <= held_s <= 10.5)
        world.expect("then", "the same token", TokenManager.get_access_token(name, timeout=0) == token)
        while refused(name) is None and world.clock() - began < 2 * world.lifetime_s:
            world.clock.advance(1)
        lived = (world.clock() - began) / world.lifetime_s
        world.check("it was served for, by its life", f"{lived:.2f}", 0.95 < lived < 1.01)
        world.proxy.heal()
    after_restore()


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
