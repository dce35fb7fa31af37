"""How the first attempts of many managers are spread, so that a provider sees a bounded rate when they all start. Pure."""

from __future__ import annotations

import math

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
