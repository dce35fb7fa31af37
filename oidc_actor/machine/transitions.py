"""The manager's decisions: ``step(state, event, now, rng) -> (state, effects)``. Pure.

After every event the machine settles: with no attempt under way and an attempt due (`oidc_actor.machine.schedule`) it takes
off, and sees that a tick comes when the next one is due. So no event is needed for time to count, and none can be missed.

==================  ==========================================================================================
event               what happens, besides settling
==================  ==========================================================================================
Started             a forked child whose login is its parent's says so
Tick                nothing
CheckNow, Wait         a token that lives long enough is the answer; one that falls short makes an attempt due at once, unless
                    the last one failed: then the backoff stands. The first attempt, which is put off while many managers
                    start, is due at once too. A waiter is refused as soon as waiting cannot help, and makes no attempt due
                    where none of the last three tokens would have lived long enough for it; where a changed secret
                    might help, the files are looked at first. Where no token lives the wait after a failure, and that for
                    the issuer's other managers, is as short as it may be while somebody asks
Refresh             a complaint about another token costs nothing; about the current one withdraws it (Reject). Otherwise
                    an attempt is due at once, in a backoff and while blocked too; one under way is joined
Rejected            a complaint that an adapter hears of: the same, at a pace that grows with the origin's complaints, and it
                    withdraws the token less readily (`oidc_actor.machine.invalidation`); in a backoff a complaint that
                    waits its turn goes without. A waiter that joins with one waits for another token
Accepted            the origin is known to accept the token
SecretsChecked      where one has changed while that is waited for, an attempt is due at once
SourceRenewed       where the last attempt failed for want of that token, or what was sent was refused, one is due at once;
                    one under way may have read the old token: where it fails so, the next is due at once
FetchSucceeded      metadata: the token is next, in the same attempt. A token: Publish, every waiter is answered
FetchFailed         metadata, with older ones at hand: those serve. A refresh token refused: the full grant, in the same attempt.
                    Else, and wherever the provider asks to wait (older metadata then serve the next attempt), the attempt has
                    failed: a backoff, or a slow probe after a permanent error. Whoever waited for a refresh is refused,
                    and so is every reader whose deadline comes before the next attempt
Held, Released      the issuer's other managers know it to be down (it is back): the attempt waits (may go)
ProbeFailed         the attempt of another manager that was waited for has failed: the issuer is to say anew how long to wait
ClockJumped         a token past its refresh point by the wall clock is refreshed at the issuer's pace; one past its end by it
                    is withheld until then, at most 10 s (`oidc_actor.machine.invalidation`)
==================  ==========================================================================================

A result carries the numbers of its attempt and request; any other than the one under way is ignored. An error never touches
a live token, an expired one is nobody's answer, and every path leaves an attempt under way or a tick to come.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from oidc_actor.machine import failure_policy, invalidation
from oidc_actor.machine.circuit_breaker import Haste
from oidc_actor.machine.effects import (
    CancelTick,
    CheckSecrets,
    Discover,
    Effect,
    Fetch,
    FullGrant,
    Grant,
    Publish,
    Redeem,
    Reply,
    Report,
    ScheduleTick,
)
from oidc_actor.machine.events import (
    Accepted,
    CheckNow,
    ClockJumped,
    Event,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    Held,
    ProbeFailed,
    Refresh,
    Rejected,
    Released,
    SecretsChecked,
    SourceRenewed,
    Started,
    Tick,
    Wait,
    Waiter,
)
from oidc_actor.machine.failure_policy import Rng
from oidc_actor.machine.schedule import hopeless, next_attempt_at, refresh_point, replies, retry_point, wake_at
from oidc_actor.machine.state import NEVER, Attempt, State, Step, is_asked, is_out_of_reach, is_valid, is_withheld
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.protocol.response_fields import Skew
from oidc_actor.protocol.token_response import ParsedToken
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, TokenRequestError, refuses_refresh_token
from oidc_actor.values.secrets import Secret, fingerprint
from oidc_actor.values.tokens import TokenResponse


def step(state: State, event: Event, now: float, rng: Rng) -> Step:
    """Decide what an event means.

    Args:
        state: What the manager knows.
        event: What happened.
        now: Reading of the manager's clock.
        rng: Random source for jitter.

    Returns:
        What it knows now, and what to do, in order.
    """
    effects: list[Effect] = []
    for decide in (_HANDLERS[type(event)], _settle, _dismiss):
        state, more = decide(state, event, now, rng)
        effects += more
    # The tick is set before anybody can see the outcome: whoever then moves a clock made for tests moves it past the tick.
    return state, sorted(effects, key=_comes_later)


def adopt(state: State, *, under_way: bool, rejected: bool) -> State:
    """Take over what a crashed predecessor of the same name, credentials and issuer knew.

    Args:
        state: What it knew.
        under_way: Whether the exchange it was waiting for is still to be heard of.
        rejected: Whether its token was rejected meanwhile.

    Returns:
        What its successor starts with. Its waiters join anew.
    """
    state = replace(state, refresh_timer=None, checking=False, waiters=())
    if rejected:  # and whoever complained may have told nobody but the predecessor
        state = replace(invalidation.without_token(state), wanted=not under_way)
    if under_way or state.attempt is None:
        return state
    lost = isinstance(state.attempt.grant, Redeem) and not state.rules.own_refresh_token
    return replace(state, attempt=None, refresh_token=None if lost else state.refresh_token)


def _comes_later(effect: Effect) -> bool:
    return not isinstance(effect, ScheduleTick | CancelTick)


def _started(state: State, event: Started, now: float, rng: Rng) -> Step:
    return state, [Report("login_is_parents", state.attempts)] if state.login_is_parents else []


def _tick(state: State, event: Tick, now: float, rng: Rng) -> Step:
    return _look_at_secrets(replace(state, refresh_timer=None))


def _check_now(state: State, event: CheckNow, now: float, rng: Rng) -> Step:
    state = _want(state, event.min_validity_s, now, asks=event.asks)
    return (state, []) if is_valid(state, now, event.min_validity_s) else _look_at_secrets(state)


def _wait_for(state: State, event: Wait, now: float, rng: Rng) -> Step:
    waiter = event.waiter
    if waiter.wants_refresh:
        return _refresh(state, Refresh(waiter), now, rng)
    effects: list[Effect] = []
    if waiter.rejected is not None:
        state, effects = invalidation.rejected(state, waiter.rejected, now, rng)
    is_served = is_valid(state, now, waiter.min_validity_s) and not invalidation.is_about(state.token, waiter.rejected)
    if state.token is not None and is_served:
        return state, [*effects, Reply((waiter,), state.token)]
    state, more = _look_at_secrets(_with_waiter(_want(state, waiter.min_validity_s, now), waiter))
    return state, effects + more


def _look_at_secrets(state: State) -> Step:
    """See whether a secret that is waited for has changed, unless that is being seen to."""
    if not state.watching or state.checking or state.attempt is not None:
        return state, []
    return replace(state, checking=True), [CheckSecrets()]


def _refresh(state: State, event: Refresh, now: float, rng: Rng) -> Step:
    effects: list[Effect] = []
    # Without a token the complaint is about one that a crashed predecessor had: it has been rejected, and is to be replaced.
    if event.rejected is not None and state.token is not None:
        if state.token.access_token != event.rejected.reveal():
            return state, _complaint_is_void(state.token, event.waiter)
        state, effects = invalidation.reject(state, state.token)
    if event.waiter is not None:
        state = _with_waiter(state, event.waiter)
    return (state if state.attempt is not None else replace(state, wanted=True)), effects


def _complaint_is_void(token: TokenResponse, waiter: Waiter | None) -> list[Effect]:
    """The rejected token has been replaced between the complaint and now: that is what the complainer wanted."""
    return [] if waiter is None else [Reply((waiter,), token)]


def _secrets_checked(state: State, event: SecretsChecked, now: float, rng: Rng) -> Step:
    state = replace(state, checking=False)
    if not event.changed or not state.watching or state.attempt is not None:
        return state, []
    return replace(state, wanted=True), [Report("secret_changed", state.attempts)]


def _released(state: State, event: Released, now: float, rng: Rng) -> Step:
    # Whoever has a caller goes now, as at its start; the others come one after the other.
    at = now if is_asked(state, now) else now + rng.uniform(0.0, event.within_s)
    state = replace(_unheld(state, min(state.held_until, at)), insists=False)
    if state.failures and not state.blocked:
        state = replace(state, retry_at=min(state.retry_at, at))
    return state, []


def _probe_failed(state: State, event: ProbeFailed, now: float, rng: Rng) -> Step:
    # Where a token lives its end says when to ask again.
    return (_unheld(state, NEVER) if state.queued and not is_valid(state, now) else state), []


def _want(state: State, min_validity_s: float, now: float, *, asks: bool = True) -> State:
    """Make an attempt due for a live token that falls short, and the very first; where none lives, make the wait a short one."""
    if is_out_of_reach(state, min_validity_s):
        return state
    if not is_valid(state, now):
        return _asked(state, now) if asks else _first_at_once(state)
    if is_valid(state, now, min_validity_s) or state.failures or state.attempt is not None:
        return state
    return replace(state, wanted=True)


def _asked(state: State, now: float) -> State:
    """Somebody wants a token and there is none: the issuer is asked as soon as it may be for those who are asked."""
    state = replace(state, asked_at=now, refresh_at=min(state.refresh_at, now))
    if not state.hold_asked:
        state = _unheld(state, NEVER)
    if state.blocked or not state.failures:
        return state
    return replace(state, retry_at=min(state.retry_at, state.failed_at + state.rules.retry.asked_maximum_s))


def _first_at_once(state: State) -> State:
    return _unheld(state, NEVER) if state.attempted_at == NEVER and not state.hold_asked else state


def _unheld(state: State, until: float) -> State:
    return replace(state, held_until=until, hold_asked=False, queued=False)


def _with_waiter(state: State, waiter: Waiter) -> State:
    return replace(state, waiters=(*state.waiters, waiter))


def _settle(state: State, event: Event, now: float, rng: Rng) -> Step:
    """Take off if an attempt is due, give back a token that was withheld for long enough, and see that the next tick comes."""
    effects: list[Effect] = []
    if is_withheld(state) and state.withheld_until <= now:
        state, effects = invalidation.give_back(state, now)
    if state.attempt is None and next_attempt_at(state) <= now:
        state, more = _begin(state, now)
        effects = effects + more
    due = wake_at(state, now)
    if due == state.refresh_timer:
        return state, effects
    effects.append(CancelTick() if due is None else ScheduleTick(due - now))
    return replace(state, refresh_timer=due), effects


def _dismiss(state: State, event: Event, now: float, rng: Rng) -> Step:
    """Refuse the waiters that waiting cannot help; one that has just come is the only news of its event."""
    asked = (event.waiter,) if isinstance(event, Wait) else state.waiters
    gone = [waiter for waiter in asked if waiter in state.waiters and hopeless(state, waiter, now)]
    if not gone:
        return state, []
    kept = tuple(waiter for waiter in state.waiters if waiter not in gone)
    return replace(state, waiters=kept), [*replies(state, gone, now)]


METADATA_AGE_S = 24 * 3600.0
"""Seconds after which discovered metadata are asked for again."""


def _begin(state: State, now: float) -> Step:
    """Begin an attempt."""
    haste = _haste(state, now)
    before, wanted = state.attempted_at, state.wanted
    begun = Attempt(state.attempts + 1, 0, None, attempted_before=before, wanted=wanted, early=state.insists)
    state = replace(state, attempts=begun.number, attempted_at=now, wanted=False, insists=False, attempt=begun)
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


def _fetch_started(state: State, event: FetchStarted, now: float, rng: Rng) -> Step:
    """A request is about to be sent; from here on the minimum interval counts."""
    if not _is_under_way(state, event):
        return state, []
    attempt = None if state.attempt is None else replace(state.attempt, jump=None)
    state = replace(state, attempt=attempt, attempted_at=max(state.attempted_at, event.at))
    if isinstance(_grant(state), Discover):
        return state, []
    return replace(state, posted_at=state.attempted_at, token_requests=state.token_requests + 1), []


def _source_renewed(state: State, event: SourceRenewed, now: float, rng: Rng) -> Step:
    """Try again where it was for want of that token; an attempt under way may have read the old one, and ends first."""
    if state.attempt is not None:
        return replace(state, attempt=replace(state.attempt, source_renewed=True)), []
    return _with_renewed_source(state), []


def _with_renewed_source(state: State) -> State:
    """The minimum interval counts from the last request for a token: an attempt that had none to trade sent nothing."""
    if not failure_policy.is_about_secrets(state.last_error):
        return state
    return replace(state, wanted=True, attempted_at=min(state.attempted_at, state.posted_at))


def _fetch_succeeded(state: State, event: FetchSucceeded, now: float, rng: Rng) -> Step:
    """Go on to the next request, or land."""
    if not _is_under_way(state, event):
        return state, []
    if isinstance(event.result, OIDCConfig):
        return _discovered(state, event.result, now)
    state, seen = _with_skew(state, event.skew)
    if event.at + event.result.lifetime_s <= now:
        late = TokenRequestError(f"the token had expired when it came: it lived {event.result.lifetime_s:.1f} s")
        state = replace(state, refresh_token=_next_refresh_token(state, event.result.token))  # that came alive
        return _after(seen, _end(state, late, None, now, rng))
    return _after(seen, _obtained(state, event, event.result, now, rng))


def _fetch_failed(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    """Go on to the next request where there is another way and the provider asks for no wait, else end the attempt."""
    if not _is_under_way(state, event):
        return state, []
    state, seen = _with_skew(state, event.skew)
    return _after(seen, _another_way(state, event, now, rng))


def _another_way(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    error, grant = event.error, _grant(state)
    if isinstance(grant, Discover):
        return _undiscovered(state, event, now, rng)
    if isinstance(grant, Redeem):
        if refuses_refresh_token(error):
            report = Report("refresh_token_refused", state.attempts, _fields(error))
            state = replace(state, refresh_token=None)
            if failure_policy.retry_after_s(error):
                return _after([report], _end(state, error, event.retry_at, now, rng))
            return _after([report], _send(state, FullGrant(grant.config)))
        if failure_policy.may_have_rotated(error) and not state.rules.own_refresh_token:
            state = replace(state, refresh_token=None)
    if failure_policy.may_have_moved(error, state.failures + 1):
        state = replace(state, config_suspect=True)
    return _end(state, error, event.retry_at, now, rng)


def _held(state: State, event: Held, now: float, rng: Rng) -> Step:
    """The attempt never left: another manager of this issuer knows better. A live token's end bounds the patience."""
    attempt = state.attempt
    if attempt is None or attempt.number != event.attempt:
        return state, []
    until = event.until
    if is_valid(state, now) and not event.by_provider:
        until = min(until, now + max((state.expires_at - now) / 4, state.rules.min_interval_s))
    state = replace(
        state,
        attempt=None,
        attempts=attempt.number - 1,
        attempted_at=attempt.attempted_before,
        wanted=attempt.wanted,
        held_until=until,
        hold_asked=is_asked(state, now),
        queued=event.probing,
        insists=until < event.until,
        floor_at=max(state.floor_at, until) if event.by_provider else state.floor_at,
    )
    return state, [Report("issuer_held", state.attempts, {"wait_s": round(until - now, 3)})]


def _discovered(state: State, config: OIDCConfig, now: float) -> Step:
    effects: list[Effect] = []
    if config != state.oidc_config:
        effects.append(Report("provider_discovered", state.attempts, {"token_endpoint": config.token_endpoint}))
    state = replace(state, oidc_config=config, config_at=now, config_suspect=False)
    state, more = _send(state, _token_grant(state, config))
    return state, effects + more


def _are_doubtful(state: State, now: float) -> bool:
    """Whether to ask for the metadata again before they are used. After a wait that the answer to that asked for they serve."""
    if isinstance(state.last_error, DiscoveryError):
        return False
    return state.config_suspect or now - state.config_at > METADATA_AGE_S


def _undiscovered(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    if state.oidc_config is None or failure_policy.retry_after_s(event.error):
        return _end(state, event.error, event.retry_at, now, rng)
    report = Report("discovery_failed", state.attempts, _fields(event.error))
    state, effects = _send(state, _token_grant(state, state.oidc_config))
    return state, [report, *effects]


def _obtained(state: State, event: FetchSucceeded, minted: ParsedToken, now: float, rng: Rng) -> Step:
    at, expires_at = event.at, event.at + minted.lifetime_s
    token, grant, rules = _keeping(state, minted.token), _grant(state), state.rules
    jump = None if state.attempt is None else state.attempt.jump
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
        attempt=None,
        failures=0,
        early=0,
        probes=0,
        held_until=NEVER,
        last_error=None,
        refreshes=state.refreshes + 1,
    )
    reports = _reports_of(state, minted, grant, now)
    state, seen = (state, []) if jump is None else invalidation.jumped(state, jump, now)
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
    """End the attempt with an error; it displaces no token."""
    early = state.attempt is not None and state.attempt.early
    renewed = state.attempt is not None and state.attempt.source_renewed
    # What was sent before a jump of the wall clock is not the refresh that a withheld token waits for: that is to come.
    jump = state.attempt.jump if state.attempt is not None and is_withheld(state) else None
    state, given_back = invalidation.give_back(state, now) if jump is None else (state, [])
    state = replace(
        state,
        attempt=None,
        failures=state.failures + 1,
        early=state.early + early,
        failed_at=now,
        probes=state.probes + 1 if error.permanent else 0,
        floor_at=max(state.floor_at, now + failure_policy.retry_after_s(error)),
        last_error=error,
    )
    retry_at, brought_forward = retry_point(state, now, issuer_at, rng)
    turn_at = math.inf if jump is None else max(now, jump.turn_at)
    state = replace(state, retry_at=min(retry_at, turn_at), insists=brought_forward)
    state = _with_renewed_source(state) if renewed else state
    retry_in_s = next_attempt_at(state) - now
    fields = {**_fields(error), "failures": state.failures, "retry_in_s": round(retry_in_s, 3)}
    event = "blocked" if state.blocked else "request_failed"
    effects: list[Effect] = [Report(event, state.attempts, fields), *given_back]
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
    reports = [Report("clock_skewed", state.attempts, {"skew_s": round(skew.ahead_s, 1)})] if news else []
    return replace(state, skew=skew), [*reports]


def _after(effects: list[Effect], step: Step) -> Step:
    state, more = step
    return state, effects + more


def _send(state: State, grant: Grant, haste: Haste = Haste.CALM) -> Step:
    assert state.attempt is not None
    attempt = replace(state.attempt, request=state.attempt.request + 1, grant=grant)
    return replace(state, attempt=attempt), [Fetch(attempt.number, attempt.request, grant, haste, attempt.early)]


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
    return None if state.attempt is None else state.attempt.grant


def _is_under_way(state: State, event: FetchStarted | FetchSucceeded | FetchFailed) -> bool:
    return state.attempt is not None and (state.attempt.number, state.attempt.request) == (event.attempt, event.request)


def _fields(error: OIDCActorError) -> dict[str, object]:
    return {"error": str(error), "status": failure_policy.status_of(error), "code": failure_policy.code_of(error)}


def _reports_of(state: State, minted: ParsedToken, grant: Grant | None, now: float) -> list[Effect]:
    fields: dict[str, object] = {
        "fingerprint": fingerprint(minted.token.access_token),
        "grant": "refresh_token" if isinstance(grant, Redeem) else state.auth.grant_type,
        "lifetime_s": minted.lifetime_s,
        "refresh_in_s": round(state.refresh_at - now, 3),
    }
    reports: list[Effect] = [Report("token_obtained", state.attempts, fields)]
    if minted.lifetime_source == "default":
        reports.append(Report("lifetime_assumed", state.attempts, {"lifetime_s": minted.lifetime_s}))
    return reports


_HANDLERS: dict[type[Any], Callable[[State, Any, float, Rng], Step]] = {
    Started: _started,
    Tick: _tick,
    CheckNow: _check_now,
    Wait: _wait_for,
    Refresh: _refresh,
    Rejected: invalidation.rejected,
    Accepted: invalidation.accepted,
    SecretsChecked: _secrets_checked,
    ClockJumped: lambda state, event, now, rng: invalidation.jumped(state, event, now),
    Released: _released,
    FetchStarted: _fetch_started,
    FetchSucceeded: _fetch_succeeded,
    FetchFailed: _fetch_failed,
    ProbeFailed: _probe_failed,
    SourceRenewed: _source_renewed,
    Held: _held,
}
