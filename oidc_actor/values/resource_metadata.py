"""What an API says of itself: a protected resource's metadata (RFC 9728), as far as this package uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

from oidc_actor.values.urls import public_url
from supervision.frozen import dataclass


@dataclass(frozen=True, slots=True)
class ResourceMetadata:
    """A protected resource's metadata. A member is ``None`` where the resource does not say, or says it in another form.

    Nothing in it chooses an authorization server: that is for the program to know, or to ask a person.

    Attributes:
        resource: The resource identifier.
        authorization_servers: The issuers whose tokens it takes.
        scopes_supported: The scopes that it knows.
        bearer_methods_supported: How it takes a token: ``"header"``, ``"body"``, ``"query"``.
        resource_name: What a person calls it.
        tls_client_certificate_bound_access_tokens: Whether tokens must be bound to a client's certificate (RFC 8705).
        dpop_bound_access_tokens_required: Whether tokens must be bound to a key (RFC 9449).
        dpop_signing_alg_values_supported: Algorithms for DPoP proofs.
    """

    resource: str
    authorization_servers: tuple[str, ...] | None = None
    scopes_supported: tuple[str, ...] | None = None
    bearer_methods_supported: tuple[str, ...] | None = None
    resource_name: str | None = None
    tls_client_certificate_bound_access_tokens: bool | None = None
    dpop_bound_access_tokens_required: bool | None = None
    dpop_signing_alg_values_supported: tuple[str, ...] | None = None


def read_members(members: Mapping[str, Any]) -> ResourceMetadata | str:
    """Read the members of a document.

    Args:
        members: The members, without those that came more than once.

    Returns:
        The metadata, or what is wrong with its ``resource``. Other members are left out where they have another form.
    """
    resource = members.get("resource")
    if not isinstance(resource, str):
        return f"resource: expected a text, got {'none' if resource is None else type(resource).__name__}"
    read: dict[str, Any] = {one.name: _read(members.get(one.name), str(one.type)) for one in fields(ResourceMetadata)}
    return ResourceMetadata(**read)


def names_issuer(found: ResourceMetadata, issuer_url: str) -> bool:
    """Say whether a resource takes the tokens of an issuer.

    Args:
        found: What it says of itself.
        issuer_url: The issuer: that very text has to be listed, or one that differs by the slash of an empty path only.
    """
    return _with_path(issuer_url) in map(_with_path, found.authorization_servers or ())


def _read(value: object, kind: str) -> object:
    if kind.startswith("tuple"):
        is_texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
        return tuple(value) if isinstance(value, list) and is_texts else None
    return value if isinstance(value, bool if kind.startswith("bool") else str) else None


def _with_path(url: str) -> str:
    """An empty path and a lone slash name the same (RFC 3986 section 6.2.3), and libraries write either."""
    try:
        return f"{url}/" if not urlsplit(url).path and url == public_url(url) else url
    except ValueError:
        return url
