"""When waiting cannot help, and what a reader is told then. Pure."""

from __future__ import annotations

from oidc_actor.decisions.schedule import earliest_at, next_attempt_at
from oidc_actor.decisions.state import State
from oidc_actor.messages import Refusal, Waiter


def hopeless(state: State, waiter: Waiter, now: float) -> bool:
    """Whether no attempt can end before a waiter's deadline. While one is under way its own patience ends its wait."""
    if state.flight is not None:
        return False
    if state.checking:
        return waiter.deadline <= now
    if state.blocked and not state.wanted:
        return True
    if is_queued(state, now):
        return waiter.deadline <= now or earliest_at(state) > waiter.deadline
    return next_attempt_at(state) > waiter.deadline


def is_queued(state: State, now: float) -> bool:
    """Whether another manager's attempt is waited for: when that ends cannot be told, as with one's own."""
    return state.queued and now < state.held_until


def refusal(state: State, now: float) -> Refusal:
    """What a reader is told who gets no token at ``now``."""
    if state.flight is not None:
        return Refusal(_because(state, "a request is under way"), state.last_error)
    if is_queued(state, now):
        return Refusal(_because(state, "another manager is asking the same issuer"), state.last_error)
    retry_in_s = max(0.0, next_attempt_at(state) - now)
    return Refusal(_because(state, f"the next attempt is due in {retry_in_s:.1f} s"), state.last_error, retry_in_s)


def too_short(state: State, now: float) -> Refusal:
    """What a reader is told whose ``min_validity`` even a new token does not reach."""
    retry_in_s = max(0.0, next_attempt_at(state) - now)
    left_s = state.expires_at - now
    return Refusal(f"a new token lives only {left_s:.1f} s, less than min_validity", None, retry_in_s)


def _because(state: State, outlook: str) -> str:
    if state.last_error is None:
        return f"no token that is valid long enough; {outlook}"
    trouble = "the provider refuses the request for good" if state.blocked else "the last attempt failed"
    return f"no token that is valid long enough; {trouble}: {state.last_error}; {outlook}"
