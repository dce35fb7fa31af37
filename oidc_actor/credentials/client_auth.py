"""How a client proves who it is at the token endpoint: the methods' names and the choice among them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from oidc_actor.credentials.jws import require_jose
from oidc_actor.values.errors import ConfigError

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

ASSERTING = frozenset({"client_secret_jwt", "private_key_jwt"})
"""The methods that send a signed assertion (RFC 7523 section 2.2)."""

_WITH_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
_WITH_CERTIFICATE = ("tls_client_auth", "self_signed_tls_client_auth")


@dataclass(frozen=True, slots=True)
class Means:
    """What credentials hold to prove who the client is.

    Attributes:
        client_id: Whether they name a client.
        secret: Whether they hold a client secret.
        key: Whether they hold a private key, or an assertion that somebody else has signed.
        certificate: Whether they hold a certificate for mutual TLS.
    """

    client_id: bool = False
    secret: bool = False
    key: bool = False
    certificate: bool = False


def check_client_auth(method: object, means: Means) -> str | None:
    """Check a chosen method against what the credentials hold.

    Args:
        method: The value of ``client_auth``; ``None`` leaves the choice to the provider's metadata.
        means: What they hold.

    Returns:
        The method.

    Raises:
        ConfigError: Where the name is unknown, does not fit, or needs what is not installed.
    """
    _check_means(means)
    if method is None:
        return None
    if not isinstance(method, str) or method not in METHODS:
        raise ConfigError(f"client_auth: expected one of {', '.join(METHODS)}, or None, got {method!r}")
    if method == "none" and (means.secret or means.key):
        held = "a client_secret" if means.secret else "a private_key or client_assertion"
        raise ConfigError(f"client_auth: 'none' never sends {held}, got one; drop it or use None")
    _check_need(method, _WITH_SECRET, "a client_secret", held=means.secret)
    _check_need(method, ("private_key_jwt",), "a private_key or client_assertion", held=means.key)
    _check_need(method, _WITH_CERTIFICATE, "a client_certificate", held=means.certificate)
    if method == "client_secret_jwt":
        require_jose("client_auth: 'client_secret_jwt'")
    return method


def choose_client_auth(chosen: str | None, means: Means, supported: Collection[str] | None) -> str:
    """Choose the method for a request.

    Args:
        chosen: The credentials' ``client_auth``; ``None`` leaves the choice to this function.
        means: What the credentials hold.
        supported: The metadata's ``token_endpoint_auth_methods_supported``; ``None`` or empty where it says nothing.

    Returns:
        ``"private_key_jwt"`` with a key or an assertion. With a secret, basic unless the provider lists others only: RFC 6749
        section 2.3.1 obliges every provider to take basic, so it is also the answer to a list that names none that fits. With
        nothing but a certificate the TLS method that is listed, else ``"tls_client_auth"``; with nothing at all ``"none"``.
    """
    if chosen is not None:
        return chosen
    if means.key:
        return "private_key_jwt"
    fitting = _WITH_SECRET if means.secret else _WITH_CERTIFICATE if means.certificate else ("none",)
    return next((method for method in fitting if supported and method in supported), fitting[0])


def _check_means(means: Means) -> None:
    for name, held in (
        ("client_secret", means.secret),
        ("private_key or client_assertion", means.key),
        ("client_certificate", means.certificate),
    ):
        if held and not means.client_id:
            raise ConfigError(f"{name}: expected a client_id beside it, got none; add client_id or drop it")
    if means.secret and means.key:
        raise ConfigError("expected one of client_secret and private_key or client_assertion, got both; drop one")


def _check_need(method: str, needing: Collection[str], what: str, *, held: bool) -> None:
    if method in needing and not held:
        raise ConfigError(f"client_auth: {method!r} needs {what}, got none; pass one or choose another method")
