"""Compares our supervisors with Erlang/OTP's and Elixir's: `python tests/otp [--scenarios N] [--seed N] [--shrink] [--json]`.

Random scenarios are played by both. The exit status is 1 where the traces differ other than documented: each mismatch is
printed with its seed, its scenario, and both traces side by side. `--scenarios 1 --seed N` plays one of them again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from otp.erlang import Erlang, missing
from otp.judge import Figures, judge, shrunk, side_by_side, silence

SHOWN = 3


def main() -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python tests/otp", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenarios", type=int, default=500)
    parser.add_argument("--seed", type=int, help="the first scenario's; the others follow. Random by default")
    parser.add_argument("--shrink", action="store_true", help="make the scenario of a mismatch as small as it goes")
    parser.add_argument("--json", action="store_true", help="print the figures and mismatches as JSON")
    asked = parser.parse_args()
    absent = missing()
    if absent:
        parser.error(absent)
    silence()
    seed = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    if not asked.json:
        print(f"seed {seed}", flush=True)
    figures, found = Figures(seed), []
    with Erlang() as erlang:
        for mismatch in judge(erlang, seed, asked.scenarios, figures):
            if len(found) < SHOWN:
                found.append(shrunk(erlang, mismatch) if asked.shrink else mismatch)
                if not asked.json:
                    print(f"\n{side_by_side(found[-1])}\n", flush=True)
    if asked.json:
        print(json.dumps({**asdict(figures), "mismatches": [asdict(one) for one in found]}))
    else:
        print(", ".join(f"{name} {value}" for name, value in asdict(figures).items()))
    return 0 if figures.agreed == figures.scenarios == asked.scenarios else 1


if __name__ == "__main__":
    sys.exit(main())
