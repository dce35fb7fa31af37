"""The provider's signing key: what it publishes (JWKS) and how a resource server checks a token against it."""

from __future__ import annotations

from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

ALGORITHM = "ES256"  # 30 times cheaper to sign than RS256, so the provider is not what a load test measures


def new_keys() -> KeySet:
    """One fresh P-256 key, with a `kid`."""
    return KeySet([ECKey.generate_key("P-256", {"use": "sig", "alg": ALGORITHM}, auto_kid=True)])


def read_token(text: str, keys: KeySet, *, issuer: str, now_wall: float) -> dict[str, Any] | None:
    """The claims of a genuine, unexpired access token of this issuer (RFC 9068 section 4); `None` for any other text.

    Args:
        text: The token as it came in the `Authorization` header.
        keys: The issuer's public keys.
        issuer: What `iss` must be.
        now_wall: Seconds since the epoch.
    """
    try:
        claims = jwt.decode(text, keys, algorithms=[ALGORITHM]).claims
    except (JoseError, ValueError):
        return None
    expires = claims.get("exp")
    if claims.get("iss") != issuer or not isinstance(expires, int | float) or expires <= now_wall:
        return None
    return claims
