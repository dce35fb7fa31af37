"""The manager's decisions: ``step(state, event, now, rng) -> (state, effects)``. Pure.

After every event the machine settles: with no flight under way and an attempt due (`oidc_actor.machine.schedule`) it takes
off, and sees that a tick comes when the next one is due. So no event is needed for time to count, and none can be missed.

==================  ==========================================================================================
event               what happens, besides settling
==================  ==========================================================================================
Started             a forked child whose login is its parent's says so
Tick                nothing
Nudge, Join         a token that lives long enough is the answer; one that falls short makes an attempt due at once, unless
                    the last one failed: then the backoff stands. The first attempt, which is put off while many managers
                    start, is due at once too. A waiter is refused as soon as waiting cannot help, and makes no attempt due
                    where none of the last three tokens would have lived long enough for it; where a changed secret
                    might help, the files are looked at first. Where no token lives the wait after a failure, and that for
                    the issuer's other managers, is as short as it may be while somebody asks
Refresh             a complaint about another token costs nothing; about the current one withdraws it (Retract). Otherwise
                    an attempt is due at once, in a backoff and while blocked too; one under way is joined
Rejected            a complaint that an adapter hears of: the same, at a pace that grows with the origin's complaints, and it
                    withdraws the token less readily (`oidc_actor.machine.rejections`); in a backoff a complaint that
                    waits its turn goes without. A waiter that joins with one waits for another token
Accepted            the origin is known to accept the token
SecretsChecked      where one has changed while that is waited for, an attempt is due at once
SourceRenewed       where the last attempt failed for want of that token, or what was sent was refused, one is due at once;
                    one under way may have read the old token: where it fails so, the next is due at once
FetchSucceeded      metadata: the token is next, in the same flight. A token: Publish, every waiter is answered
FetchFailed         metadata, with older ones at hand: those serve. A refresh token refused: the full grant, in the same flight.
                    Else, and wherever the provider asks to wait (older metadata then serve the next flight), the flight has
                    failed: a backoff, or a slow probe after a permanent error. Whoever waited for a refresh is refused,
                    and so is every reader whose deadline comes before the next attempt
Held, Released      the issuer's other managers know it to be down (it is back): the flight waits (may go)
ProbeFailed         the attempt of another manager that was waited for has failed: the issuer is to say anew how long to wait
ClockJumped         a token past its refresh point by the wall clock is refreshed at the issuer's pace; one past its end by it
                    is withheld until then, at most 10 s (`oidc_actor.machine.wall_clock`)
==================  ==========================================================================================

A result carries the numbers of its flight and leg; any other than the one under way is ignored. An error never touches
a live token, an expired one is nobody's answer, and every path leaves a flight under way or a tick to come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from oidc_actor.machine import attempt as flight
from oidc_actor.machine import rejections, wall_clock
from oidc_actor.machine.attempt import Step
from oidc_actor.machine.backoff import Rng
from oidc_actor.machine.effects import CancelTick, CheckSecrets, Effect, Redeem, Reply, Report, ScheduleTick
from oidc_actor.machine.events import (
    Accepted,
    ClockJumped,
    Event,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    Held,
    Join,
    Nudge,
    ProbeFailed,
    Refresh,
    Rejected,
    Released,
    SecretsChecked,
    SourceRenewed,
    Started,
    Tick,
    Waiter,
)
from oidc_actor.machine.schedule import hopeless, next_attempt_at, replies, wake_at
from oidc_actor.machine.state import NEVER, State, is_asked, is_out_of_reach, is_valid, is_withheld
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


def adopt(state: State, *, in_flight: bool, withdrawn: bool) -> State:
    """Take over what a crashed predecessor of the same name, credentials and issuer knew.

    Args:
        state: What it knew.
        in_flight: Whether the exchange it was waiting for is still to be heard of.
        withdrawn: Whether its token was rejected meanwhile.

    Returns:
        What its successor starts with. Its waiters join anew.
    """
    state = replace(state, refresh_timer=None, checking=False, waiters=())
    if withdrawn:  # and whoever complained may have told nobody but the predecessor
        state = replace(rejections.without_token(state), wanted=not in_flight)
    if in_flight or state.flight is None:
        return state
    lost = isinstance(state.flight.grant, Redeem) and not state.rules.own_refresh_token
    return replace(state, flight=None, refresh_token=None if lost else state.refresh_token)


def _comes_later(effect: Effect) -> bool:
    return not isinstance(effect, ScheduleTick | CancelTick)


def _started(state: State, event: Started, now: float, rng: Rng) -> Step:
    return state, [Report("login_is_parents", state.flights)] if state.login_is_parents else []


def _tick(state: State, event: Tick, now: float, rng: Rng) -> Step:
    return _look_at_secrets(replace(state, refresh_timer=None))


def _nudge(state: State, event: Nudge, now: float, rng: Rng) -> Step:
    state = _want(state, event.min_validity_s, now, asks=event.asks)
    return (state, []) if is_valid(state, now, event.min_validity_s) else _look_at_secrets(state)


def _join(state: State, event: Join, now: float, rng: Rng) -> Step:
    waiter = event.waiter
    if waiter.wants_refresh:
        return _refresh(state, Refresh(waiter), now, rng)
    effects: list[Effect] = []
    if waiter.rejected is not None:
        state, effects = rejections.rejected(state, waiter.rejected, now, rng)
    is_served = is_valid(state, now, waiter.min_validity_s) and not rejections.is_about(state.token, waiter.rejected)
    if state.token is not None and is_served:
        return state, [*effects, Reply((waiter,), state.token)]
    state, more = _look_at_secrets(_with_waiter(_want(state, waiter.min_validity_s, now), waiter))
    return state, effects + more


def _look_at_secrets(state: State) -> Step:
    """See whether a secret that is waited for has changed, unless that is being seen to."""
    if not state.watching or state.checking or state.flight is not None:
        return state, []
    return replace(state, checking=True), [CheckSecrets()]


def _refresh(state: State, event: Refresh, now: float, rng: Rng) -> Step:
    effects: list[Effect] = []
    # Without a token the complaint is about one that a crashed predecessor had: it has been withdrawn, and is to be replaced.
    if event.rejected is not None and state.token is not None:
        if state.token.access_token != event.rejected.reveal():
            return state, _complaint_is_void(state.token, event.waiter)
        state, effects = rejections.withdrawn(state, state.token)
    if event.waiter is not None:
        state = _with_waiter(state, event.waiter)
    return (state if state.flight is not None else replace(state, wanted=True)), effects


def _complaint_is_void(token: TokenResponse, waiter: Waiter | None) -> list[Effect]:
    """The rejected token has been replaced between the complaint and now: that is what the complainer wanted."""
    return [] if waiter is None else [Reply((waiter,), token)]


def _secrets_checked(state: State, event: SecretsChecked, now: float, rng: Rng) -> Step:
    state = replace(state, checking=False)
    if not event.changed or not state.watching or state.flight is not None:
        return state, []
    return replace(state, wanted=True), [Report("secret_changed", state.flights)]


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
    if is_valid(state, now, min_validity_s) or state.failures or state.flight is not None:
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
        state, effects = wall_clock.give_back(state, now)
    if state.flight is None and next_attempt_at(state) <= now:
        state, more = flight.take_off(state, now)
        effects = effects + more
    due = wake_at(state, now)
    if due == state.refresh_timer:
        return state, effects
    effects.append(CancelTick() if due is None else ScheduleTick(due - now))
    return replace(state, refresh_timer=due), effects


def _dismiss(state: State, event: Event, now: float, rng: Rng) -> Step:
    """Refuse the waiters that waiting cannot help; one that has just come is the only news of its event."""
    asked = (event.waiter,) if isinstance(event, Join) else state.waiters
    gone = [waiter for waiter in asked if waiter in state.waiters and hopeless(state, waiter, now)]
    if not gone:
        return state, []
    kept = tuple(waiter for waiter in state.waiters if waiter not in gone)
    return replace(state, waiters=kept), [*replies(state, gone, now)]


_HANDLERS: dict[type[Any], Callable[[State, Any, float, Rng], Step]] = {
    Started: _started,
    Tick: _tick,
    Nudge: _nudge,
    Join: _join,
    Refresh: _refresh,
    Rejected: rejections.rejected,
    Accepted: rejections.accepted,
    SecretsChecked: _secrets_checked,
    ClockJumped: lambda state, event, now, rng: wall_clock.jumped(state, event, now),
    Released: _released,
    FetchStarted: flight.started,
    FetchSucceeded: flight.succeeded,
    FetchFailed: flight.failed,
    ProbeFailed: _probe_failed,
    SourceRenewed: flight.source_renewed,
    Held: flight.held,
}
