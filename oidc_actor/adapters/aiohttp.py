"""`OIDCAuth` for aiohttp: ``aiohttp.ClientSession(middlewares=[OIDCAuth("name")])``, or ``middlewares=`` of one request."""

from __future__ import annotations

from oidc_actor.adapters.challenges import Tries, Unauthorized
from oidc_actor.adapters.presenter import Authenticator
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.lazy_imports import not_installed
from oidc_actor.values.urls import read_place

try:
    import aiohttp
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "aiohttp", missing) from None

__all__ = ["OIDCAuth"]
__dir__ = __all__.copy


class OIDCAuth(Authenticator):
    """Sends a manager's token with every request, and answers a 401 about it; see `oidc_actor.adapters`.

    A middleware is called anew for every hop of a redirect and is not told which is the first. So the token goes to one
    origin only, that of the first request (as in aiohttp's own digest middleware), or to the ``origins`` that are
    named; requests to others pass untouched. A body is sent again unless aiohttp has used it up, as it has a generator's.
    """

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request with the token, and again if need be; never blocks the event loop.

        Raises:
            ConfigError: The token could be read on the way.
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            SecretUnavailable: The token's DPoP key cannot be read now.
        """
        if self._choose is not None:
            if self._how["origins"] is None:  # each request would settle on an origin of its own, a redirect's too
                problem = "expected the origins that get tokens, where the request chooses the manager, got none"
                raise ConfigError(problem, ("origins",))
            return await self._of(request)(request, handler)
        presenter, url = self._presenter, request.url
        place = read_place(f"{url.scheme}://{url.raw_authority}")  # in a third of the time of the whole address
        origin = presenter.destination(url, lambda _: request.proxy, place=place, settles=True)
        if origin is None:
            return await handler(request)
        fields = await presenter.afields(request.method, url)
        request.headers.update(fields)
        response = await handler(request)
        if presenter.has_accepted(origin, response.status, fields):
            return response
        tries = Tries()
        while (
            again := await presenter.aagain(self._hear(request, response), tries, lambda: _can_repeat(request))
        ) is not None:
            # The server may have answered before it had read the whole body: nothing may still be writing it.
            response.close()
            await request.close()
            request.headers.popall("DPoP", None)
            request.headers.update(again)
            response = await handler(request)
        return response

    def _hear(self, request: aiohttp.ClientRequest, response: aiohttp.ClientResponse) -> Unauthorized | None:
        url, headers = str(request.url), response.headers
        return self._presenter.hear(
            request.method, url, request.headers, response.status, headers, lambda name: headers.getall(name, ())
        )


def _can_repeat(request: aiohttp.ClientRequest) -> bool:
    body = request.body
    if isinstance(body, bytes):
        return True
    return not isinstance(body, aiohttp.AsyncIterablePayload) and not body.consumed
