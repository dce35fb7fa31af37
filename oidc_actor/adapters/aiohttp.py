"""`OIDCAuth` for aiohttp: ``aiohttp.ClientSession(middlewares=[OIDCAuth("name")])``, or ``middlewares=`` of one request."""

from __future__ import annotations

from collections.abc import Iterable

from oidc_actor.adapters.bearer import Bearer
from oidc_actor.extras import not_installed
from oidc_actor.reading.reads import Server

try:
    import aiohttp
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "aiohttp", missing) from None


class OIDCAuth:
    """Sends a manager's token with every request, and answers a 401 about it; see `oidc_actor.adapters`.

    A middleware is called anew for every hop of a redirect and is not told which is the first. So the token goes to one
    origin only, that of the first request (as in aiohttp's own digest middleware), or to the ``origins`` that are
    named; requests to others pass untouched. A body is sent again unless aiohttp has used it up, as it has a generator's.
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
            timeout: Seconds a request waits for a token where there is none, within the session's total timeout.
            origins: The only origins that get the token, such as ``["https://api.example.com"]``; ``None`` for that of the
                first request.
            allow_insecure_http: Whether plain http is acceptable beyond loopback; otherwise such a request is a `ConfigError`.

        Raises:
            ConfigError: An argument is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        self._bearer = Bearer(server, timeout=timeout, origins=origins, allow_insecure_http=allow_insecure_http)

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request with the token, and again if need be; never blocks the event loop.

        Raises:
            ConfigError: The token could be read on the way.
            NoTokenError: There is none.
            NoProcess: The manager is not there.
        """
        origin = self._bearer.destination(str(request.url))
        if origin is None:
            return await handler(request)
        self._bearer.settle_on(origin)
        request.headers["Authorization"] = await self._bearer.aheader()
        response = await handler(request)
        if not self._is_refused(origin, response) or not await self._renew(origin, request, response):
            return response
        response = await handler(request)
        self._is_refused(origin, response)
        return response

    def _is_refused(self, origin: str, response: aiohttp.ClientResponse) -> bool:
        return self._bearer.is_refused(origin, response.status, response.headers.getall("WWW-Authenticate", ()))

    async def _renew(self, origin: str, request: aiohttp.ClientRequest, response: aiohttp.ClientResponse) -> bool:
        """Put another token on the request and make it ready to be sent again; whether that could be done."""
        if not _can_be_replayed(request):
            self._bearer.complain(origin, request.headers["Authorization"])
            return False
        header = await self._bearer.asuccessor(origin, request.headers["Authorization"])
        if header is None:
            return False
        request.headers["Authorization"] = header
        # The server may have answered before it had read the whole body: nothing may still be writing it.
        response.close()
        await request.close()
        return True


def _can_be_replayed(request: aiohttp.ClientRequest) -> bool:
    body = request.body
    if isinstance(body, bytes):
        return True
    return not isinstance(body, aiohttp.AsyncIterablePayload) and not body.consumed
