"""Credentials: what is proved to the provider for a token. They are valid once they exist, and never printed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Unpack

from oidc_actor.errors import ConfigError
from oidc_actor.grants.fields import ClientProof, Credentials, fill_fields, refuse
from oidc_actor.grants.parameters import Scopes, parse_scopes
from oidc_actor.grants.token_grants import JWTBearer, TokenExchange
from oidc_actor.secrets import SecretSource, StoredSecret

__all__ = [
    "ClientCredentials",
    "Credentials",
    "JWTBearer",
    "Password",
    "RefreshToken",
    "TokenExchange",
    "parse_auth",
    "parse_scopes",
]


@dataclass(frozen=True, slots=True, init=False, repr=False)
class ClientCredentials(Credentials):
    """The client itself is the user (RFC 6749 section 4.4)."""

    grant_type: ClassVar[str] = "client_credentials"
    client_id: str

    def __init__(
        self,
        client_id: str,
        client_secret: SecretSource | None = None,
        scopes: Scopes = (),
        *,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        **proof: Unpack[ClientProof],
    ) -> None:
        """Check and keep the credentials.

        Args:
            client_id: The client's identifier.
            client_secret: Its secret: a text, a callable, or `SecretFile`; ``None`` for a public client.
            scopes: A list, or a string separated by spaces or commas.
            audience: One or several, sent with every grant and refresh.
            resource: One or several, likewise.
            extra: Further parameters, likewise.
            client_auth: One of RFC 8414's names; ``None`` chooses from the metadata.
            **proof: ``private_key``, ``client_assertion``, ``assertion_audience``, ``client_certificate``, ``dpop``:
                each as the attribute of `oidc_actor.credentials.Credentials`.

        Raises:
            ConfigError: Where something does not fit.
        """
        problem = fill_fields(
            self,
            client_auth,
            proof,
            client_id=client_id,
            client_secret=client_secret,
            scopes=scopes,
            audience=audience,
            resource=resource,
            extra=extra,
        )
        del client_secret, extra, proof
        refuse(problem)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Password(Credentials):
    """A user's name and password (RFC 6749 section 4.3).

    Attributes:
        username: The user's name.
        password: Where the user's password comes from.
    """

    grant_type: ClassVar[str] = "password"
    username: str
    password: StoredSecret

    @property
    def grant_secret(self) -> StoredSecret:
        """The password."""
        return self.password

    def __init__(
        self,
        username: str,
        password: SecretSource,
        client_id: str | None = None,
        client_secret: SecretSource | None = None,
        scopes: Scopes = (),
        *,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        **proof: Unpack[ClientProof],
    ) -> None:
        """Check and keep the credentials.

        Args:
            username: The user's name.
            password: The user's password: a text, a callable, or `SecretFile`.
            client_id: The client's identifier, where the provider wants one.
            client_secret: Its secret; ``None`` for a public client.
            scopes: As of `ClientCredentials`, and so are the options below.
            audience: One or several, sent with every grant and refresh.
            resource: One or several, likewise.
            extra: Further parameters, likewise.
            client_auth: One of RFC 8414's names; ``None`` chooses from the metadata.
            **proof: ``private_key``, ``client_assertion``, ``assertion_audience``, ``client_certificate``, ``dpop``.

        Raises:
            ConfigError: Where something does not fit.
        """
        problem = fill_fields(
            self,
            client_auth,
            proof,
            username=username,
            password=password,
            client_id=client_id,
            client_secret=client_secret,
            scopes=scopes,
            audience=audience,
            resource=resource,
            extra=extra,
        )
        del password, client_secret, extra, proof
        refuse(problem)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class RefreshToken(Credentials):
    """A refresh token that was obtained elsewhere (RFC 6749 section 6).

    Attributes:
        refresh_token: Where the refresh token comes from; one that rotates is followed from there on.
    """

    grant_type: ClassVar[str] = "refresh_token"
    client_id: str
    refresh_token: StoredSecret

    @property
    def grant_secret(self) -> StoredSecret:
        """The refresh token."""
        return self.refresh_token

    def __init__(
        self,
        refresh_token: SecretSource,
        client_id: str,
        client_secret: SecretSource | None = None,
        scopes: Scopes = (),
        *,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        **proof: Unpack[ClientProof],
    ) -> None:
        """Check and keep the credentials.

        Args:
            refresh_token: The refresh token: a text, a callable, or `SecretFile`.
            client_id: The client it was given to.
            client_secret: Its secret; ``None`` for a public client.
            scopes: As of `ClientCredentials`, and so are the options below.
            audience: One or several, sent with every grant and refresh.
            resource: One or several, likewise.
            extra: Further parameters, likewise.
            client_auth: One of RFC 8414's names; ``None`` chooses from the metadata.
            **proof: ``private_key``, ``client_assertion``, ``assertion_audience``, ``client_certificate``, ``dpop``.

        Raises:
            ConfigError: Where something does not fit.
        """
        problem = fill_fields(
            self,
            client_auth,
            proof,
            refresh_token=refresh_token,
            client_id=client_id,
            client_secret=client_secret,
            scopes=scopes,
            audience=audience,
            resource=resource,
            extra=extra,
        )
        del refresh_token, client_secret, extra, proof
        refuse(problem)


_TYPES: dict[str, type[Credentials]] = {
    "oidc_client_credentials": ClientCredentials,
    "oidc_password": Password,
    "oidc_refresh_token": RefreshToken,
    "oidc_jwt_bearer": JWTBearer,
    "oidc_token_exchange": TokenExchange,
}
_REQUIRED: dict[type[Credentials], tuple[str, ...]] = {
    ClientCredentials: ("client_id",),
    Password: ("username", "password"),
    RefreshToken: ("refresh_token", "client_id"),
    JWTBearer: ("assertion",),
    TokenExchange: ("subject_token",),
}

WHAT_AUTH_IS = f"{', '.join(cls.__name__ for cls in _TYPES.values())}, or a mapping with a 'type'"


def parse_auth(value: object) -> Credentials:
    """Bring ``auth`` into one form.

    Args:
        value: Credentials, or the mapping form: ``{"type": "oidc_client_credentials", "client_id": ..., ...}``.

    Returns:
        The credentials.

    Raises:
        ConfigError: Where the type is unknown, a field is missing, unknown or wrong. The message shows no secret.
    """
    outcome = read_auth(value)
    del value  # the mapping form holds secrets as they are, and this frame is about to raise
    if isinstance(outcome, ConfigError):
        raise outcome
    return outcome


def read_auth(value: object) -> Credentials | ConfigError:
    """Do what `parse_auth` does, but return the error, for callers whose own frames hold ``auth``.

    Args:
        value: Credentials or the mapping form.

    Returns:
        The credentials, or what is wrong.
    """
    if isinstance(value, Credentials):
        return value
    if not isinstance(value, Mapping):
        return ConfigError(f"auth: expected {WHAT_AUTH_IS}, got {type(value).__name__}")
    options = dict(value)
    kind = options.pop("type", None)
    # A mistaken mapping may hold anything under "type"; only a short plain word is safe to show.
    if not isinstance(kind, str) or kind not in _TYPES:
        shown = repr(kind) if isinstance(kind, str) and kind.isidentifier() and len(kind) < 40 else type(kind).__name__
        return ConfigError(f"auth: expected a 'type' of {', '.join(map(repr, _TYPES))}, got {shown}")
    problem = _mapping_problem(_TYPES[kind], options)
    return ConfigError(f"auth of type {kind!r}: {problem}") if problem else _build(_TYPES[kind], options)


def _mapping_problem(cls: type[Credentials], options: Mapping[Any, object]) -> str | None:
    known = {field.name for field in fields(cls)}
    unknown = sorted(str(name) for name in options if name not in known)
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(sorted(known))}"
        return f"unknown option {', '.join(unknown)}; {hint}"
    missing = [name for name in _REQUIRED[cls] if options.get(name) is None]
    return f"{', '.join(missing)} is missing" if missing else None


def _build(cls: type[Credentials], options: dict[str, Any]) -> Credentials | ConfigError:
    try:
        return cls(**options)
    except ConfigError as error:
        return ConfigError(f"auth: {error}")
