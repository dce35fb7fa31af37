"""One attempt, from take-off to landing: metadata if need be, a refresh token if there is one, else the full grant. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeAlias

from oidc_actor.machine import failure_policy as policy
from oidc_actor.machine import wall_clock
from oidc_actor.machine.backoff import Rng
from oidc_actor.machine.circuit_breaker import Haste
from oidc_actor.machine.effects import Discover, Effect, Fetch, FullGrant, Grant, Publish, Redeem, Reply, Report
from oidc_actor.machine.events import FetchFailed, FetchStarted, FetchSucceeded, Held, SourceRenewed
from oidc_actor.machine.schedule import next_attempt_at, refresh_point, replies, retry_point
from oidc_actor.machine.state import NEVER, Flight, State, is_asked, is_valid, is_withheld
from oidc_actor.protocol.dates import Skew
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.protocol.token_response import ParsedToken
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, TokenRequestError
from oidc_actor.values.secrets import Secret, fingerprint
from oidc_actor.values.tokens import TokenResponse

METADATA_AGE_S = 24 * 3600.0
"""Seconds after which discovered metadata are asked for again."""

Step: TypeAlias = tuple[State, list[Effect]]


def take_off(state: State, now: float) -> Step:
    """Begin an attempt."""
    haste = _haste(state, now)
    before, wanted = state.attempted_at, state.wanted
    begun = Flight(state.flights + 1, 0, None, attempted_before=before, wanted=wanted, early=state.insists)
    state = replace(state, flights=begun.number, attempted_at=now, wanted=False, insists=False, flight=begun)
    if state.oidc_config is None:
        return _send(state, Discover(), haste)
    if state.rules.discovers and _are_doubtful(state, now):
        return _send(state, Discover(instead_of=state.oidc_config), haste)
    return _send(state, _token_grant(state, state.oidc_config), haste)


def _haste(state: State, now: float) -> Haste:
    if state.wanted:
        return Haste.EXPLICIT
    if state.insists or state.attempted_at == NEVER:
        return Haste.PRESSING
    return Haste.ASKED if is_asked(state, now) and not is_valid(state, now) else Haste.CALM


def started(state: State, event: FetchStarted, now: float, rng: Rng) -> Step:
    """A request is about to be sent; from here on the minimum interval counts."""
    if not _is_under_way(state, event):
        return state, []
    flight = None if state.flight is None else replace(state.flight, jump=None)
    state = replace(state, flight=flight, attempted_at=max(state.attempted_at, event.at))
    if isinstance(_grant(state), Discover):
        return state, []
    return replace(state, posted_at=state.attempted_at, token_requests=state.token_requests + 1), []


def source_renewed(state: State, event: SourceRenewed, now: float, rng: Rng) -> Step:
    """Try again where it was for want of that token; an attempt under way may have read the old one, and ends first."""
    if state.flight is not None:
        return replace(state, flight=replace(state.flight, source_renewed=True)), []
    return _with_renewed_source(state), []


def _with_renewed_source(state: State) -> State:
    """The minimum interval counts from the last request for a token: an attempt that had none to trade sent nothing."""
    if not policy.is_about_secrets(state.last_error):
        return state
    return replace(state, wanted=True, attempted_at=min(state.attempted_at, state.posted_at))


def succeeded(state: State, event: FetchSucceeded, now: float, rng: Rng) -> Step:
    """Go on to the next leg, or land."""
    if not _is_under_way(state, event):
        return state, []
    if isinstance(event.result, OIDCConfig):
        return _discovered(state, event.result, now)
    state, seen = _with_skew(state, event.skew)
    if event.at + event.result.lifetime_s <= now:
        late = TokenRequestError(f"the token had expired when it came: it lived {event.result.lifetime_s:.1f} s")
        state = replace(state, refresh_token=_next_refresh_token(state, event.result.token))  # that came alive
        return _after(seen, _end(state, late, None, now, rng))
    return _after(seen, _land(state, event, event.result, now, rng))


def failed(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    """Go on to the next leg where there is another way and the provider does not ask to wait, else end the flight and wait."""
    if not _is_under_way(state, event):
        return state, []
    state, seen = _with_skew(state, event.skew)
    return _after(seen, _failed(state, event, now, rng))


def _failed(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    error, grant = event.error, _grant(state)
    if isinstance(grant, Discover):
        return _undiscovered(state, event, now, rng)
    if isinstance(grant, Redeem):
        if policy.refuses_refresh_token(error):
            report = Report("refresh_token_refused", state.flights, _fields(error))
            state = replace(state, refresh_token=None)
            if policy.retry_after_s(error):
                return _after([report], _end(state, error, event.retry_at, now, rng))
            return _after([report], _send(state, FullGrant(grant.config)))
        if policy.may_have_rotated(error) and not state.rules.own_refresh_token:
            state = replace(state, refresh_token=None)
    if policy.may_have_moved(error, state.failures + 1):
        state = replace(state, config_suspect=True)
    return _end(state, error, event.retry_at, now, rng)


def held(state: State, event: Held, now: float, rng: Rng) -> Step:
    """The flight never left: another manager of this issuer knows better. A live token's end bounds the patience."""
    flight = state.flight
    if flight is None or flight.number != event.flight:
        return state, []
    until = event.until
    if is_valid(state, now) and not event.by_provider:
        until = min(until, now + max((state.expires_at - now) / 4, state.rules.min_interval_s))
    state = replace(
        state,
        flight=None,
        flights=flight.number - 1,
        attempted_at=flight.attempted_before,
        wanted=flight.wanted,
        held_until=until,
        hold_asked=is_asked(state, now),
        queued=event.probing,
        insists=until < event.until,
        floor_at=max(state.floor_at, until) if event.by_provider else state.floor_at,
    )
    return state, [Report("issuer_held", state.flights, {"wait_s": round(until - now, 3)})]


def _discovered(state: State, config: OIDCConfig, now: float) -> Step:
    effects: list[Effect] = []
    if config != state.oidc_config:
        effects.append(Report("provider_discovered", state.flights, {"token_endpoint": config.token_endpoint}))
    state = replace(state, oidc_config=config, config_at=now, config_suspect=False)
    state, more = _send(state, _token_grant(state, config))
    return state, effects + more


def _are_doubtful(state: State, now: float) -> bool:
    """Whether to ask for the metadata again before they are used. After a wait that the answer to that asked for they serve."""
    if isinstance(state.last_error, DiscoveryError):
        return False
    return state.config_suspect or now - state.config_at > METADATA_AGE_S


def _undiscovered(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    if state.oidc_config is None or policy.retry_after_s(event.error):
        return _end(state, event.error, event.retry_at, now, rng)
    report = Report("discovery_failed", state.flights, _fields(event.error))
    state, effects = _send(state, _token_grant(state, state.oidc_config))
    return state, [report, *effects]


def _land(state: State, event: FetchSucceeded, minted: ParsedToken, now: float, rng: Rng) -> Step:
    at, expires_at = event.at, event.at + minted.lifetime_s
    token, grant, rules = _keeping(state, minted.token), _grant(state), state.rules
    jump = None if state.flight is None else state.flight.jump
    state = replace(
        state,
        token=token,
        expires_at=expires_at,
        lives=(*state.lives[-2:], expires_at - now),
        answer_at=math.inf,
        ahead_s=event.ahead_s,
        judged_ahead_s=event.ahead_s,
        withheld_until=NEVER,
        refresh_at=refresh_point(state.refresh_buffer_seconds, at, minted.lifetime_s, rules.min_interval_s, rng),
        refresh_token=_next_refresh_token(state, token),
        borrowed=False,
        flight=None,
        failures=0,
        early=0,
        probes=0,
        held_until=NEVER,
        last_error=None,
        refreshes=state.refreshes + 1,
    )
    reports = _reports_of(state, minted, grant, now)
    state, seen = (state, []) if jump is None else wall_clock.jumped(state, jump, now)
    if is_withheld(state):
        return state, reports + seen
    effects: list[Effect] = [Publish(token, expires_at, state.ahead_s), *_answers(state, now), *reports, *seen]
    return replace(state, waiters=()), effects


def _answers(state: State, now: float) -> list[Effect]:
    served = [w for w in state.waiters if is_valid(state, now, w.min_validity_s)]
    short = [w for w in state.waiters if not is_valid(state, now, w.min_validity_s)]
    answers: list[Effect] = []
    if served and state.token is not None:
        answers.append(Reply(served, state.token))
    return answers + replies(state, short, now)


def _end(state: State, error: OIDCActorError, issuer_at: float | None, now: float, rng: Rng) -> Step:
    """End the flight with an error; it displaces no token."""
    early = state.flight is not None and state.flight.early
    renewed = state.flight is not None and state.flight.source_renewed
    # What was sent before a jump of the wall clock is not the refresh that a withheld token waits for: that is to come.
    jump = state.flight.jump if state.flight is not None and is_withheld(state) else None
    state, given_back = wall_clock.give_back(state, now) if jump is None else (state, [])
    state = replace(
        state,
        flight=None,
        failures=state.failures + 1,
        early=state.early + early,
        failed_at=now,
        probes=state.probes + 1 if policy.is_permanent(error) else 0,
        floor_at=max(state.floor_at, now + policy.retry_after_s(error)),
        last_error=error,
    )
    retry_at, brought_forward = retry_point(state, now, issuer_at, rng)
    turn_at = math.inf if jump is None else max(now, jump.turn_at)
    state = replace(state, retry_at=min(retry_at, turn_at), insists=brought_forward)
    state = _with_renewed_source(state) if renewed else state
    retry_in_s = next_attempt_at(state) - now
    fields = {**_fields(error), "failures": state.failures, "retry_in_s": round(retry_in_s, 3)}
    event = "blocked" if state.blocked else "request_failed"
    effects: list[Effect] = [Report(event, state.flights, fields), *given_back]
    refused = [waiter for waiter in state.waiters if waiter.wants_refresh]
    if refused:
        state = replace(state, waiters=tuple(waiter for waiter in state.waiters if not waiter.wants_refresh))
        effects += replies(state, refused, now)
    return state, effects


def _with_skew(state: State, skew: Skew | None) -> Step:
    """Keep what an answer shows of the provider's clock; the first that is far off is worth a warning."""
    if skew is None:
        return state, []
    was_tolerable = state.skew is None or state.skew.is_tolerable
    news = not skew.is_tolerable and was_tolerable
    reports = [Report("clock_skewed", state.flights, {"skew_s": round(skew.ahead_s, 1)})] if news else []
    return replace(state, skew=skew), [*reports]


def _after(effects: list[Effect], step: Step) -> Step:
    state, more = step
    return state, effects + more


def _send(state: State, grant: Grant, haste: Haste = Haste.CALM) -> Step:
    assert state.flight is not None
    flight = replace(state.flight, leg=state.flight.leg + 1, grant=grant)
    return replace(state, flight=flight), [Fetch(flight.number, flight.leg, grant, haste, flight.early)]


def _token_grant(state: State, config: OIDCConfig) -> Grant:
    return FullGrant(config) if state.refresh_token is None else Redeem(config, state.refresh_token)


def _keeping(state: State, token: TokenResponse) -> TokenResponse:
    """The token with the refresh token that stays in use where the response left it out (RFC 6749 section 6)."""
    grant = _grant(state)
    if token.refresh_token or not isinstance(grant, Redeem):
        return token
    return token.with_refresh_token(grant.refresh_token.reveal())


def _next_refresh_token(state: State, token: TokenResponse) -> Secret | None:
    """What the next attempt redeems; where that is just what the full grant redeems, the full grant says it better."""
    text = _keeping(state, token).refresh_token
    if not text:
        return None
    refresh_token = Secret(text)
    return None if refresh_token == state.auth.grant_secret else refresh_token


def _grant(state: State) -> Grant | None:
    return None if state.flight is None else state.flight.grant


def _is_under_way(state: State, event: FetchStarted | FetchSucceeded | FetchFailed) -> bool:
    return state.flight is not None and (state.flight.number, state.flight.leg) == (event.flight, event.leg)


def _fields(error: OIDCActorError) -> dict[str, object]:
    return {"error": str(error), "status": policy.status_of(error), "code": policy.code_of(error)}


def _reports_of(state: State, minted: ParsedToken, grant: Grant | None, now: float) -> list[Effect]:
    fields: dict[str, object] = {
        "fingerprint": fingerprint(minted.token.access_token),
        "grant": "refresh_token" if isinstance(grant, Redeem) else state.auth.grant_type,
        "lifetime_s": minted.lifetime_s,
        "refresh_in_s": round(state.refresh_at - now, 3),
    }
    reports: list[Effect] = [Report("token_obtained", state.flights, fields)]
    if minted.lifetime_source == "default":
        reports.append(Report("lifetime_assumed", state.flights, {"lifetime_s": minted.lifetime_s}))
    return reports
