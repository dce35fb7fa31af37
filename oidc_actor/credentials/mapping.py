"""``auth=`` in the original's form: a mapping with a type."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.grants import ClientCredentials, JWTBearer, Password, RefreshToken, TokenExchange
from oidc_actor.values.errors import ConfigError

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
