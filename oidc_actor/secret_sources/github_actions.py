"""The identity of a job of GitHub Actions: a token that GitHub signs for it on request."""

from __future__ import annotations

import os
from urllib.parse import quote

from oidc_actor.credentials.parameters import read_text
from oidc_actor.http import check_timeout, check_transport
from oidc_actor.protocol.response_fields import read_object
from oidc_actor.transport import Request, Response, Transport, TransportError
from oidc_actor.values.secrets import Secret, SecretSource, secret_problem
from oidc_actor.values.urls import url_problem

URL_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_URL"
TOKEN_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - the variable's name


class GitHubActionsToken(SecretSource):
    """Asks GitHub for a fresh ID token whenever it is read; as ``client_assertion``, or the subject of `TokenExchange`.

    The job needs ``permissions: id-token: write``, which has the runner set the two variables that are read here.
    """

    __slots__ = ("_audience", "_timeout_s", "_transport")

    def __init__(
        self, audience: str | None = None, *, timeout_seconds: float = 10, transport: Transport | None = None
    ) -> None:
        """Check and keep; nothing is asked for yet.

        Args:
            audience: Whom the token is to name; ``None`` for GitHub's default.
            timeout_seconds: Seconds for the whole request and its answer.
            transport: What performs the request; ``None`` for HTTP of our own.

        Raises:
            ConfigError: Where something does not fit.
        """
        self._audience = None if audience is None else read_text(audience, "audience")
        self._timeout_s = check_timeout(timeout_seconds)
        self._transport = transport if transport is None else check_transport(transport)

    def fetch(self) -> Secret | str:
        """Get one, or say why that cannot be done now."""
        missing = [name for name in (URL_VARIABLE, TOKEN_VARIABLE) if not os.environ.get(name)]
        if missing:
            return f"{' and '.join(missing)} not set: give the job the permission 'id-token: write'"
        problem = url_problem(os.environ[URL_VARIABLE])
        if problem is not None:
            return f"{URL_VARIABLE}: {problem}"
        response = self._ask()
        return response if isinstance(response, str) else _read(response)

    def _ask(self) -> Response | str:
        url = os.environ[URL_VARIABLE]
        if self._audience is not None:
            url += f"{'&' if '?' in url else '?'}audience={quote(self._audience, safe='')}"
        headers = {"Accept": "application/json", "Authorization": f"Bearer {os.environ[TOKEN_VARIABLE]}"}
        try:
            return check_transport(self._transport)(Request("GET", url, headers, b"", self._timeout_s))
        except TransportError as error:
            return f"GitHub did not answer: {error}"
        except Exception as error:  # noqa: BLE001 - an injected transport
            return f"GitHub did not answer: the transport raised {type(error).__name__}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GitHubActionsToken) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((GitHubActionsToken, self._audience))

    def _parts(self) -> tuple[object, ...]:
        return self._audience, self._timeout_s, self._transport

    def __repr__(self) -> str:
        return f"GitHubActionsToken({self._audience!r})"


def _read(response: Response) -> Secret | str:
    members = read_object(response.body)
    if response.status != 200:
        return f"expected an ID token from GitHub, got HTTP {response.status}"
    if isinstance(members, str):
        return f"expected an ID token from GitHub, got HTTP 200 with something else: {members}"
    token = members.get("value")
    problem = "no text" if not isinstance(token, str) else secret_problem(token)
    return Secret(str(token)) if problem is None else f"expected an ID token from GitHub, got {problem}"
