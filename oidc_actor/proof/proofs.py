"""A manager's token as it is presented to a resource server: with a DPoP proof (RFC 9449 section 7) where it is bound to a key.

For adapters: get the token, waiting or not, then `present` it for one request; after each answer `note_nonce`.
"""

from __future__ import annotations

import time
from secrets import token_urlsafe
from typing import Any

from oidc_actor.proof.dpop import DPoPKey
from oidc_actor.reading.cells import locate
from oidc_actor.reading.reads import Server
from oidc_actor.sealed import Sealed, put
from oidc_actor.secrets import Secret
from oidc_actor.tokens import TokenResponse

NONCE_FIELD = "DPoP-Nonce"
"""The response field that brings a nonce (RFC 9449 section 8)."""


class Presentation(Sealed):
    """What one request carries. It is of no use for a second one: a proof is taken once.

    Attributes:
        authorization: The value of ``Authorization``.
        proof: The value of ``DPoP``; ``None`` for a bearer token.
    """

    __slots__ = ("authorization", "proof")
    authorization: Secret
    proof: Secret | None

    def __init__(self, authorization: Secret, proof: Secret | None) -> None:
        put(self, authorization=authorization, proof=proof)

    def headers(self) -> dict[str, str]:
        """Return the fields as texts; keep them out of local variables."""
        found = {"Authorization": self.authorization.reveal()}
        return found if self.proof is None else {**found, "DPoP": self.proof.reveal()}

    def __repr__(self) -> str:
        return f"Presentation({'Bearer' if self.proof is None else 'DPoP'})"


def present(server: Server, token: TokenResponse, method: str, url: str) -> Presentation:
    """Make what one request carries. It signs (a tenth of a millisecond) and never waits.

    Args:
        server: The manager's ref or name.
        token: Its token.
        method: The request's method.
        url: Its address.

    Returns:
        The header fields' values: for a bearer token just the one.

    Raises:
        NoProcess: The manager is not there.
        SecretUnavailable: Its DPoP key cannot be read now.
    """
    key = _key_of(server)
    if key is None or token.token_type != "DPoP":  # noqa: S105 - a scheme's name
        return Presentation(Secret(f"Bearer {token.access_token}"), None)
    proof = key.proof(method, url, now_wall=time.time(), jti=token_urlsafe(16), access_token=token.access_token)
    return Presentation(Secret(f"DPoP {token.access_token}"), proof)


def note_nonce(server: Server, url: str, nonce: str | None) -> bool:
    """Keep the nonce that an answer brought.

    Args:
        server: The manager's ref or name.
        url: What was asked.
        nonce: The value of ``DPoP-Nonce``; ``None`` where there is none.

    Returns:
        Whether it is a new one: a 401 with ``use_dpop_nonce`` is then worth one more try, with a new `present`.

    Raises:
        NoProcess: The manager is not there.
    """
    key = _key_of(server)
    return key is not None and key.note_nonce(url, nonce)


def _key_of(server: Server) -> DPoPKey | None:
    identity: Any = locate(server).identity
    key = identity[0].dpop
    return key if isinstance(key, DPoPKey) else None
