"""All benchmarks with one command, which makes its own environment first::

    python tests/bench/run.py [--quick] [--json FILE] [--plots DIRECTORY] [NAME ...]

prints one table. What is compared is measured in turns within this one run. The full run takes about half an hour, most of
it the three lifetimes of 100,000 managers' tokens; ``--quick`` takes five minutes and leaves that size out. Exit status 1
where a goal was missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

import environment

BENCHMARKS = (
    "imports",
    "coldstart",
    "reads",
    "adapters",
    "refresh",
    "herd",
    "actors",
    "messages",
    "names",
    "restarts",
    "children",
    "timers",
    "fairness",
    "dpop",
    "operations",
    "network",
    "scale",
    "fleet",
    "sidecar",
    "agents",
    "mcp_calls",
    "observer",
)


def main() -> int:
    """Run what was asked for."""
    asked = _arguments()
    environment.enter()
    from figures import Figure, from_json, table

    figures: list[Figure] = []
    for name in asked.names or BENCHMARKS:
        began = time.monotonic()
        print(f"{name} ...", flush=True)
        figures += from_json(_alone(name, quick=asked.quick))
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if asked.json:
            known = {"versions": environment.versions(), "figures": [asdict(one) for one in figures]}
            asked.json.write_text(json.dumps(known, indent=1))
    versions = environment.versions()
    print()
    print(table(figures))
    print()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores;", ", ".join(f"{name} {text}" for name, text in versions.items())
    )
    if asked.plots:
        importlib.import_module("plots").draw(figures, asked.plots)
    return int(any(one.met is False for one in figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to run, of {', '.join(BENCHMARKS)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, and no 100,000 managers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--plots", type=Path, metavar="DIRECTORY", help="draw the pictures that the figures allow there"
    )
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"expected names of {', '.join(BENCHMARKS)}, got {', '.join(unknown)}")
    return asked


def _alone(name: str, *, quick: bool) -> str:
    """Run one benchmark in a process of its own, so that none inherits another's threads and memory."""
    import subprocess
    import tempfile

    with tempfile.NamedTemporaryFile("r") as answer:
        program = (
            "import importlib, sys, pathlib; from figures import to_json; name, quick, where = sys.argv[1:]; "
            "pathlib.Path(where).write_text(to_json(importlib.import_module(name).run(quick=quick == 'quick')))"
        )
        words = [sys.executable, "-c", program, name, "quick" if quick else "full", answer.name]
        subprocess.run(words, check=True)
        return Path(answer.name).read_text()


if __name__ == "__main__":
    raise SystemExit(main())
