"""A valid OIDC access token, always ready: a supervised token manager."""

from oidc_actor.backoff import RetryPolicy
from oidc_actor.credentials import ClientCredentials, Password, RefreshToken
from oidc_actor.errors import ConfigError, DiscoveryError, NoTokenError, OIDCActorError, TokenRequestError
from oidc_actor.health import Health
from oidc_actor.manager import TokenManager
from oidc_actor.messages import ForceRefresh, GetToken
from oidc_actor.provider import OIDCConfig
from oidc_actor.secrets import SecretFile
from oidc_actor.source import TokenSource
from oidc_actor.tokens import TokenResponse

__all__ = [
    "ClientCredentials",
    "ConfigError",
    "DiscoveryError",
    "ForceRefresh",
    "GetToken",
    "Health",
    "NoTokenError",
    "OIDCActorError",
    "OIDCConfig",
    "Password",
    "RefreshToken",
    "RetryPolicy",
    "SecretFile",
    "TokenManager",
    "TokenRequestError",
    "TokenResponse",
    "TokenSource",
]
