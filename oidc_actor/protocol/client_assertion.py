"""Signed statements in place of secrets (RFC 7523): what a client's own says, and whether somebody else's still holds."""

from __future__ import annotations

from typing import Any

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.protocol.entra import is_entra
from oidc_actor.protocol.lifetime import read_claims, read_number
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.values.secrets import Secret

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""What a signed client assertion is called in a request (RFC 7523 section 2.2)."""

ASSERTION_LIFE_S = 60
"""Seconds that a client assertion lives: it is used at once, and some providers refuse any that lives longer."""


FORGIVEN_S = 5.0
"""Seconds by which a statement may be from the future for hardly anybody to mind."""


def client_claims(auth: Credentials, config: OIDCConfig, *, now_wall: float, jti: str) -> dict[str, Any]:
    """Say what a client assertion claims (RFC 7523 section 3).

    Args:
        auth: The credentials.
        config: The provider's metadata.
        now_wall: Seconds since the epoch.
        jti: A text that no other assertion has.

    Returns:
        The claims.
    """
    now = int(now_wall)
    return {
        "iss": auth.client_id,
        "sub": auth.client_id,
        "aud": assertion_audience(auth, config),
        "jti": jti,
        "iat": now,
        "exp": now + ASSERTION_LIFE_S,
    }


def assertion_audience(auth: Credentials, config: OIDCConfig) -> str:
    """Choose whom a client assertion names. Naming the issuer keeps it from being used anywhere else.

    Args:
        auth: The credentials, whose own choice wins.
        config: The provider's metadata, with a token endpoint.

    Returns:
        The issuer's identifier or the token endpoint's address; with a certificate for mutual TLS that is still the plain one,
        which every provider knows itself by.
    """
    assert config.token_endpoint is not None
    chosen = auth.assertion_audience
    if chosen is not None and chosen not in ("issuer", "token_endpoint"):
        return chosen
    if chosen == "token_endpoint" or config.issuer is None:
        return config.token_endpoint
    if chosen is None and is_entra(config.token_endpoint):
        return config.token_endpoint
    return config.issuer


def is_timely(statement: Secret, *, at: float) -> bool:
    """Tell whether whoever reads a statement at some time finds it neither over nor from the future.

    Args:
        statement: A client assertion, a foreign token or a DPoP proof; nothing of it is verified here. Other texts are timely.
        at: Seconds since the epoch by the reader's clock.
    """
    claims = read_claims(statement.reveal())
    ends, begins = read_number(claims.get("exp")), read_number(claims.get("nbf", claims.get("iat")))
    if ends is None and begins is not None:  # a proof is judged by when it was made (RFC 9449 section 11.1)
        ends = begins + ASSERTION_LIFE_S
    return (ends is None or ends > at) and (begins is None or begins <= at + FORGIVEN_S)


def staleness(assertion: Secret, *, now_wall: float) -> str | None:
    """Say how long an assertion has been of no use, where it is a JWT that says when it ends.

    Args:
        assertion: The text, signed by somebody else; nothing of it is verified here.
        now_wall: Seconds since the epoch.

    Returns:
        A phrase, or ``None`` where it lives or does not say.
    """
    ends = read_number(read_claims(assertion.reveal()).get("exp"))
    if ends is None or ends > now_wall:
        return None
    return f"expected a token that is still valid, got one that expired {now_wall - ends:.0f} s ago"
