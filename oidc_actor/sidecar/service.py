"""The sidecar as a process: sockets, signals, systemd, reload, drain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httptools  # noqa: F401 - uvicorn imports it when it starts; its absence has one clear answer here
import uvicorn
from prometheus_client import REGISTRY

from oidc_actor.metrics.prometheus import Collector
from oidc_actor.observing import managers
from oidc_actor.sidecar.asgi import Application, local_hosts
from oidc_actor.sidecar.config import RunConfig, load
from oidc_actor.sidecar.connections import HTTPConnection, Peers, accept, most_connections
from oidc_actor.sidecar.fleet import Fleet
from oidc_actor.sidecar.listening import BACKLOG, ServerConfig, address_of, listening
from oidc_actor.sidecar.log import log
from oidc_actor.values.errors import ConfigError
from supervision import Down, SupervisionError, monitor
from supervision.observer import Observer

KEEP_ALIVE_S = 75
"""Seconds that an idle connection is kept: longer than clients keep theirs, so that none is closed while a client writes."""

STOP_S = 2.0
"""Seconds for the managers to end, after the requests."""


def run(path: Path) -> int:
    """Run the sidecar until it is told to stop, in the main thread.

    Args:
        path: The configuration.

    Returns:
        The exit status: 0 when told to stop, 1 when the supervisor has given up.

    Raises:
        ConfigError: The configuration is wrong, or an address in it cannot be had; nothing was started.
    """
    config = load(path, makes=True)
    with listening(config.server) as sockets:
        return Service(path, config).run(sockets)


class Service:
    """One run of the sidecar.

    The event loop and all signal handlers run on the main thread, a handler between any two instructions of it. So a handler
    takes no lock: SIGHUP puts a mark into a queue whose ``put`` may interrupt itself, SIGTERM and SIGINT set flags that uvicorn
    looks at ten times a second. Reloads have a thread of their own, because they read files and start managers while requests
    go on.

    The order at the beginning: the sockets listen before anything else, so that early clients wait in the kernel; signals are
    handled before the first manager is there; the supervisor is monitored before it has children. At the end: requests are
    drained first, because they need the managers; ``should_exit`` is set by then, and tells an orderly end of the supervisor
    from a loss. A reload that is under way at that time cannot start a manager any more: it finds no supervisor.
    """

    def __init__(self, path: Path, config: RunConfig) -> None:
        self._path = path
        self._config = config
        self._fleet = Fleet()
        self._hups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lost = False

    def run(self, sockets: list[socket.socket]) -> int:
        """Serve; returns the exit status."""
        server_config = self._config.server
        hosts = _hosts(server_config, sockets)
        observer = Observer(self._fleet.supervisor, parts=[managers()]) if server_config.observer else None
        application = Application(self._fleet, server_config.wait_seconds, hosts, observer=observer)
        self._server = HTTPServer(application, server_config)
        self._install_signals()
        collector = Collector(read=self._fleet.readings)
        REGISTRY.register(collector)
        monitor(self._fleet.supervisor, self._supervisor_ended)
        self._fleet.apply(self._config.managers)
        log("run_started", addresses=[address_of(one) for one in sockets], managers=len(self._fleet.names))
        threading.Thread(target=self._reload_when_told, name="oidc-actor-reload", daemon=True).start()
        self._server.run(sockets)
        self._stop_managers()
        return 1 if self._lost else 0

    # --- signals ------------------------------------------------------------------------------------------------------

    def _install_signals(self) -> None:
        signal.signal(signal.SIGHUP, lambda *_: self._hups.put(None))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._server.leave())

    def _supervisor_ended(self, _down: Down) -> None:
        """On a thread of the monitor."""
        if not self._server.should_exit:
            self._lost = True
            log("run_lost")
            self._server.leave()

    # --- reload; on a thread of its own -------------------------------------------------------------------------------

    def _reload_when_told(self) -> None:
        while True:
            self._hups.get()
            with contextlib.suppress(queue.Empty):
                while True:  # several that came together are one
                    self._hups.get_nowait()
            reloading()
            try:
                self._reload()
            except Exception as error:  # noqa: BLE001 - this thread must be there for the next reload
                log("config_refused", error=type(error).__name__)
            notify("READY=1")

    def _reload(self) -> None:
        try:
            config = load(self._path, makes=True)
        except ConfigError as error:
            log("config_refused", error=str(error))
            return
        for key in ServerConfig.__dataclass_fields__:
            if getattr(config.server, key) != getattr(self._config.server, key):
                log("config_needs_restart", key=f"server.{key}")
        did = self._fleet.apply(config.managers)
        log("config_reloaded", kept=did.kept, started=did.started, replaced=did.replaced, stopped=did.stopped)

    # --- end ----------------------------------------------------------------------------------------------------------

    def _stop_managers(self) -> None:
        try:
            self._fleet.stop(STOP_S)
        except SupervisionError as error:
            log("run_cut_short", error=type(error).__name__)


class HTTPServer(uvicorn.Server):
    """Uvicorn's server with our signals and our listeners; it tells systemd when it begins and ends."""

    def __init__(self, application: Application, server_config: ServerConfig) -> None:
        super().__init__(_settings(application, server_config))
        self._at_once = application.at_once
        self._server_config = server_config

    def leave(self) -> None:
        """Begin to drain; told a second time, wait for nothing. Runs in a signal's handler, or on any thread."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and tell systemd that requests are served from here on."""
        await super().startup([])  # no sockets for uvicorn, which would accept without a bound
        self._accepting = [asyncio.create_task(self._accept(listener)) for listener in sockets or []]
        notify("READY=1")
        interval_s = watchdog_interval_s()
        if interval_s is not None:
            self._watchdog: asyncio.Task[Any] = asyncio.create_task(_show_life(interval_s))

    async def _accept(self, listener: socket.socket) -> None:
        peers = Peers(most_connections())
        await accept(listener, peers, lambda: HTTPConnection(self.config, self.server_state, peers, self._at_once))

    async def on_tick(self, counter: int) -> bool:
        """Look at the connections, once a second; uvicorn calls it ten times as often."""
        if counter % 10 == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                connection.look(now)  # type: ignore[union-attr]  # all of them are ours
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the requests under way, within the time to drain.

        Accepting ends first: a connection that came later would be neither answered nor counted. A request that still waits for a
        token when the time is over is cancelled by uvicorn, and answered by `Application` with 503.
        """
        log("run_stopping", drain_s=self._server_config.drain_seconds)
        notify("STOPPING=1")
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)
        waiting = len(self.server_state.tasks)
        if waiting:
            log("run_cut_short", error=f"{waiting} requests still waited for a token")


async def _show_life(interval_s: float) -> None:
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)


def _settings(application: Application, server_config: ServerConfig) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # no client may say what the request's address was
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=server_config.drain_seconds,  # type: ignore[arg-type]  # a float does as well
    )


def _hosts(server_config: ServerConfig, sockets: list[socket.socket]) -> dict[int, frozenset[bytes]]:
    if server_config.tcp is None:
        return {}
    (port,) = [one.getsockname()[1] for one in sockets if one.family != socket.AF_UNIX]
    return {port: local_hosts(server_config.tcp[0], port)}


# --- systemd: one datagram, where there is a socket for it (sd_notify(3)) ---------------------------------------------

_NOTIFY_S = 1.0
"""Seconds that a datagram to systemd may take."""


def notify(*states: str) -> None:
    """Send states such as ``READY=1``; without ``NOTIFY_SOCKET`` in the environment it does nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract one
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(_NOTIFY_S)
            channel.sendto("\n".join(states).encode(), address)
    except OSError as error:
        log("notify_failed", error=error.strerror or type(error).__name__)


def reloading() -> None:
    """Say that a reload begins; ``READY=1`` ends it (Type=notify-reload)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval_s() -> float | None:
    """Seconds between two signs of life that systemd asks for, half of its patience; ``None`` where it asks for none."""
    patience, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not patience.isdecimal() or int(patience) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(patience) / 2e6
