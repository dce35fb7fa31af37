"""The thread of a `FaultProxy`: an event loop that accepts connections and runs a relay for each."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Protocol

from oidc_actor.testing.port import KeptPort
from oidc_actor.testing.relay import Address, Relay
from oidc_actor.testing.wire_faults import How, WireFault

CONTROL_TIMEOUT_S = 10.0


class Script(Protocol):
    """What a proxy is told to do; called on the event loop."""

    def target(self) -> Address | None:
        """Where to connect to; `None` for nowhere."""

    def note_connection(self) -> None:
        """Count an accepted connection."""

    def next_fault(self) -> WireFault | None:
        """Count one more exchange, and say what goes wrong with it."""


class RelayServer:
    """Accepts on a port that is its own from construction to `close`; runs on one thread, whatever the connections.

    All methods may be called from any other thread; each is done when it returns.

    Args:
        script: What to do.
        port: The port to use; 0 takes a free one.
        hold_limit_s: Seconds after which a held connection is broken.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, script: Script, port: int, hold_limit_s: float) -> None:
        self._script = script
        self._hold_limit_s = hold_limit_s
        self._port = KeptPort(port)
        self._loop = asyncio.new_event_loop()
        self._listening: socket.socket | None = None
        self._relays: dict[Relay, asyncio.Task[None]] = {}
        self._healed = asyncio.Event()
        self._changed = threading.Condition()  # told when a relay has ended; guards `_relays` against other threads
        self._thread = threading.Thread(target=self._run, name=f"fault-proxy-{self._port.number}", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Its port."""
        return self._port.number

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        with self._changed:
            return len(self._relays)

    def wait_until_quiet(self, timeout_s: float) -> bool:
        """Wait until no connection is open; `False` at the deadline."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._relays, timeout_s)

    def listen(self) -> None:
        """Accept connections; nothing happens if it does already."""
        self._do(self._listen())

    def refuse(self) -> None:
        """Refuse new connections; those that are open live on."""
        self._do(self._refuse())

    def end_all(self, how: How) -> None:
        """End every open connection."""
        self._do(self._end_all(how))

    def heal(self) -> None:
        """Let the held connections go on."""
        self._do(self._heal())

    def close(self) -> None:
        """Refuse, break everything, end the thread and give the port back."""
        try:
            self._do(self._refuse())
            self._do(self._end_all("reset"))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CONTROL_TIMEOUT_S)
            self._port.close()

    # --- on the event loop ---

    def target(self) -> Address | None:
        """Where a relay is to connect to."""
        return self._script.target()

    def next_fault(self) -> WireFault | None:
        """What goes wrong with a relay's next exchange."""
        return self._script.next_fault()

    async def healed(self) -> bool:
        """Wait until `heal`; `False` once that has taken too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._hold_limit_s):
                return await self._healed.wait()
        return False

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = self._port.listen()
            self._listening.setblocking(False)
            # Not sock_accept(): cancelled at the wrong moment it loses the connection that it has just accepted.
            self._loop.add_reader(self._listening, self._accept, self._listening)

    async def _refuse(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            self._loop.remove_reader(listening)
            listening.close()

    async def _end_all(self, how: How) -> None:
        tasks = list(self._relays.values())
        for relay in self._relays:
            relay.end(how)
        if tasks:
            await asyncio.wait(tasks)

    async def _heal(self) -> None:
        self._healed.set()
        self._healed = asyncio.Event()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # whoever knocked has gone
            while True:
                client, _ = listening.accept()
                client.setblocking(False)
                self._script.note_connection()
                relay = Relay(client, self)
                with self._changed:
                    self._relays[relay] = asyncio.create_task(self._run_relay(relay))

    async def _run_relay(self, relay: Relay) -> None:
        try:
            await relay.run()
        finally:
            with self._changed:
                del self._relays[relay]
                self._changed.notify_all()

    # --- between the threads ---

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
