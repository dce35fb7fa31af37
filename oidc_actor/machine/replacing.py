"""How other options take the place of those in force, while readers go on reading. Pure.

A manager that is given other options tries them beside its own: a second `State`, which the same machine steps, is its *trial*
(`oidc_actor.machine.state.Trial`). It has a cell, an issuer and a store of its own, and no readers. Meanwhile the manager goes on
as before, refreshing included. So there are four ways in which a trial ends, and in each of them readers have what they had:

- it has a token: its state takes the manager's place, with the readers that wait; they get that token;
- an error that no retry cures: it is dropped, and `Health` says why;
- it has no answer in time: its state takes the manager's place, as after a start; the former token is served while it lives;
- other options come: it is dropped, because the last wish counts.

Options that ask for the same token need no trial. Nor can there be one of the same login: a refresh token that two hold is
redeemed twice, and revoked for it (RFC 9700 section 4.14.2). Those options hold at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from oidc_actor.machine.effects import (
    CancelTick,
    DropTrial,
    Effect,
    Fetch,
    ForTrial,
    Revoke,
    ScheduleTick,
    TakeOver,
)
from oidc_actor.machine.events import Replacing
from oidc_actor.machine.failure_policy import Rng, code_of, status_of
from oidc_actor.machine.invalidation import tokens_to_revoke
from oidc_actor.machine.schedule import refresh_point
from oidc_actor.machine.state import State, Trial, came_at, is_valid


def begin(state: State, event: Replacing, now: float, rng: Rng) -> State:
    """Try other options, or have them hold at once."""
    state = dropped(state)._replace(not_replaced=None)
    if event.how == "try":
        return state._replace(trial=Trial(event.number, event.first, event.until)).report("replacement_tried")
    # The timers of what was in force go with it, so the tick is set anew.
    state = state.then(TakeOver(event.number, is_adopted=True))._replace(refresh_timer=None)
    return state if event.how == "keep" else _adopting(state, event.first, now, rng)


def _adopting(state: State, first: State, now: float, rng: Rng) -> State:
    """Go on as before with other options; where there is no token they may be what was lacking."""
    is_other = first.auth != state.auth
    if is_other or first.rules.verifies_resource != state.rules.verifies_resource:
        state = state._replace(resource_at=first.resource_at)
    state = state._replace(auth=first.auth, rules=first.rules, refresh_buffer_seconds=first.refresh_buffer_seconds)
    if is_other or not is_valid(state, now):
        state = state._replace(wanted=state.attempt is None)
    elif state.lifetimes:
        buffer_s, lifetime_s, interval_s = state.refresh_buffer_seconds, state.lifetimes[-1], state.rules.min_interval_s
        state = state._replace(refresh_at=refresh_point(buffer_s, came_at(state), lifetime_s, interval_s, rng))
    return state.report("options_replaced", adopted=True)


def going_on(state: State, trial: Trial, wanted: Iterable[Effect]) -> State:
    """The trial goes on."""
    return state._replace(trial=trial).then(*(ForTrial(trial.number, effect) for effect in wanted))


def refused(state: State, trial: Trial, wanted: Iterable[Effect]) -> State:
    """An error that no retry cures: the options in force stay."""
    error = trial.state.last_error
    assert error is not None
    told = [effect for effect in wanted if not isinstance(effect, ScheduleTick | CancelTick | Fetch)]
    state = dropped(going_on(state, trial, told))._replace(not_replaced=error)
    return state.report("replacement_refused", error=str(error), status=status_of(error), code=code_of(error))


def dropped(state: State) -> State:
    """End a trial, if there is one."""
    if state.trial is None:
        return state
    return state._replace(trial=None).then(DropTrial(state.trial.number, state.trial.state))


def in_place(state: State, trial: Trial, wanted: Iterable[Effect], now: float) -> State:
    """Put what was tried in the place of what was in force, with the readers that wait.

    Args:
        state: What was in force.
        trial: What was tried; without a token there was no answer in time.
        wanted: What it wants done.
        now: Reading of the clock.
    """
    tried = trial.state
    revoke: tuple[Revoke, ...] = () if tried.token is None else tuple(tokens_to_revoke(state, now))
    new = tried._replace(
        attempts=state.attempts,
        token_requests=state.token_requests + tried.token_requests,
        refreshes=state.refreshes + tried.refreshes,
        waiters=(*state.waiters, *tried.waiters),
        asked_at=max(state.asked_at, tried.asked_at),
        refresh_timer=None,
        is_asking=False,  # the answer would be the trial's
        effects=(TakeOver(trial.number, revoke=revoke), *state.effects),
    )
    if tried.token is None:
        new = _with_former_token(new, state)
    told = [effect for effect in wanted if not isinstance(effect, ScheduleTick | CancelTick)]
    return new.then(*told).report("options_replaced", adopted=False)


def _with_former_token(new: State, state: State) -> State:
    return new._replace(
        token=state.token,
        expires_at=state.expires_at,
        is_former=state.token is not None,
        ahead_s=state.ahead_s,
        judged_ahead_s=state.judged_ahead_s,
        withheld_until=state.withheld_until,
        origins=state.origins,
        lifetimes=state.lifetimes,
    )


def resumed(state: State, trial: State | None) -> State:
    """What a crashed manager's successor goes on with: the trial, or none where what was tried is not known any more."""
    if state.trial is None:
        return state
    return state._replace(trial=None if trial is None else replace(state.trial, state=trial))
