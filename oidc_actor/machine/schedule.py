"""When the next attempt is due. Pure arithmetic on the state's times.

An attempt is due

- never sooner than the minimum interval after the start of the last one, nor before the end of a ``Retry-After``, nor
  before the store that members share is to be asked again;
- then at once, where a reader wants it (`force_refresh`, a changed secret, a reader whose ``min_validity`` falls short);
- else when the wait after a failure is over, where the last attempt failed; it is short while readers ask in vain;
- else at the token's refresh point, which lies in the past where there is no token, or when its rejection, or
  a resource server's wish for more, is to be answered;
- and not before the end of a wait that the circuit breaker imposed, or the rate limit of first attempts;
- but a live token's end brings an attempt forward: it waits a quarter of the token's remaining life at most after a transient
  failure, or an answer of the breaker, so that attempts come closer together as the end comes nearer;
- never, where the login is the parent process's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from oidc_actor.machine import sharing
from oidc_actor.machine.effects import Reply
from oidc_actor.machine.events import NEVER, Refusal, Waiter, Waiters
from oidc_actor.machine.failure_policy import Rng, probe_delay_s, retry_delay_s
from oidc_actor.machine.state import State, is_asked, is_out_of_reach, is_trying, is_valid, is_withheld

JITTER = 0.1
"""Share of its lifetime by which a token may be refreshed early, so that equal expiries do not meet."""

WATCH_S = 0.5
"""Seconds between two looks at a secret's file while its change is waited for."""


def earliest_at(state: State) -> float:
    """When an attempt may be made at the soonest, also where a reader wants one."""
    at = max(state.attempted_at + state.rules.min_interval_s, state.floor_at)
    return at if state.sharing is None else max(at, state.sharing.claim_at)


def next_attempt_at(state: State) -> float:
    """When the next attempt is due, unless one is under way; infinity where none ever is."""
    if state.login_is_parents:
        return math.inf
    earliest = earliest_at(state)
    if state.wanted:
        return earliest
    due = after_failure(state) if state.failures else min(state.refresh_at, state.answer_at, state.step_up_at)
    return max(earliest, due, denied_until(state))


def asked_retry_at(state: State) -> float:
    """When the wait after a failure ends where a reader asks in vain."""
    if state.blocked or not state.failures:
        return state.retry_at
    return min(state.retry_at, state.failed_at + state.rules.retry.asked_maximum_s)


def after_failure(state: State) -> float:
    """When the wait after a failure ends, or a live token's end ends it."""
    return state.retry_at if state.blocked else min(state.retry_at, _quarter_at(state, state.failed_at))


def denied_until(state: State) -> float:
    """When the wait that the circuit breaker imposed ends; the minimum interval keeps the questions to it apart."""
    if state.denial is None:
        return NEVER
    return min(state.denial.until, _quarter_at(state, state.denial.at, state.rules.min_interval_s))


def is_brought_forward(state: State) -> bool:
    """Whether a live token's nearing end makes the next attempt due before a wait would be over."""
    is_wait_cut = state.failures > 0 and after_failure(state) < state.retry_at
    return is_wait_cut or (state.denial is not None and denied_until(state) < state.denial.until)


def _quarter_at(state: State, since: float, least_s: float = 0.0) -> float:
    """When a live token has spent a quarter of the life that it had left at a moment; infinity without one."""
    if state.token is None or since == NEVER or state.expires_at <= since:
        return math.inf
    return since + max((state.expires_at - since) / 4, least_s)


def wake_at(state: State, now: float) -> float | None:
    """When the next tick is due; ``None`` where nothing is due: an attempt under way wakes the manager by its end."""
    if state.attempt is not None or state.login_is_parents:
        return state.withheld_until if is_withheld(state) else None
    due = next_attempt_at(state)
    if is_withheld(state):
        due = min(due, state.withheld_until)
    if not state.watching:
        return due
    # A tick that is set stays set, also when it is due and on its way: else a stream of readers would put it off for ever.
    # The tick is never later than this, because watching starts when an attempt ends, and no tick is set during an attempt.
    watch = now + WATCH_S if state.refresh_timer is None else state.refresh_timer
    return min(due, watch)


def refresh_point(buffer_s: float, started_at: float, lifetime_s: float, min_interval_s: float, rng: Rng) -> float:
    """When a token's refresh is due.

    Args:
        buffer_s: Lead before expiry, in seconds; at most half of the lifetime is used.
        started_at: Reading of the clock when the token's request started.
        lifetime_s: Seconds the token lives from then.
        min_interval_s: Least seconds between the starts of two attempts.
        rng: Random source of the jitter.

    Returns:
        A reading of the clock.
    """
    lead_s = min(buffer_s, lifetime_s / 2) + rng.uniform(0.0, JITTER * lifetime_s)
    return started_at + max(lifetime_s - lead_s, min_interval_s)


def retry_point(state: State, now: float, issuer_at: float | None, rng: Rng) -> float:
    """When the wait after a failure ends; the state counts that failure already.

    Args:
        state: The manager's state.
        now: Reading of the clock.
        issuer_at: When the issuer may be asked again, where all its managers know it to be down; else ``None``.
        rng: Random source of the jitter.
    """
    if state.blocked:
        return now + probe_delay_s(state.rules.retry, state.probes, rng)
    failures = max(1, state.failures - state.early)
    at = now + retry_delay_s(state.rules.retry, failures, rng) if issuer_at is None else issuer_at
    is_short = is_asked(state, now) and not is_valid(state, now)
    return min(at, now + state.rules.retry.asked_maximum_s) if is_short else at


def hopeless(state: State, waiter: Waiter, now: float) -> bool:
    """Whether no attempt can end before a waiter's deadline, or none can bring what it asks for.

    While an attempt is under way the waiter's own patience ends its wait.
    """
    if is_out_of_reach(state, waiter.min_validity_s):
        return True
    if state.attempt is not None or state.is_asking or is_trying(state) or _is_given_back_to(state, waiter):
        return False
    if state.checking:
        return waiter.deadline <= now
    if state.blocked and not state.wanted:
        return True
    if awaits_probe(state, now):
        return waiter.deadline <= now or earliest_at(state) > waiter.deadline
    return next_attempt_at(state) > waiter.deadline


def _is_given_back_to(state: State, waiter: Waiter) -> bool:
    """Whether a waiter can stay for the token that is withheld from all."""
    if waiter.wants_refresh or waiter.rejected is not None or not is_withheld(state):
        return False
    return state.withheld_until <= min(waiter.deadline, state.expires_at - waiter.min_validity_s)


def awaits_probe(state: State, now: float) -> bool:
    """Whether another manager's probe is waited for. When it ends cannot be told, as with a request of this manager's own."""
    return state.denial is not None and state.denial.probing and now < denied_until(state)


def serve(state: State, waiters: Iterable[Waiter]) -> State:
    """Give waiters the token."""
    served = tuple(waiters)
    return _without(state, served).then(Reply(served, state.token)) if served and state.token is not None else state


def refuse(state: State, waiters: Iterable[Waiter], now: float) -> State:
    """Refuse waiters: one reply for all waiters that asked for the same."""
    alike: dict[tuple[float, bool], list[Waiter]] = {}
    for waiter in waiters:
        wants_another = waiter.wants_refresh or waiter.rejected is not None
        alike.setdefault((waiter.min_validity_s, wants_another), []).append(waiter)
    for asked, some in alike.items():
        state = _without(state, some).then(Reply(some, refusal(state, now, *asked)))
    return state


def _without(state: State, waiters: Waiters) -> State:
    return state._replace(waiters=tuple(waiter for waiter in state.waiters if waiter not in waiters))


def refusal(state: State, now: float, min_validity_s: float = 0.0, wants_refresh: bool = False) -> Refusal:
    """What a reader is told that gets no token.

    Args:
        state: What the manager knows.
        now: Reading of its clock.
        min_validity_s: Seconds that the reader asked the token to live.
        wants_refresh: Whether it asked for a new token, also in place of a valid one.
    """
    if state.login_is_parents:
        return Refusal(f"{missing(state, now, min_validity_s, wants_refresh)}; {state.last_error}", state.last_error)
    retry_in_s: float | None = max(0.0, next_attempt_at(state) - now)
    outlook = f"the next attempt is due in {retry_in_s:.1f} s"
    is_under_way = state.attempt is not None or is_trying(state)
    if is_under_way or awaits_probe(state, now):
        retry_in_s = None
        outlook = "a request is under way" if is_under_way else "another manager is asking the same issuer"
    if is_out_of_reach(state, min_validity_s):
        return Refusal(_too_much(state, min_validity_s), None, retry_in_s)
    told = [missing(state, now, min_validity_s, wants_refresh)]
    if state.last_error is not None:
        trouble = "the provider refuses the request for good" if state.blocked else "the last attempt failed"
        told.append(f"{trouble}: {state.last_error}")
    if state.sharing is not None and state.sharing.error is not None:
        told.append(f"the store of shared tokens cannot be asked: {state.sharing.error}")
    elif state.sharing is not None and state.sharing.is_missing:
        told.append(
            f"the store of shared tokens has no record of this login, or has lost it: it is redeemed when no other process has "
            f"put back a newer one in {sharing.QUARANTINE_S:g} s"
        )
    return Refusal("; ".join([*told, outlook]), state.last_error, retry_in_s)


def missing(state: State, now: float, min_validity_s: float = 0.0, wants_refresh: bool = False) -> str:
    """What a reader lacks of what it asked for; arguments as for `refusal`."""
    if wants_refresh:
        return "no new token"
    if is_valid(state, now, min_validity_s):  # the readers have it no more, and the manager has not heard of that yet
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
        f"min_validity: expected less than {max(state.lifetimes):.1f} seconds, the most that a token lives here when it comes, "
        f"got {min_validity_s:g}; no new token is asked for"
    )
