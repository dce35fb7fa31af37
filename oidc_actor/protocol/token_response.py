"""Token responses (RFC 6749 sections 5.1 and 5.2), read as a token with its lifetime or as a typed error.

Pure and total: any status, headers and bytes become a token or a typed error.

A token's lifetime is what the first of four sources says (`decide_lifetime`):

1. ``expires_in``: seconds, a number or a text that is one (RFC 6749 section 5.1).
2. ``expires_at``: seconds since the epoch, or an ISO 8601 time with its zone.
3. The access token's own ``exp``, where it is a JWT (RFC 7519 section 4.1.4); read, not verified.
4. A default.

A value that cannot be read, is not finite, or lies beyond a thousand years counts as absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from oidc_actor.protocol.error_response import ErrorResponse, is_permanent, read_error_response, tokens_in
from oidc_actor.protocol.redaction import presentable
from oidc_actor.protocol.response_fields import Pairs, provider_now, read_claims, read_number, read_object
from oidc_actor.transport import Response
from oidc_actor.values.secrets import Secret, holds_secrets
from oidc_actor.values.tokens import DEEPEST, NO_EXTRA, ExtraMembers, LifetimeSource, ParsedToken, TokenResponse
from supervision.frozen import dataclass

DEFAULT_LIFETIME_S = 300.0
"""Seconds a token is taken to live where nothing says."""

_TOKEN_TYPES = {"bearer": "Bearer", "dpop": "DPoP"}

_WANTED = "a token or an OAuth error"


@holds_secrets
def parse_token(
    response: Response,
    *,
    now_wall: float,
    sent_secrets: Iterable[Secret] = (),
    default_lifetime_s: float = DEFAULT_LIFETIME_S,
    grant_type: str = "client_credentials",
    refreshing: bool = False,
    advice: Callable[[], str | None] = lambda: None,
    may_be_no_access_token: bool = False,
    bearer_names: Collection[str] = (),
) -> ParsedToken:
    """Read the response to a token request (RFC 6749 sections 5.1 and 5.2).

    Args:
        response: What came back.
        now_wall: Seconds since the epoch when the request was started.
        sent_secrets: What the response may repeat and no error may show.
        default_lifetime_s: Seconds to assume where nothing says.
        grant_type: The credentials' own grant, which decides what ``invalid_grant`` means.
        refreshing: Whether a refresh token was redeemed in place of that grant.
        advice: Called where it is the client that is refused: what to say then, or ``None``.
        may_be_no_access_token: Whether the type ``N_A`` is a good one (RFC 8693 section 2.2.1).
        bearer_names: Other names of a bearer token.

    Returns:
        The token with its lifetime.

    Raises:
        TokenRequestError: Where the response is anything else.
    """
    types = {**dict.fromkeys((name.lower() for name in bearer_names), "Bearer"), **_TOKEN_TYPES}
    if may_be_no_access_token:
        types["n_a"] = "N_A"
    found = _read_token(response, tuple(sent_secrets), types, now_wall=now_wall, default_lifetime_s=default_lifetime_s)
    if isinstance(found, ErrorResponse):
        permanent = is_permanent(found.error, status=response.status, grant_type=grant_type, refreshing=refreshing)
        said = advice() if _is_about_the_client(found, response.status) else None
        hint = "" if said is None else f"; {said}"
        raise found.as_error("token request", response, now_wall=now_wall, permanent=permanent, hint=hint)
    return found


def _is_about_the_client(found: ErrorResponse, status: int) -> bool:
    return found.error in {"invalid_client", "unauthorized_client"} or (found.error is None and status == 401)


def _read_token(
    response: Response,
    sent: Collection[Secret],
    types: Mapping[str, str],
    *,
    now_wall: float,
    default_lifetime_s: float,
) -> ParsedToken | ErrorResponse:
    if response.status not in {200, 201}:
        return read_error_response(response, sent, _WANTED)
    members = read_object(response.body)
    if isinstance(members, str):
        return ErrorResponse(members)
    if members.get("error"):  # some providers send errors with status 200
        return read_error_response(response, sent, _WANTED)
    problem = _token_problem(members, sent, types)
    if problem is not None:
        return ErrorResponse(problem)
    access_token: str = members["access_token"]
    at = provider_now(response, now_wall=now_wall)
    life = decide_lifetime(members, access_token, now_wall=at, default_s=default_lifetime_s)
    if life.seconds <= 0:
        return ErrorResponse(f"expected a positive lifetime, got {life.seconds:g} seconds from {life.source}")
    token = TokenResponse(
        access_token,
        types[(members.get("token_type") or "Bearer").lower()],
        life.seconds,
        _text(members.get("refresh_token")),
        _text(members.get("id_token")),
        _scope(members.get("scope")),
        datetime.fromtimestamp(now_wall, UTC),
        _extra(members),
    )
    return ParsedToken(token, life.seconds, life.source)


def _kind(value: object) -> str:
    """What a member is that cannot be used, without a word of it."""
    if value is None:
        return "none"
    if value == "":
        return "empty text"
    return "an object" if isinstance(value, Pairs) else type(value).__name__


def _token_problem(members: Mapping[str, Any], secrets: Collection[Secret], types: Mapping[str, str]) -> str | None:
    access_token, token_type = members.get("access_token"), members.get("token_type") or "Bearer"
    if not isinstance(access_token, str) or not access_token:
        return f"expected an access_token, got {_kind(access_token)}"
    problem = access_token_problem(access_token)
    if problem is not None:
        return problem
    if not isinstance(token_type, str) or token_type.lower() not in types:
        shown = (
            presentable(token_type, (*secrets, *tokens_in(members)))[:40]
            if isinstance(token_type, str)
            else _kind(token_type)
        )
        hint = "; accept_token_types=(...) takes another name of a bearer token" if isinstance(token_type, str) else ""
        return f"expected the token_type Bearer or DPoP, got {shown!r}{hint}"
    return None


_READ = frozenset({"access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope"})
"""The members that have an attribute of their own."""


def _extra(members: Mapping[str, Any]) -> ExtraMembers:
    others = {name: _without_pairs(value) for name, value in members.items() if name not in _READ}
    return ExtraMembers(others) if others else NO_EXTRA


def _without_pairs(value: Any, levels: int = DEEPEST) -> Any:
    """The same with dicts for objects. What lies too deep to be kept may stay as it is."""
    if not isinstance(value, list) or not levels:
        return value
    if isinstance(value, Pairs):
        return {name: _without_pairs(one, levels - 1) for name, one in value}
    return [_without_pairs(one, levels - 1) for one in value]


def access_token_problem(access_token: str) -> str | None:
    """Say what is wrong with the text of an access token, without showing it; ``None`` where nothing is.

    Anything but visible ASCII could end the ``Authorization`` header early and begin another (RFC 6749 appendix A.12 allows
    spaces, RFC 6750 does not).

    Args:
        access_token: The text.
    """
    if not (access_token.isascii() and access_token.isprintable()) or " " in access_token:
        return "expected an access_token of visible ASCII characters, got one with others"
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value and value.isprintable() and value.isascii() else None


def _scope(value: object) -> str | None:
    if type(value) is list and all(isinstance(one, str) for one in value):  # an inner object is a list of another type
        value = " ".join(value)
    return value if isinstance(value, str) and value.isprintable() else None


LONGEST_LIFETIME_S = 1000 * 365.25 * 86400
"""More seconds than that are taken for nonsense."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a token lives, and what that is read from.

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
