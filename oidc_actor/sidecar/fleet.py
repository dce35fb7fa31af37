"""The sidecar's managers: started under one supervisor, looked up by name, and replaced while they are read.

A manager whose table is unchanged is left alone. One whose table has changed serves until its successor has a token, so a reload
takes no token away, not even a reload that brings credentials which do not work.

Three kinds of threads meet in the routes. The event loop looks up which manager serves, without a lock. The main thread applies
the first configuration and the reload thread each later one, one after the other (`Fleet.apply`). A manager tells of each new
token on a thread for subscribers (`Fleet._on_token`). How ``billing@2`` replaces ``billing``:

1. Reload thread: start ``billing@2``. Where that fails, ``billing`` stays.
2. Reload thread, under the lock: ``coming = "billing@2"``. Readers still get ``billing``'s token; if that expires, they wait for
   ``billing@2``.
3. Reload thread: subscribe to ``billing@2``, then look whether it has a token by now: a token that came before the subscription
   is told to no subscriber.
4. A subscriber's thread, with the first token, or the reload thread after that look; maybe both. Under the lock the first of
   them finds ``coming == "billing@2"``, makes it ``serving``, and alone goes on to 5.
5. The same thread: have the token file written, then end ``billing``. In the opposite order a program could read a token from
   the file that has been revoked with its manager.

If another configuration comes between 2 and 4, its thread takes ``billing@2`` out of ``coming`` under the lock and ends it, and
4 changes nothing. Each manager is ended by the thread that took its name out of the route, and by no other.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pykka

from oidc_actor.machine.events import SourceRenewed
from oidc_actor.manager.token_manager import TokenManager
from oidc_actor.metrics.readings import ready
from oidc_actor.reading.directory import locate
from oidc_actor.sidecar.log import log
from oidc_actor.sidecar.manager_tables import ManagerConfig
from oidc_actor.sidecar.routes import Route, Routes
from oidc_actor.sidecar.token_files import TokenFile, Write
from oidc_actor.values.errors import NoTokenError
from oidc_actor.values.tokens import TokenResponse
from supervision import ChildNotFound, ChildSpec, NoProcess, SupervisionError, Supervisor, call, cast

MAX_RESTARTS = 10
MAX_SECONDS = 60.0

WRITE_S = 5.0
"""Seconds that a manager is kept, at most, until the token file has its successor's token."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a configuration changed: how many managers were kept, started, replaced and stopped."""

    kept: int = 0
    started: int = 0
    replaced: int = 0
    stopped: int = 0


class Fleet:
    """All managers, by the names that readers use."""

    def __init__(self, routes: Routes) -> None:
        """Start the supervisor, without children.

        Args:
            routes: Takes which manager is read by which name.
        """
        self.supervisor: pykka.ActorRef[Any] = Supervisor.start_link(
            [], max_restarts=MAX_RESTARTS, max_seconds=MAX_SECONDS
        )
        self._routes = routes
        self._lock = (
            threading.Lock()
        )  # guards `serving` and `coming` of all routes while they change; nothing is called under it
        self._applying = threading.Lock()  # one configuration after the other; guards the rest of a route

    def apply(self, configs: Mapping[str, ManagerConfig]) -> Changes:
        """Bring the managers in line with a configuration; waits for no provider. Any thread, one at a time."""
        with self._applying:
            gone = [route for name, route in self._routes.by_name.items() if name not in configs]
            for one in gone:
                self._remove(one)
            kept = started = replaced = 0
            for name in _used_first(configs):
                config = configs[name]
                route = self._routes.by_name.get(name)
                if route is None:
                    started += self._add(config)
                elif route.options == config.options:
                    kept += 1
                else:
                    replaced += self._replace(route, config)
            self._move_files(configs)
            return Changes(kept, started, replaced, len(gone))

    def stop(self, timeout_s: float) -> None:
        """Stop everything.

        Raises:
            CallTimeout: Something has not ended in time; it is abandoned with the process.
        """
        with contextlib.suppress(NoProcess):
            Supervisor.stop(self.supervisor, timeout=timeout_s)

    # --- managers -----------------------------------------------------------------------------------------------------

    def _add(self, config: ManagerConfig) -> bool:
        route = Route(config.name, config.options, config.uses)
        return self._start(route, route.serving, config, lambda: self._routes.by_name.update({route.name: route}))

    def _replace(self, route: Route, config: ManagerConfig) -> bool:
        with self._lock:
            overtaken, route.coming = route.coming, None
        if overtaken is not None:
            self._retire(route, overtaken)
        route.generation += 1
        server = f"{route.name}@{route.generation}"

        def publish() -> None:
            with self._lock:
                route.coming, route.options, route.uses = server, config.options, config.uses

        return self._start(route, server, config, publish)

    def _remove(self, route: Route) -> None:
        del self._routes.by_name[route.name]
        with self._lock:
            servers, route.coming = [route.serving, route.coming], None
        for server in servers:
            if server is not None:
                self._end(server)
        self._remove_file(route)

    def _start(self, route: Route, server: str, config: ManagerConfig, publish: Callable[[], None]) -> bool:
        """Start a manager, let readers find it, and follow its tokens: in this order, so that none of the three is in vain."""
        try:
            Supervisor.start_child(self.supervisor, TokenManager.child_spec(**{**config.options, "name": server}))
            route.tally.add(server, locate(server))
            publish()
            TokenManager.subscribe(server, lambda _token: self._on_token(route, server))
        except SupervisionError as error:
            log("manager_failed", manager=server, error=type(error).__name__)
            return False
        if ready(server):  # by a token that came before the subscription
            self._on_token(route, server)
        return True

    def _on_token(self, route: Route, server: str) -> None:
        """A manager has a new token. On a subscriber's thread, or on that of `apply`."""
        replaced = None
        with self._lock:
            if route.coming == server:
                replaced, route.serving, route.coming = route.serving, server, None
        for user in self._routes.users_of(route.name):
            with contextlib.suppress(NoProcess):
                locate(user).tell(SourceRenewed())  # it may be in a long backoff, for want of this token
        if replaced is None:
            cast(_file_of(route.name), Write())
            return
        with contextlib.suppress(SupervisionError):  # there is no file, or it cannot be written now
            call(_file_of(route.name), Write(), WRITE_S)
        self._retire(route, replaced)  # only now, because its token may be revoked with it

    def _retire(self, route: Route, server: str) -> None:
        self._end(server)
        route.tally.retire(server)

    def _end(self, child: str) -> None:
        with contextlib.suppress(ChildNotFound, NoProcess):  # the supervisor is going down with it
            Supervisor.terminate_child(self.supervisor, child)
            Supervisor.delete_child(self.supervisor, child)

    # --- files --------------------------------------------------------------------------------------------------------

    def _move_files(self, configs: Mapping[str, ManagerConfig]) -> None:
        moved = [route for route in self._routes.by_name.values() if route.token_file != _file_in(configs[route.name])]
        for route in moved:  # all of them first: one may get the path of another
            self._remove_file(route, keep=configs[route.name].token_file)
        for route in moved:
            self._start_file(route, _file_in(configs[route.name]))

    def _start_file(self, route: Route, file: tuple[Path, int] | None) -> None:
        if file is None:
            return
        child = _file_of(route.name)
        spec = ChildSpec(child, TokenFile, (*file, functools.partial(self._current, route.name)), name=child)
        try:
            Supervisor.start_child(self.supervisor, spec)
        except SupervisionError as error:
            log("manager_failed", manager=child, error=type(error).__name__)
            return
        route.token_file = file

    def _remove_file(self, route: Route, keep: Path | None = None) -> None:
        """End the actor that writes the file, and remove the file, unless it is ``keep``: only its mode is another then."""
        file, route.token_file = route.token_file, None
        if file is None:
            return
        self._end(_file_of(route.name))
        if file[0] != keep:
            with contextlib.suppress(OSError):  # it may never have been written
                file[0].unlink()

    def _current(self, name: str) -> TokenResponse | None:
        server = self._routes.server_of(name)
        if server is None:
            return None
        try:
            return TokenManager.get_token(server, timeout=0)
        except (NoTokenError, NoProcess):
            return None


def _used_first(configs: Mapping[str, ManagerConfig]) -> list[str]:
    """The names, each after those whose tokens it trades: a manager that starts finds the other one there."""
    order = TopologicalSorter({name: sorted(config.uses) for name, config in configs.items()}).static_order()
    return [name for name in order if name in configs]


def _file_of(name: str) -> str:
    return f"{name}@file"


def _file_in(config: ManagerConfig) -> tuple[Path, int] | None:
    return None if config.token_file is None else (config.token_file, config.token_file_mode)
