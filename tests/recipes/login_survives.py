"""A program with one login that rotates: it goes on with it after each restart, from a folder that only its user can read."""

import os

import requests

from oidc_actor import RefreshToken, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.sharing import FileStore
from supervision import Supervisor

supervisor = Supervisor.start_link(
    [
        TokenManager.child_spec(
            name="login.token",
            issuer_url="https://auth.example.com",
            auth=RefreshToken(os.environ["REFRESH_TOKEN"], "my-service", os.environ["CLIENT_SECRET"]),
            store=FileStore(os.environ["TOKEN_FOLDER"], namespace="prod"),
        )
    ]
)
answer = requests.get("https://api.example.com", auth=OIDCAuth("login.token"), timeout=10)
print(answer.status_code)
Supervisor.stop(supervisor)
