"""The first of the two steps of an `IdentityAssertion`: the identity provider's statement about a user, for one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from oidc_actor.credentials.grants import ID_JAG, IdentityAssertion
from oidc_actor.endpoints.other_endpoints import request_metadata
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.values.errors import (
    DiscoveryError,
    IdentityProviderError,
    ProviderError,
    SecretUnavailable,
    TokenRequestError,
)
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, holds_secrets
from oidc_actor.values.urls import origin_of


@holds_secrets
def request_statement(asked: TokenRequest) -> Secret:
    """Trade the user's token for a statement by a token exchange (RFC 8693), on the calling thread.

    Args:
        asked: What to request it with: the identity provider's metadata, and what `IdentityAssertion.token_exchange` makes.

    Returns:
        The statement. It goes into one request, and nowhere else.

    Raises:
        SecretUnavailable: Where a secret cannot be read; nothing was sent.
        TokenRequestError: Where it cannot be had, or something else came. An access token is not passed on to the authorization
            server, which could use it.
    """
    parsed = request_token(asked)
    kind = parsed.token.extra.get("issued_token_type")
    if kind != ID_JAG:
        got = "no issued_token_type" if kind is None else "another issued_token_type"
        raise TokenRequestError(
            f"token request failed: HTTP 200: expected a statement ({ID_JAG}), got {got}", status=200
        )
    return Secret(parsed.token.access_token)


def in_first_step(provider: str, error: ProviderError) -> IdentityProviderError:
    """Say that it was the first step that failed.

    Args:
        provider: What the identity provider is called.
        error: What it failed with.
    """
    return IdentityProviderError(
        f"the identity provider {provider} gave no statement: {error}",
        status=error.status,
        error=error.error,
        error_description=error.error_description,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s,
        sent=error.sent,
        option=error.option if isinstance(error, SecretUnavailable) else "",
    )


def name_of(provider: str | OIDCConfig) -> str:
    """Name an identity provider: by its issuer, else by the origin of its token endpoint."""
    if isinstance(provider, str):
        return provider
    return provider.issuer or origin_of(provider.token_endpoint or "")


def statement_alone(asked: TokenRequest, auth: IdentityAssertion, *, allow_insecure_http: bool) -> Callable[[], Secret]:
    """Make what gets statements for a token request without a manager: its metadata are requested each time.

    Args:
        asked: The token request, which is the second step.
        auth: Its credentials.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
    """
    provider = auth.identity_provider

    def statement() -> Secret:
        try:
            config = provider
            if isinstance(config, str):
                config, _ = request_metadata(
                    asked.transport, config, timeout_s=asked.timeout_s, allow_insecure_http=allow_insecure_http
                )
            return request_statement(replace(asked, config=config, auth=auth.token_exchange(asked.config.issuer)))
        except (DiscoveryError, TokenRequestError) as error:
            raise in_first_step(name_of(provider), error) from None

    return statement
