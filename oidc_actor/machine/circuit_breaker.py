"""What the managers of one issuer know together about its being down. Pure.

A failure that is not a manager's own (no answer, 5xx, 408, 425) makes it the prober: until its next attempt has had time to
end the others hold back, so that 40 managers do not make 40 probes. Any answer that is not such a failure ends the outage for
all. While a probe is under way nobody else makes one, but for a caller's `force_refresh`. In between

==========  ==================================================================================================
haste       when a manager other than the prober may ask, and becomes the prober
==========  ==================================================================================================
CALM        once the prober has had its time: it may have been lost
ASKED       once the wait after the last probe is over, as the backoff has it, and ``asked_maximum_s`` at most
PRESSING    at once: its first attempt, or a live token's end is near
EXPLICIT    at once, and during a probe too
==========  ==================================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

from oidc_actor.machine.failure_policy import RetryPolicy, Rng, retry_delay_s


class Haste(IntEnum):
    """Why a manager asks now, from the least reason to the best."""

    CALM = 0
    ASKED = 1
    PRESSING = 2
    EXPLICIT = 3


@dataclass(frozen=True, slots=True)
class Outage:
    """The shared knowledge; times are readings of the managers' clock.

    Attributes:
        failures: Probes in a row that failed, without those that a live token's nearing end brought forward; at least 1
            while the issuer is down.
        prober: Number of the manager that tries next, or ``None``.
        probing: Whether its attempt is under way.
        failed_at: When the last probe failed.
        probe_at: When the next one is due.
        until: Until when the others hold back at most: by then the prober's attempt has ended.
    """

    failures: int = 0
    prober: int | None = None
    probing: bool = False
    failed_at: float = -math.inf
    probe_at: float = -math.inf
    until: float = -math.inf


@dataclass(frozen=True, slots=True)
class Hold:
    """The answer "not now".

    Attributes:
        until: Until when.
        by_provider: Whether the provider asked for it.
        probing: Whether another manager's probe is under way, so that ``until`` is the latest end of it.
    """

    until: float
    by_provider: bool = False
    probing: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """What a manager's options say about its attempts.

    Attributes:
        retry: Waits after failures.
        min_interval_s: Least seconds between two attempts.
        lease_s: Seconds after which an attempt of its will have ended.
    """

    retry: RetryPolicy
    min_interval_s: float
    lease_s: float


def admit(outage: Outage, who: int, now: float, *, haste: Haste, pace: Pace) -> tuple[Outage, Hold | None]:
    """Say whether a manager may ask the issuer.

    Args:
        outage: What is known.
        who: Number of the manager.
        now: Reading of the clock.
        haste: Why it asks.
        pace: What its options say.

    Returns:
        What is known now, and ``None`` where it may go.
    """
    if not outage.failures:
        return outage, None
    is_prober = who == outage.prober
    if outage.probing and now < outage.until and not is_prober and haste < Haste.EXPLICIT:
        return outage, Hold(outage.until, probing=True)
    due = min(outage.until, _asked_from(outage, pace)) if haste == Haste.ASKED else outage.until
    if now < due and not is_prober and haste < Haste.PRESSING:
        return outage, Hold(due)
    return replace(outage, prober=who, probing=True, until=now + pace.lease_s), None


def _asked_from(outage: Outage, pace: Pace) -> float:
    """From when on a probe may be made because somebody asks for a token."""
    wait_ends_at = min(outage.probe_at, outage.failed_at + pace.retry.asked_maximum_s)
    return max(wait_ends_at, outage.failed_at + pace.min_interval_s)


def failed(
    outage: Outage, who: int, now: float, *, early: bool, pace: Pace, rng: Rng, not_before: float = -math.inf
) -> Outage:
    """Note a failure that is the provider's.

    Args:
        outage: What was known.
        who: Number of the manager that had it.
        now: Reading of the clock.
        early: Whether a live token's nearing end brought that attempt forward.
        pace: What the manager's options say.
        rng: Random source of the jitter.
        not_before: When the wait ends that the provider asked for.

    Returns:
        What is known now; nothing new where another manager is the prober.
    """
    if outage.failures and outage.prober not in (None, who) and now < outage.until:
        return outage
    failures = max(1, outage.failures + (0 if early else 1))
    probe_at = max(now + retry_delay_s(pace.retry, failures, rng), not_before)
    return Outage(failures, who, probing=False, failed_at=now, probe_at=probe_at, until=probe_at + pace.lease_s)


def retry_at(outage: Outage, now: float) -> float:
    """When a manager whose attempt has just failed may ask again: with the next probe, whoever makes it."""
    return now if outage.probing else max(now, outage.probe_at)


def step_aside(outage: Outage, who: int) -> Outage:
    """Note that a manager makes no probe, or could not send it: another one may at once."""
    if outage.prober != who:
        return outage
    return replace(outage, prober=None, probing=False, until=-math.inf)


BURST = 100
"""Managers of one issuer whose first attempts may be made at once: a process with fewer does not notice any of this."""

RATE_PER_S = 200.0
"""First attempts in a second beyond those. A manager whose token somebody wants already does not wait for its turn."""

NEVER = -math.inf


def first_attempt_at(last: float, now: float) -> float:
    """Give the next manager its place in time.

    Args:
        last: What this answered for the manager before; `NEVER` for the first.
        now: Reading of the clock.

    Returns:
        When it may make its first attempt; in the past where it need not wait. To be kept as the next ``last``.
    """
    return max(last + 1 / RATE_PER_S, now - (BURST - 1) / RATE_PER_S)
