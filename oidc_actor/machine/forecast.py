"""How long an outage a manager survives: the machine itself (`transitions.step`) and its circuit breaker, played on paper. Pure.

An outage is a span of time in which every request that begins is lost. A manager *survives* it where the next token comes before
the old one ends, so that no read fails. Two things decide: the moment at which the outage begins, and the random waits.

- *Always* is the longest outage that is survived whenever it begins and whatever waits are drawn. The worst moment is that of the
  refresh, as late as its jitter lets it be.
- *At best* is the same for an outage that begins at the best moment, right after a token came; the waits are still the worst.

`longest_s` tells it for any moment between the two.

The search plays outages without an end, each with other waits. For each request that is lost it asks: were this the last, would
the token come in time, also after the longest wait? The first request of which that is not true is as long after the beginning as
an outage may be. All waits of one play are the same share of their range, from 0 to 1: as the share grows, the n-th request moves
steadily from its earliest to its latest moment, so that no moment is left out.
"""

from __future__ import annotations

import copy
import math
from dataclasses import field, replace

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.machine import circuit_breaker, effects, events
from oidc_actor.machine.circuit_breaker import CircuitBreaker, Limits
from oidc_actor.machine.schedule import JITTER, refresh_point
from oidc_actor.machine.state import Attempt, Rules, State
from oidc_actor.machine.transitions import step
from oidc_actor.values.errors import DiscoveryError, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.tokens import ParsedToken, TokenResponse
from supervision.frozen import dataclass

_SHARES = 16  # plays of one search
_HALVINGS = 10  # of the distance between two of them, around the worst
_WINDOW_S = 1200.0  # what is played of a longer outage: its hours before that repeat themselves
_LOST = "no answer"


@dataclass(frozen=True, slots=True)
class Plan:
    """A manager, its tokens, and what an outage is like. Times are seconds.

    Attributes:
        auth: The credentials.
        lifetime_s: What a token lives, from the start of its request.
        buffer_s: The manager's ``refresh_buffer_seconds``.
        timeout_s: The manager's ``timeout_seconds``.
        took_s: What a request takes while all is well.
        lost_after_s: What a lost request takes; ``None`` for the whole timeout, which is the worst an outage can do.
        retry_after_s: The ``Retry-After`` of an outage's answers (503); 0 for an outage without one.
        refresh_token: Whether a refresh token comes with each token.
        rules: What the manager's other options say.
    """

    auth: Credentials
    lifetime_s: float
    buffer_s: float = 60.0
    timeout_s: float = 10.0
    took_s: float = 0.1
    lost_after_s: float | None = None
    retry_after_s: float = 0.0
    refresh_token: bool = False
    rules: Rules = field(default_factory=Rules)

    @property
    def lead_s(self) -> float:
        """How long before a token's end its refresh begins at the latest, as the schedule has it."""
        interval_s = self.rules.min_interval_s
        return self.lifetime_s - refresh_point(self.buffer_s, 0.0, self.lifetime_s, interval_s, _Share(0.0))

    @property
    def longest_before_s(self) -> float:
        """How long before its refresh, where that begins at the latest, a token comes."""
        return max(0.0, self.lifetime_s - self.lead_s - self.took_s)

    @property
    def longest_loss_s(self) -> float:
        """From the beginning of a lost request to that of the next attempt, at most."""
        wait_s = max(self.rules.retry.maximum_s, self.retry_after_s)
        return max(self.lost_s + wait_s, self.rules.min_interval_s)

    @property
    def lost_s(self) -> float:
        """What a lost request takes."""
        return self.timeout_s if self.lost_after_s is None else self.lost_after_s


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outages that are survived, in seconds.

    Attributes:
        always_s: The longest that is survived whenever it begins.
        at_best_s: The longest that is survived where it begins right after a token came.
    """

    always_s: float
    at_best_s: float


def forecast(plan: Plan) -> Forecast:
    """Forecast the outages that are survived."""
    return Forecast(longest_s(plan), longest_s(plan, plan.longest_before_s))


def longest_s(plan: Plan, before_s: float = 0.0) -> float:
    """The longest outage that is survived whatever waits are drawn, in seconds.

    Args:
        plan: What is forecast.
        before_s: When it begins: that long before the live token's refresh, where that comes at the latest. At 0, which is the
            worst moment, it is survived whenever it begins.
    """
    played = shortened(plan)
    kept_s = min(before_s, played.longest_before_s)
    return worst(played, kept_s).after_s + plan.lead_s - played.lead_s + before_s - kept_s


def most_buffer_s(plan: Plan) -> float:
    """The largest ``refresh_buffer_seconds`` that makes a difference; a larger one is cut to it by the schedule."""
    return replace(plan, buffer_s=math.inf).lead_s


def shortened(plan: Plan) -> Plan:
    """The same with less of what only repeats itself; with a ``Retry-After`` the requests come in step, and none is left out."""
    window_s = max(_WINDOW_S, 10 * plan.longest_loss_s)
    if plan.retry_after_s or plan.lead_s <= window_s:
        window_s = plan.lead_s
    return replace(plan, buffer_s=window_s, lifetime_s=min(plan.lifetime_s, max(2 * window_s, _WINDOW_S)))


# --- the search -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Worst:
    """The worst waits: those with which the shortest outage is too long.

    Attributes:
        after_s: How long after the outage's beginning the first request is sent after which, were it the last that is lost, the
            token would come too late.
        number: That request's number, from 0.
        share: The share of their range that the waits before it have; the wait after it is the longest.
    """

    after_s: float
    number: int
    share: float


def worst(plan: Plan, before_s: float = 0.0) -> Worst:
    """Find the worst waits.

    Args:
        plan: What is played.
        before_s: When the outage begins, as of `longest_s`; at most `Plan.longest_before_s`.
    """
    plays = (_too_late((number + 1) / _SHARES, plan, before_s) for number in range(_SHARES))
    found = min((one for one in plays if one is not None), default=Worst(0.0, 0, 1.0))
    least = found.share - 1 / _SHARES  # at which the request with that number comes earlier
    for _ in range(_HALVINGS):
        middle = (least + found.share) / 2
        earlier = _too_late(middle, plan, before_s)
        if earlier is not None and earlier < found:
            found = earlier
        else:
            least = middle
    return found


def jitter_s(plan: Plan, share: float, before_s: float) -> float:
    """How much earlier than at the latest the refresh comes with such waits; an outage that begins before it is not left out.

    Args:
        plan: What is played.
        share: The share of their range that the waits have.
        before_s: When the outage begins, as of `longest_s`.
    """
    return min((1 - share) * JITTER * plan.lifetime_s, before_s)


def _too_late(share: float, plan: Plan, before_s: float) -> Worst | None:
    """Play an outage without an end, up to the first request whose loss is one too many."""
    play = _Play(plan, jitter_s(plan, share, before_s) / (JITTER * plan.lifetime_s))
    began_at, number = plan.lifetime_s - plan.lead_s - before_s, 0
    play.to_next_request()
    while play.now < plan.lifetime_s:
        # Looked at only where the end is so near that it might be.
        is_near = play.now + plan.longest_loss_s + plan.lost_s + 2 * plan.took_s >= plan.lifetime_s
        if is_near and not play.ends_in_time():
            return Worst(max(0.0, play.now - began_at), number, share)
        play.lose(share)
        play.to_next_request()
        number += 1
    return None


class _Share:
    """A random source that always gives the same share of the range."""

    def __init__(self, share: float) -> None:
        self._share = share

    def uniform(self, a: float, b: float, /) -> float:
        return a + (b - a) * self._share


class _Play:
    """One manager's machine and its circuit breaker, with a token whose request began at 0 and that has just come.

    Its metadata are old, so that each attempt asks for them first: they may be, at any moment, and then an attempt takes longest.
    """

    def __init__(self, plan: Plan, jitter: float) -> None:
        self._plan = plan
        self._limits = Limits(plan.rules.retry, plan.rules.min_interval_s, plan.timeout_s + plan.rules.min_interval_s)
        self._rng = _Share(jitter)
        self._breaker = CircuitBreaker()
        self._config = OIDCConfig(token_endpoint="https://issuer.invalid/token")  # noqa: S106 - an address
        self._fetch: effects.Fetch | None = effects.Fetch(1, 1, effects.FullGrant(self._config))
        attempt = Attempt(1, 1, effects.FullGrant(self._config))
        self._state = State(
            self._config,
            plan.auth,
            None,
            plan.buffer_s,
            rules=plan.rules,
            attempt=attempt,
            attempts=1,
            attempted_at=0.0,
        )
        self.now = 0.0
        self.answer()

    def to_next_request(self) -> None:
        """Let time pass until a request is sent."""
        while self._fetch is None:
            due = self._state.refresh_timer
            assert due is not None, "a manager without a request has a tick to come"
            self.now = max(self.now, due)
            self._do(events.Tick())
        self._do(events.FetchStarted(self._fetch.attempt, self._fetch.request, self.now))

    def lose(self, share: float) -> None:
        """The request that was sent is lost; the waits that are drawn then are that share of their range."""
        fetch, at, plan = self._sent(), self.now, self._plan
        self.now += plan.lost_s
        self._rng = _Share(share)
        kind = DiscoveryError if isinstance(fetch.grant, effects.Discover) else TokenRequestError
        error = kind(_LOST, status=503 if plan.retry_after_s else None, retry_after_s=plan.retry_after_s or None)
        self._breaker = circuit_breaker.record_failure(
            self._breaker,
            0,
            self.now,
            early=fetch.early,
            limits=self._limits,
            rng=self._rng,
            not_before=self.now + plan.retry_after_s,
        )
        retry_at = circuit_breaker.retry_at(self._breaker, self.now)
        self._do(events.FetchFailed(fetch.attempt, fetch.request, at, error, retry_at))

    def answer(self) -> None:
        """The request that was sent brings what it was sent for."""
        fetch, at, plan = self._sent(), self.now, self._plan
        self.now += plan.took_s
        self._breaker = CircuitBreaker()
        result: OIDCConfig | ParsedToken = self._config
        if not isinstance(fetch.grant, effects.Discover):
            token = TokenResponse("a", expires_in=plan.lifetime_s, refresh_token="r" if plan.refresh_token else None)
            result = ParsedToken(token, plan.lifetime_s, "expires_in")
        self._do(events.FetchSucceeded(fetch.attempt, fetch.request, at, result))

    def ends_in_time(self) -> bool:
        """Whether the next token comes before the old one ends, where this request is the last that is lost."""
        after = copy.copy(self)
        after.lose(1.0)
        while after._state.refreshes == self._state.refreshes and after.now < self._plan.lifetime_s:
            after.to_next_request()
            after.answer()
        return after.now < self._plan.lifetime_s

    def _sent(self) -> effects.Fetch:
        assert self._fetch is not None, "a request is under way"
        fetch, self._fetch = self._fetch, None
        return fetch

    def _do(self, event: events.Event) -> None:
        self._state, wanted = step(self._state, event, self.now, self._rng)
        for effect in wanted:
            if isinstance(effect, effects.Fetch):
                self._fetch = effect
            elif isinstance(effect, effects.AskPermission):
                self._breaker, answer = circuit_breaker.allow(
                    self._breaker, 0, self.now, haste=effect.haste, limits=self._limits
                )
                self._do(answer)
