"""`OIDCAuth` for aiohttp: ``aiohttp.ClientSession(middlewares=[OIDCAuth("name")])``, or ``middlewares=`` of one request."""

from __future__ import annotations

from collections.abc import Iterable

from oidc_actor.adapters.presenter import Presenter
from oidc_actor.adapters.tries import Answer, Tries, answer_to
from oidc_actor.reading.reads import ServerRef
from oidc_actor.values.lazy_imports import not_installed

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
        server: ServerRef,
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
        self._presenter = Presenter(server, timeout=timeout, origins=origins, allow_insecure_http=allow_insecure_http)

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request with the token, and again if need be; never blocks the event loop.

        Raises:
            ConfigError: The token could be read on the way.
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
        """
        origin = self._presenter.destination(str(request.url), lambda _: request.proxy)
        if origin is None:
            return await handler(request)
        self._presenter.settle_on(origin)
        tries = Tries()
        request.headers.update(await self._presenter.afields(request.method, str(request.url)))
        while True:
            response = await handler(request)
            fields = await self._next_fields(request, response, tries)
            if fields is None:
                return response
            request.headers.update(fields)

    async def _next_fields(
        self, request: aiohttp.ClientRequest, response: aiohttp.ClientResponse, tries: Tries
    ) -> dict[str, str] | None:
        """What to send the request again with, which it is ready for then; ``None`` where this is the caller's answer."""
        answer = self._hear(request, response)
        remedy = None if answer is None else self._presenter.remedy(answer, tries)
        if answer is None or remedy is None:
            return None
        if not _can_be_replayed(request):
            self._presenter.give_up(answer)
            return None
        fields = await self._presenter.aagain(answer, remedy)
        if fields is not None:
            # The server may have answered before it had read the whole body: nothing may still be writing it.
            response.close()
            await request.close()
            request.headers.popall("DPoP", None)
        return fields

    def _hear(self, request: aiohttp.ClientRequest, response: aiohttp.ClientResponse) -> Answer | None:
        url, headers = str(request.url), response.headers
        if not self._presenter.hear(url, request.headers.get("Authorization"), response.status, headers):
            return None
        challenges = headers.getall("WWW-Authenticate", ())
        return answer_to(request.method, url, request.headers, challenges, headers)


def _can_be_replayed(request: aiohttp.ClientRequest) -> bool:
    body = request.body
    if isinstance(body, bytes):
        return True
    return not isinstance(body, aiohttp.AsyncIterablePayload) and not body.consumed
