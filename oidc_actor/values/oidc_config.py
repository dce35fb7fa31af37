"""A provider's configuration: its metadata (RFC 8414, OpenID Connect Discovery 1.0), as far as this package uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, Self

from oidc_actor.values.errors import ConfigError, UnusableMetadata
from oidc_actor.values.secrets import FrozenMapping
from oidc_actor.values.urls import url_problem
from supervision.frozen import dataclass

ENDPOINTS = (
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


MEMBERS = frozenset({"issuer", "mtls_endpoint_aliases", *ENDPOINTS, *_LISTS})


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
    # What a provider's own document holds and cannot be used, by name: judged when it is used, see `require`.
    _unusable: Mapping[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Lists and dicts become values, so that a configuration can be hashed and shared between threads.
        for name in _LISTS:
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if isinstance(self.mtls_endpoint_aliases, dict):
            object.__setattr__(self, "mtls_endpoint_aliases", FrozenMapping(self.mtls_endpoint_aliases))

    def __repr__(self) -> str:
        known = [(name, getattr(self, name)) for name in self.__match_args__]
        return f"OIDCConfig({', '.join(f'{name}={value!r}' for name, value in known if value is not None)})"

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
        found = metadata_problem(metadata)
        if found is not None:
            raise ConfigError(found[1], ("metadata", found[0]) if found[0] else ("metadata",))
        return cls(**{name: value for name, value in metadata.items() if name in MEMBERS and value not in ("", None)})

    def require(self, name: str) -> None:
        """Judge a member that is about to be used.

        Args:
            name: A field's name, or that of an alias in the form ``mtls_endpoint_aliases['token_endpoint']``.

        Raises:
            UnusableMetadata: The provider's document has it in a form that cannot be used.
        """
        problem = (self._unusable or {}).get(name)
        if problem is not None:
            raise UnusableMetadata(f"the provider's metadata: {name}: {problem}", sent=False)


_JUDGED = [one.name for one in fields(OIDCConfig) if one.name in MEMBERS]


def alias_name(endpoint: str) -> str:
    """Name an alias for `OIDCConfig.require`."""
    return f"mtls_endpoint_aliases[{endpoint!r}]"


def metadata_problem(metadata: object) -> tuple[str, str] | None:
    """Say what has the wrong type in a metadata document.

    Args:
        metadata: The document, from anywhere.

    Returns:
        The member, which is empty where the document itself is wrong, and a phrase; ``None`` where nothing is wrong.
    """
    if not isinstance(metadata, Mapping):
        return "", f"expected an object, got {type(metadata).__name__}"
    for name in ("issuer", *ENDPOINTS):
        if not isinstance(metadata.get(name), (str, type(None))):
            return name, f"expected a text, got {type(metadata[name]).__name__}"
    for name in _LISTS:
        if metadata.get(name) is not None and not _is_texts(metadata[name]):
            return name, "expected a list of texts"
    aliases = metadata.get("mtls_endpoint_aliases")
    if aliases is not None and not (isinstance(aliases, Mapping) and _is_texts([*aliases.keys(), *aliases.values()])):
        return "mtls_endpoint_aliases", "expected an object of texts"
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
            f"expected an OIDCConfig, got {type(config).__name__}; use OIDCConfig(token_endpoint=...) "
            "or OIDCConfig.from_metadata(...)",
            ("oidc_config",),
        )
    found = config_problem(config, allow_insecure_http=allow_insecure_http)
    if found is not None:
        name, problem = found
        raise ConfigError(problem, ("oidc_config", name), label=f"oidc_config.{name}")
    return config


def config_problem(config: OIDCConfig, *, allow_insecure_http: bool = False) -> tuple[str, str] | None:
    """Say what makes a configuration useless or dangerous.

    Args:
        config: The configuration, from anywhere.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        The field and a phrase, or ``None`` where nothing is wrong.
    """
    present = {name: getattr(config, name) for name in _JUDGED}
    found = metadata_problem(present)
    if found is not None:
        return found
    if config.token_endpoint is None:
        return "token_endpoint", "expected an https URL, got none"
    urls = {name: present[name] for name in ENDPOINTS if present[name] is not None}
    urls |= {alias_name(name): url for name, url in (config.mtls_endpoint_aliases or {}).items()}
    for name, url in urls.items():
        problem = url_problem(url, allow_insecure_http=allow_insecure_http)
        if problem is not None:
            return name, problem
    return None


def _is_texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
