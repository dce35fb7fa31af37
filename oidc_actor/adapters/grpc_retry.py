"""Interceptors that answer ``UNAUTHENTICATED``, for channels with the call credentials of `oidc_actor.adapters.grpc`.

```python
channel = grpc.intercept_channel(grpc.secure_channel(target, credentials), *interceptors("name"))
channel = grpc.aio.secure_channel(target, credentials, interceptors=aio_interceptors("name"))
```

A refused token is replaced, once for all callers that had it. A call with one request and one response is then made again,
once, within what is left of its timeout; one that was begun with ``.future()`` and every streaming call is not: its caller gets
``UNAUTHENTICATED``, and the next call has the new token.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from oidc_actor.adapters.authorization import Authorization
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.reading.reads import ServerRef
from oidc_actor.values.lazy_imports import not_installed

try:
    import grpc
    import grpc.aio
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "grpc", missing) from None

_channels = itertools.count(1)
_HTTP = {"OK": 200, "UNAUTHENTICATED": 401}  # gRPC's own correspondence; other codes say nothing about the token


def interceptors(server: ServerRef, *, timeout: float = 5.0, origin: str | None = None) -> list[Any]:
    """Make the interceptors for one channel of `grpc`.

    Args:
        server: The manager's ref or name, as given to the call credentials.
        timeout: Seconds to wait for a token in place of a refused one, within the call's own timeout.
        origin: The server, such as ``"https://api.example.com:443"``, so that the complaints of several channels that lead
            there are one party's. ``None`` for a party of this channel's own: gRPC does not say where it leads.

    Raises:
        ConfigError: The timeout is wrong.
        TypeError: ``server`` is neither a ref nor a name.
    """
    return [_Interceptor(_Party(server, timeout, origin))]


def aio_interceptors(server: ServerRef, *, timeout: float = 5.0, origin: str | None = None) -> list[Any]:
    """Make the interceptors for one channel of `grpc.aio`; arguments and errors as for `interceptors`."""
    party = _Party(server, timeout, origin)
    return [_AioUnaryUnary(party), *(kind(party) for kind in (_AioUnaryStream, _AioStreamUnary, _AioStreamStream))]


class _Party:
    """A channel: the manager whose token goes there, and what its far end is called."""

    def __init__(self, server: ServerRef, timeout_s: float, origin: str | None) -> None:
        self.presenter = Presenter(server, timeout=timeout_s)
        self.timeout_s = timeout_s
        self.origin = origin or f"grpc channel {next(_channels)}"


class _Verdict:
    """One call: which token it can have been sent with, and what it says of that."""

    def __init__(self, party: _Party, details: Any) -> None:
        self._presenter, self._origin = party.presenter, party.origin
        # What is present before the call and still is after it is what was sent. If it has been replaced in between,
        # the retry has the newer one, whichever was sent.
        self._before = party.presenter.present()
        self._ends_at = None if details.timeout is None else time.monotonic() + details.timeout
        self._timeout_s = party.timeout_s

    def refuses(self, code: Any, trailers: Any) -> bool:
        """Whether the token was refused."""
        fields = [str(value) for name, value in trailers or () if name.lower() == "www-authenticate"]
        return self._presenter.is_refused(self._origin, _HTTP.get(code.name, 500), fields or ["Bearer"], self._before)

    def note(self, code: Any, trailers: Any) -> None:
        """Complain if the token was refused; never waits."""
        if self.refuses(code, trailers):
            self._presenter.complain(self._origin, self._sent())

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
        # With none before the call, it was sent with the first that came.
        return self._before or self._presenter.present()

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
    def __init__(self, party: _Party) -> None:
        self._party = party

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        verdict = _Verdict(self._party, details)
        call = continuation(details, request)
        # Begun with .future(), whose caller must not wait here, it is a live call; otherwise it is the outcome of one.
        if isinstance(call, Iterator) or not call.done():
            return _noted(call, verdict)
        if not verdict.refuses(call.code(), call.trailing_metadata()) or not verdict.mend():
            return call
        again = continuation(_Details(details, verdict.left_s), request)
        verdict.note(again.code(), again.trailing_metadata())
        return again

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return self._watched(continuation, details, request)

    def intercept_stream_unary(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return self._watched(continuation, details, requests)

    def intercept_stream_stream(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return self._watched(continuation, details, requests)

    def _watched(self, continuation: Callable[..., Any], details: Any, sent: Any) -> Any:
        verdict = _Verdict(self._party, details)
        return _noted(continuation(details, sent), verdict)


def _noted(call: Any, verdict: _Verdict) -> Any:
    """Have a call's end noted, on whichever thread it comes."""
    call.add_done_callback(lambda ended: verdict.note(ended.code(), ended.trailing_metadata()))
    return call


class _AioUnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, party: _Party) -> None:
        self._party = party

    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        verdict = _Verdict(self._party, details)
        call = await continuation(details, request)
        if not verdict.refuses(*await _ended(call)):
            return call
        if not await verdict.amend():
            return call
        hurried = grpc.aio.ClientCallDetails(
            details.method, verdict.left_s, details.metadata, details.credentials, details.wait_for_ready
        )
        again = await continuation(hurried, request)
        verdict.note(*await _ended(again))
        return again


async def _ended(call: Any) -> tuple[Any, Any]:
    """Wait for a call's code and trailers. Cancelling that wait, as `asyncio.timeout` does, cancels the call."""
    try:
        return await call.code(), await call.trailing_metadata()
    except asyncio.CancelledError:
        call.cancel()  # which gRPC does by itself only where there is no interceptor
        raise


class _AioWatch:
    def __init__(self, party: _Party) -> None:
        self._party = party
        self._noting: set[asyncio.Task[None]] = set()  # a task without a reference may be collected before it has run

    async def _watched(self, continuation: Callable[..., Any], details: Any, sent: Any) -> Any:
        verdict = _Verdict(self._party, details)
        call = await continuation(details, sent)

        def ended(_: Any) -> None:
            task = asyncio.ensure_future(_note(call, verdict))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

        call.add_done_callback(ended)
        return call


async def _note(call: Any, verdict: _Verdict) -> None:
    verdict.note(await call.code(), await call.trailing_metadata())


class _AioUnaryStream(_AioWatch, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await self._watched(continuation, details, request)


class _AioStreamUnary(_AioWatch, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await self._watched(continuation, details, requests)


class _AioStreamStream(_AioWatch, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await self._watched(continuation, details, requests)
