"""What httpx asks of an ``auth``, for httpx and for its successor httpx2, whose classes are alike but not the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from typing import Any, ClassVar

from oidc_actor.adapters.challenges import Tries, Unauthorized
from oidc_actor.adapters.presenter import Authenticator


class OneRequest:
    """Headers with a proof, which goes with one request: the library copies all others to the request of a redirect.

    A proof is for one address (RFC 9449 section 4.2) and would be refused at another, or told to another origin. The library
    copies headers as their class keeps them, and sends them as they are read, so each reading finds a proof.
    """

    _plain: ClassVar[type[Any]]
    """The library's own class."""

    def __init__(self, headers: Any, proof: str) -> None:
        """Take headers as they are.

        Args:
            headers: The library's.
            proof: The value of ``DPoP``.
        """
        super().__init__(headers)  # type: ignore[call-arg]  # that class is the next one
        self._proof = proof

    @property
    def raw(self) -> Any:
        """What is sent."""
        return self._whole.raw

    def copy(self) -> Any:
        """Return them without the proof."""
        return self._plain(self)

    def __repr__(self) -> str:
        return repr(self.copy())

    @property
    def _whole(self) -> Any:
        whole = self.copy()
        whole["DPoP"] = self._proof
        return whole


def _read_whole(name: str) -> Callable[..., Any]:
    def read(self: OneRequest, *args: Any, **options: Any) -> Any:
        return getattr(self._whole, name)(*args, **options)

    return read


for _name in ("keys", "values", "items", "multi_items", "get_list", "__len__", "__getitem__", "__contains__"):
    setattr(OneRequest, _name, _read_whole(_name))  # all by which the library, and a hook of its user, reads headers


class AuthFlow(Authenticator):
    """Sends a manager's token with every request, and answers a 401 about it; see `oidc_actor.adapters`.

    For each request the library makes a generator of its own, and takes from it one request after the other, until the answer
    is the caller's. It runs the generator on the thread, or the event loop's task, that sends the request; many may do so at once
    with one object. What belongs to one request therefore stays in the generator: its `Tries`, and its proof, which must not
    be kept by a client or by the request that a redirect makes of it (`OneRequest`).

    A body that the library holds in memory (bytes, text, JSON, a form) is sent again; a file, an upload in parts or a generator
    is not, because it may have been read. On a redirect the library keeps the header only within the origin (from port
    80 of a host to its port 443 counts as that). It follows redirects by itself, so a DPoP token arrives there without a
    proof, is refused, and is sent again with one, as far as the body allows that.

    The library's event hooks come first: one that raises for a 401 (``raise_for_status``) keeps it from here, and the token
    stays. Call ``raise_for_status`` on what a request returns.
    """

    _in_memory: ClassVar[type[Any]]
    """The library's class for a body that it holds in memory."""
    _one_request: ClassVar[type[Any]]
    """Its class for headers, as `OneRequest`."""

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Send a request with the token, and again if need be; runs on the caller's thread.

        Raises:
            ConfigError: The token could be read on the way.
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            SecretUnavailable: The token's DPoP key cannot be read now.
        """
        if self._choose is not None:
            yield from self._of(request).sync_auth_flow(request)
            return
        presenter, url = self._presenter, str(request.url)
        origin = presenter.destination(url)
        if origin is None:
            yield request
            return
        fields = presenter.fields(request.method, url)
        response = yield self._with(request, fields)
        if response.request is request and presenter.has_accepted(origin, response.status_code, fields):
            return
        tries = Tries()
        while (again := presenter.again(self._hear(response), tries, partial(self._can_repeat, response))) is not None:
            response = yield self._with(response.request, again)

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Do what `sync_auth_flow` does, in a task of asyncio or trio, without blocking its event loop."""
        serves = self._of(request)  # an async generator cannot hand over to another one
        presenter, url = serves._presenter, str(request.url)
        origin = presenter.destination(url)
        if origin is None:
            yield request
            return
        fields = await presenter.afields(request.method, url)
        response = yield self._with(request, fields)
        if response.request is request and presenter.has_accepted(origin, response.status_code, fields):
            return
        tries = Tries()
        while (
            again := await presenter.aagain(serves._hear(response), tries, partial(self._can_repeat, response))
        ) is not None:
            response = yield self._with(response.request, again)

    def _with(self, request: Any, fields: dict[str, str]) -> Any:
        request.headers["Authorization"] = fields["Authorization"]
        if "DPoP" in fields:
            request.headers = self._one_request(request.headers, fields["DPoP"])
        elif isinstance(request.headers, OneRequest):
            request.headers = request.headers.copy()  # of a try before, with a bound token
        return request

    def _hear(self, response: Any) -> Unauthorized | None:
        # It may answer another request than was sent, of a redirect. At another origin no token was sent, and it refuses none.
        request, headers = response.request, response.headers
        return self._presenter.hear(
            request.method, str(request.url), request.headers, response.status_code, headers, headers.get_list
        )

    def _can_repeat(self, response: Any) -> bool:
        return isinstance(response.request.stream, self._in_memory)
