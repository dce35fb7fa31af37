"""The header fields that carry a manager's token, for every client that takes a header.

They know nothing of where the request goes, or of its answer.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from oidc_actor.adapters.authorization import Authorization, key_of, note_nonce, present
from oidc_actor.reading.token_source import ServerOrSource, live_token, server_of, token_of, token_of_async
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse

__all__ = ["aheaders", "headers", "note_nonce"]
__dir__ = __all__.copy


def headers(
    server: ServerOrSource, *, timeout: float = 5.0, method: str | None = None, url: str | None = None
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
    return _fields(server, token_of(server, timeout), method, url)


async def aheaders(
    server: ServerOrSource, *, timeout: float = 5.0, method: str | None = None, url: str | None = None
) -> dict[str, str]:
    """Do what `headers` does, without blocking the event loop.

    Args:
        server: The manager's ref or name.
        timeout: Seconds to wait for a token where there is none.
        method: The request's method; with ``url`` it is needed where the token is bound to a key (``dpop=``), for the proof.
        url: The request's address.

    Raises:
        NoTokenError: As for `headers`, and so are the others.
        ManagerNotRunning: The manager is not there.
        ConfigError: An argument is wrong.
        SecretUnavailable: The key cannot be read now.
    """
    _check(method, url)
    return _fields(server, live_token(server) or await token_of_async(server, timeout), method, url)


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


def _fields(server: ServerOrSource, token: TokenResponse, method: str | None, url: str | None) -> dict[str, str]:
    if method is not None and url is not None:
        return present(server, token, method, url)
    if key_of(server, token) is not None:
        raise ConfigError(
            f"expected those of the request, got none: the token of {server_of(server)!s} is bound to a key (DPoP), and "
            "goes with a proof for one request; call headers(server, method=..., url=...)",
            ("method",),
            label="method, url",
        )
    return {"Authorization": Authorization.bearer(token.access_token)}
