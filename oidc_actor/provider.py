"""What is known of a provider: its metadata (RFC 8414, OpenID Connect Discovery 1.0), as far as this package uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from oidc_actor.errors import ConfigError
from oidc_actor.sealed import FrozenMapping
from oidc_actor.urls import check_issuer_url, check_url, url_problem

__all__ = ["OIDCConfig", "check_config", "check_issuer_url", "check_url", "metadata_problem"]

_ENDPOINTS = (
    "token_endpoint",
    "authorization_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "revocation_endpoint",
    "introspection_endpoint",
    "device_authorization_endpoint",
)
_LISTS = (
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "grant_types_supported",
    "scopes_supported",
    "dpop_signing_alg_values_supported",
)


@dataclass(frozen=True, slots=True)
class OIDCConfig:
    """A provider's metadata. Every field is ``None`` where the provider does not say; a manager needs `token_endpoint`.

    Attributes:
        issuer: The issuer identifier.
        token_endpoint: Where tokens are asked for.
        authorization_endpoint: Where users are sent; not used here.
        userinfo_endpoint: Where claims about the user are; not used here.
        jwks_uri: Where the provider's public keys are.
        revocation_endpoint: Where a token can be revoked (RFC 7009).
        introspection_endpoint: Where a token can be looked up (RFC 7662).
        device_authorization_endpoint: Where a device flow begins (RFC 8628).
        token_endpoint_auth_methods_supported: How clients may authenticate; ``None`` means ``client_secret_basic``.
        token_endpoint_auth_signing_alg_values_supported: Algorithms for signed client assertions.
        grant_types_supported: The grants on offer.
        scopes_supported: The scopes on offer, as far as the provider tells.
        dpop_signing_alg_values_supported: Algorithms for DPoP proofs (RFC 9449).
        mtls_endpoint_aliases: Endpoints for clients with certificates (RFC 8705 section 5).
    """

    issuer: str | None = None
    token_endpoint: str | None = None
    authorization_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    jwks_uri: str | None = None
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] | None = None
    grant_types_supported: tuple[str, ...] | None = None
    scopes_supported: tuple[str, ...] | None = None
    dpop_signing_alg_values_supported: tuple[str, ...] | None = None
    mtls_endpoint_aliases: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        # Lists and dicts become values, so that a configuration can be hashed and shared between threads.
        for name in _LISTS:
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if isinstance(self.mtls_endpoint_aliases, dict):
            object.__setattr__(self, "mtls_endpoint_aliases", FrozenMapping(self.mtls_endpoint_aliases))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """Read a provider's metadata document. What this package does not use is left out.

        Args:
            metadata: The document as a mapping.

        Returns:
            The configuration. Addresses are not judged yet: `check_config` does that.

        Raises:
            ConfigError: Where a field has the wrong type.
        """
        problem = metadata_problem(metadata)
        if problem is not None:
            raise ConfigError(f"metadata: {problem}")
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in metadata.items() if name in known and value not in ("", None)})


def metadata_problem(metadata: object) -> str | None:
    """Say what has the wrong type in a metadata document.

    Args:
        metadata: The document, from anywhere.

    Returns:
        A phrase naming the field, or ``None`` where nothing is wrong.
    """
    if not isinstance(metadata, Mapping):
        return f"expected an object, got {type(metadata).__name__}"
    for name in ("issuer", *_ENDPOINTS):
        if not isinstance(metadata.get(name), (str, type(None))):
            return f"{name}: expected a text, got {type(metadata[name]).__name__}"
    for name in _LISTS:
        if metadata.get(name) is not None and not _is_texts(metadata[name]):
            return f"{name}: expected a list of texts"
    aliases = metadata.get("mtls_endpoint_aliases")
    if aliases is not None and not (isinstance(aliases, Mapping) and _is_texts([*aliases.keys(), *aliases.values()])):
        return "mtls_endpoint_aliases: expected an object of texts"
    return None


def check_config(config: object, *, allow_insecure_http: bool = False) -> OIDCConfig:
    """Check a configuration before anything starts.

    Args:
        config: What was given as ``oidc_config``.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        The configuration, unchanged.

    Raises:
        ConfigError: Where it is none, lacks the token endpoint, or names an address that no secret may be sent to.
    """
    if not isinstance(config, OIDCConfig):
        raise ConfigError(
            f"oidc_config: expected an OIDCConfig, got {type(config).__name__}; use OIDCConfig(token_endpoint=...) "
            "or OIDCConfig.from_metadata(...)"
        )
    problem = config_problem(config, allow_insecure_http=allow_insecure_http)
    if problem is not None:
        raise ConfigError(f"oidc_config.{problem}")
    return config


def config_problem(config: OIDCConfig, *, allow_insecure_http: bool = False) -> str | None:
    """Say what makes a configuration useless or dangerous.

    Args:
        config: The configuration, from anywhere.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        A phrase naming the field, or ``None`` where nothing is wrong.
    """
    present = {one.name: getattr(config, one.name) for one in fields(config)}
    problem = metadata_problem(present)
    if problem is not None:
        return problem
    if config.token_endpoint is None:
        return "token_endpoint: expected an https URL, got none"
    urls = {name: present[name] for name in _ENDPOINTS if present[name] is not None}
    urls |= {f"mtls_endpoint_aliases[{name!r}]": url for name, url in (config.mtls_endpoint_aliases or {}).items()}
    for name, url in urls.items():
        problem = url_problem(url, allow_insecure_http=allow_insecure_http)
        if problem is not None:
            return f"{name}: {problem}"
    return None


def _is_texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
