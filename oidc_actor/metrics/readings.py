"""All managers of a process at one moment, as values; and how many of them get series of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from oidc_actor.issuers import Issuer
from oidc_actor.published import Cell
from oidc_actor.reading.cells import all_cells

OTHER = "(other)"
"""Stands for what is beyond the bound of a label."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One manager at one moment.

    Attributes:
        manager: Its name; its URN where it has none.
        issuer: The issuer's URL, or the token endpoint where none is known.
        expires_in_s: Seconds its token is still valid, 0 where none is.
        consecutive_failures: Failed attempts since the last success.
        counts: What has happened to it, by name of the log event, and ``request_<outcome>`` and ``flight_joined``.
    """

    manager: str
    issuer: str
    expires_in_s: float
    consecutive_failures: int
    counts: Mapping[str, int]


def read_managers(most: int) -> list[Reading]:
    """Look at every manager of this process; any thread, no manager is asked.

    Args:
        most: How many managers, the oldest, are told apart; the others are all called `OTHER`, their issuers too.
    """
    readings = [_read(cell) for cell in all_cells()]
    return readings[:most] + [replace(reading, manager=OTHER, issuer=OTHER) for reading in readings[most:]]


def expires_in_s(cell: Cell) -> float:
    """Seconds that a manager's token is still valid, 0 where none is."""
    snapshot = cell.inherited or cell.snapshot  # in a forked child, before the first use there
    return max(0.0, snapshot.deadline - cell.clock())


class Bound:
    """Lets the first few values of a label through; any later one is `OTHER`. What is let through stays."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The label for a value. Any thread; a race lets one more through for each thread at most."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


def _read(cell: Cell) -> Reading:
    ref, state, issuer = cell.ref, cell.state, cell.issuer
    return Reading(
        manager=cell.name or ("" if ref is None else ref.actor_urn),
        issuer=issuer.name if isinstance(issuer, Issuer) else "",
        expires_in_s=expires_in_s(cell),
        consecutive_failures=0 if state is None else state.failures,
        counts=cell.counts.copy(),
    )
