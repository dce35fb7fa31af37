"""What a `FaultProxy` runs: one thread with an event loop, on it a relay for each connection, and the faults to come.

What happens on which thread: the threads of a test put faults into `Faults` and call `RelayServer`, each of whose methods
is carried out on the event loop while its caller waits. Everything that touches a connection runs on the event loop, so no
two steps of it happen at once, and there is no lock for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeAlias

from oidc_actor.testing.faults import Fault, FaultyAnswer, How, Send, before_request
from oidc_actor.testing.port import KeptPort

CHUNK_BYTES = 65536
CONNECT_TIMEOUT_S = 5.0
CONTROL_TIMEOUT_S = 10.0
LINGER_S = 1.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Direction: TypeAlias = Callable[[], Coroutine[Any, Any, How]]
P = ParamSpec("P")


class Address(NamedTuple):
    """Where the server behind the proxy listens."""

    family: int
    sockaddr: Any


class Faults:
    """The faults to come, where to connect to, and the count of what came. Any thread may use it.

    Attributes:
        address: Where to connect to; `None` for nowhere. Assigned by a test's thread, looked at by the event loop's.
        connections: How many connections were accepted; counted on the event loop only.
        requests: How many requests began.
    """

    def __init__(self) -> None:
        self.address: Address | None = None
        self.connections = 0
        # Guards everything below; also the condition that `wait_for_requests` sleeps on.
        self._changed = threading.Condition()
        self._queued: deque[Fault] = deque()
        self._standing: Fault | None = None
        self.requests = 0

    def queue(self, fault: Fault, n: int | None) -> None:
        """Have a fault happen to the next `n` requests; with `None`, to all of them until `clear`."""
        with self._changed:
            if n is None:
                self._standing = fault
            else:
                self._queued.extend([fault] * n)

    def clear(self) -> None:
        """Forget every fault that has not been used."""
        with self._changed:
            self._queued.clear()
            self._standing = None

    def next_fault(self) -> Fault | None:
        """Count one more request, and say what goes wrong with it."""
        with self._changed:
            self.requests += 1
            self._changed.notify_all()
            return self._queued.popleft() if self._queued else self._standing

    def wait_for_requests(self, count: int, timeout_s: float) -> bool:
        """Wait until `count` requests have come; `False` at the deadline."""
        with self._changed:
            return self._changed.wait_for(lambda: self.requests >= count, timeout_s)


class Relay:
    """One client's connection and, from its first byte on, one to the server behind the proxy.

    A request begins when the client sends something and the server has answered since it last did. So each request on a
    connection that is kept alive counts; under TLS each round of the handshake counts as one too. When either side closes,
    the other is closed.

    Three tasks of the event loop share the work: `_read` takes bytes from the client into a queue, `_pass_requests` takes them
    from there to the server, `_pass_answers` takes the server's bytes to the client. The first to end decides how the
    connection ends. Reading and passing on are two tasks so that a client that gives up is noticed while a fault holds
    its request: otherwise the connection would stay until `heal`.

    Args:
        client: The accepted connection, which does not block; closed when `run` ends.
        faults: What goes wrong.
        healed: Waits until the proxy is healed; `False` once that has taken too long.
    """

    def __init__(self, client: socket.socket, faults: Faults, healed: Callable[[], Awaitable[bool]]) -> None:
        self._client = client
        self._server: socket.socket | None = None
        self._faults = faults
        self._healed = healed
        self._loop = asyncio.get_running_loop()
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._over: asyncio.Future[How] = self._loop.create_future()
        self._answer = FaultyAnswer(None)
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
            # The tasks have ended before the sockets are closed: the kernel gives a closed socket's number to the next
            # connection, whose bytes a task that still used it would take.
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
        # Not a coroutine: one whose task is cancelled before its first step would never be awaited, and warn of that.
        self._tasks.append(asyncio.create_task(self._follow(direction)))

    async def _follow(self, direction: Direction) -> None:
        try:
            self.end(await direction())
        except OSError:  # the other side broke it, or the server is not there
            self.end("reset")

    async def _read(self) -> How:
        while data := await self._loop.sock_recv(self._client, CHUNK_BYTES):
            self._requests.put_nowait(data)
        return "close"

    async def _pass_requests(self) -> How:
        while True:
            data = await self._requests.get()
            if self._answered:
                fault = self._faults.next_fault()
                self._answer, self._answered = FaultyAnswer(fault), False
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
        return how == "hold" and await self._healed()

    async def _connect(self) -> socket.socket:
        address = self._faults.address
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
        """Send FIN, then wait until the client has ended too: closing over bytes that were not read would send RST instead."""
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


def _on_the_loop(
    method: Callable[Concatenate[RelayServer, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[RelayServer, P], None]:
    """Have a method run on the event loop; its caller, on any other thread, waits until it is done."""

    @functools.wraps(method)
    def done(self: RelayServer, /, *args: P.args, **kwargs: P.kwargs) -> None:
        work = method(self, *args, **kwargs)
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_TIMEOUT_S)

    return done


class RelayServer:
    """Accepts on a port that is its own from construction to `close`; runs on one thread, with any number of connections.

    All methods may be called from any other thread; each is done when it returns.

    Args:
        faults: What goes wrong with the connections.
        port: The port to use; 0 takes a free one.
        hold_limit_s: Seconds after which a held connection is broken.

    Attributes:
        port: The port.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, faults: Faults, port: int, hold_limit_s: float) -> None:
        self._faults = faults
        self._hold_limit_s = hold_limit_s
        self._held = KeptPort(port)
        self.port = self._held.number
        self._loop = asyncio.new_event_loop()
        self._listening: socket.socket | None = None
        # Written on the event loop only. The condition's lock is for readers on other threads; they also wait on it for the end
        # of the last relay.
        self._relays: dict[Relay, asyncio.Task[None]] = {}
        self._changed = threading.Condition()
        self._healed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"fault-proxy-{self.port}", daemon=True)
        self._thread.start()

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        with self._changed:
            return len(self._relays)

    def wait_until_quiet(self, timeout_s: float) -> bool:
        """Wait until no connection is open; `False` at the deadline."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._relays, timeout_s)

    @_on_the_loop
    async def listen(self) -> None:
        """Accept connections; nothing happens if it does already."""
        if self._listening is None:
            self._listening = self._held.listen()
            self._listening.setblocking(False)
            # Not sock_accept(): cancelled at the wrong moment it loses the connection that it has just accepted.
            self._loop.add_reader(self._listening, self._accept, self._listening)

    @_on_the_loop
    async def refuse(self) -> None:
        """Refuse new connections; those that are open live on."""
        listening, self._listening = self._listening, None
        if listening is not None:
            self._loop.remove_reader(listening)
            listening.close()

    @_on_the_loop
    async def end_all(self, how: How) -> None:
        """End every open connection; each has ended when this returns."""
        tasks = list(self._relays.values())
        for relay in self._relays:
            relay.end(how)
        if tasks:
            await asyncio.wait(tasks)

    @_on_the_loop
    async def heal(self) -> None:
        """Let the held connections go on; one that is held after this waits for the next time."""
        self._healed.set()
        self._healed = asyncio.Event()

    def close(self) -> None:
        """Refuse, break everything, end the thread and give the port back.

        In this order: a connection that was accepted after the others have been broken would outlive the event loop, open.
        """
        try:
            self.refuse()
            self.end_all("reset")
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CONTROL_TIMEOUT_S)
            self._held.close()

    # --- on the event loop ---

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # no more are waiting, or the client has gone
            while True:
                client, _ = listening.accept()
                client.setblocking(False)
                self._faults.connections += 1
                relay = Relay(client, self._faults, self._wait_for_heal)
                with self._changed:
                    self._relays[relay] = asyncio.create_task(self._run_relay(relay))

    async def _run_relay(self, relay: Relay) -> None:
        try:
            await relay.run()
        finally:
            with self._changed:
                del self._relays[relay]
                self._changed.notify_all()

    async def _wait_for_heal(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._hold_limit_s):
                return await self._healed.wait()
        return False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
