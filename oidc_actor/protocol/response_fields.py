"""What is read from any response of a provider: JSON and JWT claims in its body, dates and waits in its header (RFC 9110).

No bytes make a function here raise.
"""

from __future__ import annotations

import base64
import codecs
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from oidc_actor.transport import MAX_BODY_BYTES, Response
from oidc_actor.values.clock import TOLERATED_SKEW_S, Skew

_MAX_FORM_FIELDS = 50
_MAX_DIGITS = 400  # beyond what a float holds, and far below what Python refuses to read


class Pairs(list[tuple[str, Any]]):
    """An object's members in their order, so that a name that comes twice is seen."""


def read_object(body: bytes) -> dict[str, Any] | str:
    """Read a JSON object.

    Args:
        body: The bytes of a response.

    Returns:
        The object, or what is wrong with the bytes. Only the outermost object's names are checked for duplicates;
        inner ones come as lists of pairs, see `read_pairs`.
    """
    found = read_pairs(body)
    if isinstance(found, str):
        return found
    members = dict(found)
    return members if len(members) == len(found) else "expected each name once, got a JSON object that repeats one"


def read_pairs(body: bytes) -> Pairs | str:
    """Read a JSON object whose names may repeat.

    Args:
        body: The bytes of a response.

    Returns:
        The members in their order, and so for the objects in it; or what is wrong with the bytes.
    """
    if len(body) > MAX_BODY_BYTES:
        return f"expected at most {MAX_BODY_BYTES} bytes, got more"
    try:
        # 3.11's parser recurses: deep nesting ends in RecursionError.
        # Not "utf-8-sig": its codec would be imported here, on a thread (see `supervision.runtime.lazy_imports`).
        found = json.loads(
            body.removeprefix(codecs.BOM_UTF8).decode(), object_pairs_hook=Pairs, parse_int=_whole_number
        )
    except RecursionError:
        return "expected JSON, got JSON nested too deeply"
    except ValueError:
        return "expected JSON, got " + ("an empty body" if not body.strip() else "something else")
    if not isinstance(found, Pairs):
        return "expected a JSON object, got another JSON value"
    return found


def _whole_number(digits: str) -> int | float:
    """A number. Python makes no ``int`` of thousands of digits, and an unused member must not spoil the others: a ``float``."""
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def read_error_object(response: Response) -> Mapping[str, Any]:
    """Read the members of an error response: JSON, or a form as some providers still send (RFC 6749 wants JSON).

    Args:
        response: A response that is no success.

    Returns:
        The members; empty where the body has none that can be read.
    """
    found = read_object(response.body)
    if not isinstance(found, str):
        return found
    if len(response.body) > MAX_BODY_BYTES or not response.body.lstrip().startswith((b"error=", b"error_")):
        return {}
    try:
        return dict(parse_qsl(response.body.decode("utf-8").strip(), max_num_fields=_MAX_FORM_FIELDS))
    except ValueError:
        return {}


_LONGEST_NUMERAL = 40


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


def status_problem(status: int, wanted: str) -> str:
    """Say that a response with this status brought nothing of what was wanted."""
    if 300 <= status < 400:
        return f"expected {wanted}, got a redirect, which is never followed; configure the address it should go to"
    return f"expected {wanted}, got neither" if " or " in wanted else f"expected {wanted}, got none"


LONGEST_WAIT_S = 3600.0
"""The longest wait that is honoured, in seconds."""


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
    value = response.header("Date")
    return None if value is None else _first_date(value)


@lru_cache(maxsize=32)
def _first_date(value: str) -> float | None:
    """Kept, because each response is asked twice, and providers change what they say once in a second."""
    dates = (read_date(one) for one in _members(value))
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
    """Estimate what the provider's clock showed, for reading the instants in its response.

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
