"""One way to drive every adapter: its real library, opened on one API, called as a program would."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

import aiohttp
import grpc
import grpc.aio
import httpx
import httpx2
import requests
import trio
from adapters.api import DEADLINE_S, Api
from adapters.rpc import SERVICE, Rpc

import oidc_actor.adapters.aiohttp
import oidc_actor.adapters.grpc
import oidc_actor.adapters.httpx
import oidc_actor.adapters.httpx2
import oidc_actor.adapters.requests
from oidc_actor.adapters.grpc_retry import aio_interceptors, interceptors

TLS = ssl.create_default_context()  # loading the certificates takes longer than a test
CHUNKS = (b"one ", b"two ", b"three")


class Driver:
    """A client of one API. `call` gives back a status and a body; gRPC's ``UNAUTHENTICATED`` counts as 401."""

    timeout = DEADLINE_S

    def __init__(self, http: Api, rpc: Rpc, server: Any) -> None:
        self.http = http
        self.rpc = rpc
        self.open(server)

    def open(self, server: Any) -> None:
        raise NotImplementedError

    def call(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request whose body, if any, is in memory."""
        raise NotImplementedError

    def upload(self) -> tuple[int, bytes]:
        """Send `CHUNKS` from a generator."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    @property
    def tokens(self) -> list[str | None]:
        """The tokens that the API was sent."""
        return self.http.tokens


class Requests(Driver):
    def open(self, server: Any) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = oidc_actor.adapters.requests.OIDCAuth(server)

    def call(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        method = "GET" if body is None else "POST"
        answer = self.session.request(method, self.http.url + path, data=body, timeout=DEADLINE_S)
        return answer.status_code, answer.content

    def upload(self) -> tuple[int, bytes]:
        answer = self.session.post(f"{self.http.url}/echo", data=iter(CHUNKS), timeout=DEADLINE_S)
        return answer.status_code, answer.content

    def close(self) -> None:
        self.session.close()


class Httpx(Driver):
    library: Any = httpx
    adapter: Any = oidc_actor.adapters.httpx

    def open(self, server: Any) -> None:
        auth = self.adapter.OIDCAuth(server)
        self.client = self.library.Client(
            auth=auth, verify=TLS, follow_redirects=True, base_url=self.http.url, timeout=DEADLINE_S, trust_env=False
        )

    def call(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        answer = self.client.request("GET" if body is None else "POST", path, content=body)
        return answer.status_code, answer.content

    def upload(self) -> tuple[int, bytes]:
        answer = self.client.post("/echo", content=(chunk for chunk in CHUNKS))
        return answer.status_code, answer.content

    def close(self) -> None:
        self.client.close()


class Httpx2(Httpx):
    library = httpx2
    adapter = oidc_actor.adapters.httpx2


async def chunks() -> AsyncIterator[bytes]:
    for chunk in CHUNKS:
        yield chunk


class AsyncDriver(Driver):
    """Runs one event loop for its whole life."""

    def open(self, server: Any) -> None:
        self.runner = asyncio.Runner()
        self.run(self.aopen(server))

    def run(self, coroutine: Any) -> Any:
        async def in_time() -> Any:
            async with asyncio.timeout(DEADLINE_S):
                return await coroutine

        return self.runner.run(in_time())

    def call(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        return self.run(self.acall(path, body))

    def upload(self) -> tuple[int, bytes]:
        return self.run(self.aupload())

    def close(self) -> None:
        self.run(self.aclose())
        self.runner.close()

    async def aopen(self, server: Any) -> None:
        raise NotImplementedError

    async def acall(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        raise NotImplementedError

    async def aupload(self) -> tuple[int, bytes]:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


class TrioDriver(AsyncDriver):
    """One run of trio for its whole life, on a thread, because a connection belongs to the run that opened it."""

    def open(self, server: Any) -> None:
        started: Future[trio.lowlevel.TrioToken] = Future()
        self.closing = trio.Event()

        async def live() -> None:
            started.set_result(trio.lowlevel.current_trio_token())
            await self.closing.wait()

        self.thread = threading.Thread(target=trio.run, args=(live,), daemon=True)
        self.thread.start()
        self.token = started.result(DEADLINE_S)
        self.run(self.aopen(server))

    def run(self, coroutine: Any) -> Any:
        async def in_time() -> Any:
            with trio.fail_after(DEADLINE_S):
                return await coroutine

        return trio.from_thread.run(in_time, trio_token=self.token)

    def close(self) -> None:
        self.run(self.aclose())
        trio.from_thread.run_sync(self.closing.set, trio_token=self.token)
        self.thread.join(DEADLINE_S)


class AsyncHttpx(AsyncDriver):
    library: Any = httpx
    adapter: Any = oidc_actor.adapters.httpx

    async def aopen(self, server: Any) -> None:
        self.client = self.library.AsyncClient(
            auth=self.adapter.OIDCAuth(server),
            verify=TLS,
            follow_redirects=True,
            base_url=self.http.url,
            timeout=DEADLINE_S,
            trust_env=False,
        )

    async def acall(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        answer = await self.client.request("GET" if body is None else "POST", path, content=body)
        return answer.status_code, answer.content

    async def aupload(self) -> tuple[int, bytes]:
        answer = await self.client.post("/echo", content=chunks())
        return answer.status_code, answer.content

    async def aclose(self) -> None:
        await self.client.aclose()


class AsyncHttpx2(AsyncHttpx):
    library = httpx2
    adapter = oidc_actor.adapters.httpx2


class TrioHttpx(TrioDriver, AsyncHttpx):
    """httpx on trio."""


class TrioHttpx2(TrioDriver, AsyncHttpx2):
    """httpx2 on trio."""


class Aiohttp(AsyncDriver):
    async def aopen(self, server: Any) -> None:
        middleware = oidc_actor.adapters.aiohttp.OIDCAuth(server)
        timeout = aiohttp.ClientTimeout(DEADLINE_S)
        self.session = aiohttp.ClientSession(self.http.url, middlewares=[middleware], timeout=timeout)

    async def acall(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        async with self.session.request("GET" if body is None else "POST", path, data=body) as answer:
            return answer.status, await answer.read()

    async def aupload(self) -> tuple[int, bytes]:
        async with self.session.post("/echo", data=chunks()) as answer:
            return answer.status, await answer.read()

    async def aclose(self) -> None:
        await self.session.close()


def credentials(server: Any) -> grpc.ChannelCredentials:
    """What a program makes a secure channel with; local ones, because the server is on this machine."""
    plugin = oidc_actor.adapters.grpc.OIDCAuth(server)
    return grpc.composite_channel_credentials(grpc.local_channel_credentials(), grpc.metadata_call_credentials(plugin))


class Grpc(Driver):
    def open(self, server: Any) -> None:
        channel = grpc.secure_channel(self.rpc.target, credentials(server))
        self.channel = grpc.intercept_channel(channel, *interceptors(server))

    def call(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        return _outcome(lambda: self.channel.unary_unary(f"/{SERVICE}/Unary")(body or b"", timeout=self.timeout))

    def upload(self) -> tuple[int, bytes]:
        return _outcome(lambda: self.channel.stream_unary(f"/{SERVICE}/Upload")(iter(CHUNKS), timeout=DEADLINE_S))

    def close(self) -> None:
        self.channel.close()

    @property
    def tokens(self) -> list[str | None]:
        return self.rpc.tokens


def _outcome(call: Any) -> tuple[int, bytes]:
    try:
        return 200, call()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
            raise
        return 401, error.details().encode()


class AsyncGrpc(AsyncDriver):
    async def aopen(self, server: Any) -> None:
        self.channel = grpc.aio.secure_channel(
            self.rpc.target, credentials(server), interceptors=aio_interceptors(server)
        )

    async def acall(self, path: str = "/echo", body: bytes | None = None) -> tuple[int, bytes]:
        return await self._outcome(self.channel.unary_unary(f"/{SERVICE}/Unary")(body or b"", timeout=self.timeout))

    async def aupload(self) -> tuple[int, bytes]:
        return await self._outcome(self.channel.stream_unary(f"/{SERVICE}/Upload")(chunks(), timeout=DEADLINE_S))

    async def acancellable(self, method: str) -> bytes:
        return await self.channel.unary_unary(method)(b"", timeout=DEADLINE_S)

    async def aclose(self) -> None:
        await self.channel.close()

    async def _outcome(self, call: Any) -> tuple[int, bytes]:
        try:
            return 200, await call
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
            return 401, str(error.details()).encode()

    @property
    def tokens(self) -> list[str | None]:
        return self.rpc.tokens


WEB_DRIVERS = [Requests, Httpx, AsyncHttpx, TrioHttpx, Httpx2, AsyncHttpx2, Aiohttp]
DRIVERS = [*WEB_DRIVERS, Grpc, AsyncGrpc]


@contextlib.contextmanager
def opened(kind: type[Driver], http: Api, rpc: Rpc, server: Any) -> Iterator[Driver]:
    """A driver for the time of a test."""
    driver = kind(http, rpc, server)
    try:
        yield driver
    finally:
        driver.close()
