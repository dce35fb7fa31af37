"""What a jump of the wall clock means for a token: the machine was restored, or its clock was set. Pure.

Deadlines are kept on a clock that a restored snapshot of a machine does not show the truth: it goes on where it was, and only the
wall clock has seen the time between. So where the wall clock has jumped forward,

- a token whose refresh point has passed by it is refreshed, at the issuer's pace;
- one that is past its end by it is withheld from all readers until that refresh has an outcome, at most `LONGEST_S`. Without
  a new one it is served on, to its end by the manager's clock: the wall clock may have been wrong.

Steps back, and jumps that no refresh point lies in, mean nothing. A token that was asked for after the jump is not concerned:
each is judged by what the wall clock has gained since its own request. So one whose request was under way during the jump is
judged when it comes; and where that request fails, it was not the refresh that a withheld token waits for.
"""

from __future__ import annotations

from dataclasses import replace

from oidc_actor.machine.effects import Effect, Publish, Reply, Report, Withhold
from oidc_actor.machine.events import ClockJumped
from oidc_actor.machine.state import NEVER, State, is_valid, is_withheld

JUMP_S = 5.0
"""Seconds by which the wall clock must have gained on the manager's for a jump."""

LONGEST_S = 10.0
"""Seconds for which a token is withheld at most."""


def is_past(point: float, since_ahead_s: float, now: float, ahead_s: float) -> bool:
    """Whether a moment has passed by the wall clock.

    Args:
        point: The moment, as a reading of the manager's clock.
        since_ahead_s: How far the wall clock was ahead of that one when the moment was set.
        now: The manager's clock now.
        ahead_s: How far the wall clock is ahead of it now.
    """
    return point <= now + ahead_s - since_ahead_s


def jumped(state: State, event: ClockJumped, now: float) -> tuple[State, list[Effect]]:
    """The wall clock has jumped forward; what has been decided of an earlier jump is decided anew."""
    flight = None if state.flight is None else replace(state.flight, jump=event)
    state, token = replace(state, flight=flight, judged_ahead_s=event.ahead_s), state.token
    if token is None or state.expires_at <= now:
        return state, []
    if not is_past(state.refresh_at, state.ahead_s, now, event.ahead_s):
        return state, []
    ends = is_past(state.expires_at, state.ahead_s, now, event.ahead_s)
    turn_at = max(now, event.turn_at)
    fields = {"jump_s": round(event.ahead_s - state.ahead_s, 1), "withheld": ends}
    effects: list[Effect] = [Report("clock_jumped", state.flights, fields)]
    state = replace(state, refresh_at=min(state.refresh_at, turn_at), retry_at=min(state.retry_at, turn_at))
    if not ends:
        return state, effects
    until = state.withheld_until if is_withheld(state) else now + LONGEST_S
    return replace(state, withheld_until=until), [*effects, Withhold(token)]


def give_back(state: State, now: float) -> tuple[State, list[Effect]]:
    """Serve a token on that was withheld: no new one has come, or not in time."""
    if not is_withheld(state):
        return state, []
    state, token = replace(state, withheld_until=NEVER), state.token
    if token is None or not is_valid(state, now):
        return state, []
    served = [
        waiter
        for waiter in state.waiters
        if not waiter.wants_refresh and waiter.rejected is None and is_valid(state, now, waiter.min_validity_s)
    ]
    fields = {"expires_in_s": round(state.expires_at - now, 1)}
    effects: list[Effect] = [
        Publish(token, state.expires_at, state.ahead_s, is_new=False),
        Report("token_served_on", state.flights, fields),
    ]
    if served:
        state = replace(state, waiters=tuple(waiter for waiter in state.waiters if waiter not in served))
        effects.append(Reply(served, token))
    return state, effects
