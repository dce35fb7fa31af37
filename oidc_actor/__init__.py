"""A valid OIDC access token, always ready: a supervised token manager."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oidc_actor.credentials.dpop import DPoPKey
    from oidc_actor.credentials.grants import ClientCredentials, JWTBearer, Password, RefreshToken, TokenExchange
    from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
    from oidc_actor.machine.events import ForceRefresh, GetToken
    from oidc_actor.machine.failure_policy import RetryPolicy
    from oidc_actor.machine.health import Health
    from oidc_actor.manager.token_manager import TokenManager
    from oidc_actor.protocol.metadata import OIDCConfig
    from oidc_actor.reading.directory import ManagerNotRunning
    from oidc_actor.reading.source import TokenSource
    from oidc_actor.reading.wall_watch import after_restore
    from oidc_actor.secret_sources.github_actions import GitHubActionsToken
    from oidc_actor.secret_sources.manager_token import ManagerToken
    from oidc_actor.secret_sources.signed_assertion import SignedAssertion
    from oidc_actor.values.errors import ConfigError, DiscoveryError, NoTokenError, OIDCActorError, TokenRequestError
    from oidc_actor.values.secrets import SecretFile
    from oidc_actor.values.tokens import TokenResponse

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
    "machine.failure_policy": ["RetryPolicy"],
    "credentials.keys": ["ClientCertificate", "PrivateKey"],
    "credentials.grants": ["ClientCredentials", "JWTBearer", "Password", "RefreshToken", "TokenExchange"],
    "credentials.dpop": ["DPoPKey"],
    "values.errors": ["ConfigError", "DiscoveryError", "NoTokenError", "OIDCActorError", "TokenRequestError"],
    "secret_sources.github_actions": ["GitHubActionsToken"],
    "machine.health": ["Health"],
    "manager.token_manager": ["TokenManager"],
    "secret_sources.manager_token": ["ManagerToken"],
    "machine.events": ["ForceRefresh", "GetToken"],
    "protocol.metadata": ["OIDCConfig"],
    "reading.directory": ["ManagerNotRunning"],
    "reading.wall_watch": ["after_restore"],
    "values.secrets": ["SecretFile"],
    "secret_sources.signed_assertion": ["SignedAssertion"],
    "reading.source": ["TokenSource"],
    "values.tokens": ["TokenResponse"],
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
