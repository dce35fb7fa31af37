"""What the managers of one name have counted, the replaced ones included: a reload changes no label and turns no counter back."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import replace

from oidc_actor.metrics.readings import Reading, read_cell
from oidc_actor.reading.cell import Cell


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
