"""Managers of one issuer through an outage, with callers: one probe at a time, and a token soon after the provider's return.

The machines and the issuer are the real ones; time, requests and mailboxes are a small simulation.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from fakes import AUTH
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_driver import CONFIG

from oidc_actor.machine.effects import AskPermission, CancelTick, Fetch, Publish, ScheduleTick
from oidc_actor.machine.events import (
    CheckNow,
    Event,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    Haste,
    Refresh,
    Started,
    Tick,
)
from oidc_actor.machine.state import Rules, State, is_valid
from oidc_actor.machine.transitions import step
from oidc_actor.manager.issuers import Circuit
from oidc_actor.manager.options import Options
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.tokens import ParsedToken, TokenResponse

pytestmark = [pytest.mark.P5, pytest.mark.P6]

TIMEOUT_S = 10.0
TAKES_S = 0.05
ASKED_S = 5.0
FAILURES = {  # by what the provider does: after how long an attempt fails, and how
    "silent": (TIMEOUT_S, TokenRequestError("timed out")),
    "refusing": (0.0, TokenRequestError("connection refused", sent=False)),
    "503": (TAKES_S, TokenRequestError("HTTP 503", status=503)),
}


class Town:
    """A clock, a provider that is down for a while, and an issuer with its managers."""

    def __init__(self, seed: int, how: str, back_at: float, lifetime_s: float) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.down_at, self.back_at, self.lifetime_s = 0.0, back_at, lifetime_s
        self.fails_after_s, self.error = FAILURES[how]
        self.options = Options(
            AUTH, oidc_config=CONFIG, clock=lambda: self.now, rng=self.rng, timeout_seconds=TIMEOUT_S
        )
        self.issuer = Circuit(self.options.clock)
        self.probes = 0
        self.most_probes = 0
        self.under_way_until = 0.0  # the end of the last attempt that began before the provider's return
        self._todo: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        heapq.heappush(self._todo, (self.now + seconds, next(self._numbers), do))

    def run(self, until: float) -> None:
        while self._todo and self._todo[0][0] <= until:
            self.now, _, do = heapq.heappop(self._todo)
            do()
        self.now = until

    @property
    def is_down(self) -> bool:
        return self.down_at <= self.now < self.back_at


class Manager:
    """One machine, its mailbox, and a cell as far as the issuer knows one."""

    def __init__(self, town: Town, number: int) -> None:
        self.town, self.number = town, number
        self.state = State(CONFIG, AUTH, None, 60.0, rules=Rules(discovers=False))
        self.got_at: float | None = None
        self._is_probe = False
        self._tick = 0

    def tell(self, message: Any) -> None:
        self.town.after(0.0, lambda: self.do(message))

    def do(self, event: Event) -> None:
        self.state, effects = step(self.state, event, self.town.now, self.town.rng)
        for effect in effects:
            if isinstance(effect, AskPermission):
                self._is_probe = self.town.issuer._breaker.failures > 0 and effect.haste < Haste.EXPLICIT
                self.do(self.town.issuer.allow(self, self.town.options, haste=effect.haste))  # type: ignore[arg-type]
            elif isinstance(effect, Fetch):
                self._fetch(effect)
            elif isinstance(effect, Publish):
                self.got_at = self.town.now
            elif isinstance(effect, ScheduleTick | CancelTick):
                self._tick += 1
                if isinstance(effect, ScheduleTick):
                    self._schedule(effect.delay_s, self._tick)

    def ask(self, every_s: float) -> None:
        if not is_valid(self.state, self.town.now):
            self.do(CheckNow())
        self.town.after(every_s, lambda: self.ask(every_s))

    def _schedule(self, delay_s: float, tick: int) -> None:
        self.town.after(delay_s, lambda: self.do(Tick()) if tick == self._tick else None)

    def _fetch(self, fetch: Fetch) -> None:
        town = self.town
        is_probe = self._is_probe
        town.probes += is_probe
        town.most_probes = max(town.most_probes, town.probes)
        sent_at, fails = town.now, town.is_down
        self.tell(FetchStarted(fetch.attempt, fetch.request, sent_at))
        takes_s = town.fails_after_s if fails else TAKES_S
        if fails:
            town.under_way_until = max(town.under_way_until, sent_at + takes_s)

        def ends() -> None:
            town.probes -= is_probe
            if fails:
                retry_at = town.issuer.record_failure(self, town.options, town.error, early=fetch.early)  # type: ignore[arg-type]
                self.tell(FetchFailed(fetch.attempt, fetch.request, sent_at, town.error, retry_at))
                return
            town.issuer.record_answer()
            token = ParsedToken(TokenResponse("t", expires_in=town.lifetime_s), town.lifetime_s, "expires_in")
            self.tell(FetchSucceeded(fetch.attempt, fetch.request, sent_at, token))

        town.after(takes_s, ends)


@given(
    seed=st.integers(0, 10**6),
    how=st.sampled_from(sorted(FAILURES)),
    managers=st.integers(1, 12),
    asked=st.integers(1, 12),
    lifetime_s=st.sampled_from([6.0, 30.0, 300.0]),
    starts_down=st.booleans(),
    lasts_s=st.one_of(st.floats(0.5, 30), st.floats(100, 2000)),
    every_s=st.sampled_from([0.1, 1.0, 4.9]),
    impatient=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_with_callers_there_is_a_token_soon_after_the_provider_s_return(
    seed: int,
    how: str,
    managers: int,
    asked: int,
    lifetime_s: float,
    starts_down: bool,
    lasts_s: float,
    every_s: float,
    impatient: bool,
) -> None:
    down_at = 0.0 if starts_down else lifetime_s
    town = Town(seed, how, down_at + lasts_s, lifetime_s)
    town.down_at = down_at
    everybody = [Manager(town, number) for number in range(managers)]
    for one in everybody:
        town.after(0.0, lambda one=one: one.do(Started()))
    callers = everybody[: min(asked, managers)]
    for one in callers:  # they have been there for a while when the provider comes back
        town.after(max(0.0, town.back_at - 10.0), lambda one=one: one.ask(every_s))
    if impatient:
        town.after(down_at + lasts_s / 2, lambda: everybody[-1].do(Refresh()))
    town.run(town.back_at)
    recovers_at = max(town.back_at, town.under_way_until) + ASKED_S + 4 * TAKES_S  # the probe, then the siblings
    town.run(recovers_at)
    late = [one.number for one in callers if not is_valid(one.state, town.now) and (one.got_at or 0.0) < town.back_at]
    assert not late
    assert town.most_probes <= 1
    town.run(town.back_at + 90.0)  # and nobody is left behind
    assert all(one.state.refreshes for one in everybody)
