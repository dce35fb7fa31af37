"""The identity of a machine, which the cloud's metadata server gives to programs on it: Google's and Azure's.

A metadata server is asked without a proxy: it is only reached from the machine, and what it gives is a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlencode

from oidc_actor.credentials.parameters import read_text
from oidc_actor.http import check_timeout, check_transport, direct_transport
from oidc_actor.protocol.response_fields import read_object
from oidc_actor.transport import Request, Response, Transport, TransportError
from oidc_actor.values.secrets import Secret, SecretSource, secret_problem

GOOGLE_HOST_VARIABLE = "GCE_METADATA_HOST"
AZURE_URL_VARIABLE, AZURE_HEADER_VARIABLE = "IDENTITY_ENDPOINT", "IDENTITY_HEADER"

AZURE_AUDIENCE = "api://AzureADTokenExchange"
"""What Entra ID wants a token to name that is to be traded for an application's (workload identity federation)."""


class _MetadataToken(SecretSource):
    """What both have in common: what is asked, and that the answer is a text."""

    __slots__ = ("_audience", "_timeout_s", "_transport")
    _server = "the metadata server"

    def _keep(self, audience: str, timeout_seconds: float, transport: Transport | None) -> None:
        self._audience = read_text(audience, "audience")
        self._timeout_s = check_timeout(timeout_seconds)
        self._transport = transport if transport is None else check_transport(transport)

    def _ask(self, url: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Response | str:
        request = Request("GET", f"{url}?{urlencode(query)}", headers, b"", self._timeout_s)
        try:
            response = (self._transport or direct_transport())(request)
        except TransportError as error:
            return f"{self._server} did not answer: {error}"
        except Exception as error:  # noqa: BLE001 - an injected transport
            return f"{self._server} did not answer: the transport raised {type(error).__name__}"
        return response if response.status == 200 else self._refused(response)

    def _refused(self, response: Response) -> str:
        return f"expected a token from {self._server}, got HTTP {response.status}"

    def _parts(self) -> tuple[object, ...]:
        return type(self), self._audience, self._timeout_s, self._transport

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _MetadataToken) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((type(self), self._audience))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._audience!r})"


def _token_in(text: object, server: str) -> Secret | str:
    text = text.strip() if isinstance(text, str) else text
    problem = secret_problem(text)
    return Secret(str(text)) if problem is None else f"expected a token from {server}, got {problem}"


class GoogleMetadataToken(_MetadataToken):
    """An ID token of the machine's service account, asked for whenever it is read: Compute Engine, GKE, Cloud Run.

    For ``client_assertion``, or as the subject of `TokenExchange`. ``GCE_METADATA_HOST`` names another server than
    ``metadata.google.internal``.
    """

    __slots__ = ()
    _server = "Google's metadata server"

    def __init__(self, audience: str, *, timeout_seconds: float = 10, transport: Transport | None = None) -> None:
        """Check and keep; nothing is asked for yet.

        Args:
            audience: Whom the token is to name.
            timeout_seconds: Seconds for the whole request and its answer.
            transport: What performs the request; ``None`` for HTTP of our own, without a proxy.

        Raises:
            ConfigError: Where something does not fit.
        """
        self._keep(audience, timeout_seconds, transport)

    def fetch(self) -> Secret | str:
        """Get one, or say why that cannot be done now."""
        host = os.environ.get(GOOGLE_HOST_VARIABLE) or "metadata.google.internal"
        url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/identity"
        query = {"audience": self._audience, "format": "full"}
        response = self._ask(url, query, {"Metadata-Flavor": "Google"})
        if isinstance(response, str):
            return response
        if response.header("Metadata-Flavor") != "Google":  # what Google says to tell its server by
            return "expected an answer of Google's metadata server, got one without Metadata-Flavor: Google"
        return _token_in(response.body.decode("utf-8", "replace"), self._server)


class AzureMetadataToken(_MetadataToken):
    """A token of the machine's managed identity, asked for whenever it is read: virtual machines, App Service, Functions.

    For ``client_assertion`` of an application that trusts the identity (``audience="api://AzureADTokenExchange"``), or as the
    subject of `TokenExchange`. In AKS the pod's token is a file: ``SecretFile(os.environ["AZURE_FEDERATED_TOKEN_FILE"])``.
    """

    __slots__ = ("_client_id",)
    _server = "Azure's metadata server"

    def __init__(
        self,
        audience: str = AZURE_AUDIENCE,
        *,
        client_id: str | None = None,
        timeout_seconds: float = 10,
        transport: Transport | None = None,
    ) -> None:
        """Check and keep; nothing is asked for yet.

        Args:
            audience: Whom the token is to name: what Azure calls the resource.
            client_id: Which of several identities; ``None`` for the system's, or the only one.
            timeout_seconds: Seconds for the whole request and its answer.
            transport: What performs the request; ``None`` for HTTP of our own, without a proxy.

        Raises:
            ConfigError: Where something does not fit.
        """
        self._keep(audience, timeout_seconds, transport)
        self._client_id = None if client_id is None else read_text(client_id, "client_id")

    def fetch(self) -> Secret | str:
        """Get one, or say why that cannot be done now."""
        query = {"resource": self._audience} | ({} if self._client_id is None else {"client_id": self._client_id})
        url, header = os.environ.get(AZURE_URL_VARIABLE), os.environ.get(AZURE_HEADER_VARIABLE)
        if url and header:  # App Service and its like
            if not url.startswith(("http://", "https://")):
                return f"{AZURE_URL_VARIABLE}: expected an address"
            response = self._ask(url, {"api-version": "2019-08-01", **query}, {"X-IDENTITY-HEADER": header})
        else:
            host = "http://169.254.169.254/metadata/identity/oauth2/token"
            response = self._ask(host, {"api-version": "2018-02-01", **query}, {"Metadata": "true"})
        if isinstance(response, str):
            return response
        members = read_object(response.body)
        if isinstance(members, str):
            return f"expected a token from {self._server}, got something else: {members}"
        return _token_in(members.get("access_token"), self._server)

    def _refused(self, response: Response) -> str:
        members = read_object(response.body)
        code = members.get("error") if isinstance(members, dict) else None
        known = f" {code}" if isinstance(code, str) and code.replace("_", "").isalpha() and len(code) < 40 else ""
        return f"expected a token from {self._server}, got HTTP {response.status}{known}"

    def _parts(self) -> tuple[object, ...]:
        return *super()._parts(), self._client_id
