"""The other endpoints: metadata (RFC 8414, RFC 9728), the device flow (RFC 8628), revocation (RFC 7009)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.overlap import Overlap
from oidc_actor.endpoints.token_endpoint import perform, read_secrets, refuses_client
from oidc_actor.protocol.device_authorization import DeviceAuthorization, read_device_authorization
from oidc_actor.protocol.error_response import check_revoked
from oidc_actor.protocol.metadata import (
    Tried,
    build_metadata_request,
    discovery_error,
    discovery_urls,
    read_metadata,
    read_resource_metadata,
    resource_metadata_urls,
)
from oidc_actor.protocol.token_request import SentSecrets, build_device_request, build_revocation_request, sent_in
from oidc_actor.protocol.token_response import parse_token
from oidc_actor.transport import Request, Response, Transport
from oidc_actor.values.errors import ConfigError, DiscoveryError, SecretUnavailable, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.resource_metadata import ResourceMetadata
from oidc_actor.values.secrets import Secret, holds_secrets
from oidc_actor.values.tokens import TokenTypeHint
from oidc_actor.values.urls import public_url

F = TypeVar("F", OIDCConfig, ResourceMetadata)


@holds_secrets
def request_metadata(
    transport: Transport,
    issuer_url: str,
    *,
    timeout_s: float,
    allow_insecure_http: bool = False,
    first: str | None = None,
) -> tuple[OIDCConfig, str]:
    """Request an issuer's metadata (OpenID Connect Discovery 1.0, RFC 8414) on the calling thread.

    An address that has no document is followed by the next one; any other failure is the end, an outage above all.

    Args:
        transport: What performs the requests.
        issuer_url: The issuer identifier, already checked.
        timeout_s: Seconds for all of it, until the metadata are there.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        first: Where they were found before; ``None`` where that is not known.

    Returns:
        The metadata, and where they are.

    Raises:
        DiscoveryError: Where the metadata cannot be had or trusted.
    """

    def read(response: Response) -> OIDCConfig | str:
        return read_metadata(response, issuer_url, allow_insecure_http=allow_insecure_http)

    return _search(transport, discovery_urls(issuer_url, first), read, timeout_s)


@holds_secrets
def request_resource_metadata(
    transport: Transport, resource_url: str, *, timeout_s: float, issuer_url: str | None = None
) -> tuple[ResourceMetadata, str]:
    """Request a protected resource's metadata (RFC 9728) on the calling thread.

    Args:
        transport: What performs the requests.
        resource_url: The resource identifier, already checked.
        timeout_s: Seconds for all of it, until the metadata are there.
        issuer_url: An issuer whose tokens the resource has to take; ``None`` where it may be any.

    Returns:
        The metadata, and where they are.

    Raises:
        DiscoveryError: Where the metadata cannot be had or trusted, or do not name the issuer.
    """

    def read(response: Response) -> ResourceMetadata | str:
        return read_resource_metadata(response, resource_url, issuer_url=issuer_url)

    of = f" of the resource {public_url(resource_url)}"
    return _search(transport, resource_metadata_urls(resource_url), read, timeout_s, of)


def _search(
    transport: Transport, urls: Iterable[str], read: Callable[[Response], F | str], timeout_s: float, of: str = ""
) -> tuple[F, str]:
    """Ask one address after the other, as long as no document is there."""
    now_wall, ends_at = time.time(), time.monotonic() + timeout_s
    tried: list[Tried] = []
    for url in urls:
        left_s = ends_at - time.monotonic() if tried else timeout_s
        if left_s <= 0:
            break
        response = perform(transport, build_metadata_request(url, timeout_s=left_s), (), DiscoveryError)
        found = read(response)
        if not isinstance(found, str):
            return found, url
        tried.append(Tried(url, response, found))
        if not tried[-1].is_absent(now_wall=now_wall):
            break
    raise discovery_error(tried, now_wall=now_wall, of=of)


@holds_secrets
def request_device_authorization(
    transport: Transport, config: OIDCConfig, auth: Credentials, *, timeout_s: float, allow_insecure_http: bool = False
) -> DeviceAuthorization:
    """Request what begins a device flow (RFC 8628 section 3.1), on the calling thread.

    Args:
        transport: What performs the request.
        config: The provider's metadata, already checked.
        auth: The client's credentials.
        timeout_s: Seconds for the whole request, until its response is there.
        allow_insecure_http: Whether a person may be sent to plain http beyond loopback.

    Returns:
        What the person has to do.

    Raises:
        ConfigError: Where the provider has no such endpoint.
        SecretUnavailable: Where a secret cannot be read; nothing was sent.
        TokenRequestError: Where the provider refuses, answers nonsense, or cannot be reached.
    """
    if config.device_authorization_endpoint is None:
        config.require("device_authorization_endpoint")
        raise ConfigError("this provider offers no device flow: its metadata have no device_authorization_endpoint")
    now_wall = time.time()

    def build(which: int | None, left_s: float) -> tuple[SentSecrets, Request]:
        secrets = read_secrets(config, auth, refresh_token=None, now_wall=now_wall, which=which)
        return secrets, build_device_request(config, auth, secrets, timeout_s=left_s)

    response, hidden = _perform(transport, auth, build, timeout_s)
    if response.status != 200:
        parse_token(response, now_wall=now_wall, sent_secrets=hidden)
    found = read_device_authorization(response, hidden, allow_insecure_http=allow_insecure_http)
    if isinstance(found, str):
        raise TokenRequestError(f"device authorization failed: HTTP {response.status}: {found}", status=response.status)
    return found


@holds_secrets
def request_revocation(
    transport: Transport,
    config: OIDCConfig,
    auth: Credentials,
    token: Secret,
    hint: TokenTypeHint | None,
    *,
    timeout_s: float,
) -> None:
    """Request that a token be revoked (RFC 7009), on the calling thread.

    Args:
        transport: What performs the request.
        config: The provider's metadata, already checked.
        auth: The client's credentials; a grant of their own is not used.
        token: The token.
        hint: What kind of token it is; ``None`` leaves it to the provider to find out.
        timeout_s: Seconds for the whole request, until its response is there.

    Raises:
        ConfigError: Where the provider has no such endpoint.
        SecretUnavailable: Where a secret cannot be read; nothing was sent.
        TokenRequestError: Where the provider refuses, answers nonsense, or cannot be reached.
    """
    if config.revocation_endpoint is None:
        config.require("revocation_endpoint")
        raise ConfigError("this provider revokes no tokens: its metadata have no revocation_endpoint")
    now_wall = time.time()

    def build(which: int | None, left_s: float) -> tuple[SentSecrets, Request]:
        # The token takes the place of a grant's secret.
        secrets = read_secrets(config, auth, refresh_token=token, now_wall=now_wall, which=which)
        return secrets, build_revocation_request(config, auth, secrets, hint, timeout_s=left_s)

    response, hidden = _perform(transport, auth, build, timeout_s)
    check_revoked(response, now_wall=now_wall, sent_secrets=hidden)


def _perform(
    transport: Transport,
    auth: Credentials,
    build: Callable[[int | None, float], tuple[SentSecrets, Request]],
    timeout_s: float,
) -> tuple[Response, tuple[Secret, ...]]:
    """Send a client's request; of two secrets (`Overlap`) the other one too, where the provider refuses the first.

    Args:
        transport: What performs it.
        auth: The client's credentials.
        build: Reads the secrets, of two the given one, and makes the request; it is given the seconds that are left.
        timeout_s: Seconds for all of it.

    Returns:
        The response, and what no error may show.
    """
    ends_at = time.monotonic() + timeout_s
    secrets, request = build(None, timeout_s)
    hidden = sent_in(request, secrets)
    response = perform(transport, request, hidden, TokenRequestError)
    which, source = secrets.which, auth.client_secret
    if which is None or not isinstance(source, Overlap):
        return response, hidden
    left_s = ends_at - time.monotonic()
    if refuses_client(response) and left_s > 0:
        source.ask_first(1 - which)
        try:
            secrets, request = build(1 - which, left_s)
        except SecretUnavailable:  # it is not there yet, or not any more: the refusal of the first one stands
            return response, hidden
        hidden = (*hidden, *sent_in(request, secrets))
        response = perform(transport, request, hidden, TokenRequestError)
        which = 1 - which
    source.ask_first(1 - which if refuses_client(response) else which)
    return response, hidden
