"""What the managers of one issuer know together about its being down. Pure.

One that fails for a reason that is not its own (no answer, 5xx, 408, 425, 429) becomes the prober: until its next attempt
has had time to end the others hold back, so that 40 managers do not make 40 probes. Any answer that is not such a failure
ends the outage for all. Nobody is held whose token's end is near, or who is asked for explicitly (``urgent``); a
``Retry-After`` holds everybody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Outage:
    """The shared knowledge; times are readings of the managers' clock.

    Attributes:
        failures: Failures in a row, whoever had them.
        prober: Number of the manager that tries next, or ``None``.
        until: Until when the others hold back.
        floor: Until when the provider asked everybody to wait.
    """

    failures: int = 0
    prober: int | None = None
    until: float = -math.inf
    floor: float = -math.inf


@dataclass(frozen=True, slots=True)
class Hold:
    """The answer "not now".

    Attributes:
        until: Until when.
        by_provider: Whether the provider asked for it.
    """

    until: float
    by_provider: bool


def admit(outage: Outage, who: int, now: float, *, urgent: bool, lease_s: float) -> tuple[Outage, Hold | None]:
    """Say whether a manager may ask the issuer.

    Args:
        outage: What is known.
        who: Number of the manager.
        now: Reading of the clock.
        urgent: Whether it goes even while others hold back.
        lease_s: Seconds after which its attempt will have ended.

    Returns:
        What is known now, and ``None`` where it may go.
    """
    if now < outage.floor:
        return outage, Hold(outage.floor, by_provider=True)
    if not outage.failures:
        return outage, None
    if who != outage.prober and now < outage.until and not urgent:
        return outage, Hold(outage.until, by_provider=False)
    return replace(outage, prober=who, until=max(outage.until, now + lease_s)), None


def failed(outage: Outage, who: int, now: float, *, retry_within_s: float, lease_s: float) -> Outage:
    """Note a failure that is the provider's.

    Args:
        outage: What was known.
        who: Number of the manager that had it.
        now: Reading of the clock.
        retry_within_s: Seconds within which that manager tries again.
        lease_s: Seconds after which an attempt of its will have ended.
    """
    outage = replace(outage, failures=outage.failures + 1)
    if outage.prober not in (None, who) and now < outage.until:
        return outage
    return replace(outage, prober=who, until=now + retry_within_s + lease_s)


def asked_to_wait(outage: Outage, now: float, seconds: float) -> Outage:
    """Note a ``Retry-After``."""
    return replace(outage, floor=max(outage.floor, now + seconds))
