"""Plays the fleet's table and prints it: `python tests/fleet [--processes 64] [--only PART_OF_A_NAME] [--short] [--json]`.

The exit status is 1 if a promise broke. A row whose server is missing is left out, and it is said; with
`OIDC_ACTOR_REQUIRE_PROVIDERS=1` that is a broken promise too.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from _pytest.outcomes import OutcomeException, Skipped

from fleet.playing import MODULES
from fleet.table import HEAD, Row, as_json, as_text, chosen, play


def main() -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python tests/fleet", description="Play the fleet's table and print it.")
    parser.add_argument("--processes", type=int, default=64, metavar="N", help="members of each fleet")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows with this in their name")
    parser.add_argument("--short", action="store_true", help="without the rows that take longer")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    asked = parser.parse_args()
    done: list[Row] = []
    left_out: dict[str, str] = {}
    is_missing = False
    if not asked.json:
        print(HEAD, flush=True)
    assert MODULES
    for one in chosen(asked.only, long=not asked.short):
        try:
            row = play(one, asked.processes)
        except OutcomeException as outcome:  # a server is not to be had
            left_out[one.name] = str(outcome)
            is_missing = is_missing or not isinstance(outcome, Skipped)
            continue
        done.append(row)
        if not asked.json:
            print(as_text(row), flush=True)
    broken = [row for row in done if not row.kept]
    ok = bool(done) and not broken and not is_missing
    if asked.json:
        print(json.dumps({"ok": ok, "left_out": left_out, "rows": [as_json(row) for row in done]}, indent=2))
    else:
        print(f"\n{len(done)} rows, {len(broken)} broken, {sum(row.seconds for row in done):.1f} s")
        for name, why in left_out.items():
            print(f"left out: {name}: {why}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
