"""All managers of a process at one moment, as values: read from their cells on the thread of a scrape or a probe.

No manager is asked. A manager writes its cell meanwhile, so the fields of one reading may be of two moments; each was true then.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from oidc_actor.machine.health import sharing_of as sharing_of_state
from oidc_actor.manager.issuers import Issuer
from oidc_actor.reading.cell import Cell, Ref
from oidc_actor.reading.directory import all_cells, locate
from supervision import SupervisionError
from supervision.frozen import dataclass

OTHER = "(other)"
"""Stands for what is beyond the bound of a label."""

_FRESH_S = 1.0
"""Seconds for which the instruments of one collection share a look."""

UNUSED_S = 15.0
"""Seconds for which nothing else has used an inherited manager in a forked child when a scrape makes it anew."""


MOST_MEMBERS = 100
"""Members of each pool, the oldest, that have series of their own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One manager at one moment.

    Attributes:
        manager: Its name; its URN where it has none.
        issuer: The issuer's URL, or the token endpoint where none is known.
        expires_in_s: Seconds its token is still valid, 0 where none is.
        consecutive_failures: Failed attempts since the last success.
        restarts: Restarts after a crash.
        counts: What has happened to it, by name of the log event, and ``request_<outcome>`` and ``flight_joined``.
    """

    manager: str
    issuer: str
    expires_in_s: float
    consecutive_failures: int
    restarts: int
    counts: Mapping[str, int]


def ready(*servers: Ref | str) -> bool:
    """Say whether valid tokens exist; waits for nothing, whatever state providers and managers are in.

    In a forked child it counts as the first use of the managers that it looks at: each is made anew, and goes for a token of
    its own as soon as it needs one, at the pace at which managers of one issuer start.

    Args:
        *servers: Managers by ref or name; none of them means every manager of this process.

    Returns:
        Whether each has a valid token. ``False`` where one does not exist, or where there is no manager at all.
    """
    try:
        cells = [locate(server, wait_s=0.0) for server in servers] or all_cells(unused_s=0.0)
    except SupervisionError:
        return False
    return bool(cells) and expires_in_s(cells) > 0


def sharing_of(server: Ref | str) -> Literal["off", "shared", "alone"]:
    """How a manager shares its token, as `Health.sharing` says; waits for nothing.

    Args:
        server: Its ref or name.
    """
    try:
        state = locate(server, wait_s=0.0).state
    except SupervisionError:
        return "off"
    return "off" if state is None else sharing_of_state(state)


def read_managers(most: int) -> list[Reading]:
    """Look at every manager of this process; any thread, no manager is asked. In a forked child those left unused are made anew.

    Args:
        most: How many managers, the oldest, are told apart; the others are one, `OTHER`: the worst of their states, the sums
            of their counts. A pool is one more, under its name: the worst and the sums of all its members. Of these the
            oldest, at most `MOST_MEMBERS`, are among the managers, too.
    """
    alone: list[Cell] = []
    pools: dict[str, list[Cell]] = defaultdict(list)
    for cell in all_cells(unused_s=UNUSED_S):
        (alone if cell.group is None else pools[cell.group]).append(cell)
    members = [cell for cells in pools.values() for cell in cells[:MOST_MEMBERS]]
    return [*bounded([*alone, *members], most), *(summed(name, cells) for name, cells in pools.items())]


def read_cell(cell: Cell) -> Reading:
    """Read one manager."""
    ref, state, issuer, counts = cell.ref, cell.state, cell.issuer, cell.counts.copy()
    return Reading(
        manager=cell.name or ("" if ref is None else ref.actor_urn),
        issuer=issuer.name if isinstance(issuer, Issuer) else "",
        expires_in_s=expires_in_s([cell]),
        consecutive_failures=0 if state is None else state.failures,
        restarts=_restarts(counts),
        counts=counts,
    )


def _restarts(counts: Mapping[str, int]) -> int:
    return max(0, counts.get("manager_started", 0) - 1)


def expires_in_s(cells: Sequence[Cell]) -> float:
    """Seconds that the tokens of all these managers, one at least, are still valid; 0 where one has none."""
    left_s, now, clock = math.inf, 0.0, None
    for cell in cells:
        if cell.clock is not clock:  # most share one, and one look at it does
            clock = cell.clock
            now = clock()
        its_left_s = (
            cell.inherited or cell.snapshot
        ).deadline - now  # aside in a forked child, before the first use there
        if its_left_s < left_s:
            left_s = its_left_s
    return max(0.0, left_s)


def bounded(cells: Sequence[Cell], most: int) -> list[Reading]:
    """Read the first of some managers, and all that is beyond that as one.

    Args:
        cells: The managers', the oldest first.
        most: How many are told apart.
    """
    told = [read_cell(cell) for cell in cells[:most]]
    return told if len(cells) <= most else [*told, summed(OTHER, cells[most:])]


def summed(name: str, cells: Sequence[Cell]) -> Reading:
    """Read several managers as one: the sums of their counts, the worst of their states.

    Args:
        name: What that one is called.
        cells: One at least.
    """
    sums: defaultdict[str, int] = defaultdict(int)
    failures = restarts = 0
    for cell in cells:
        state, counts = cell.state, cell.counts.copy()
        for what, count in counts.items():
            sums[what] += count
        if state is not None and state.failures > failures:
            failures = state.failures
        restarts += _restarts(counts)
    return Reading(name, OTHER, expires_in_s(cells), failures, restarts, sums)


class Look:
    """One look at all managers for all instruments of a collection.

    The instruments ask one after the other, and do not say when a collection begins: when one asks for the second time, another
    collection has begun.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # The readings, the instruments that have been given them, and until when they may be given: replaced as a whole,
        # without a lock. Two collections that begin at the same moment, one in a signal handler maybe, read twice or share
        # one look; both are right.
        self._latest: tuple[list[Reading], set[str], float] | None = None

    def __call__(self, instrument: str) -> list[Reading]:
        """Give an instrument the readings; any thread.

        Args:
            instrument: Its name.
        """
        now, latest = time.monotonic(), self._latest
        if latest is None or instrument in latest[1] or now >= latest[2]:
            latest = self._latest = (read_managers(self._most), set(), now + _FRESH_S)
        readings, given, _ = latest
        given.add(instrument)
        return readings


class Bound:
    """Lets the first few values of a label through, and those for good; each other value becomes `OTHER`."""

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
