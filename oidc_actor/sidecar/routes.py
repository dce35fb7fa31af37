"""Who serves under which name: looked up here by whoever reads a manager of the sidecar, a program or another manager.

A manager that is replaced has a name of its own from its successor's, and serves until that has a token.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from oidc_actor.metrics import ready
from oidc_actor.metrics.readings import Reading, bounded, read_cell
from oidc_actor.reading.cell import Cell
from oidc_actor.secret_sources.manager_token import ManagerToken
from oidc_actor.values.secrets import Finder, Secret

Kind: TypeAlias = Literal["access_token", "id_token"]


class Route:
    """What is behind one name. The fleet writes it, under its lock; readers load one attribute at a time, without."""

    __slots__ = ("coming", "generation", "name", "options", "serving", "tally", "token_file", "uses")

    def __init__(self, name: str, options: Mapping[str, Any], uses: frozenset[str]) -> None:
        self.name = name
        self.options = options
        self.uses = uses  # the names of the managers whose tokens it trades
        self.generation = 1
        self.serving = name  # the name of the manager that is read
        self.tally = Tally(name)
        self.coming: str | None = None  # that of its successor, until it has a token
        self.token_file: tuple[Path, int] | None = None  # and its mode


class Routes:
    """All names that can be read. Any thread; only the fleet adds and removes."""

    __slots__ = ("by_name",)

    def __init__(self) -> None:
        self.by_name: dict[str, Route] = {}

    @property
    def names(self) -> list[str]:
        """The names."""
        return list(self.by_name)

    def server_of(self, name: str) -> str | None:
        """The manager to read by a name; ``None`` where there is no such name."""
        route = self.by_name.get(name)
        if route is None:
            return None
        coming = route.coming
        if coming is not None and not ready(route.serving):
            return coming  # the one that serves has nothing to give: better wait for the other
        return route.serving

    def not_ready(self) -> list[str]:
        """The names that have no valid token."""
        servers = [(name, self.server_of(name)) for name in self.names]
        return [name for name, server in servers if server is not None and not ready(server)]

    def readings(self, most: int) -> list[Reading]:
        """The metrics of all names, over all managers that they have had.

        Args:
            most: How many series are told apart.
        """
        return bounded([reading for route in list(self.by_name.values()) for reading in route.tally.readings()], most)

    def token(self, name: str, kind: Kind = "access_token") -> RouteToken:
        """The token of the manager that serves under a name whenever it is asked for, for another manager to trade."""
        return RouteToken(self, name, kind)

    def users_of(self, name: str) -> list[str]:
        """The managers that trade the token of the one with this name."""
        users = [route for route in list(self.by_name.values()) if name in route.uses]
        return [server for route in users for server in (route.serving, route.coming) if server is not None]


class RouteToken(Finder):
    """The token of whoever serves under a name when it is asked: `ManagerToken` of a sidecar's configuration.

    Compares by what the configuration says, so that replacing one manager leaves those that trade its token as they are.
    """

    __slots__ = ("_kind", "_name", "_routes")

    def __init__(self, routes: Routes, name: str, kind: Kind = "access_token") -> None:
        """Choose the manager; it need not exist yet.

        Args:
            routes: Where it is looked up.
            name: Its name in the configuration.
            kind: As of `ManagerToken`.

        Raises:
            ConfigError: Where there is no such kind.
        """
        ManagerToken(name, kind)
        self._routes = routes
        self._name = name
        self._kind = kind

    def look(self) -> Secret | str:
        """Return the token, or why there is none. It never waits."""
        server = self._routes.server_of(self._name)
        return ManagerToken(self._name if server is None else server, self._kind).look()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RouteToken) and (self._name, self._kind) == (other._name, other._kind)

    def __hash__(self) -> int:
        return hash((RouteToken, self._name, self._kind))

    def __repr__(self) -> str:
        return f"RouteToken({self._name!r}, {self._kind!r})"


class Tally:
    """The metrics of one name. Any thread."""

    def __init__(self, name: str) -> None:
        """Begin with nothing.

        Args:
            name: What readers call the manager; the label.
        """
        self._name = name
        self._lock = threading.Lock()  # guards what follows, so that no look sees a manager twice, or not at all
        self._cells: dict[str, tuple[Cell, str]] = {}  # by the manager's own name, with the issuer's
        self._past: dict[str, Reading] = {}  # by the issuer's name: of the managers that have ended

    def add(self, server: str, cell: Cell) -> None:
        """Count a manager in.

        Args:
            server: Its own name.
            cell: Its cell. Once closed it still has what was counted, but not whose manager it was.
        """
        with self._lock:
            self._cells[server] = cell, read_cell(cell).issuer

    def retire(self, server: str) -> None:
        """A manager has ended: what it has counted stays."""
        with self._lock:
            cell, issuer = self._cells.pop(server, (None, ""))
            if cell is not None:
                ended = replace(self._read(cell, issuer), expires_in_s=0.0, consecutive_failures=0)
                self._past[issuer] = _sum([*filter(None, [self._past.get(issuer)]), ended])

    def readings(self) -> list[Reading]:
        """One for each issuer that it has, or had."""
        found = defaultdict(list)
        with self._lock:
            for issuer, past in self._past.items():
                found[issuer].append(past)
            for cell, issuer in self._cells.values():
                found[issuer].append(self._read(cell, issuer))
        return [_sum(readings) for readings in found.values()]

    def _read(self, cell: Cell, issuer: str) -> Reading:
        return replace(read_cell(cell), manager=self._name, issuer=issuer)


def _sum(readings: list[Reading]) -> Reading:
    """One for all of them: a reader gets the longest token, and a successor that fails shows."""
    counts: Counter[str] = Counter()
    for reading in readings:
        counts.update(reading.counts)
    return replace(
        readings[0],
        expires_in_s=max(reading.expires_in_s for reading in readings),
        consecutive_failures=max(reading.consecutive_failures for reading in readings),
        restarts=sum(reading.restarts for reading in readings),
        counts=counts,
    )
