"""Many managers, random faults and crashes, and promises that are checked all the while.

`python tests/soak/run.py --minutes 3` (or `--seconds 20`) prints how it went; `--json` prints the summary alone. The exit
status is 1 if a promise broke: an expired or rejected token given out, a live one lost, two requests of one manager at a
time or too soon one after the other, too many threads, memory that grows, a manager that does not recover.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from soak.mischief import Mischief
from soak.town import Town
from soak.watch import Findings, Vitals

from oidc_actor.reading.cell import Cell

REPORT_EVERY_S = 10.0
LET_GO_S = 15.0
GROWTH_MB, GROWTH_BLOCKS = 4.0, 25_000  # in the second half, until everything has its size
GROWTH_MB_PER_MINUTE, GROWTH_BLOCKS_PER_MINUTE = 0.05, 500


def cells_left() -> int:
    """How many managers' cells are still in memory, once time has passed in which they should not be any more."""
    never, deadline = threading.Event(), time.monotonic() + LET_GO_S
    while True:
        gc.collect()
        left = sum(isinstance(thing, Cell) for thing in gc.get_objects())
        if not left or time.monotonic() > deadline:
            return left
        never.wait(0.5)


def soak(seconds: float, managers: int, seed: int, *, quiet: bool) -> dict[str, Any]:
    """Run one; the summary."""
    findings = Findings()
    town = Town(findings, managers, seed)
    vitals = Vitals(findings)
    mischief = Mischief(town, seed)
    began, never = time.monotonic(), threading.Event()
    while (left := began + seconds - time.monotonic()) > 0:
        never.wait(min(left, REPORT_EVERY_S))
        if not quiet:
            counts = findings.counts
            print(
                f"{time.monotonic() - began:6.0f} s  {counts.get('reads', 0)} reads, {counts.get('token requests', 0)} requests, "
                f"{counts.get('kill', 0)} crashes, {vitals.memory.resident_mb:.1f} MB, {counts.get('broken', 0)} broken",
                flush=True,
            )
    mischief.stop()
    town.recovers()
    vitals.stop()
    growth, minutes = vitals.growth(), seconds / 120
    if growth.malloc_mb > GROWTH_MB + GROWTH_MB_PER_MINUTE * minutes:
        findings.broke(f"malloc has given out {growth.malloc_mb:.1f} MB more in the second half")
    if growth.blocks > GROWTH_BLOCKS + GROWTH_BLOCKS_PER_MINUTE * minutes:
        findings.broke(f"Python has {growth.blocks} blocks more in the second half")
    town.stop()
    del town, mischief
    left = cells_left()
    if left:
        findings.broke(f"{left} managers' cells are left {LET_GO_S:g} s after everything was stopped")
    return {
        "ok": not findings.broken,
        "seconds": round(time.monotonic() - began, 1),
        "managers": managers,
        "seed": seed,
        "counts": findings.counts,
        "most_threads": vitals.most_threads,
        "memory": asdict(vitals.memory),
        "memory_growth_in_second_half": asdict(growth),
        "broken": findings.broken,
    }


def main() -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python tests/soak/run.py", description=(__doc__ or "").partition("\n")[0])
    duration = parser.add_mutually_exclusive_group()
    duration.add_argument("--minutes", type=float, default=3.0)
    duration.add_argument("--seconds", type=float)
    parser.add_argument("--managers", type=int, default=40)
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="for what is left to chance; threads stay free"
    )
    parser.add_argument("--json", action="store_true", help="only the summary")
    asked = parser.parse_args()
    seconds = asked.minutes * 60 if asked.seconds is None else asked.seconds
    summary = soak(seconds, asked.managers, asked.seed, quiet=asked.json)
    print(json.dumps(summary, indent=2))
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
