"""What a benchmark reports: figures, each with what it was measured against and what was asked of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias, TypedDict

Loop: TypeAlias = Callable[[int], float]
"""Does something so many times, and gives the nanoseconds of processor time that one of them took."""

CHUNK_NS = 2_000_000


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        bench: Name of the benchmark.
        what: What was measured.
        value: The number.
        unit: Its unit.
        ratio: The number over what it is compared with, measured in turns with it; ``None`` for a number that stands alone.
        against: What that is.
        goal: What was asked, for people; empty where nothing was.
        met: Whether it is so; ``None`` where nothing was asked.
    """

    bench: str
    what: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    goal: str = ""
    met: bool | None = None


class Goal(TypedDict, total=False):
    """A `Figure`'s last two fields."""

    goal: str
    met: bool


def at_most(limit: float, value: float, text: str | None = None) -> Goal:
    """The goal that a value does not exceed a limit, as arguments of a `Figure`."""
    return {"goal": text or f"<= {limit:g}", "met": value <= limit}


def at_least(limit: float, value: float) -> Goal:
    """The goal that a value reaches a limit."""
    return {"goal": f">= {limit:g}", "met": value >= limit}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def in_turns(loops: Mapping[str, Loop], rounds: int) -> dict[str, list[float]]:
    """Nanoseconds that each takes, loop after loop in each round, so that all share what else the machine does."""
    often = {name: max(20, int(CHUNK_NS / loop(200))) for name, loop in loops.items()}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            times[name].append(loop(often[name]))
    return times


def median_ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """The median of the ratios of what was measured in turns."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def to_json(figures: Iterable[Figure]) -> str:
    """Figures for another process or a file."""
    return json.dumps([asdict(figure) for figure in figures])


def from_json(text: str) -> list[Figure]:
    """Read what `to_json` wrote."""
    return [Figure(**one) for one in json.loads(text)]


def table(figures: Sequence[Figure]) -> str:
    """Figures for people."""
    rows = [("benchmark", "what", "figure", "ratio", "against", "goal", "")]
    for one in figures:
        met = {None: "", True: "met", False: "MISSED"}[one.met]
        ratio = "" if one.ratio is None else f"{one.ratio:.3g}x"
        rows.append((one.bench, one.what, f"{_shown(one.value)} {one.unit}".strip(), ratio, one.against, one.goal, met))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _shown(value: float) -> str:
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
