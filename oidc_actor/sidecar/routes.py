"""Which manager serves under which name. A request looks it up here, and so does a manager that trades another's token.

The name of a route stands in the configuration and in URLs. The managers behind it have names of their own: ``billing``, then
``billing@2`` after a reload that changed its table. How one replaces the other is described in `oidc_actor.sidecar.fleet`.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oidc_actor.metrics.readings import Reading, bounded, read_cell, ready, sharing_of, summed
from oidc_actor.reading.cell import Cell


class Route:
    """What is behind one name.

    Only the fleet writes it: ``serving`` and ``coming`` under its lock, the rest on the thread that applies a configuration.
    Readers take no lock and load each attribute once, so a reader may get a manager that has just been replaced. That one has
    ended, and the reader looks again.
    """

    __slots__ = ("coming", "generation", "name", "options", "serving", "tally", "token_file", "uses")

    def __init__(self, name: str, options: Mapping[str, Any], uses: frozenset[str]) -> None:
        self.name = name
        self.options = options
        self.uses = uses  # the names of the managers whose tokens it trades
        self.generation = 1
        self.serving = name  # the manager that is read
        self.tally = Tally(name)
        self.coming: str | None = None  # its successor, until that has a token
        self.token_file: tuple[Path, int] | None = None  # what is kept there now, with its mode


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
            return coming  # `serving` has no token: a reader had better wait for the successor
        return route.serving

    def not_ready(self) -> list[str]:
        """The names that have no valid token."""
        servers = [(name, self.server_of(name)) for name in self.names]
        return [name for name, server in servers if server is not None and not ready(server)]

    def sharing(self) -> dict[str, str]:
        """How the names share their tokens that do: ``"shared"``, or ``"alone"`` while the store cannot be asked."""
        servers = [(name, self.server_of(name)) for name in self.names]
        found = {name: sharing_of(server) for name, server in servers if server is not None}
        return {name: how for name, how in found.items() if how != "off"}

    def readings(self, most: int) -> list[Reading]:
        """The metrics of all names, over all managers that they have had.

        Args:
            most: How many series are told apart.
        """
        return bounded([reading for route in list(self.by_name.values()) for reading in route.tally.readings()], most)

    def users_of(self, name: str) -> list[str]:
        """The managers that trade this name's token."""
        users = [route for route in list(self.by_name.values()) if name in route.uses]
        return [server for route in users for server in (route.serving, route.coming) if server is not None]


class Tally:
    """The metrics of one name. Any thread."""

    def __init__(self, name: str) -> None:
        """Begin with nothing.

        Args:
            name: What readers call the manager; the label.
        """
        self._name = name
        self._lock = (
            threading.Lock()
        )  # guards what follows: a reading that meets `retire` counts the manager once, not twice and not never
        self._cells: dict[str, tuple[Cell, str]] = {}  # by the manager's own name, with the issuer's
        self._past: dict[str, Reading] = {}  # by the issuer's name: of the managers that have ended

    def add(self, server: str, cell: Cell) -> None:
        """Count a manager in.

        Args:
            server: Its own name.
            cell: Its cell. A closed cell still has the counts, but not the issuer.
        """
        with self._lock:
            self._cells[server] = cell, read_cell(cell).issuer

    def retire(self, server: str) -> None:
        """Keep the counts of a manager that has ended."""
        with self._lock:
            cell, issuer = self._cells.pop(server, (None, ""))
            if cell is not None:
                ended = replace(self._read(cell, issuer), expires_in_s=0.0, consecutive_failures=0)
                self._past[issuer] = summed([*filter(None, [self._past.get(issuer)]), ended], max)

    def readings(self) -> list[Reading]:
        """One for each issuer that it has, or had: the longest life of a token, which a reader gets, and the worst failures."""
        found = defaultdict(list)
        with self._lock:
            for issuer, past in self._past.items():
                found[issuer].append(past)
            for cell, issuer in self._cells.values():
                found[issuer].append(self._read(cell, issuer))
        return [summed(readings, max) for readings in found.values()]

    def _read(self, cell: Cell, issuer: str) -> Reading:
        return replace(read_cell(cell), manager=self._name, issuer=issuer)
