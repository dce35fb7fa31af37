"""A resource server that takes the token, and wants another one for this request: one that is allowed or says more. Pure.

Such a challenge (RFC 6750 section 3.1, RFC 9470) is no rejection: the token is good elsewhere, and no reader loses it. The next
request for a token asks for what the challenge names besides what was asked for before, and so do all after it. What keeps that
from going on and on:

- no more than `MOST_STEP_UP` characters are asked for in all: a token that grew with each challenge would fit no other server;
- what the present token was asked for already is not asked for again: the provider has not given it;
- a first challenge of an origin is answered at once, the next ones at the intervals of `oidc_actor.machine.invalidation`, 1 s to
  5 min; a challenge that is repeated to one token is answered once;
- what the provider refuses, or what ends in a failure of any kind, is asked for no more, and does the manager no harm: the live
  token stays, no backoff begins, and without a live token the request is sent again as it was before;
- a function of the user's (`Custom`) is told what is wanted, and decides by itself what it brings;
- a token that another member of a store got was asked for without it: then it is forgotten.
"""

from __future__ import annotations

import math
from dataclasses import replace

from oidc_actor.credentials.parameters import MOST_STEP_UP, StepUp
from oidc_actor.machine.effects import GiveUpLease
from oidc_actor.machine.events import FetchFailed, Rejected, Waiter
from oidc_actor.machine.failure_policy import code_of, retry_after_s, status_of
from oidc_actor.machine.invalidation import is_about, judge, step_up_key
from oidc_actor.machine.state import Heard, State, is_valid
from oidc_actor.values.errors import TokenRequestError, refuses_refresh_token
from oidc_actor.values.secrets import fingerprint

CROWD_S = 2.0
"""The interval of an origin, in seconds, up to which several wishes of it go into one request: the first three."""


def challenged(state: State, event: Rejected, now: float) -> State:
    """An adapter hears that a resource server wants another token for a request."""
    token, wanted = state.token, event.step_up
    if token is None or wanted is None or not is_about(token, event):
        return state
    granted = tuple((token.scope or "").split())
    asked = StepUp(scopes=(*state.auth.scopes, *(() if state.auth.scopes else granted))).union(state.stepped_up)
    if asked.covers(wanted) or (state.step_up is not None and state.step_up.covers(wanted)):
        return state
    # Where the credentials name no scopes, the provider gave those that it gives by default: they are wanted on.
    union = StepUp(scopes=() if state.auth.scopes else granted).union(state.step_up).union(wanted)
    if union.length > MOST_STEP_UP:
        return state
    mark = f"{fingerprint(token.access_token)} {fingerprint(repr(wanted))}"
    heard = state.origins.get(step_up_key(event.origin), Heard())
    if heard.interval_s > CROWD_S and heard.due_at > now and heard.refused != mark:
        return state  # an origin's next wish is heard once the one before it is due, so that a hundred do not spoil another's
    origins, verdict = judge(state.origins, step_up_key(event.origin), mark, now, age_s=0.0)
    state = state._replace(origins=origins)
    if not verdict.is_news:
        return state
    due_at = min(state.step_up_at, max(now, verdict.due_at))
    state = state._replace(step_up=union, step_up_at=due_at)
    return state.report(
        "step_up_wanted", origin=event.origin, asks_for=wanted.names(), answer_in_s=round(due_at - now, 3)
    )


def is_awaited(state: State, waiter: Waiter) -> bool:
    """Whether the present token is not what a reader waits for, because it was asked for without what its challenge names."""
    wanted = None if waiter.rejected is None else waiter.rejected.step_up
    if wanted is None or state.step_up is None or not state.step_up.covers(wanted):
        return False
    return state.stepped_up is None or not state.stepped_up.covers(wanted)


def needs_full_grant(state: State) -> bool:
    """Whether more scopes are wanted than a refresh token can bring (RFC 6749 section 6), and there is another way to ask."""
    if state.step_up is None or state.rules.own_refresh_token:
        return False
    return not set(state.step_up.scopes) <= set(() if state.stepped_up is None else state.stepped_up.scopes)


def obtained(state: State, asked: StepUp | None) -> State:
    """A token has come.

    Args:
        state: What is known.
        asked: What it was asked for besides.
    """
    is_due = state.step_up is not None and state.step_up != asked
    return state._replace(
        stepped_up=asked, step_up_at=min(state.step_up_at, state.attempted_at) if is_due else math.inf
    )


def forgotten(state: State) -> State:
    """The present token was got by another member, which was asked for less, or for something else."""
    return state._replace(step_up=None, stepped_up=None, step_up_at=math.inf)


def failed(state: State, event: FetchFailed, now: float) -> tuple[State, bool]:
    """A request that asked for more has failed.

    Args:
        state: What is known.
        event: The failure.
        now: Reading of the clock.

    Returns:
        What is known now, and whether the failure is dealt with: the provider has refused no more than that, so that the attempt
        is over if its token lives, and else goes on without (`State.attempt` says which).
    """
    attempt, error = state.attempt, event.error
    if attempt is None or attempt.step_up is None:
        return state, False
    is_new, is_refused = attempt.step_up != state.stepped_up, refuses_refresh_token(error)
    if not state.auth.asks_provider and isinstance(error, TokenRequestError) and not error.retryable:
        is_refused = True  # a function of the user's says so, with or without a status
    if not is_new and not is_refused:  # an outage, which is no reason to ask for less
        return state, False
    kept = state.stepped_up if is_new else None
    state = state._replace(step_up=kept, step_up_at=math.inf, attempt=replace(attempt, step_up=kept))
    state = state.report("step_up_refused", error=str(error), status=status_of(error), code=code_of(error))
    if not is_refused or retry_after_s(error):
        return state, False
    if is_valid(state, now) and is_new and not any(waiter.wants_refresh for waiter in state.waiters):
        state = state._replace(attempt=None)
        return (state if attempt.lease is None else state.then(GiveUpLease(attempt.lease, attempt.login))), True
    return state, True
