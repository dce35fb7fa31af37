"""How long a provider asks to be left alone (RFC 9110 section 10.2.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from oidc_actor.transport import Response

LONGEST_WAIT_S = 3600.0
"""The longest wait that is honoured, in seconds."""

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after_s(response: Response, *, now_wall: float) -> float | None:
    """Read the ``Retry-After`` field.

    Args:
        response: The response.
        now_wall: Seconds since the epoch, for where the response has no ``Date`` to count from.

    Returns:
        Seconds to wait, from 0 to `LONGEST_WAIT_S`; ``None`` where nothing readable was asked for.
    """
    value = (response.header("Retry-After") or "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_WAIT_S)
    until = read_date(value)
    if until is None:
        return None
    # Counted from the provider's own clock where it shows it, so that a skewed one does not matter.
    shown = read_date(response.header("Date") or "")
    return min(max(until - (now_wall if shown is None else shown), 0.0), LONGEST_WAIT_S)


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


def server_time(response: Response) -> datetime | None:
    """Read the ``Date`` field: what the provider's clock showed.

    Args:
        response: The response.

    Returns:
        An aware UTC datetime, or ``None``.
    """
    seconds = read_date(response.header("Date") or "")
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
