"""The header fields that carry a manager's token, for every client that takes a header.

They know nothing of where the request goes, or of its answer. Here, and in no other module, is it decided whether a token
goes out plainly or with a DPoP proof (RFC 9449 section 7), because it is bound to a key.
"""

from __future__ import annotations

import time
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

from oidc_actor.adapters.authorization import Authorization, Proof
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.manager.token_manager import TokenManager
from oidc_actor.reading.directory import locate
from oidc_actor.reading.reads import ServerRef
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse


def headers(
    server: ServerRef, *, timeout: float = 5.0, method: str | None = None, url: str | None = None
) -> dict[str, str]:
    """Return the header for one request, with the token as it is now; ask again for each request.

    Args:
        server: The manager's ref or name.
        timeout: Seconds to wait for a token where there is none.
        method: The request's method; with ``url`` it is needed where the token is bound to a key (``dpop=``), for the proof.
        url: The request's address.

    Returns:
        ``{"Authorization": "Bearer ..."}`` (RFC 6750 section 2.1), or ``{"Authorization": "DPoP ...", "DPoP": ...}`` (RFC 9449
        section 7.1), which is good for that one request; the ``repr`` of the values shows neither token nor proof. After a 401
        about the token tell the manager: ``TokenManager.force_refresh(server, rejected=token)``; and tell `note_nonce` of what
        answers to a DPoP token bring.

    Raises:
        NoTokenError: None came in time, or none can.
        ManagerNotRunning: The manager is not there.
        ConfigError: The token is bound to a key, and method and address were not given; or it is no access token.
        SecretUnavailable: That key cannot be read now.
    """
    _check(method, url)
    return _fields(server, TokenManager.get_token(server, timeout=timeout), method, url)


async def aheaders(
    server: ServerRef, *, timeout: float = 5.0, method: str | None = None, url: str | None = None
) -> dict[str, str]:
    """Do what `headers` does, without blocking the event loop."""
    _check(method, url)
    return _fields(server, await TokenManager.aget_token(server, timeout=timeout), method, url)


def note_nonce(server: ServerRef, url: str, nonce: str | None) -> bool:
    """Keep the nonce that an answer to a DPoP token brought (RFC 9449 section 8.2), for the proofs to come.

    Where a 401 says ``use_dpop_nonce``, call this and send the request again, once, with new `headers`.

    Args:
        server: The manager's ref or name.
        url: What was asked.
        nonce: The value of the answer's ``DPoP-Nonce``; ``None`` where there is none.

    Returns:
        Whether there was one that a proof can carry, and a key to make it with.

    Raises:
        ManagerNotRunning: The manager is not there.
    """
    if nonce is None:
        return False
    key = _own_key(server)
    return key is not None and key.note_nonce(url, nonce)


# --- for the other adapters -------------------------------------------------------------------------------------------


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
        The key; ``None`` for a bearer token, which some providers give although a bound one was asked for.

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


def _own_key(server: ServerRef) -> DPoPKey | None:
    identity: Any = locate(server).identity
    key = identity[0].dpop
    return key if isinstance(key, DPoPKey) else None


def _check(method: str | None, url: str | None) -> None:
    if (method is None) != (url is None):
        raise ConfigError("expected both or neither, got one of them", ("method",), label="method, url")
    if url is not None and not _is_absolute(url):
        raise ConfigError(
            "expected an absolute address such as 'https://api.example.com/items', got another text", ("url",)
        )


def _is_absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc)


def _fields(server: ServerRef, token: TokenResponse, method: str | None, url: str | None) -> dict[str, str]:
    if method is not None and url is not None:
        return present(server, token, method, url)
    if key_of(server, token) is not None:
        raise ConfigError(
            f"expected those of the request, got none: the token of {server!s} is bound to a key (DPoP), and "
            "goes with a proof for one request; call headers(server, method=..., url=...)",
            ("method",),
            label="method, url",
        )
    return {"Authorization": Authorization.bearer(token.access_token)}
