"""Plays the chaos table and prints it: `python tests/chaos [--json] [--provider scripted|npm] [--only PART_OF_A_NAME]`.

The exit status is 1 if a promise broke. Rows with the npm provider are left out, and it is said, where Node.js is missing;
with `OIDC_ACTOR_REQUIRE_PROVIDERS=1` that is a broken promise too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from _pytest.outcomes import OutcomeException, Skipped
from chaos.backends import Stages
from chaos.pains import PAINS
from chaos.playing import cases, play
from chaos.scenario import Row
from chaos.table import as_json, as_text, footer


def rows(only: str, provider: str | None) -> Iterator[Row]:
    """Play what was asked for; each row as soon as it is known."""
    with Stages() as stages:
        for scenario, kind in cases():
            if only in scenario.name and provider in (None, kind):
                yield play(scenario, kind, stages)


def main() -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python tests/chaos", description="Play the chaos table and print it.")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--provider", choices=["scripted", "npm"], help="only with this one")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows with this in their name")
    asked = parser.parse_args()
    done: list[Row] = []
    left_out = None
    try:
        for row in rows(asked.only, asked.provider):
            done.append(row)
            if not asked.json:
                print(as_text(row), flush=True)
    except OutcomeException as outcome:  # the npm provider is not to be had
        left_out = str(outcome)
        missing_is_fine = isinstance(outcome, Skipped)
    broken = [row for row in done if not row.kept]
    ok = bool(done) and not broken and (left_out is None or missing_is_fine)
    if asked.json:
        pains = {number: f"{where}: {what}" for number, (where, what) in PAINS.items()}
        shown = {"ok": ok, "left_out": left_out, "rows": [as_json(row) for row in done], "pains": pains}
        print(json.dumps(shown, indent=2))
    else:
        print(f"\n{footer(done)}")
        if left_out is not None:
            print(f"left out: {left_out}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
