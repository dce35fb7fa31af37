"""When waiting cannot help, and what a reader is told then. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from oidc_actor.decisions.effects import Reply
from oidc_actor.decisions.schedule import earliest_at, next_attempt_at
from oidc_actor.decisions.state import State, is_out_of_reach, is_valid, is_withheld
from oidc_actor.messages import Refusal, Waiter


def hopeless(state: State, waiter: Waiter, now: float) -> bool:
    """Whether no attempt can end before a waiter's deadline, or none can bring what it asks for.

    While an attempt is under way the waiter's own patience ends its wait.
    """
    if is_out_of_reach(state, waiter.min_validity_s):
        return True
    if state.flight is not None or _is_given_back_to(state, waiter):
        return False
    if state.checking:
        return waiter.deadline <= now
    if state.blocked and not state.wanted:
        return True
    if is_queued(state, now):
        return waiter.deadline <= now or earliest_at(state) > waiter.deadline
    return next_attempt_at(state) > waiter.deadline


def _is_given_back_to(state: State, waiter: Waiter) -> bool:
    """Whether a waiter can stay for the token that is withheld from all."""
    if waiter.wants_refresh or waiter.rejected is not None or not is_withheld(state):
        return False
    return state.withheld_until <= min(waiter.deadline, state.expires_at - waiter.min_validity_s)


def is_queued(state: State, now: float) -> bool:
    """Whether another manager's attempt is waited for: when that ends cannot be told, as with one's own."""
    return state.queued and now < state.held_until


def replies(state: State, waiters: Iterable[Waiter], now: float) -> list[Reply]:
    """Refuse waiters: one reply for all who asked for the same."""
    alike: dict[tuple[float, bool], list[Waiter]] = {}
    for waiter in waiters:
        wants_another = waiter.wants_refresh or waiter.rejected is not None
        alike.setdefault((waiter.min_validity_s, wants_another), []).append(waiter)
    return [Reply(some, refusal(state, now, *asked)) for asked, some in alike.items()]


def refusal(state: State, now: float, min_validity_s: float = 0.0, wants_refresh: bool = False) -> Refusal:
    """What a reader is told who gets no token.

    Args:
        state: What the manager knows.
        now: Reading of its clock.
        min_validity_s: Seconds that the reader asked the token to live.
        wants_refresh: Whether it asked for a new token, whatever the present one is.
    """
    if state.login_is_parents:
        return Refusal(f"{missing(state, now, min_validity_s, wants_refresh)}; {state.last_error}", state.last_error)
    retry_in_s: float | None = max(0.0, next_attempt_at(state) - now)
    outlook = f"the next attempt is due in {retry_in_s:.1f} s"
    if state.flight is not None or is_queued(state, now):
        retry_in_s = None
        outlook = "a request is under way" if state.flight is not None else "another manager is asking the same issuer"
    if is_out_of_reach(state, min_validity_s):
        return Refusal(_too_much(state, min_validity_s), None, retry_in_s)
    told = [missing(state, now, min_validity_s, wants_refresh)]
    if state.last_error is not None:
        trouble = "the provider refuses the request for good" if state.blocked else "the last attempt failed"
        told.append(f"{trouble}: {state.last_error}")
    return Refusal("; ".join([*told, outlook]), state.last_error, retry_in_s)


def missing(state: State, now: float, min_validity_s: float = 0.0, wants_refresh: bool = False) -> str:
    """What a reader lacks of what it asked for; arguments as for `refusal`."""
    if wants_refresh:
        return "no new token"
    if is_valid(state, now, min_validity_s):  # taken from the readers, of which the manager is still to hear
        return "no token: the last one is being replaced"
    if is_valid(state, now):
        left_s = state.expires_at - now
        return f"no token that is valid for another {min_validity_s:g} s: the present one is for {left_s:.1f} s"
    if is_withheld(state):
        return "no token: by the wall clock, which has jumped, the last one has expired, and it is being replaced"
    if not state.refreshes:
        return "no token yet"
    return "no token: the last one was rejected" if state.token is None else "no valid token: the last one has expired"


def _too_much(state: State, min_validity_s: float) -> str:
    return (
        f"min_validity: expected less than {max(state.lives):.1f} seconds, the most that a token lives here when it comes, "
        f"got {min_validity_s:g}; no new token is asked for"
    )
