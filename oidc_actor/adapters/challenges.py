"""What a resource server says of the token that it refuses: the challenges of a 401 (RFC 9110 section 11.6.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

Challenge: TypeAlias = tuple[str, dict[str, str]]
"""A scheme and its parameters; both names in lower case."""

_GAP = re.compile(r"[ \t,]*")
_PARAMETER = re.compile(
    r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z-]+))"""
)
_WORD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+=*")  # a scheme, or the token68 that some have in place of parameters


def challenges(field: str) -> list[Challenge]:
    """Read one ``WWW-Authenticate`` field, as far as it can be read.

    Args:
        field: Its value; may hold several challenges.

    Returns:
        The challenges, in order. Of a parameter that is repeated the first value counts.
    """
    found: list[Challenge] = []
    position = 0
    while True:
        gap = _GAP.match(field, position)
        position = position if gap is None else gap.end()
        parameter = _PARAMETER.match(field, position)
        if parameter is not None and found:
            name, quoted, plain = parameter.groups()
            found[-1][1].setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            position = parameter.end()
            continue
        word = _WORD.match(field, position)
        if word is None:
            return found
        # A scheme begins the field or follows a comma; what follows a scheme and a space is its token68.
        if not found or (gap is not None and "," in gap[0]):
            found.append((word[0].lower(), {}))
        position = word.end()


def refuses_token(fields: Iterable[str], scheme: str = "bearer") -> bool:
    """Tell whether a 401 is about the token that came with the request (RFC 6750 section 3, RFC 9449 section 7.1).

    Args:
        fields: The values of its ``WWW-Authenticate`` fields.
        scheme: What the token was sent as: ``"bearer"`` or ``"dpop"``.

    Returns:
        ``True`` for a challenge of that scheme with ``invalid_token``, and for challenges of it none of which names an error:
        section 3.1 has a server leave the code out where it saw no token, and many leave it out always. ``True`` also
        where a Bearer challenge says ``invalid_token`` of a DPoP token. ``False`` for another error, such as
        ``insufficient_scope`` or ``invalid_dpop_proof``, which no new token cures, and where there is no challenge of that
        scheme at all: whoever answers so does not speak of such tokens.
    """
    told = _errors(fields)
    errors = {error for one, error in told if one == scheme}
    return ("bearer", "invalid_token") in told or "invalid_token" in errors or errors == {None}


def wants_nonce(fields: Iterable[str]) -> bool:
    """Tell whether a 401 asks for a proof with the nonce that it brings (RFC 9449 section 9); it says nothing of the token.

    Args:
        fields: The values of its ``WWW-Authenticate`` fields.
    """
    return ("dpop", "use_dpop_nonce") in _errors(fields)


def refuses_proof(fields: Iterable[str]) -> bool:
    """Tell whether a 401 is about the proof itself (RFC 9449 section 7.1), and neither about the token nor a nonce.

    Args:
        fields: The values of its ``WWW-Authenticate`` fields.
    """
    return ("dpop", "invalid_dpop_proof") in _errors(fields)


def _errors(fields: Iterable[str]) -> set[tuple[str, str | None]]:
    return {(scheme, parameters.get("error")) for field in fields for scheme, parameters in challenges(field)}
