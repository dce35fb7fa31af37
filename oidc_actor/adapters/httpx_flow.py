"""What httpx asks of an ``auth``, for httpx and for its successor httpx2, whose classes are alike but not the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any, ClassVar

from oidc_actor.adapters.authorization import Authorization
from oidc_actor.adapters.bearer import Bearer
from oidc_actor.adapters.destinations import origin_of
from oidc_actor.reading.reads import Server


class AuthFlow:
    """Sends a manager's token with every request, and answers a 401 about it; see `oidc_actor.adapters`.

    A body that the library holds in memory (bytes, text, JSON, a form) is sent again; a file, an upload in parts or a generator
    is not, because it may have been read. On a redirect the library keeps the header only within the origin (from port
    80 of a host to its port 443 counts as that).
    """

    _in_memory: ClassVar[type[Any]]
    """The library's class for a body that it holds in memory."""

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
            timeout: Seconds a request waits for a token where there is none, besides the library's own timeouts.
            origins: The only origins that get the token, such as ``["https://api.example.com"]``; ``None`` for wherever a
                request is sent.
            allow_insecure_http: Whether plain http is acceptable beyond loopback; otherwise such a request is a `ConfigError`.

        Raises:
            ConfigError: An argument is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        self._bearer = Bearer(server, timeout=timeout, origins=origins, allow_insecure_http=allow_insecure_http)

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Send a request with the token, and again if need be; runs on the caller's thread.

        Raises:
            ConfigError: The token could be read on the way.
            NoTokenError: There is none.
            NoProcess: The manager is not there.
        """
        if self._bearer.destination(str(request.url)) is None:
            yield request
            return
        request.headers["Authorization"] = self._bearer.header()
        response = yield request
        if not self._is_worth_a_retry(request, response):
            return
        header = self._bearer.successor(*_whose(response))
        if header is not None:
            request.headers["Authorization"] = header
            self._is_refused((yield request))

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Do what `sync_auth_flow` does, without blocking the event loop (asyncio's; trio only while there is a token)."""
        if self._bearer.destination(str(request.url)) is None:
            yield request
            return
        request.headers["Authorization"] = await self._bearer.aheader()
        response = yield request
        if not self._is_worth_a_retry(request, response):
            return
        header = await self._bearer.asuccessor(*_whose(response))
        if header is not None:
            request.headers["Authorization"] = header
            self._is_refused((yield request))

    def _is_worth_a_retry(self, request: Any, response: Any) -> bool:
        if not self._is_refused(response):
            return False
        if isinstance(request.stream, self._in_memory):
            return True
        self._bearer.complain(*_whose(response))
        return False

    def _is_refused(self, response: Any) -> bool:
        # It may come from another origin, after a redirect: then no token was sent, and nobody complains about none.
        origin, _ = _whose(response)
        return self._bearer.is_refused(origin, response.status_code, response.headers.get_list("WWW-Authenticate"))


def _whose(response: Any) -> tuple[str, Authorization | None]:
    """The origin that answered, and what it was sent."""
    sent = response.request.headers.get("Authorization")
    return origin_of(str(response.request.url)), None if sent is None else Authorization(sent)
