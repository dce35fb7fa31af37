"""How long a token lives: the first of four sources that says so.

1. ``expires_in``: seconds, a number or a text that is one (RFC 6749 section 5.1).
2. ``expires_at``: seconds since the epoch, or an ISO 8601 time with its zone.
3. The access token's own ``exp``, where it is a JWT (RFC 7519 section 4.1.4); read, not verified.
4. A default.

A value that cannot be read, is not finite, or lies beyond a thousand years counts as absent.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from oidc_actor.protocol.bodies import read_object

LifetimeSource: TypeAlias = Literal["expires_in", "expires_at", "exp", "default"]

LONGEST_LIFETIME_S = 1000 * 365.25 * 86400
"""More seconds than that are taken for nonsense."""

_LONGEST_NUMERAL = 40


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a token lives, and who says so.

    Attributes:
        seconds: Counted from the start of the request that brought the token; zero or negative for a dead one.
        source: Where the figure is from.
    """

    seconds: float
    source: LifetimeSource


def decide_lifetime(members: Mapping[str, Any], access_token: str, *, now_wall: float, default_s: float) -> Lifetime:
    """Decide how long a token lives.

    Args:
        members: The token response's members.
        access_token: The access token's text.
        now_wall: Seconds since the epoch at the start of the request.
        default_s: Seconds to assume where nothing says.

    Returns:
        The lifetime and its source.
    """
    seconds = _plausible(read_number(members.get("expires_in")))
    if seconds is not None:
        return Lifetime(seconds, "expires_in")
    until = _read_instant(members.get("expires_at"))
    if until is not None and _plausible(until - now_wall) is not None:
        return Lifetime(until - now_wall, "expires_at")
    left = _jwt_seconds_left(access_token, now_wall)
    if left is not None:
        return Lifetime(left, "exp")
    return Lifetime(default_s, "default")


def read_number(value: object) -> float | None:
    """Read a finite number from a number or a text.

    Args:
        value: A JSON value.

    Returns:
        The number, an int where it is a whole one in its source; ``None`` where there is none.
    """
    if isinstance(value, str):
        value = _numeral(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an int beyond any float
        return None


def _numeral(text: str) -> object:
    # Python's own readers take underscores and other scripts' digits; a provider means neither.
    if len(text) > _LONGEST_NUMERAL or not text.isascii() or "_" in text:
        return None
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _plausible(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds <= LONGEST_LIFETIME_S else None


def _read_instant(value: object) -> float | None:
    number = read_number(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        found = datetime.fromisoformat(value)
        return None if found.tzinfo is None else found.timestamp()
    except (ValueError, OverflowError):
        return None


def _jwt_seconds_left(access_token: str, now_wall: float) -> float | None:
    claims = read_claims(access_token)
    ends = read_number(claims.get("exp"))
    if ends is None or _plausible(ends - now_wall) is None:
        return None
    # Where this machine's clock is behind the provider's, the token's own span is the smaller and the true figure.
    begins = read_number(claims.get("iat"))
    span = ends - begins if begins is not None else math.inf
    return min(ends - now_wall, span) if span > 0 else ends - now_wall


def read_claims(token: str) -> Mapping[str, Any]:
    """Read a JWT's claims without verifying anything.

    Args:
        token: A token's text.

    Returns:
        The claims; empty where the text is no JWT.
    """
    found = read_object(jwt_part(token, 1))
    return {} if isinstance(found, str) else found


def jwt_part(token: str, index: int) -> bytes:
    """Decode one part of a JWT without verifying anything.

    Args:
        token: A token's text.
        index: 0 for the header, 1 for the claims.

    Returns:
        What should be a JSON object; empty where the text is no JWT.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return b""
    try:
        return base64.b64decode(parts[index] + "=" * (-len(parts[index]) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
