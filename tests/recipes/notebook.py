# %% Start; run this cell again after a change, or after a restart of the kernel
from getpass import getpass

import requests

from oidc_actor import ClientCredentials, ManagerNotRunning, TokenManager
from oidc_actor.adapters.requests import OIDCAuth

try:
    TokenManager.stop("notebook.token")
except ManagerNotRunning:
    pass  # the first run
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
token = await TokenManager.aget_token("notebook.token")  # noqa: F704, PLE1142 - a cell may await
token

# %% Look
TokenManager.health("notebook.token")
