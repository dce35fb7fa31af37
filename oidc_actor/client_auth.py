"""How a client proves who it is at the token endpoint: the methods' names and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence

from oidc_actor.errors import ConfigError

METHODS = (
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
)
"""The legal names (RFC 8414 section 2, RFC 8705 section 2)."""

SUPPORTED = ("client_secret_basic", "client_secret_post", "none")
"""The methods that this version can perform."""

_WITH_SECRET = frozenset({"client_secret_basic", "client_secret_post"})


def check_client_auth(method: object, *, has_client_id: bool, has_secret: bool) -> str | None:
    """Check a chosen method against what the credentials hold.

    Args:
        method: The value of ``client_auth``; ``None`` leaves the choice to the provider's metadata.
        has_client_id: Whether the credentials name a client.
        has_secret: Whether they hold a client secret.

    Returns:
        The method.

    Raises:
        ConfigError: Where the name is unknown, the method is not supported yet, or it does not fit.
    """
    if has_secret and not has_client_id:
        raise ConfigError("client_secret: expected a client_id beside it, got none; add client_id or drop the secret")
    if method is None:
        return None
    if not isinstance(method, str) or method not in METHODS:
        raise ConfigError(f"client_auth: expected one of {', '.join(METHODS)}, or None, got {method!r}")
    if method not in SUPPORTED:
        raise ConfigError(
            f"client_auth: {method!r} is not supported by this version; use one of {', '.join(SUPPORTED)}"
        )
    if method in _WITH_SECRET and not has_secret:
        raise ConfigError(f"client_auth: {method!r} needs a client_secret, got none; pass one or use 'none'")
    if method == "none" and has_secret:
        raise ConfigError("client_auth: 'none' never sends a client_secret, got one; drop it or use None")
    return method


def choose_client_auth(chosen: str | None, *, has_secret: bool, supported: Sequence[str] | None) -> str:
    """Choose the method for a request.

    Args:
        chosen: The credentials' ``client_auth``; ``None`` leaves the choice to this function.
        has_secret: Whether the credentials hold a client secret.
        supported: The metadata's ``token_endpoint_auth_methods_supported``; ``None`` or empty where it says nothing.

    Returns:
        ``"none"`` without a secret; else basic, unless the provider lists post and not basic. RFC 6749 section 2.3.1
        obliges every provider to take basic, so it is also the answer to a list that names neither.
    """
    if chosen is not None:
        return chosen
    if not has_secret:
        return "none"
    if supported and "client_secret_basic" not in supported and "client_secret_post" in supported:
        return "client_secret_post"
    return "client_secret_basic"
