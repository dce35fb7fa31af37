"""A manager's token as one request carries it: plainly, or with a DPoP proof (RFC 9449 section 7) where it is bound to a key.

Here, and nowhere else, is it decided which of the two a token is.
"""

from __future__ import annotations

import time
from secrets import token_urlsafe
from typing import Any

from oidc_actor.adapters.authorization import Authorization, Proof
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.reading.directory import locate
from oidc_actor.reading.reads import ServerRef
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse


def present(
    server: ServerRef, token: TokenResponse, method: str, url: str, *, nonce: str | None = None
) -> dict[str, str]:
    """Make the fields that one request carries. It may sign (a fraction of a millisecond), and never waits.

    With a proof they are of no use for a second request: a proof names its method and address, and is taken once.

    Args:
        server: The manager's ref or name.
        token: Its token.
        method: The request's method.
        url: Its address.
        nonce: What the proof has to carry; ``None`` for the newest nonce of the address's origin.

    Returns:
        ``Authorization``, and ``DPoP`` where the token is bound; no ``repr`` shows the values.

    Raises:
        ManagerNotRunning: The manager is not there.
        ConfigError: It is no access token.
        SecretUnavailable: Its DPoP key cannot be read now.
    """
    key = key_of(server, token)
    if key is None:
        return {"Authorization": Authorization.bearer(token.access_token)}
    proof = key.proof(
        method, url, now_wall=time.time(), jti=token_urlsafe(16), access_token=token.access_token, nonce=nonce
    )
    return {"Authorization": Authorization.dpop(token.access_token), "DPoP": Proof(proof.reveal())}


def authorization(server: ServerRef, token: TokenResponse) -> Authorization:
    """Make the one field of those that stays the same from request to request; arguments and errors as for `present`."""
    kind = Authorization.bearer if key_of(server, token) is None else Authorization.dpop
    return kind(token.access_token)


def key_of(server: ServerRef, token: TokenResponse) -> DPoPKey | None:
    """Find the key that a token is bound to.

    Args:
        server: The manager's ref or name.
        token: Its token.

    Returns:
        The key; ``None`` for a bearer token, which is what some providers give whoever asks for another.

    Raises:
        ManagerNotRunning: The manager is not there.
        ConfigError: It is no access token (RFC 8693 section 2.2.1), and no server's business but the provider's.
    """
    if token.token_type == "N_A":  # noqa: S105 - a type's name
        raise ConfigError(
            f"expected an access token of the manager {server!s}, got a token that its provider says is none (N_A), and which "
            "may be a refresh token: leave out requested_token_type=, or hand it to another manager by ManagerToken"
        )
    return _own_key(server) if token.token_type == "DPoP" else None  # noqa: S105 - a scheme's name


def note_nonce(server: ServerRef, url: str, nonce: str | None) -> bool:
    """Keep the nonce that an answer brought, for the proofs to come.

    Args:
        server: The manager's ref or name.
        url: What was asked.
        nonce: The value of ``DPoP-Nonce``; ``None`` where there is none.

    Returns:
        Whether there was one that a proof can carry, and a key to make it with.

    Raises:
        ManagerNotRunning: The manager is not there.
    """
    if nonce is None:
        return False
    key = _own_key(server)
    return key is not None and key.note_nonce(url, nonce)


def _own_key(server: ServerRef) -> DPoPKey | None:
    identity: Any = locate(server).identity
    key = identity[0].dpop
    return key if isinstance(key, DPoPKey) else None
