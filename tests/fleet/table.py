"""The table of faults: what happens to a fleet, what it may cost, and what came of it."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from fleet.members import Fleet, fleet

Play = Callable[[Fleet, "Row"], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row.

    Attributes:
        name: The row's name.
        demand: Which of the demands it is about.
        promise: What the fleet does.
        play: Lets it happen.
        extra: Token requests beyond one for each life, at most; by the number of processes.
        life_s: Seconds that the provider's tokens live.
        long: Whether it takes more than a few seconds, so that not every run plays it.
    """

    name: str
    demand: int
    promise: str
    play: Play
    extra: Callable[[int], int]
    life_s: float
    long: bool


@dataclass
class Row:
    """What came of it.

    Attributes:
        queued_ms: How long, of the longest call of the store, its thread waited for a processor.
        asked: Requests that the row itself has asked for.
        gaps: Whether readers may be without a token for a while after their first.
        reuses: Refresh tokens that the provider may see twice.
        ends_alike: Whether all must have one token in the end.
    """

    name: str
    demand: int
    promise: str
    processes: int
    allowed: int
    asked: int = 0
    gaps: bool = False
    reuses: int = 0
    ends_alike: bool = True
    lives: int = 0
    requests: int = 0
    extra: int = 0
    reads: int = 0
    failed: int = 0
    expired: int = 0
    foreign: int = 0
    reused: int = 0
    worst_read_ms: float = 0.0
    worst_call_ms: float = 0.0
    queued_ms: float = 0.0
    gap_ms: float = 0.0
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return self.reads > 0 and not self.broken

    def check(self, what: str, measured: Any, kept: object) -> None:
        """Note what was measured, and whether it is as promised."""
        self.notes[what] = measured
        if not kept:
            self.broken.append(f"{what}: {measured}")


FAULTS: list[Fault] = []
PLAYED: list[Row] = []


def fault(
    demand: int, promise: str, *, extra: int | Callable[[int], int] = 0, life_s: float = 8.0, long: bool = False
) -> Callable[[Play], Play]:
    """Enter a function into the table; its name is the row's."""

    def enter(play: Play) -> Play:
        name = play.__name__.replace("_", " ")
        allowed = extra if callable(extra) else lambda _: extra
        FAULTS.append(Fault(name, demand, promise, play, allowed, life_s, long))
        return play

    return enter


def play(what: Fault, processes: int) -> Row:
    """Play one row. An error in it is a broken promise; a server that is missing is not."""
    row = Row(what.name, what.demand, what.promise, processes, what.extra(processes))
    began = time.monotonic()
    # Many processes on few cores take seconds to start, which a short life has not.
    with fleet(processes, life_s=what.life_s if processes <= 16 else max(what.life_s, 12.0)) as members:
        try:
            what.play(members, row)
            if row.ends_alike:
                members.alike()
            members.end()
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            row.broken.append(f"{type(error).__name__}: {error} ({place.name}:{place.lineno})")
            states = {(m.said.get("sharing"), m.said.get("error"), m.said.get("last")) for m in members.present}
            row.broken.append(f"members: {sorted(map(str, states))[:4]}")
        _judge(row, members)
    row.seconds = time.monotonic() - began
    PLAYED.append(row)
    return row


def _judge(row: Row, members: Fleet) -> None:
    requests, said = members.requests, [member.said for member in members.members.values() if member.said]
    if requests is not None:
        row.lives = requests.lives(members.life_s, members.granted_at)
        row.requests = len(requests.at)
    row.extra = max(0, row.requests - row.lives - row.asked)
    if row.extra > row.allowed and requests is not None:
        row.notes["seconds between requests"] = requests.told()
    for name in ("reads", "failed", "expired", "foreign"):
        setattr(row, name, sum(one.get(name, 0) for one in said))
    row.worst_read_ms = 1000 * max((one.get("worst_s", 0.0) for one in said), default=0.0)
    longest = max(((one.get("worst_call_s", 0.0), one.get("queued_s", 0.0)) for one in said), default=(0.0, 0.0))
    row.worst_call_ms, row.queued_ms = 1000 * longest[0], 1000 * longest[1]
    row.gap_ms = 1000 * max((one.get("gap_s", 0.0) for one in said), default=0.0)
    row.reused = members.provider.refresh_tokens_reused
    problems = {
        f"{row.extra} extra requests": row.extra > row.allowed,
        f"{row.failed} reads without a token": row.failed and not row.gaps,
        f"{row.expired} reads of an expired token": row.expired,
        f"{row.foreign} tokens of another key": row.foreign,
        f"{row.reused} refresh tokens seen twice": row.reused > row.reuses,
        "a rejected token was handed out again": any(one.get("again") for one in said),
        "a reader's thread asked the store": any(one.get("by_reader") for one in said),
        "a token that the provider does not take": not (row.reuses or all(one.get("taken", True) for one in said)),
        f"members raised {members.raised[:3]}": members.raised,
    }
    row.broken += [what for what, broken in problems.items() if broken]
    if row.broken:
        errors: Counter[str] = Counter()
        for one in said:
            errors.update(one.get("errors", {}))
        row.notes["errors of the store"] = dict(errors.most_common(5))
    wrote = members.heard()
    row.broken += [f"standard error: {wrote[-300:]}"] if "Traceback" in wrote else []


HEAD = (
    f"{'':6} {'demand':>6} {'fault':44} {'procs':>5} {'lives':>5} {'reqs':>5} {'allowed':>7} {'extra':>5} "
    f"{'reads':>8} {'failed':>6} {'expired':>7} {'twice':>5} {'read ms':>7} {'call ms':>7} {'queued':>6} {'gap ms':>6} {'s':>5}"
)


def as_text(row: Row) -> str:
    """A row as a line, and a line for each thing that broke."""
    line = (
        f"{'kept' if row.kept else 'BROKEN':6} {row.demand:6} {row.name:44} {row.processes:5} {row.lives:5} {row.requests:5} "
        f"{row.allowed:7} {row.extra:5} {row.reads:8} {row.failed:6} {row.expired:7} {row.reused:5} "
        f"{row.worst_read_ms:7.0f} {row.worst_call_ms:7.0f} {row.queued_ms:6.0f} {row.gap_ms:6.0f} {row.seconds:5.1f}"
    )
    notes = [f"         {what}: {measured}" for what, measured in row.notes.items()]
    return "\n".join([line, *notes, *(f"         BROKEN: {what}" for what in row.broken)])


def as_json(row: Row) -> dict[str, Any]:
    """A row as plain values."""
    return {"verdict": "kept" if row.kept else "broken", **asdict(row)}


def chosen(only: str, *, long: bool) -> Iterator[Fault]:
    """The rows that were asked for."""
    return (one for one in FAULTS if only in one.name and (long or only or not one.long))
