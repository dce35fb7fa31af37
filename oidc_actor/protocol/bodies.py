"""What JSON from the provider holds: objects, numbers, the claims of a JWT. No bytes make it raise."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from oidc_actor.transport import MAX_BODY_BYTES, Response

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
        found = json.loads(body.decode("utf-8-sig"), object_pairs_hook=Pairs, parse_int=_whole_number)
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
    """Say that an answer with this status brought nothing of what was wanted."""
    if 300 <= status < 400:
        return f"expected {wanted}, got a redirect, which is never followed; configure the address it should go to"
    return f"expected {wanted}, got neither" if " or " in wanted else f"expected {wanted}, got none"
