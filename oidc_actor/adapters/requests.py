"""`OIDCAuth` for requests: ``session.auth = OIDCAuth("name")``, or ``auth=`` of one request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import requests
from requests.auth import AuthBase
from requests.exceptions import UnrewindableBodyError
from requests.utils import rewind_body

from oidc_actor.adapters.bearer import Bearer
from oidc_actor.adapters.destinations import origin_of
from oidc_actor.reading.reads import Server


class OIDCAuth(AuthBase):
    """Sends a manager's token with every request, and answers a 401 about it; see `oidc_actor.adapters`.

    A body of bytes or text is sent again, and a file that can be wound back to where it was; what a generator gave is
    gone. As with requests' own digest authentication, the 401 that was answered is in the ``history`` of the response.
    On a redirect requests keeps the header only within the origin (from port 80 of a host to its port 443 counts as that).
    """

    def __init__(
        self,
        server: Server,
        *,
        timeout: float = 5.0,
        origins: Iterable[str] | None = None,
        allow_insecure_http: bool = False,
    ) -> None:
        """Choose the manager, which need not be there yet.

        Args:
            server: Its ref or name.
            timeout: Seconds a request waits for a token where there is none.
            origins: The only origins that get the token, such as ``["https://api.example.com"]``; ``None`` for wherever a
                request is sent.
            allow_insecure_http: Whether plain http is acceptable beyond loopback; otherwise such a request is a `ConfigError`.

        Raises:
            ConfigError: An argument is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        self._bearer = Bearer(server, timeout=timeout, origins=origins, allow_insecure_http=allow_insecure_http)

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token on a request; runs on the thread that sends it.

        Args:
            r: The request, ready but for this.

        Returns:
            The same request.

        Raises:
            ConfigError: The token could be read on the way.
            NoTokenError: There is none.
            NoProcess: The manager is not there.
        """
        if self._bearer.destination(r.url or "") is not None:
            r.headers["Authorization"] = self._bearer.header()
            r.register_hook("response", self._answered)  # type: ignore[no-untyped-call]  # the stubs lag
        return r

    def _answered(self, response: requests.Response, **options: Any) -> requests.Response:
        # Also called for every hop of a redirect, whose request is a copy with this hook; what has no token is not ours.
        again = self._second_try(response)
        if again is None:
            return response
        response.close()
        answer: requests.Response = response.connection.send(again, **options)
        answer.history.append(response)
        answer.request = again
        self._is_refused(answer)
        return answer

    def _second_try(self, response: requests.Response) -> requests.PreparedRequest | None:
        request = response.request
        sent = request.headers.get("Authorization")
        if sent is None or not self._is_refused(response):
            return None
        origin = origin_of(request.url or "")
        if not _rewound(request):
            self._bearer.complain(origin, sent)
            return None
        header = self._bearer.successor(origin, sent)
        if header is None:
            return None
        again = request.copy()
        again.headers["Authorization"] = header
        return again

    def _is_refused(self, response: requests.Response) -> bool:
        fields = [response.headers.get("WWW-Authenticate", "")]
        return self._bearer.is_refused(origin_of(response.request.url or ""), response.status_code, fields)


def _rewound(request: requests.PreparedRequest) -> bool:
    """Bring the body back to where it was before it was sent; whether that could be done."""
    body: object = request.body  # the stubs know of no files
    if body is None or isinstance(body, str | bytes):
        return True
    try:
        rewind_body(request)
    except (UnrewindableBodyError, ValueError):  # the latter: the file is closed
        return False
    return True
