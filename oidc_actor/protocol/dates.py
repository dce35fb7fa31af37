"""The times in a response's header: how long to leave the provider alone, and what its clock shows (RFC 9110)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from oidc_actor.transport import Response

LONGEST_WAIT_S = 3600.0
"""The longest wait that is honoured, in seconds."""

TOLERATED_SKEW_S = 60.0
"""Seconds by which ``Date`` may differ before one of the two clocks is taken for wrong."""

_DATE_RESOLUTION_S = 1.0

_DAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*", re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after_s(response: Response, *, now_wall: float) -> float | None:
    """Read the ``Retry-After`` field: of several values the longest, so that none of them is broken.

    Args:
        response: The response.
        now_wall: Seconds since the epoch, for where the response has no ``Date`` to count from.

    Returns:
        Seconds to wait, from 0 to `LONGEST_WAIT_S`; ``None`` where nothing readable was asked for.
    """
    value = response.header("Retry-After") or ""
    # Dates are counted from the provider's own clock where it shows it, so that a skewed one does not matter.
    shown = _provider_date(response)
    now = now_wall if shown is None else shown
    waits = [wait for one in _members(value) if (wait := _wait_s(one, now)) is not None]
    return min(max(waits), LONGEST_WAIT_S) if waits else None


def _wait_s(value: str, now: float) -> float | None:
    if _SECONDS.fullmatch(value):
        return float(value)
    until = read_date(value)
    return None if until is None else max(until - now, 0.0)


def _provider_date(response: Response) -> float | None:
    """What ``Date`` says: the first value of several that can be read."""
    dates = (read_date(one) for one in _members(response.header("Date") or ""))
    return next((date for date in dates if date is not None), None)


def _members(value: str) -> Iterator[str]:
    """The values of a field that came more than once. A comma behind a day's name is its date's own."""
    parts = iter(value.split(","))
    for part in parts:
        text = part.strip()
        yield f"{text},{next(parts, '')}" if _DAY.fullmatch(text) else text


def read_date(value: str) -> float | None:
    """Read an HTTP date.

    Args:
        value: A header field's value.

    Returns:
        Seconds since the epoch, or ``None`` where it is no date.
    """
    try:
        found = parsedate_to_datetime(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Skew:
    """How a provider's clock goes against this machine's, as one answer shows it.

    Attributes:
        ahead_s: Seconds the provider's clock is ahead; negative where it is behind.
        uncertainty_s: By how much that may be wrong: ``Date`` has whole seconds, and the answer travelled.
    """

    ahead_s: float
    uncertainty_s: float

    @property
    def least_s(self) -> float:
        """As little as the clocks may differ, with the sign of `ahead_s`; 0 where they may agree."""
        return math.copysign(max(0.0, abs(self.ahead_s) - self.uncertainty_s), self.ahead_s)

    @property
    def is_tolerable(self) -> bool:
        """Whether what has a time in it (an assertion, a proof, a token's ``exp``) is likely read as it was meant."""
        return abs(self.least_s) <= TOLERATED_SKEW_S


def read_skew(response: Response, *, ended_wall: float, took_s: float) -> Skew | None:
    """Estimate how far a provider's clock is off this machine's.

    Args:
        response: The response.
        ended_wall: Seconds since the epoch by this machine's clock, when it had come.
        took_s: Seconds from sending the request until then.

    Returns:
        The estimate: ``Date`` was written at some time in between; ``None`` where there is none.
    """
    shown = _provider_date(response)
    if shown is None:
        return None
    return Skew(shown + _DATE_RESOLUTION_S / 2 - (ended_wall - took_s / 2), (took_s + _DATE_RESOLUTION_S) / 2)


def provider_now(response: Response, *, now_wall: float) -> float:
    """Estimate what the provider's clock showed, for reading the instants in its answer.

    Args:
        response: The response.
        now_wall: Seconds since the epoch by this machine's clock, at the start of the request.

    Returns:
        Seconds since the epoch: this machine's reading, or the later one of ``Date`` where both agree within
        `TOLERATED_SKEW_S`; where they do not, the provider's, rounded up because ``Date`` has no fractions.
    """
    shown = _provider_date(response)
    if shown is None:
        return now_wall
    return max(shown, now_wall) if abs(shown - now_wall) <= TOLERATED_SKEW_S else shown + 1.0
