"""The circuit breaker that the managers of one issuer share, and the rate limit of their first attempts. Pure.

*Closed*: all is well, every attempt is allowed. A failure that is not a manager's own (no answer, 5xx, 408, 425) *opens* it; the
manager that had it owns the probe: until its next attempt has had time to end the others are denied, so that 40 managers do not
make 40 probes. *Half-open*: that probe is under way, and the only one, but for a caller's `force_refresh`. Any answer that
is not such a failure closes it for all. While it is open and no probe is under way

==========  ==================================================================================================
haste       when a manager other than the owner is allowed to ask, and becomes the owner
==========  ==================================================================================================
CALM        once the owner has had its time: it may have been lost
ASKED       once the wait after the last probe is over, as the backoff has it, and ``asked_maximum_s`` at most
PRESSING    at once: its first attempt, or a live token's end is near
EXPLICIT    at once, and while half-open too
==========  ==================================================================================================
"""

from __future__ import annotations

from dataclasses import replace

from oidc_actor.machine.events import NEVER, Allowed, Denied, Haste
from oidc_actor.machine.failure_policy import RetryPolicy, Rng, retry_delay_s
from supervision.frozen import dataclass


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """What the managers know together; times are readings of their clock.

    Attributes:
        failures: Probes in a row that failed, without those that a live token's nearing end brought forward; 0 while it is
            closed, at least 1 while it is open.
        owner: Number of the manager that makes the next probe, or ``None``.
        is_half_open: Whether that probe is under way.
        failed_at: When the last probe failed.
        probe_at: When the next one is due.
        until: Until when the others are denied at most: by then the owner's attempt has ended.
    """

    failures: int = 0
    owner: int | None = None
    is_half_open: bool = False
    failed_at: float = NEVER
    probe_at: float = NEVER
    until: float = NEVER


@dataclass(frozen=True, slots=True)
class Limits:
    """What a manager's options say about its attempts.

    Attributes:
        retry: Waits after failures.
        min_interval_s: Least seconds between two attempts.
        lease_s: Seconds after which an attempt of its will have ended.
    """

    retry: RetryPolicy
    min_interval_s: float
    lease_s: float


def allow(
    breaker: CircuitBreaker, number: int, now: float, *, haste: Haste, limits: Limits
) -> tuple[CircuitBreaker, Allowed | Denied]:
    """Say whether a manager may ask the issuer.

    Args:
        breaker: What is known.
        number: Number of the manager.
        now: Reading of the clock.
        haste: Why it asks.
        limits: What its options say.

    Returns:
        What is known now, and the answer.
    """
    if not breaker.failures:
        return breaker, Allowed()
    is_owner = number == breaker.owner
    if breaker.is_half_open and now < breaker.until and not is_owner and haste < Haste.EXPLICIT:
        return breaker, Denied(breaker.until, probing=True)
    due = min(breaker.until, _asked_from(breaker, limits)) if haste == Haste.ASKED else breaker.until
    if now < due and not is_owner and haste < Haste.PRESSING:
        return breaker, Denied(due)
    return replace(breaker, owner=number, is_half_open=True, until=now + limits.lease_s), Allowed()


def _asked_from(breaker: CircuitBreaker, limits: Limits) -> float:
    """From when on a probe may be made because a reader asks for a token."""
    wait_ends_at = min(breaker.probe_at, breaker.failed_at + limits.retry.asked_maximum_s)
    return max(wait_ends_at, breaker.failed_at + limits.min_interval_s)


def record_failure(
    breaker: CircuitBreaker,
    number: int,
    now: float,
    *,
    early: bool,
    limits: Limits,
    rng: Rng,
    not_before: float = NEVER,
) -> CircuitBreaker:
    """Note a failure that is the provider's.

    Args:
        breaker: What was known.
        number: Number of the manager that had it.
        now: Reading of the clock.
        early: Whether a live token's nearing end brought that attempt forward.
        limits: What the manager's options say.
        rng: Random source of the jitter.
        not_before: When the wait ends that the provider asked for.

    Returns:
        What is known now; nothing new where another manager owns the probe.
    """
    if breaker.failures and breaker.owner not in (None, number) and now < breaker.until:
        return breaker
    failures = max(1, breaker.failures + (0 if early else 1))
    probe_at = max(now + retry_delay_s(limits.retry, failures, rng), not_before)
    return CircuitBreaker(
        failures, number, is_half_open=False, failed_at=now, probe_at=probe_at, until=probe_at + limits.lease_s
    )


def retry_at(breaker: CircuitBreaker, now: float) -> float:
    """When a manager whose attempt has just failed may ask again: with the next probe, whichever manager makes it."""
    return now if breaker.is_half_open else max(now, breaker.probe_at)


def release_probe(breaker: CircuitBreaker, number: int) -> CircuitBreaker:
    """Note that a manager makes no probe, or could not send it: another one may at once."""
    if breaker.owner != number:
        return breaker
    return replace(breaker, owner=None, is_half_open=False, until=NEVER)


BURST = 100
"""Managers of one issuer whose first attempts may be made at once: a process with fewer does not notice any of this."""

RATE_PER_S = 200.0
"""First attempts in a second beyond those. A manager whose token a reader wants already does not wait for its turn."""


def first_attempt_at(last: float, now: float) -> float:
    """Give the next manager its place in time: the generic cell rate algorithm (GCRA; ITU-T I.371), which keeps one number.

    Args:
        last: What this answered for the manager before; `NEVER` for the first.
        now: Reading of the clock.

    Returns:
        When it may make its first attempt; in the past where it need not wait. To be kept as the next ``last``.
    """
    return max(last + 1 / RATE_PER_S, now - (BURST - 1) / RATE_PER_S)
