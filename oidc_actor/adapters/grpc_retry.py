"""Interceptors that answer ``UNAUTHENTICATED``, for channels with the call credentials of `oidc_actor.adapters.grpc`.

```python
channel = grpc.intercept_channel(grpc.secure_channel(target, credentials), *interceptors("name"))
channel = grpc.aio.secure_channel(target, credentials, interceptors=aio_interceptors("name"))
```

A refused token is replaced, once for all callers that had it. A call with one request and one response is then made again,
once, within what is left of its timeout; one that was begun with ``.future()`` and every streaming call is not: its caller gets
``UNAUTHENTICATED``, and the next call has the new token.

gRPC tells an interceptor neither which token a call was sent with nor where it went. So the order of things matters:

1. Before a call, on its caller's thread: `_Call` looks which token the manager has. It never waits for one.
2. gRPC asks the call credentials for the metadata, on a thread of gRPC's, at once or while the call waits for a connection. The
   token that they give is the one of step 1, or a newer one.
3. The call ends. For one that blocks its caller this is seen on the caller's thread, for others on a thread of gRPC's, which
   serves all calls of the channel: there a refusal is reported, which never waits, or all of them would.
4. On the caller's thread only: wait for the successor of the token of step 1. Where that token had been replaced before step 2,
   the manager knows of its successor already, and the wait is over at once; the call goes out with the newest token either way.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from oidc_actor.adapters.authorization import Authorization
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.reading.token_source import ServerOrSource
from oidc_actor.values.lazy_imports import not_installed

try:
    import grpc
    import grpc.aio
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "grpc", missing) from None

__all__ = ["aio_interceptors", "interceptors"]
__dir__ = __all__.copy

_channels = itertools.count(1)
_HTTP = {"OK": 200, "UNAUTHENTICATED": 401}  # gRPC's own correspondence; other codes say nothing about the token


def interceptors(server: ServerOrSource, *, timeout: float = 5.0, origin: str | None = None) -> list[Any]:
    """Make the interceptors for one channel of `grpc`.

    Args:
        server: The manager's ref or name, as given to the call credentials.
        timeout: Seconds to wait for a token in place of a refused one, within the call's own timeout.
        origin: The server, such as ``"https://api.example.com:443"``, so that the refusals of several channels to it
            count as those of one server. ``None`` counts this channel as a server of its own: gRPC does not say which.

    Raises:
        ConfigError: The timeout is wrong.
        TypeError: ``server`` is neither a ref nor a name.
    """
    return [_Interceptor(_Channel(server, timeout, origin))]


def aio_interceptors(server: ServerOrSource, *, timeout: float = 5.0, origin: str | None = None) -> list[Any]:
    """Make the interceptors for one channel of `grpc.aio`.

    Args:
        server: The manager's ref or name, as given to the call credentials.
        timeout: Seconds to wait for a token in place of a refused one, within the call's own timeout.
        origin: As for `interceptors`.

    Raises:
        ConfigError: The timeout is wrong.
        TypeError: ``server`` is neither a ref nor a name.
    """
    channel = _Channel(server, timeout, origin)
    return [kind(channel) for kind in (_AioUnaryUnary, _AioUnaryStream, _AioStreamUnary, _AioStreamStream)]


class _Channel:
    """A channel: the manager whose token goes there, and what its far end is called."""

    def __init__(self, server: ServerOrSource, timeout_s: float, origin: str | None) -> None:
        self.presenter = Presenter(server, timeout=timeout_s)
        self.timeout_s = timeout_s
        self.origin = origin or f"grpc channel {next(_channels)}"


class _Call:
    """One call: which token it can have been sent with, and what its end says of that token."""

    def __init__(self, channel: _Channel, details: Any) -> None:
        self._presenter, self._origin, self._timeout_s = channel.presenter, channel.origin, channel.timeout_s
        self._before = self._presenter.present()  # before the call goes out; see the module's docstring
        self._ends_at = None if details.timeout is None else time.monotonic() + details.timeout

    def is_refused(self, code: Any, trailers: Any) -> bool:
        """Whether the token was refused; an acceptance is noted."""
        fields = [str(value) for name, value in trailers or () if name.lower() == "www-authenticate"]
        return self._presenter.is_refused(self._origin, _HTTP.get(code.name, 500), fields or ["Bearer"], self._before)

    def note(self, code: Any, trailers: Any) -> None:
        """Reject the token if the call was refused. It never waits: its thread may serve the whole channel."""
        if self.is_refused(code, trailers):
            self._presenter.reject(self._origin, self._sent())

    def mend(self) -> bool:
        """Wait for another token, on the caller's thread; whether there is one to make the call again with."""
        self._before = self._presenter.successor(self._origin, self._sent(), self._patience_s())
        return self._before is not None

    async def amend(self) -> bool:
        """Do what `mend` does, without blocking the event loop."""
        self._before = await self._presenter.asuccessor(self._origin, self._sent(), self._patience_s())
        return self._before is not None

    @property
    def left_s(self) -> float | None:
        """Seconds left of the call's own timeout; ``None`` where it has none."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def _sent(self) -> Authorization | None:
        return (
            self._before or self._presenter.present()
        )  # with none before the call, it was sent with the first that came

    def _patience_s(self) -> float:
        left_s = self.left_s
        return self._timeout_s if left_s is None else min(self._timeout_s, left_s)


class _Details(grpc.ClientCallDetails):
    """A call's details with another timeout; other interceptors' details may be of any class."""

    def __init__(self, details: Any, timeout: float | None) -> None:
        self.method = details.method
        self.timeout = timeout
        self.metadata = getattr(details, "metadata", None)
        self.credentials = getattr(details, "credentials", None)
        self.wait_for_ready = getattr(details, "wait_for_ready", None)
        self.compression = getattr(details, "compression", None)


class _Interceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        ours = _Call(self._channel, details)
        call = continuation(details, request)
        # Begun with .future(), it is a live call, whose caller must not wait here; otherwise it has ended, and has blocked
        # its caller until then.
        if isinstance(call, Iterator) or not call.done():
            return _noted(call, ours)
        if not ours.is_refused(call.code(), call.trailing_metadata()) or not ours.mend():
            return call
        again = continuation(_Details(details, ours.left_s), request)
        ours.note(again.code(), again.trailing_metadata())
        return again

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, sent: Any) -> Any:
        ours = _Call(self._channel, details)
        return _noted(continuation(details, sent), ours)

    intercept_stream_unary: Any = intercept_unary_stream
    intercept_stream_stream: Any = intercept_unary_stream


def _noted(call: Any, ours: _Call) -> Any:
    """Have a call's end noted, on the thread of gRPC's that sees it."""
    call.add_done_callback(lambda ended: ours.note(ended.code(), ended.trailing_metadata()))
    return call


class _AioUnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        ours = _Call(self._channel, details)
        call = await continuation(details, request)
        if not ours.is_refused(*await _ended(call)):
            return call
        if not await ours.amend():
            return call
        hurried = grpc.aio.ClientCallDetails(
            details.method, ours.left_s, details.metadata, details.credentials, details.wait_for_ready
        )
        again = await continuation(hurried, request)
        ours.note(*await _ended(again))
        return again


async def _ended(call: Any) -> tuple[Any, Any]:
    """Wait for a call's code and trailers. Cancelling that wait, as `asyncio.timeout` does, cancels the call."""
    try:
        return await call.code(), await call.trailing_metadata()
    except asyncio.CancelledError:
        call.cancel()  # which gRPC does by itself only where there is no interceptor
        raise


class _AioWatch:
    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._noting: set[asyncio.Task[None]] = set()  # a task without a reference may be collected before it has run

    async def watched(self, continuation: Callable[..., Any], details: Any, sent: Any) -> Any:
        ours = _Call(self._channel, details)
        call = await continuation(details, sent)

        def ended(_: Any) -> None:  # on the event loop; code and trailers have to be awaited, which a callback cannot
            task = asyncio.ensure_future(_note(call, ours))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

        call.add_done_callback(ended)
        return call


async def _note(call: Any, ours: _Call) -> None:
    ours.note(await call.code(), await call.trailing_metadata())


class _AioUnaryStream(_AioWatch, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream: Any = _AioWatch.watched


class _AioStreamUnary(_AioWatch, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary: Any = _AioWatch.watched


class _AioStreamStream(_AioWatch, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream: Any = _AioWatch.watched
