"""A valid OIDC access token, always ready: a supervised token manager."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oidc_actor.backoff import RetryPolicy
    from oidc_actor.credentials import ClientCredentials, JWTBearer, Password, RefreshToken, TokenExchange
    from oidc_actor.errors import ConfigError, DiscoveryError, NoTokenError, OIDCActorError, TokenRequestError
    from oidc_actor.health import Health
    from oidc_actor.manager import TokenManager
    from oidc_actor.messages import ForceRefresh, GetToken
    from oidc_actor.proof.certificate import ClientCertificate
    from oidc_actor.proof.dpop import DPoPKey
    from oidc_actor.proof.github_actions import GitHubActionsToken
    from oidc_actor.proof.manager_token import ManagerToken
    from oidc_actor.proof.private_key import PrivateKey
    from oidc_actor.proof.signed_assertion import SignedAssertion
    from oidc_actor.provider import OIDCConfig
    from oidc_actor.reading.cells import ManagerNotRunning
    from oidc_actor.reading.wall_watch import after_restore
    from oidc_actor.secrets import SecretFile
    from oidc_actor.source import TokenSource
    from oidc_actor.tokens import TokenResponse

__all__ = [
    "ClientCertificate",
    "ClientCredentials",
    "ConfigError",
    "DPoPKey",
    "DiscoveryError",
    "ForceRefresh",
    "GetToken",
    "GitHubActionsToken",
    "Health",
    "JWTBearer",
    "ManagerNotRunning",
    "ManagerToken",
    "NoTokenError",
    "OIDCActorError",
    "OIDCConfig",
    "Password",
    "PrivateKey",
    "RefreshToken",
    "RetryPolicy",
    "SecretFile",
    "SignedAssertion",
    "TokenExchange",
    "TokenManager",
    "TokenRequestError",
    "TokenResponse",
    "TokenSource",
    "after_restore",
]

_HOMES = {
    "backoff": ["RetryPolicy"],
    "proof.certificate": ["ClientCertificate"],
    "credentials": ["ClientCredentials", "JWTBearer", "Password", "RefreshToken", "TokenExchange"],
    "proof.dpop": ["DPoPKey"],
    "errors": ["ConfigError", "DiscoveryError", "NoTokenError", "OIDCActorError", "TokenRequestError"],
    "proof.github_actions": ["GitHubActionsToken"],
    "health": ["Health"],
    "manager": ["TokenManager"],
    "proof.manager_token": ["ManagerToken"],
    "messages": ["ForceRefresh", "GetToken"],
    "proof.private_key": ["PrivateKey"],
    "provider": ["OIDCConfig"],
    "reading.cells": ["ManagerNotRunning"],
    "reading.wall_watch": ["after_restore"],
    "secrets": ["SecretFile"],
    "proof.signed_assertion": ["SignedAssertion"],
    "source": ["TokenSource"],
    "tokens": ["TokenResponse"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Each name is imported at its first use: every pytest run of every project that has us installed imports this package,
    # for the plugin in `oidc_actor.testing`, and most of them use nothing of it.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
