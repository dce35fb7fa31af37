"""The forecast of outages (`oidc_actor.machine.forecast`) beside the same outages, played with a real manager on a manual clock.

For each configuration the outage begins at its worst moment, when the refresh is about to be sent, and at its best, right after a
token came. One that is a second shorter than forecast is survived whatever waits are drawn; of those that are a second longer
some draw is not: no read may fail (P4), and the next token must have come before the old one's end.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fakes import AUTH, ISSUER, metadata, minted
from managers import Start, settled
from threads import DEADLINE_S

from oidc_actor import NoTokenError, OIDCConfig, TokenManager
from oidc_actor.machine.forecast import Plan, forecast, jitter_s, shortened, worst
from oidc_actor.machine.state import METADATA_AGE_S, Rules
from oidc_actor.testing import ManualClock
from oidc_actor.transport import Request, Response, TransportError

pytestmark = [pytest.mark.P4, pytest.mark.P5]

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")
PLANS = {
    "the defaults, 5 min": Plan(AUTH, 300),
    "the issue's: a buffer of 140 s": Plan(AUTH, 300, 140),
    "half of its life": Plan(AUTH, 120, 600),
    "an hour": Plan(AUTH, 3600, 300),
    "a short life": Plan(AUTH, 20, 60, timeout_s=2),
    "a timeout as long as the buffer": Plan(AUTH, 60, 10, timeout_s=10),
    "refused at once": Plan(AUTH, 120, 40, lost_after_s=0.0),
    "a Retry-After": Plan(AUTH, 600, 200, lost_after_s=0.1, retry_after_s=45),
    "a rotating refresh token": Plan(AUTH, 300, 100, refresh_token=True, took_s=0.5),
    "the token endpoint was given": Plan(AUTH, 300, 60, rules=Rules(discovers=False), took_s=1.0),
}


class Draws:
    """A random source: so many seconds of jitter for a refresh, and shares of their range for the waits of an outage."""

    def __init__(self, share: Callable[[int], float]) -> None:
        self._share = share
        self.jitter_s = 0.0
        self.lost = 0

    def uniform(self, a: float, b: float, /) -> float:
        return a + (b - a) * self._share(self.lost - 1) if self.lost else a + self.jitter_s


@dataclass(frozen=True)
class Outage:
    begins_at: float
    ends_at: float


class Provider:
    """A provider whose requests take time on the manager's clock, and are lost where they begin in the outage."""

    def __init__(self, plan: Plan, clock: ManualClock, draws: Draws) -> None:
        self.plan, self.clock, self.draws = plan, clock, draws
        self.lifetimes: list[float] = []  # of the first tokens; then the plan's
        self.outage = Outage(float("inf"), float("inf"))
        self.tokens: list[tuple[float, float]] = []  # when the request of each was sent, and when it came

    def __call__(self, request: Request, /) -> Response:
        sent_at, plan = self.clock(), self.plan
        if self.outage.begins_at <= sent_at < self.outage.ends_at:
            self.draws.lost += 1
            self.clock.advance(plan.lost_s)
            if plan.retry_after_s:
                return Response(503, {"Retry-After": f"{plan.retry_after_s:g}"}, "down")
            raise TransportError("timed out")
        self.clock.advance(plan.took_s)
        if request.method == "GET":
            return metadata()
        self.draws.lost = 0
        lifetime_s = self.lifetimes.pop(0) if self.lifetimes else plan.lifetime_s
        more = {"refresh_token": f"r{len(self.tokens)}"} if plan.refresh_token else {}
        self.tokens.append((sent_at, self.clock()))
        return minted(f"t{len(self.tokens)}", expires_in=lifetime_s, **more)


def is_survived(start: Start, plan: Plan, draws: Draws, early_s: float, length_s: float, *, at_refresh: bool) -> bool:
    """Play one outage of that length, by the second token of a manager."""
    clock = ManualClock()
    provider = Provider(plan, clock, draws)
    # A first token that lives so long that the metadata are a day old, and asked for again, when the second is refreshed.
    refreshed_after_s = METADATA_AGE_S + 1 + early_s - (plan.lifetime_s - plan.lead_s)
    provider.lifetimes = [refreshed_after_s + plan.buffer_s]
    known: dict[str, Any] = {} if plan.rules.discovers else {"oidc_config": CONFIG}
    ref = start(
        clock=clock,
        transport=provider,
        rng=draws,
        refresh_buffer_seconds=plan.buffer_s,
        timeout_seconds=plan.timeout_s,
        **known,
    )

    def to_next_tick() -> None:
        clock.advance(clock.next_in_s or 0.0)
        settled(ref)

    settled(ref)
    draws.jitter_s = early_s
    while len(provider.tokens) < 2:
        to_next_tick()
    sent_at, came_at = provider.tokens[1]
    begins_at = sent_at + plan.lifetime_s - plan.lead_s if at_refresh else came_at
    provider.outage = Outage(begins_at, begins_at + length_s)
    survived = True
    while survived and len(provider.tokens) < 3:
        to_next_tick()
        try:
            TokenManager.get_access_token(ref, timeout=0)
        except NoTokenError:
            survived = False
    TokenManager.stop(ref, timeout=DEADLINE_S)
    return survived and provider.tokens[2][1] < sent_at + plan.lifetime_s


@pytest.mark.parametrize("at_refresh", [True, False], ids=["the worst moment", "the best"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_the_forecast_and_the_outage_agree_within_a_second(start: Start, plan: Plan, at_refresh: bool) -> None:
    told = forecast(plan)
    longest_s = told.always_s if at_refresh else told.at_best_s
    played = shortened(plan)
    before_s = 0.0 if at_refresh else played.longest_before_s
    found = worst(played, before_s)
    early_s = jitter_s(played, found.share, before_s)

    def the_worst(number: int) -> float:
        return found.share if number < found.number else 1.0

    def survives(share: Callable[[int], float], length_s: float) -> bool:
        return is_survived(start, plan, Draws(share), early_s, length_s, at_refresh=at_refresh)

    assert not survives(the_worst, longest_s + 1)
    if longest_s > 1:
        assert survives(the_worst, longest_s - 1)
        for share in (lambda _: 0.0, lambda _: 1.0, lambda _: 0.5, lambda _: random.random()):
            assert survives(share, longest_s - 1)


def test_an_outage_in_the_middle_of_a_tokens_life_is_not_noticed(start: Start) -> None:
    plan = PLANS["half of its life"]
    assert is_survived(start, plan, Draws(lambda _: 1.0), 0.0, 50, at_refresh=False)
