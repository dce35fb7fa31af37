"""The sidecar's managers: started under one supervisor, looked up by name, and exchanged while they are read.

A manager whose table has changed is started beside the one that serves, as ``name@2``, and takes its place with its first
token; so a reload takes no token away, not even one that brings credentials which do not work. One whose table is
unchanged is left alone.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pykka

from oidc_actor.machine.events import SourceRenewed
from oidc_actor.manager.token_manager import TokenManager
from oidc_actor.metrics import ready
from oidc_actor.reading.directory import locate
from oidc_actor.sidecar.events import log
from oidc_actor.sidecar.manager_tables import ManagerConfig
from oidc_actor.sidecar.routes import Route, Routes
from oidc_actor.sidecar.token_files import TokenFile, Write
from oidc_actor.values.errors import NoTokenError
from oidc_actor.values.tokens import TokenResponse
from supervision import ChildNotFound, ChildSpec, NoProcess, SupervisionError, Supervisor, call, cast

MAX_RESTARTS = 10
MAX_SECONDS = 60.0

WRITE_S = 5.0
"""Seconds that a manager whose successor has a token is kept, at most, until its file has that."""


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
        """Start the supervisor, with nobody under it.

        Args:
            routes: Takes which manager is read by which name.
        """
        self.supervisor: pykka.ActorRef[Any] = Supervisor.start_link(
            [], max_restarts=MAX_RESTARTS, max_seconds=MAX_SECONDS
        )
        self._routes = routes
        self._lock = (
            threading.Lock()
        )  # guards who serves and who is coming; look-ups go without, nothing is called under it
        self._applying = threading.Lock()  # one configuration after the other

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
            self._place_files(configs)
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
        if not self._start(route, route.serving, config.options):
            return False
        self._routes.by_name[config.name] = route
        return self._listen(route, route.serving)

    def _replace(self, route: Route, config: ManagerConfig) -> bool:
        with self._lock:
            overtaken, route.coming = route.coming, None
        if overtaken is not None:
            self._retire(route, overtaken)
        route.generation += 1
        server = f"{route.name}@{route.generation}"
        if not self._start(route, server, config.options):
            return False
        with self._lock:
            route.coming, route.options, route.uses = server, config.options, config.uses
        return self._listen(route, server)

    def _remove(self, route: Route) -> None:
        del self._routes.by_name[route.name]
        with self._lock:
            servers, route.coming = [route.serving, route.coming], None
        for server in servers:
            if server is not None:
                self._end(server)
        self._remove_file(route)

    def _start(self, route: Route, server: str, options: Mapping[str, Any]) -> bool:
        try:
            Supervisor.start_child(self.supervisor, TokenManager.child_spec(**{**options, "name": server}))
            route.tally.add(server, locate(server))
        except (SupervisionError, NoProcess) as error:
            log("manager_failed", manager=server, error=type(error).__name__)
            return False
        return True

    def _listen(self, route: Route, server: str) -> bool:
        try:
            TokenManager.subscribe(server, lambda _token: self._result_ready(route, server))
        except NoProcess as error:  # it went down with the supervisor
            log("manager_failed", manager=server, error=type(error).__name__)
            return False
        if ready(server):  # before anybody listened
            self._result_ready(route, server)
        return True

    def _result_ready(self, route: Route, server: str) -> None:
        """A manager has a new token; runs on a listener's thread, too."""
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

    def _place_files(self, configs: Mapping[str, ManagerConfig]) -> None:
        moved = [route for route in self._routes.by_name.values() if route.token_file != _file_in(configs[route.name])]
        for route in moved:  # all of them first: one may get the place of another
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
        except (SupervisionError, NoProcess) as error:
            log("manager_failed", manager=child, error=type(error).__name__)
            return
        route.token_file = file

    def _remove_file(self, route: Route, keep: Path | None = None) -> None:
        """End who writes it, and remove it, unless it stays where it is and only its mode is another."""
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
    """The names, each after those whose tokens it trades, so that none complains of one that is about to start."""
    order = TopologicalSorter({name: sorted(config.uses) for name, config in configs.items()}).static_order()
    return [name for name in order if name in configs]


def _file_of(name: str) -> str:
    return f"{name}@file"


def _file_in(config: ManagerConfig) -> tuple[Path, int] | None:
    return None if config.token_file is None else (config.token_file, config.token_file_mode)
