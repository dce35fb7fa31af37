# %% Start; run this cell again after a change, or after a restart of the kernel
from contextlib import suppress
from getpass import getpass

import requests

from oidc_actor import ClientCredentials, ManagerNotRunning, TokenManager
from oidc_actor.adapters.requests import OIDCAuth

with suppress(ManagerNotRunning):  # the first run
    TokenManager.stop("notebook.token")
TokenManager.start_link(
    name="notebook.token",
    issuer_url="https://auth.example.com",
    auth=ClientCredentials("my-service", getpass("client secret: ")),
)

# %% Use, in this cell and in every later one
session = requests.Session()
session.auth = OIDCAuth("notebook.token")
session.get("https://api.example.com", timeout=10).json()

# %% Await
token = await TokenManager.aget_token("notebook.token")
token

# %% Look
TokenManager.health("notebook.token")
