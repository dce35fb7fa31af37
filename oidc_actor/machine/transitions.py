"""The manager's decisions: ``step(state, event, now, rng) -> (state, effects)``. Pure.

`TABLE`, at the end, is the machine: in which phase (`Phase`) which event is decided by which function, and to which phases that
leads. `step` interprets it; what the table does not name changes nothing. A function returns the state, with what is to be done
in it (`State.then`).

After every event the machine settles: while it waits and an attempt is due (`oidc_actor.machine.schedule`) it asks the
circuit breaker, and else sees that a tick comes when the next one is due. So no event is needed for time to count, and none
can be missed. The answer of the breaker is the next event: an attempt begins when it is allowed, and nothing is taken back.

A result carries the numbers of its attempt and request; any other than the one under way is ignored. An error never touches
a live token, no reader gets an expired one, and every path leaves an attempt under way or a tick to come.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from oidc_actor.machine import effects, events, failure_policy, invalidation, replacing, schedule, sharing, step_up
from oidc_actor.machine.failure_policy import Rng
from oidc_actor.machine.state import (
    METADATA_AGE_S,
    Attempt,
    Denial,
    Phase,
    State,
    is_asked,
    is_out_of_reach,
    is_valid,
    is_withheld,
)
from oidc_actor.values.clock import Skew
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, TokenRequestError, refuses_refresh_token
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, fingerprint
from oidc_actor.values.tokens import ParsedToken, TokenResponse
from supervision.frozen import dataclass


def step(state: State, event: events.Event, now: float, rng: Rng) -> tuple[State, list[effects.Effect]]:
    """Decide what an event means.

    Args:
        state: What the manager knows.
        event: What happened.
        now: Reading of the manager's clock.
        rng: Random source for jitter.

    Returns:
        What it knows now, and what to do, in order.
    """
    row = row_of(state, event)
    if row is not None:
        state = row.decide(state, event, now, rng)
    state = _dismiss(_settle(state, event, now, rng), event, now)
    if not state.effects:
        return state, []
    # The tick is set before a reader can see the outcome: a reader that then moves a clock made for tests moves it past the tick.
    return state._replace(effects=()), sorted(state.effects, key=_order)


def adopt(state: State, *, under_way: bool, rejected: bool) -> State:
    """Take over what a crashed predecessor of the same name, credentials and issuer knew.

    Args:
        state: What it knew.
        under_way: Whether the request it was waiting for is still to be heard of.
        rejected: Whether its token was rejected meanwhile.

    Returns:
        What its successor starts with. Its waiters are told to it anew.
    """
    state = state._replace(refresh_timer=None, checking=False, is_asking=False, waiters=())
    if rejected:  # and the reader that rejected it may have told only the predecessor
        token = state.token
        state = invalidation.without_token(state)._replace(wanted=not under_way)
        if state.sharing is not None and token is not None:
            state = sharing.rejects(state, token)
    if state.sharing is not None:
        return _adopt_sharing(state, under_way=under_way)
    if under_way or state.attempt is None:
        return state
    lost = isinstance(state.attempt.grant, effects.Redeem) and not state.rules.own_refresh_token
    return state._replace(attempt=None, refresh_token=None if lost else state.refresh_token)


def _adopt_sharing(state: State, *, under_way: bool) -> State:
    """What the predecessor held is given up, where its request is lost; what it may not have shared is shared."""
    known = sharing.of(state)
    if known.unshared is not None:
        state = sharing.now_knows(state, share_at=events.NEVER)
    if under_way or state.attempt is None:
        return state
    return sharing.now_knows(state._replace(attempt=None), left=state.attempt.lease, passed=0)


# --- after every event ------------------------------------------------------------------------------------------------


def _settle(state: State, event: events.Event, now: float, rng: Rng) -> State:
    """Give back a token that was withheld for long enough, ask if an attempt is due, and see that the next tick comes."""
    if is_withheld(state) and state.withheld_until <= now:
        state = invalidation.give_back(state, now)
    if state.sharing is not None:
        state = sharing.due(state, now)
    if state.phase in _DUE_PHASES and schedule.next_attempt_at(state) <= now:
        state = DUE.decide(state, event, now, rng)
    if state.is_asking:  # the answer, which comes next, says when the next tick is due
        return state
    due = schedule.wake_at(state, now)
    if state.sharing is not None and (at := sharing.wake_at(state)) < math.inf:
        due = at if due is None else min(due, at)
    if due == state.refresh_timer:
        return state
    tick = effects.CancelTick() if due is None else effects.ScheduleTick(due - now)
    return state._replace(refresh_timer=due, effects=(*state.effects, tick))


def _dismiss(state: State, event: events.Event, now: float) -> State:
    """Refuse the waiters that waiting cannot help. Where one has just come, nothing has changed for the others."""
    if not state.waiters:
        return state
    asked = (event.waiter,) if isinstance(event, events.Wait) else state.waiters
    gone = [waiter for waiter in asked if waiter in state.waiters and schedule.hopeless(state, waiter, now)]
    return schedule.refuse(state, gone, now)


def _order(effect: effects.Effect) -> int:
    return _FIRST.get(type(effect), 2)


_FIRST: dict[type[Any], int] = {effects.TakeOver: 0, effects.ScheduleTick: 1, effects.CancelTick: 1}


# --- readers, and what they say of the token --------------------------------------------------------------------------


def _started(state: State, event: events.Started, now: float, rng: Rng) -> State:
    if state.sharing is not None and (left := state.sharing.left) is not None:
        was_sent = state.posted_at >= left.at
        given_up = effects.GiveUpLease(left, "doubtful" if was_sent else "intact")
        state = sharing.now_knows(state, left=None).then(given_up)
    return state.report("login_is_parents") if state.login_is_parents else state


def _tick(state: State, event: events.Tick, now: float, rng: Rng) -> State:
    return _look_at_secrets(state._replace(refresh_timer=None))


def _check_now(state: State, event: events.CheckNow, now: float, rng: Rng) -> State:
    state = _due_for(state, event.min_validity_s, now, asks=event.asks)
    return state if is_valid(state, now, event.min_validity_s) else _look_at_secrets(state)


def _wait(state: State, event: events.Wait, now: float, rng: Rng) -> State:
    waiter = event.waiter
    if waiter.wants_refresh:
        return _refresh(state, events.Refresh(waiter), now, rng)
    if waiter.rejected is not None:
        state = _rejected(state, waiter.rejected, now, rng)
    if is_valid(state, now, waiter.min_validity_s) and not invalidation.is_about(state.token, waiter.rejected):
        return schedule.serve(state, [waiter])
    return _look_at_secrets(_with_waiter(_due_for(state, waiter.min_validity_s, now), waiter))


def _rejected(state: State, event: events.Rejected, now: float, rng: Rng) -> State:
    if event.step_up is not None:
        return step_up.challenged(state, event, now)
    return invalidation.rejected(state, event, now, rng)


def _refresh(state: State, event: events.Refresh, now: float, rng: Rng) -> State:
    # Without a token this is about one that a crashed predecessor had: it has been rejected, and is to be replaced.
    if event.rejected is not None and state.token is not None:
        if state.token.access_token != event.rejected.reveal():  # replaced meanwhile, which is what is wanted
            return state if event.waiter is None else schedule.serve(state, [event.waiter])
        state = invalidation.reject(state, state.token)
    return _at_once(state if event.waiter is None else _with_waiter(state, event.waiter))


def _due_for(state: State, min_validity_s: float, now: float, *, asks: bool = True) -> State:
    """Make an attempt due at once where the live token falls short, or at the start; without a live token, after a short wait."""
    if is_out_of_reach(state, min_validity_s):
        return state
    if not is_valid(state, now):
        return _asked(state, now) if asks else _first_at_once(state)
    if is_valid(state, now, min_validity_s) or state.failures:
        return state
    return _at_once(state)


def _asked(state: State, now: float) -> State:
    """A reader wants a token and there is none: the next attempt is due as soon as a reader's wish allows."""
    state = state._replace(asked_at=now, refresh_at=min(state.refresh_at, now))
    if state.denial is not None and not state.denial.asked:
        state = state._replace(denial=None)
    return state._replace(retry_at=schedule.asked_retry_at(state))


def _first_at_once(state: State) -> State:
    was_asked = state.denial is not None and state.denial.asked
    return state._replace(denial=None) if state.attempted_at == events.NEVER and not was_asked else state


def _at_once(state: State) -> State:
    """Make an attempt due as soon as one may be made; an attempt under way serves, but for one that may only adopt."""
    attempt = state.attempt
    if attempt is None or (
        isinstance(attempt.grant, effects.Claim) and attempt.grant.adopts_only and not attempt.refused
    ):
        return state._replace(wanted=True)
    return state


def _with_waiter(state: State, waiter: events.Waiter) -> State:
    return state._replace(waiters=(*state.waiters, waiter))


# --- the world around -------------------------------------------------------------------------------------------------


def _look_at_secrets(state: State) -> State:
    """Have the secrets' files looked at where a change is waited for; an attempt reads them itself."""
    is_read_anyway = state.checking or state.wanted or state.attempt is not None
    if is_read_anyway or not state.watching:
        return state
    return state._replace(checking=True).then(effects.CheckSecrets())


def _secrets_checked(state: State, event: events.SecretsChecked, now: float, rng: Rng) -> State:
    state = state._replace(checking=False)
    if state.attempt is not None:
        return state
    if event.changed and state.watching:
        return state._replace(wanted=True).report("secret_changed")
    return state


def _certificate_renewed(state: State, event: events.CertificateRenewed, now: float, rng: Rng) -> State:
    """Have the token replaced, which may be bound to the former one (RFC 8705 section 3); told again until there is another."""
    if state.attempt is not None or state.token is None or state.refresh_at <= now:
        return state
    # At the issuer's pace, as any refresh: the token is good with the former certificate, which lives on for a while.
    return state._replace(refresh_at=now).report("certificate_renewed")


def _source_renewed(state: State, event: events.SourceRenewed, now: float, rng: Rng) -> State:
    """Try again where the last attempt lacked that token; an attempt under way may have read the old one, and ends first."""
    if state.attempt is not None:
        return state._replace(attempt=replace(state.attempt, source_renewed=True))
    return _with_renewed_source(state)


def _with_renewed_source(state: State) -> State:
    """The minimum interval counts from the last request for a token: an attempt that had none to trade sent nothing.

    An identity provider that was asked for what is traded had such a request, too (`FetchStarted`).
    """
    if not failure_policy.is_about_secrets(state.last_error):
        return state
    return state._replace(wanted=True, attempted_at=min(state.attempted_at, state.posted_at))


def _breaker_closed(state: State, event: events.BreakerClosed, now: float, rng: Rng) -> State:
    # A manager whose token is asked for goes now, as at its start; the others come one after the other.
    at = now if is_asked(state, now) else now + rng.uniform(0.0, event.within_s)
    if state.denial is not None:
        state = state._replace(denial=Denial(min(state.denial.until, at)))
    if state.failures and not state.blocked:
        state = state._replace(retry_at=min(state.retry_at, at))
    return state


def _probe_failed(state: State, event: events.ProbeFailed, now: float, rng: Rng) -> State:
    # Where a token lives its end says when to ask again.
    is_waited_for = state.denial is not None and state.denial.probing and not is_valid(state, now)
    return state._replace(denial=None) if is_waited_for else state


# --- an attempt: metadata if need be, a refresh token if there is one, else the full grant ----------------------------


def _ask(state: State, event: events.Event, now: float, rng: Rng) -> State:
    question = effects.AskPermission(_haste(state, now), state.oidc_config is None)
    return state._replace(is_asking=True, effects=(*state.effects, question))


def _haste(state: State, now: float) -> events.Haste:
    if state.wanted:
        return events.Haste.EXPLICIT
    if schedule.is_brought_forward(state) or state.attempted_at == events.NEVER:
        return events.Haste.PRESSING
    return events.Haste.ASKED if is_asked(state, now) and not is_valid(state, now) else events.Haste.CALM


def _denied(state: State, event: events.Denied, now: float, rng: Rng) -> State:
    at = events.NEVER if event.by_provider else now
    denial = Denial(event.until, at, asked=is_asked(state, now), probing=event.probing)
    floor_at = max(state.floor_at, event.until) if event.by_provider else state.floor_at
    state = state._replace(is_asking=False, denial=denial, floor_at=floor_at)
    return state.report("issuer_held", wait_s=round(schedule.next_attempt_at(state) - now, 3))


def _allowed(state: State, event: events.Allowed, now: float, rng: Rng) -> State:
    early, number = schedule.is_brought_forward(state), state.attempts + 1
    haste = _haste(state, now)
    grant = _first_grant(state, now) if state.sharing is None else sharing.claim_of(state, now)
    state = state._replace(is_asking=False, denial=None)
    attempt = Attempt(number, 1, grant, early, haste=haste, step_up=state.step_up)
    return _begin(state if state.sharing is not None else _attempted(state, now), attempt)


def _begin(state: State, attempt: Attempt) -> State:
    return _fetch(state._replace(attempts=attempt.number), attempt)


def _attempted(state: State, now: float) -> State:
    """From here on the minimum interval counts. A claim asks no provider: then it is from when it is granted."""
    return state._replace(attempted_at=now, wanted=False)


def _first_grant(state: State, now: float) -> effects.Grant:
    config = state.oidc_config
    is_known = config is not None and not (state.rules.discovers and _are_doubtful(state, now))
    return _next_grant(state, config, now) if config is not None and is_known else effects.Discover(instead_of=config)


def _are_doubtful(state: State, now: float) -> bool:
    """Whether to request the metadata again before they are used; not after a wait that the response to that request imposed."""
    if isinstance(state.last_error, DiscoveryError):
        return False
    return state.config_suspect or now - state.config_at > METADATA_AGE_S


def _next_grant(state: State, config: OIDCConfig, now: float) -> effects.Grant:
    """What follows the provider's metadata: the resource's where they are missing or old, then the token."""
    is_old = now - state.resource_at > METADATA_AGE_S
    return effects.VerifyResource(config) if state.rules.verifies_resource and is_old else _token_grant(state, config)


def _token_grant(state: State, config: OIDCConfig) -> effects.Grant:
    if not state.auth.asks_provider:
        return effects.FullGrant(config, state.previous)
    lease = None if state.attempt is None else state.attempt.lease
    refresh_token = state.refresh_token if lease is None else lease.refresh_token
    if state.step_up is not None and step_up.needs_full_grant(state):
        return effects.FullGrant(config)
    return effects.FullGrant(config) if refresh_token is None else effects.Redeem(config, refresh_token)


def _send(state: State, grant: effects.Grant) -> State:
    """Go on with the next request of the attempt under way."""
    assert state.attempt is not None
    return _fetch(state, replace(state.attempt, request=state.attempt.request + 1, grant=grant))


def _fetch(state: State, attempt: Attempt) -> State:
    probes = state.blocked and attempt.haste is not events.Haste.EXPLICIT
    why = attempt.haste, probes, attempt.step_up
    fetch = effects.Fetch(attempt.number, attempt.request, attempt.grant, attempt.early, attempt.lease, *why)
    return state._replace(attempt=attempt, effects=(*state.effects, fetch))


def _request_started(state: State, event: events.FetchStarted, now: float, rng: Rng) -> State:
    """A request is about to be sent; from here on the minimum interval counts."""
    assert state.attempt is not None
    attempt, at = state.attempt, max(state.attempted_at, event.at)
    if attempt.jump is not None:
        attempt = replace(attempt, jump=None)
    if isinstance(attempt.grant, effects.Discover | effects.VerifyResource):
        return state._replace(attempt=attempt, attempted_at=at)
    return state._replace(attempt=attempt, attempted_at=at, posted_at=at, token_requests=state.token_requests + 1)


def _metadata_came(state: State, event: events.FetchSucceeded, now: float, rng: Rng) -> State:
    assert state.attempt is not None
    config, grant = event.result, state.attempt.grant
    if isinstance(grant, effects.VerifyResource):
        return _send(state._replace(resource_at=now), _token_grant(state, grant.config))
    assert isinstance(config, OIDCConfig)
    if config != state.oidc_config:
        state = state.report("provider_discovered", token_endpoint=config.token_endpoint)
    state = state._replace(oidc_config=config, config_at=now, config_suspect=False)
    return _send(state, _next_grant(state, config, now))


def _metadata_failed(state: State, event: events.FetchFailed, now: float, rng: Rng) -> State:
    attempt, config, error = state.attempt, state.oidc_config, event.error
    assert attempt is not None
    state = _with_skew(state, event.skew)
    if isinstance(attempt.grant, effects.VerifyResource):
        return _not_verified(state, attempt.grant.config, event, now, rng)
    if config is None or failure_policy.retry_after_s(error):
        return _end(state, error, event.retry_at, now, rng)
    return _send(state.report("discovery_failed", **_fields(error)), _next_grant(state, config, now))


def _not_verified(state: State, config: OIDCConfig, event: events.FetchFailed, now: float, rng: Rng) -> State:
    """A resource that has named the issuer before keeps no token from being renewed; it is asked again when its wait is over."""
    if state.resource_at == events.NEVER:
        return _end(state, event.error, event.retry_at, now, rng)
    old_at = now + failure_policy.retry_after_s(event.error)
    state = state._replace(resource_at=max(state.resource_at, old_at - METADATA_AGE_S))
    return _send(state.report("discovery_failed", **_fields(event.error)), _token_grant(state, config))


def _token_came(state: State, event: events.FetchSucceeded, now: float, rng: Rng) -> State:
    came, attempt = event.result, state.attempt
    assert attempt is not None
    assert isinstance(came, ParsedToken)
    state = _with_skew(state, event.skew)
    if event.at + came.lifetime_s > now:
        return _obtained(state, event, came, now, rng)
    late = TokenRequestError(f"the token had expired when it came: it lived {came.lifetime_s:.1f} s")
    # The refresh token that came with it is alive.
    refresh_token = _next_refresh_token(state, came.token)
    state = state._replace(previous=_next_previous(state, came.token))
    if attempt.lease is None:
        return _end(state._replace(refresh_token=refresh_token), late, None, now, rng)
    state = sharing.share(state, attempt.lease, came.token, event.at + came.lifetime_s, came.lifetime_s, refresh_token)
    return _end(state._replace(attempt=replace(attempt, lease=None)), late, None, now, rng)


def _refresh_failed(state: State, event: events.FetchFailed, now: float, rng: Rng) -> State:
    attempt = state.attempt
    assert attempt is not None
    if attempt.step_up is not None:
        state, is_over = step_up.failed(state, event, now)
        if is_over or state.attempt is None:
            return _with_less(state, event)
        attempt = state.attempt
    assert isinstance(attempt.grant, effects.Redeem)
    error, config = event.error, attempt.grant.config
    if not refuses_refresh_token(error):
        is_spent = failure_policy.may_have_rotated(error) and not state.rules.own_refresh_token
        return _grant_failed(state._replace(refresh_token=None) if is_spent else state, event, now, rng)
    if attempt.lease is not None:
        if state.rules.own_refresh_token:
            return _grant_failed(state, event, now, rng)
        state = state._replace(attempt=replace(attempt, login="refused"))
    state = _with_skew(state, event.skew)._replace(refresh_token=None)
    state = state.report("refresh_token_refused", **_fields(error))
    if failure_policy.retry_after_s(error):
        return _end(state, error, event.retry_at, now, rng)
    return _send(state, effects.FullGrant(config))


def _with_less(state: State, event: events.FetchFailed) -> State:
    """The provider has refused what was asked for besides: the attempt has ended, or goes on without that."""
    state = _with_skew(state, event.skew)
    if state.attempt is None or state.oidc_config is None:
        return state
    return _send(state, _token_grant(state, state.oidc_config))


def _full_grant_failed(state: State, event: events.FetchFailed, now: float, rng: Rng) -> State:
    assert state.attempt is not None
    if state.attempt.step_up is not None:
        state, is_over = step_up.failed(state, event, now)
        if is_over:
            return _with_less(state, event)
    return _grant_failed(state, event, now, rng)


def _grant_failed(state: State, event: events.FetchFailed, now: float, rng: Rng) -> State:
    state = _with_skew(state, event.skew)
    if failure_policy.may_have_moved(event.error, state.failures + 1):
        state = state._replace(config_suspect=True)
    attempt = state.attempt
    assert attempt is not None
    if attempt.lease is not None and (state.rules.own_refresh_token or isinstance(attempt.grant, effects.Redeem)):
        if refuses_refresh_token(event.error):  # another member may have redeemed it, and have shared what came
            seeks = replace(attempt, login="refused", refused=event.error)
            return _send(state._replace(attempt=seeks), sharing.claim_of(state, now, adopts_only=True))
        if failure_policy.may_have_rotated(event.error):
            state = state._replace(attempt=replace(attempt, login="doubtful"))
    return _end(state, event.error, event.retry_at, now, rng)


def _obtained(state: State, event: events.FetchSucceeded, came: ParsedToken, now: float, rng: Rng) -> State:
    assert state.attempt is not None
    token, grant, lease = _with_kept_refresh_token(state, came.token), state.attempt.grant, state.attempt.lease
    asked = state.attempt.step_up
    state = state._replace(refresh_token=_next_refresh_token(state, token))
    state = _with_token(state, token, event.at, came.lifetime_s, event.ahead_s, now, rng)
    if asked is not None or state.step_up is not None or state.stepped_up is not None:
        state = step_up.obtained(state, asked)
    if state.sharing is not None:
        state = sharing.obtained(state, lease, came.lifetime_s, state.refresh_token, rng)
    state = _published(state, now)
    state = state.report(
        "token_obtained",
        fingerprint=fingerprint(token.access_token),
        grant="refresh_token" if isinstance(grant, effects.Redeem) else state.auth.grant_type,
        lifetime_s=came.lifetime_s,
        refresh_in_s=round(state.refresh_at - now, 3),
    )
    return state.report("lifetime_assumed", lifetime_s=came.lifetime_s) if came.lifetime_source == "default" else state


def _with_token(
    state: State, token: TokenResponse, at: float, lifetime_s: float, ahead_s: float, now: float, rng: Rng
) -> State:
    """The attempt ends with a token that lives ``lifetime_s`` seconds from ``at`` on."""
    assert state.attempt is not None
    interval_s, expires_at, jump = state.rules.min_interval_s, at + lifetime_s, state.attempt.jump
    state = state._replace(
        token=token,
        expires_at=expires_at,
        lifetimes=(*state.lifetimes[-2:], expires_at - now),
        answer_at=math.inf,
        ahead_s=ahead_s,
        judged_ahead_s=ahead_s,
        previous=_next_previous(state, token),
        withheld_until=events.NEVER,
        refresh_at=schedule.refresh_point(state.refresh_buffer_seconds, at, lifetime_s, interval_s, rng),
        borrowed=False,
        is_former=False,
        attempt=None,
        failures=0,
        early=0,
        probes=0,
        last_error=None,
        refreshes=state.refreshes + 1,
    )
    return state if jump is None else invalidation.jumped(state, jump, now, rng)


def _published(state: State, now: float) -> State:
    """Show the new token to readers, unless it is withheld."""
    if is_withheld(state) or state.token is None:
        return state
    return _answered(state.then(effects.Publish(state.token, state.expires_at, state.ahead_s)), now)


def _answered(state: State, now: float) -> State:
    """Serve the waiters that the new token is enough for, and refuse the others: it is the outcome for all.

    It is none for a waiter whose challenge came after it was asked for: another one follows.
    """
    stays = state.step_up is not None
    concerned = [one for one in state.waiters if not (stays and step_up.is_awaited(state, one))]
    state = schedule.serve(state, [one for one in concerned if is_valid(state, now, one.min_validity_s)])
    return schedule.refuse(state, [one for one in concerned if one in state.waiters], now)


def _end(state: State, error: OIDCActorError, issuer_at: float | None, now: float, rng: Rng) -> State:
    """End the attempt with an error; it displaces no token."""
    assert state.attempt is not None
    attempt = state.attempt
    # A request from before a jump of the wall clock is not the refresh that a withheld token waits for: that is still to come.
    jump = attempt.jump if is_withheld(state) else None
    state = state if jump is not None else invalidation.give_back(state, now)
    state = state._replace(
        attempt=None,
        failures=state.failures + 1,
        early=state.early + attempt.early,
        failed_at=now,
        probes=state.probes + 1 if error.permanent else 0,
        floor_at=max(state.floor_at, now + failure_policy.retry_after_s(error)),
        last_error=error,
    )
    turn_at = math.inf if jump is None else max(now, jump.turn_at)
    state = state._replace(retry_at=min(schedule.retry_point(state, now, issuer_at, rng), turn_at))
    state = _with_renewed_source(state) if attempt.source_renewed else state
    retry_in_s = round(schedule.next_attempt_at(state) - now, 3)
    if attempt.lease is not None:
        # What no retry cures may be this member's own: the others wait for no more than the least interval.
        wait_s = state.rules.min_interval_s if error.permanent else max(0.0, retry_in_s)
        state = state.then(effects.GiveUpLease(attempt.lease, attempt.login, wait_s))
    event = "blocked" if state.blocked else "request_failed"
    state = state.report(event, **_fields(error), failures=state.failures, retry_in_s=retry_in_s)
    return schedule.refuse(state, [waiter for waiter in state.waiters if waiter.wants_refresh], now)


def _with_skew(state: State, skew: Skew | None) -> State:
    """Keep what an answer shows of the provider's clock; the first that is far off is worth a warning."""
    if skew is None:
        return state
    is_news = not skew.is_tolerable and (state.skew is None or state.skew.is_tolerable)
    state = state._replace(skew=skew)
    return state.report("clock_skewed", skew_s=round(skew.ahead_s, 1)) if is_news else state


def _with_kept_refresh_token(state: State, token: TokenResponse) -> TokenResponse:
    """The token with the refresh token that stays in use where the response left it out (RFC 6749 section 6)."""
    grant = None if state.attempt is None else state.attempt.grant
    if token.refresh_token:
        return token
    if state.previous is not None and state.previous.refresh_token:
        return token.with_refresh_token(state.previous.refresh_token)
    if not isinstance(grant, effects.Redeem):
        return token
    return token.with_refresh_token(grant.refresh_token.reveal())


def _next_refresh_token(state: State, token: TokenResponse) -> Secret | None:
    """The refresh token that the next attempt redeems; ``None`` where the full grant redeems that very one."""
    text = _with_kept_refresh_token(state, token).refresh_token
    if not text or not state.auth.asks_provider:
        return None
    refresh_token = Secret(text)
    return None if refresh_token == state.auth.grant_secret else refresh_token


def _next_previous(state: State, token: TokenResponse) -> TokenResponse | None:
    """What a function of the user's is given next time; ``None`` where a provider is asked."""
    return None if state.auth.asks_provider else _with_kept_refresh_token(state, token)


def _fields(error: OIDCActorError) -> dict[str, object]:
    return {"error": str(error), "status": failure_policy.status_of(error), "code": failure_policy.code_of(error)}


# --- the store that members share -------------------------------------------------------------------------------------


def _claim_granted(state: State, event: events.ClaimGranted, now: float, rng: Rng) -> State:
    attempt, lease = state.attempt, event.lease
    assert attempt is not None
    state = sharing.now_knows(sharing.answered(state), polls=0, is_missing=False)
    if lease.until <= now:  # the answer came too late: others may have been granted since
        return _not_granted(state.then(effects.GiveUpLease(lease, "intact")), now)
    attempt = replace(attempt, lease=lease, renew_at=lease.at + sharing.RENEWAL_S)
    state = _attempted(state._replace(attempt=attempt), now)
    if lease.doubtful:
        state = state.report("login_doubtful")
    return _send(state, _first_grant(state, now))


def _claim_occupied(state: State, event: events.ClaimOccupied, now: float, rng: Rng) -> State:
    assert state.attempt is not None
    refused, state = state.attempt.refused, sharing.claimed(state)
    if refused is not None:
        return _end(state, refused, None, now, rng)
    if event.why == "free" and not sharing.keeps_login_back(state):
        return state._replace(attempt=None)
    return sharing.occupied(state, event, now)


def _not_granted(state: State, now: float) -> State:
    assert state.attempt is not None
    attempt = state.attempt
    soon = events.ClaimOccupied(attempt.number, attempt.request, now, now, "lease")
    return sharing.occupied(state, soon, now)


def _token_adopted(state: State, event: events.TokenAdopted, now: float, rng: Rng) -> State:
    state, came = sharing.now_knows(sharing.claimed(state), polls=0), event.parsed
    lives_until = events.NEVER if is_withheld(state) else state.expires_at
    if event.expires_at <= max(now, lives_until):  # it displaces no token that lives longer
        return _not_granted(state, now)
    at = event.expires_at - came.lifetime_s
    state = _with_token(state, came.token, at, came.lifetime_s, event.ahead_s, now, rng)._replace(wanted=False)
    if state.step_up is not None or state.stepped_up is not None:
        state = step_up.forgotten(state)
    state = _published(sharing.adopted(state, event.gen, came.lifetime_s, event.login, rng), now)
    return state.report(
        "token_adopted",
        fingerprint=fingerprint(came.token.access_token),
        expires_in_s=round(event.expires_at - now, 3),
        refresh_in_s=round(state.refresh_at - now, 3),
    )


def _login_lost(state: State, event: events.LoginLost, now: float, rng: Rng) -> State:
    assert state.attempt is not None
    refused, state = state.attempt.refused, sharing.claimed(state)
    if refused is not None:
        return _end(state, refused, None, now, rng)
    lost = TokenRequestError(
        "the refresh token is lost: a process that had redeemed it ended before it could share what came, and the provider "
        "has not taken it once more since; log in anew, and configure the new refresh token",
        retryable=False,
        sent=False,
    )
    return _end(state.report("refresh_token_lost"), lost, None, now, rng)


def _claim_failed(state: State, event: events.ClaimFailed, now: float, rng: Rng) -> State:
    assert state.attempt is not None
    attempt = state.attempt
    if attempt.refused is not None:
        return _end(sharing.unanswered(state, event.error, now), attempt.refused, None, now, rng)
    if isinstance(attempt.grant, effects.Claim) and attempt.grant.adopts_only:
        return sharing.failed(
            sharing.now_knows(state, passed=0), event.error, now
        )  # the next look has it asked for again
    if not sharing.may_go_alone(state, now):
        return sharing.failed(state, event.error, now)
    state = _attempted(sharing.unanswered(state, event.error, now), now).report("went_alone")
    return _send(state, _first_grant(state, now))


def _claim_not_made(state: State, event: events.FetchFailed, now: float, rng: Rng) -> State:
    return _end(state, event.error, event.retry_at, now, rng)


def _record_named(state: State, event: events.RecordNamed, now: float, rng: Rng) -> State:
    return sharing.named(state, event.key)


def _record_noted(state: State, event: events.RecordSeen, now: float, rng: Rng) -> State:
    return sharing.seen(state, event.gen, now)


def _record_seen(state: State, event: events.RecordSeen, now: float, rng: Rng) -> State:
    state = _record_noted(state, event, now, rng)
    known = sharing.of(state)
    if event.gen <= max(known.gen, known.passed):
        return state
    state = sharing.now_knows(state, passed=event.gen)
    claim = sharing.claim_of(state, now, adopts_only=True)
    return _begin(state, Attempt(state.attempts + 1, 1, claim))


def _look_failed(state: State, event: events.LookFailed, now: float, rng: Rng) -> State:
    return sharing.unseen(state, event.error, now)


def _token_shared(state: State, event: events.TokenShared, now: float, rng: Rng) -> State:
    return sharing.shared(state, event.gen, event.login) if _is_unshared(state, event.fence) else state


def _token_overtaken(state: State, event: events.TokenOvertaken, now: float, rng: Rng) -> State:
    return sharing.overtaken(state) if _is_unshared(state, event.fence) else state


def _share_failed(state: State, event: events.ShareFailed, now: float, rng: Rng) -> State:
    return sharing.share_failed(state, event.error, now) if _is_unshared(state, event.fence) else state


def _is_unshared(state: State, fence: int) -> bool:
    """Whether that is what the store has not taken yet: news of an earlier one may come late."""
    unshared = sharing.of(state).unshared
    return unshared is not None and unshared.lease.fence == fence


def _lease_renewed(state: State, event: events.LeaseRenewed, now: float, rng: Rng) -> State:
    attempt = state.attempt
    if attempt is None or attempt.lease is None or attempt.lease.fence != event.fence:
        return state
    return state._replace(attempt=replace(attempt, lease=replace(attempt.lease, until=event.until)))


def _lease_lost(state: State, event: events.LeaseLost, now: float, rng: Rng) -> State:
    attempt = state.attempt
    if attempt is None or attempt.lease is None or attempt.lease.fence != event.fence:
        return state
    return state._replace(attempt=replace(attempt, renew_at=math.inf)).report("lease_lost")


# --- options that are to replace those in force -----------------------------------------------------------------------


def _replacing(state: State, event: events.Replacing, now: float, rng: Rng) -> State:
    return replacing.begin(state, event, now, rng)


def _of_trial(state: State, event: events.OfTrial, now: float, rng: Rng) -> State:
    trial = state.trial
    if trial is None or trial.number != event.number:
        return state
    # Attempts are counted for both: a late result of the one must not be taken for the other's.
    tried, wanted = step(trial.state._replace(attempts=state.attempts), event.event, now, rng)
    state, trial = state._replace(attempts=tried.attempts), replace(trial, state=tried)
    if tried.token is not None:
        return _answered(replacing.in_place(state, trial, wanted, now), now)
    if tried.blocked:
        return replacing.refused(state, trial, wanted)
    return replacing.going_on(state, trial, wanted)


def _trial_overdue(state: State, event: events.TrialOverdue, now: float, rng: Rng) -> State:
    trial = state.trial
    if trial is None or trial.number != event.number:
        return state
    return replacing.in_place(state, trial, (), now)


# --- the machine ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table.

    Attributes:
        phases: The phases in which it holds.
        event: The class of the event; ``None`` stands for "an attempt is due", which is looked at after every event.
        decide: What is done.
        leads_to: The phases to which that may lead; `Phase.SAME` leaves it. From a phase of waiting, the row of ``None`` may
            follow in the same step.
    """

    phases: Phase
    event: type[Any] | None
    decide: Callable[[State, Any, float, Rng], State]
    leads_to: Phase


TABLE = (
    # --- an attempt, from the question whether it may begin to its end
    # An attempt is due: the refresh point or the end of a backoff has come, or a reader wants one.
    _Row(Phase.WAITING, None, _ask, Phase.ASKING),
    # Metadata first where they are missing or in doubt, the provider's and those of the resource that the token is for; then a
    # refresh token if there is one; else the full grant.
    # Where members share a store, all of that is asked of it first.
    _Row(Phase.ASKING, events.Allowed, _allowed, Phase.UNDER_WAY),
    # The circuit breaker is open, or the provider asked to wait: it waits on, as it did before.
    _Row(Phase.ASKING, events.Denied, _denied, Phase.WAITING),
    # From here on the minimum interval counts.
    _Row(Phase.REQUESTING, events.FetchStarted, _request_started, Phase.SAME),
    # The resource's metadata are to follow; or a refresh token is there, or not.
    _Row(Phase.DISCOVERING, events.FetchSucceeded, _metadata_came, Phase.REQUESTING),
    # Older metadata serve, unless a wait is asked for: then they serve the next attempt.
    _Row(Phase.DISCOVERING, events.FetchFailed, _metadata_failed, Phase.REQUESTING | Phase.BACKOFF),
    # The token is published and every waiter answered; one that had expired when it came is a failure.
    _Row(Phase.REFRESHING | Phase.GRANTING, events.FetchSucceeded, _token_came, Phase.IDLE | Phase.BACKOFF),
    # A refused refresh token: the full grant in the same attempt, unless the provider asks to wait; else as below.
    # One that is the only login, and was had from the store: another member may have a newer token, so ask the store.
    _Row(
        Phase.REFRESHING,
        events.FetchFailed,
        _refresh_failed,
        Phase.REFRESHING | Phase.GRANTING | Phase.CLAIMING | Phase.WAITING,
    ),
    # A retry may help; or the error is permanent: only a change, a forced refresh, or a slow probe helps.
    _Row(
        Phase.GRANTING,
        events.FetchFailed,
        _full_grant_failed,
        Phase.REFRESHING | Phase.GRANTING | Phase.CLAIMING | Phase.WAITING,
    ),
    # In both, where more was asked for than the credentials do, and the provider refuses that: the attempt is over if the token
    # lives, and else goes on without.
    # --- the store that members share
    # The provider may be asked, under a lease.
    _Row(Phase.CLAIMING, events.ClaimGranted, _claim_granted, Phase.REQUESTING | Phase.WAITING),
    # Another member is at it, or it is too early. Where the login has just been refused, that is the outcome.
    _Row(Phase.CLAIMING, events.ClaimOccupied, _claim_occupied, Phase.WAITING),
    # Another member's token is published, and every waiter answered.
    _Row(Phase.CLAIMING, events.TokenAdopted, _token_adopted, Phase.IDLE | Phase.WAITING),
    # Only a new login helps.
    _Row(Phase.CLAIMING, events.LoginLost, _login_lost, Phase.BACKOFF | Phase.BLOCKED),
    # The store cannot be asked: the provider is, without a lease, where that may be; else it waits.
    _Row(Phase.CLAIMING, events.ClaimFailed, _claim_failed, Phase.REQUESTING | Phase.WAITING),
    # The claim could not be made: a secret that it needs cannot be read.
    _Row(Phase.CLAIMING, events.FetchFailed, _claim_not_made, Phase.BACKOFF | Phase.BLOCKED),
    # A newer generation is asked for; a record that is lost is put back.
    _Row(Phase.WAITING, events.RecordSeen, _record_seen, Phase.CLAIMING | Phase.WAITING),
    _Row(Phase.ASKING | Phase.UNDER_WAY, events.RecordSeen, _record_noted, Phase.SAME),
    # A new login is another record, of which nothing is known yet.
    _Row(Phase.ANY, events.RecordNamed, _record_named, Phase.SAME),
    # The store cannot be asked, which is worth knowing also while nothing is wanted of it.
    _Row(Phase.ANY, events.LookFailed, _look_failed, Phase.SAME),
    # What was got is stored, or is not and is stored later, or is of no use to others.
    _Row(Phase.ANY, events.TokenShared, _token_shared, Phase.SAME),
    _Row(Phase.ANY, events.TokenOvertaken, _token_overtaken, Phase.SAME),
    _Row(Phase.ANY, events.ShareFailed, _share_failed, Phase.SAME),
    # The lease of the attempt under way.
    _Row(Phase.ANY, events.LeaseRenewed, _lease_renewed, Phase.SAME),
    _Row(Phase.ANY, events.LeaseLost, _lease_lost, Phase.SAME),
    # --- readers, and what they say of the token
    # A forked child whose login is its parent's says so.
    _Row(Phase.ANY, events.Started, _started, Phase.SAME),
    # It is worth looking at the clock, and at the file of a secret that is waited for.
    _Row(Phase.ANY, events.Tick, _tick, Phase.SAME),
    # An attempt is due for a live token that falls short, and for the very first; without a token the wait is a short one.
    _Row(Phase.ANY, events.CheckNow, _check_now, Phase.SAME),
    # The same, and the reader gets what comes; it is refused as soon as waiting cannot help.
    _Row(Phase.ANY, events.Wait, _wait, Phase.SAME),
    # An attempt is wanted, in a backoff and while blocked too; a token that is rejected by its text is read no more.
    _Row(Phase.ANY, events.Refresh, _refresh, Phase.SAME),
    # The same, at intervals that grow with the origin's rejections, and other readers may keep the token.
    # One that takes the token, and wants more of it: the next is asked for that.
    _Row(Phase.ANY, events.Rejected, _rejected, Phase.SAME),
    # The origin's next rejection is answered sooner.
    _Row(Phase.ANY, events.Accepted, invalidation.accepted, Phase.SAME),
    # --- what happens around
    # An attempt is wanted where a secret has changed that is waited for.
    _Row(Phase.ANY, events.SecretsChecked, _secrets_checked, Phase.SAME),
    # The token is due for a refresh where it may be bound to a certificate that is one of the past.
    _Row(Phase.ANY, events.CertificateRenewed, _certificate_renewed, Phase.SAME),
    # An attempt is wanted where the last one failed for want of the token that this one trades, or was refused.
    _Row(Phase.ANY, events.SourceRenewed, _source_renewed, Phase.SAME),
    # A token past its refresh point by the wall clock is to be refreshed; one past its end by it is withheld.
    _Row(Phase.ANY, events.ClockJumped, invalidation.jumped, Phase.SAME),
    # The issuer answers again: what the breaker imposed, and backoffs, end soon.
    _Row(Phase.ANY, events.BreakerClosed, _breaker_closed, Phase.SAME),
    # The other manager's probe that was waited for has failed: the breaker is asked anew.
    _Row(Phase.ANY, events.ProbeFailed, _probe_failed, Phase.SAME),
    # --- options that are to replace those in force
    # They are tried beside them; those of the same login hold at once.
    _Row(Phase.ANY, events.Replacing, _replacing, Phase.SAME),
    # The trial has a token: its state takes this one's place. An error that no retry cures: it is dropped. Else it goes on.
    *(_Row(phase, events.OfTrial, _of_trial, phase | Phase.IDLE) for phase in Phase.ANY),
    # It has none in time: what was tried holds from now on, whatever it is doing.
    *(
        _Row(phase, events.TrialOverdue, _trial_overdue, phase | Phase.IDLE | Phase.BACKOFF | Phase.UNDER_WAY)
        for phase in Phase.ANY
    ),
)

DUE = TABLE[0]
_DUE_PHASES = frozenset(DUE.phases)
_ROWS = {(phase, row.event): row for row in TABLE for phase in row.phases}


def row_of(state: State, event: events.Event) -> _Row | None:
    """The row that decides an event; ``None`` where it means nothing in this phase, or is the news of a request of the past."""
    attempt = state.attempt
    if isinstance(event, events.OfRequest) and attempt is not None:
        is_stale = (attempt.number, attempt.request) != (event.attempt, event.request)
        return None if is_stale else _ROWS[state.phase, type(event)]
    return _ROWS.get((state.phase, type(event)))
