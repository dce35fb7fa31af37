from typing import Any

import requests

from oidc_actor import SecretFile, TokenExchange, TokenPool
from oidc_actor.adapters.requests import OIDCAuth
from supervision import Supervisor

SECRET = SecretFile("/var/run/secrets/gateway/client-secret")


def on_behalf_of(user_token: str) -> dict[str, Any]:
    """The factory: the key is the token that the user came with, and it is never shown."""
    return {"auth": TokenExchange(user_token, "gateway", SECRET, audience="billing")}


def start() -> None:
    users = TokenPool.child_spec(
        on_behalf_of,
        name="users",
        issuer_url="https://auth.example.com",
        max_size=10_000,
        idle_seconds=900.0,
    )
    Supervisor.start_link([users], name="app")


def invoices(user_token: str) -> requests.Response:
    """Called with the token that the request of a user brought, when your framework has checked it."""
    return requests.get(
        "https://api.example.com/invoices", auth=OIDCAuth(TokenPool.source("users", user_token)), timeout=10
    )
