"""Discovery and tokens without an actor: one call, one request. A manager sends the same requests.

Example::

    config = oidc.discover("https://auth.example.com")
    token = oidc.get_token(config, ClientCredentials("id", "secret"))
    token = oidc.refresh_token(config, token.refresh_token, ClientCredentials("id", "secret"))
    oidc.revoke_token(config, token.access_token, ClientCredentials("id", "secret"))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.grants import IdentityAssertion, parse_auth
from oidc_actor.credentials.parameters import parse_scopes
from oidc_actor.endpoints.identity_provider import statement_alone
from oidc_actor.endpoints.other_endpoints import request_metadata, request_resource_metadata, request_revocation
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.http import check_timeout, check_transport
from oidc_actor.transport import Transport
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.oidc_config import OIDCConfig, check_config
from oidc_actor.values.resource_metadata import ResourceMetadata
from oidc_actor.values.secrets import Secret, holds_secrets, secret_problem
from oidc_actor.values.tokens import TokenResponse, TokenTypeHint
from oidc_actor.values.urls import check_issuer_url, check_resource_url

__all__ = [
    "discover",
    "discover_resource",
    "get_token",
    "parse_scopes",
    "refresh_token",
    "revoke_token",
]
__dir__ = __all__.copy

Auth: TypeAlias = Credentials | Mapping[str, Any]


def discover(
    issuer_url: str,
    *,
    transport: Transport | None = None,
    timeout_seconds: float = 10,
    allow_insecure_http: bool = False,
    ca_bundle: str | Path | None = None,
) -> OIDCConfig:
    """Get a provider's metadata (OpenID Connect Discovery 1.0, section 4; RFC 8414, section 3).

    OpenID's document is asked for first. Where that is not there (HTTP 404, 401, 403, 405 or 410, or no JSON), RFC 8414's is.

    Args:
        issuer_url: The issuer identifier, exactly as the provider writes it (a trailing slash counts).
        transport: What performs the request; ``None`` for HTTP of our own.
        timeout_seconds: Seconds for all of it, until the metadata are there.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        ca_bundle: File or directory of the certificates to trust instead of the usual ones.

    Returns:
        The metadata.

    Raises:
        ConfigError: Where an argument is wrong.
        DiscoveryError: Where the metadata cannot be had or trusted.
    """
    config, _ = request_metadata(
        check_transport(transport, ca_bundle),
        check_issuer_url(issuer_url, allow_insecure_http=allow_insecure_http),
        timeout_s=check_timeout(timeout_seconds),
        allow_insecure_http=allow_insecure_http,
    )
    return config


def discover_resource(
    resource_url: str,
    *,
    transport: Transport | None = None,
    timeout_seconds: float = 10,
    allow_insecure_http: bool = False,
    ca_bundle: str | Path | None = None,
) -> ResourceMetadata:
    """Get the metadata of a protected resource, such as an API or an MCP server (RFC 9728, section 3).

    They say whose tokens the resource takes. Which of these issuers a program trusts with its secret is not for the resource to
    say: give a manager the issuer as ``issuer_url``, and this address as ``resource_url``.

    Args:
        resource_url: The resource identifier, exactly as the resource writes it (a trailing slash counts).
        transport: What performs the requests; ``None`` for HTTP of our own.
        timeout_seconds: Seconds for all of it, until the metadata are there.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        ca_bundle: File or directory of the certificates to trust instead of the usual ones.

    Returns:
        The metadata.

    Raises:
        ConfigError: Where an argument is wrong.
        DiscoveryError: Where the metadata cannot be had, or are another resource's.
    """
    found, _ = request_resource_metadata(
        check_transport(transport, ca_bundle),
        check_resource_url(resource_url, allow_insecure_http=allow_insecure_http),
        timeout_s=check_timeout(timeout_seconds),
    )
    return found


@holds_secrets
def get_token(
    config: OIDCConfig,
    auth: Auth,
    *,
    transport: Transport | None = None,
    timeout_seconds: float = 10,
    allow_insecure_http: bool = False,
    ca_bundle: str | Path | None = None,
) -> TokenResponse:
    """Get a token with the full grant (RFC 6749 sections 4.3, 4.4; section 6 for `RefreshToken`).

    Args:
        config: The provider's metadata, with a token endpoint.
        auth: Credentials, or their mapping form.
        transport: What performs the request; ``None`` for HTTP of our own.
        timeout_seconds: Seconds for the whole request, until its response is there.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        ca_bundle: File or directory of the certificates to trust instead of the usual ones.

    Returns:
        The token. Where the provider does not say how long it lives, 300 seconds are assumed.

    Raises:
        ConfigError: Where an argument is wrong.
        TokenRequestError: Where the provider refuses, answers nonsense, or cannot be reached.
    """
    return _requested(config, auth, None, transport, timeout_seconds, allow_insecure_http, ca_bundle)


@holds_secrets
def refresh_token(
    config: OIDCConfig,
    refresh_token: str | Secret,
    auth: Auth,
    *,
    transport: Transport | None = None,
    timeout_seconds: float = 10,
    allow_insecure_http: bool = False,
    ca_bundle: str | Path | None = None,
) -> TokenResponse:
    """Redeem a refresh token (RFC 6749 section 6). The request carries the client's authentication.

    Args:
        config: The provider's metadata, with a token endpoint.
        refresh_token: The refresh token.
        auth: Credentials, or their mapping form; a grant of their own is not used.
        transport: What performs the request; ``None`` for HTTP of our own.
        timeout_seconds: Seconds for the whole request, until its response is there.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        ca_bundle: File or directory of the certificates to trust instead of the usual ones.

    Returns:
        The token, with the refresh token to use next: the old one where the provider sent no other.

    Raises:
        ConfigError: Where an argument is wrong.
        TokenRequestError: Where the provider refuses, answers nonsense, or cannot be reached.
    """
    redeemed = _given_token(refresh_token, "refresh_token")
    return _requested(config, auth, redeemed, transport, timeout_seconds, allow_insecure_http, ca_bundle)


@holds_secrets
def revoke_token(
    config: OIDCConfig,
    token: str | Secret,
    auth: Auth,
    *,
    token_type_hint: TokenTypeHint | None = None,
    transport: Transport | None = None,
    timeout_seconds: float = 10,
    allow_insecure_http: bool = False,
    ca_bundle: str | Path | None = None,
) -> None:
    """Revoke a token (RFC 7009). A provider that does not know it, or not any more, says that it has done so.

    Args:
        config: The provider's metadata, with a revocation endpoint.
        token: The access or refresh token. With a refresh token providers end the access tokens that came of it, too.
        auth: Credentials of the client it was given to, or their mapping form; a grant of their own is not used.
        token_type_hint: What it is: ``"access_token"`` or ``"refresh_token"``; ``None`` leaves it to the provider.
        transport: What performs the request; ``None`` for HTTP of our own.
        timeout_seconds: Seconds for the whole request, until its response is there.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        ca_bundle: File or directory of the certificates to trust instead of the usual ones.

    Raises:
        ConfigError: Where an argument is wrong, or the provider revokes no tokens.
        TokenRequestError: Where the provider refuses, answers nonsense, or cannot be reached.
    """
    if token_type_hint not in (None, "access_token", "refresh_token"):
        problem = "expected 'access_token', 'refresh_token' or None, got something else"
        raise ConfigError(problem, ("token_type_hint",))
    request_revocation(
        check_transport(transport, ca_bundle),
        check_config(config, allow_insecure_http=allow_insecure_http),
        _asking(auth),
        _given_token(token, "token"),
        token_type_hint,
        timeout_s=check_timeout(timeout_seconds),
    )


def _requested(
    config: OIDCConfig,
    auth: Auth,
    refresh_token: Secret | None,
    transport: Transport | None,
    timeout_seconds: float,
    allow_insecure_http: bool,
    ca_bundle: str | Path | None,
) -> TokenResponse:
    parsed = _asking(auth)
    asked = TokenRequest(
        check_transport(transport, ca_bundle),
        check_config(config, allow_insecure_http=allow_insecure_http),
        parsed,
        refresh_token,
        check_timeout(timeout_seconds),
    )
    if isinstance(parsed, IdentityAssertion):
        parsed.check(config.issuer, allow_insecure_http=allow_insecure_http)
        statement = statement_alone(asked, parsed, allow_insecure_http=allow_insecure_http)
        asked = replace(asked, statement=statement)
    return request_token(asked).token


def _asking(auth: Auth) -> Credentials:
    parsed = parse_auth(auth)
    if not parsed.asks_provider:
        problem = f"expected credentials that ask a provider, got {type(parsed).__name__}; call its function"
        raise ConfigError(problem, ("auth",))
    return parsed


def _given_token(token: str | Secret, name: str) -> Secret:
    problem = None if isinstance(token, Secret) else secret_problem(token)
    if problem is not None:
        raise ConfigError(f"expected a text, got {problem}", (name,))
    return token if isinstance(token, Secret) else Secret(token)
