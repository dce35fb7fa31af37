"""The peers, each with a cached valid token and nothing to reach on a network: ``PEERS[name]()`` gives its read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

TEXT = "t" * 600
LIFE_S = 36_000
Read = Callable[[], object]


def authlib() -> Read:
    """`OAuth2Session.ensure_active_token`, then the text."""
    from authlib.integrations.requests_client import OAuth2Session

    token = {"access_token": TEXT, "token_type": "Bearer", "expires_at": int(time.time()) + LIFE_S}
    session = OAuth2Session("id", "secret", token_endpoint="https://peer.invalid/token", token=token)

    def read() -> object:
        session.ensure_active_token(session.token)
        return session.token["access_token"]

    return read


def google_auth() -> Read:
    """`Credentials.valid`, then `.token`."""
    from google.oauth2.credentials import Credentials

    naive = datetime.now(UTC).replace(tzinfo=None)  # as the library wants it
    credentials = Credentials(TEXT, expiry=naive + timedelta(seconds=LIFE_S))

    def read() -> object:
        if credentials.valid:
            return credentials.token
        raise LookupError("expired")

    return read


class _Answer:
    """A canned HTTP answer, as msal reads one."""

    status_code = 200

    def __init__(self, members: dict[str, Any]) -> None:
        self.text = json.dumps(members)
        self.headers: dict[str, str] = {"Content-Type": "application/json"}


_TENANT = {
    "issuer": "https://login.microsoftonline.com/tenant/v2.0",
    "authorization_endpoint": "https://login.microsoftonline.com/tenant/authorize",
    "token_endpoint": "https://login.microsoftonline.com/tenant/token",
}
_GRANTED = {"access_token": TEXT, "token_type": "Bearer", "expires_in": LIFE_S}


class _Provider:
    """An HTTP client that msal takes, with an answer to everything."""

    def get(self, url: str, **_: object) -> _Answer:
        return _Answer(_TENANT)

    def post(self, url: str, **_: object) -> _Answer:
        return _Answer(_GRANTED)

    def close(self) -> None:
        """Nothing is open."""


def msal() -> Read:
    """`ConfidentialClientApplication.acquire_token_for_client`."""
    from msal import ConfidentialClientApplication

    application = ConfidentialClientApplication(
        "id",
        client_credential="secret",
        authority="https://login.microsoftonline.com/tenant",
        instance_discovery=False,
        http_client=_Provider(),
    )
    scopes = ["https://peer.invalid/.default"]

    def read() -> object:
        return application.acquire_token_for_client(scopes)["access_token"]

    return read


def azure_identity() -> Read:
    """`ClientSecretCredential.get_token`."""
    import requests
    from azure.core.pipeline.transport import HttpRequest, RequestsTransport, RequestsTransportResponse
    from azure.identity import ClientSecretCredential

    class Canned(RequestsTransport):  # type: ignore[misc]  # untyped without the peers
        """Answers in place of the network."""

        def send(self, request: HttpRequest, **_: Any) -> RequestsTransportResponse:
            response = requests.Response()
            response.status_code = 200
            response.headers["Content-Type"] = "application/json"
            response._content = json.dumps(_TENANT if request.method == "GET" else _GRANTED).encode()
            return RequestsTransportResponse(request, response)

    credential = ClientSecretCredential(
        "tenant", "id", "secret", transport=Canned(), disable_instance_discovery=True, enable_support_logging=False
    )
    return lambda: credential.get_token("https://peer.invalid/.default").token


def botocore() -> Read:
    """`RefreshableCredentials.get_frozen_credentials`."""
    from botocore.credentials import RefreshableCredentials

    def refuse() -> dict[str, str]:
        raise AssertionError("it was valid")

    expiry = datetime.now(UTC) + timedelta(seconds=LIFE_S)
    credentials = RefreshableCredentials("key", "secret", TEXT, expiry, refuse, "bench")
    return lambda: credentials.get_frozen_credentials().token


def requests_oauth2client() -> Read:
    """`OAuth2ClientCredentialsAuth` on a prepared request."""
    import requests
    from requests_oauth2client import BearerToken, OAuth2Client, OAuth2ClientCredentialsAuth

    client = OAuth2Client("https://peer.invalid/token", client_id="id", client_secret="secret")
    auth = OAuth2ClientCredentialsAuth(client, token=BearerToken(TEXT, expires_in=LIFE_S))
    request = requests.Request("GET", "https://peer.invalid/").prepare()
    return lambda: auth(request).headers["Authorization"]


PEERS: dict[str, Callable[[], Read]] = {
    "Authlib": authlib,
    "google-auth": google_auth,
    "requests-oauth2client": requests_oauth2client,
    "botocore": botocore,
    "msal": msal,
    "azure-identity": azure_identity,
}
