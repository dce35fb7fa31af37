"""One connection through a `FaultProxy`: bytes both ways, and what goes wrong on the way. Runs on the proxy's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol, TypeAlias

from oidc_actor.testing.wire_faults import Answer, How, Send, WireFault, before_request

CHUNK_BYTES = 65536
CONNECT_TIMEOUT_S = 5.0
LINGER_S = 1.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Address(NamedTuple):
    """Where the server behind the proxy listens."""

    family: int
    sockaddr: Any


Direction: TypeAlias = Callable[[], Coroutine[Any, Any, How]]


class Weather(Protocol):
    """What a relay asks of its proxy; called on the event loop."""

    def target(self) -> Address | None:
        """Where to connect to; `None` for nowhere."""

    def next_fault(self) -> WireFault | None:
        """Count one more exchange, and say what goes wrong with it."""

    async def healed(self) -> bool:
        """Wait until the proxy is healed; `False` once that has taken too long."""


class Relay:
    """One client's connection and, from its first byte on, one to the server behind the proxy.

    An exchange begins when the client sends something and the server has answered since it last did. So each request
    on a connection that is kept alive is an exchange of its own; under TLS each turn of the handshake is one too. When
    either side closes, the other is closed.

    Args:
        client: The accepted connection, which does not block; closed when `run` ends.
        weather: The proxy's faults.
    """

    def __init__(self, client: socket.socket, weather: Weather) -> None:
        self._client = client
        self._server: socket.socket | None = None
        self._weather = weather
        self._loop = asyncio.get_running_loop()
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._over: asyncio.Future[How] = self._loop.create_future()
        self._answer = Answer(None)
        self._answered = True
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Pass bytes until either side ends, or a fault does it."""
        self._start(self._read)
        self._start(self._pass_requests)
        how: How = "reset"
        try:
            how = await self._over
            if how == "close":
                await self._say_goodbye()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._close(how)

    def end(self, how: How) -> None:
        """End it; the first end counts."""
        if not self._over.done():
            self._over.set_result(how)

    def _start(self, direction: Direction) -> None:
        """Run one direction; how it ends is how the connection ends."""
        self._tasks.append(asyncio.create_task(self._follow(direction)))

    async def _follow(self, direction: Direction) -> None:
        try:
            self.end(await direction())
        except OSError:  # the other side broke it, or the server is not there
            self.end("reset")

    async def _read(self) -> How:
        # Apart from passing on, so that a client that gives up is noticed while a fault holds its request.
        while data := await self._loop.sock_recv(self._client, CHUNK_BYTES):
            self._requests.put_nowait(data)
        return "close"

    async def _pass_requests(self) -> How:
        while True:
            data = await self._requests.get()
            if self._answered:
                fault = self._weather.next_fault()
                self._answer, self._answered = Answer(fault), False
                how = before_request(fault)
                if how is not None and not await self._survives(how):
                    return how
            if self._server is None:
                self._server = await self._connect()
                self._start(functools.partial(self._pass_answers, self._server))
            await self._loop.sock_sendall(self._server, data)

    async def _pass_answers(self, server: socket.socket) -> How:
        while data := await self._loop.sock_recv(server, CHUNK_BYTES):
            self._answered = True
            for step in self._answer.steps(data):
                if isinstance(step, Send):
                    await asyncio.sleep(step.wait_s)
                    await self._loop.sock_sendall(self._client, step.data)
                elif not await self._survives(step.how):
                    return step.how
        return "close"

    async def _survives(self, how: How) -> bool:
        """Whether the connection goes on: only one that is held, and is healed in time."""
        return how == "hold" and await self._weather.healed()

    async def _connect(self) -> socket.socket:
        address = self._weather.target()
        if address is None:
            raise ConnectionRefusedError("the proxy has no target")
        server = socket.socket(address.family, socket.SOCK_STREAM)
        server.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._loop.sock_connect(server, address.sockaddr)
        except BaseException:
            server.close()
            raise
        return server

    async def _say_goodbye(self) -> None:
        """Send FIN and let the client read it: closing over bytes not yet read would send RST instead."""
        reading = self._tasks[0]
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_WR)
            await asyncio.wait([reading], timeout=LINGER_S)

    def _close(self, how: How) -> None:
        for end in (self._client, self._server):
            if end is None:
                continue
            if how != "close":
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            end.close()
