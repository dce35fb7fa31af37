"""What an import costs, over what the package's three dependencies cost together. Each in a fresh process, in turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from figures import Figure, at_most, median_ratio

DEPENDENCIES = "import requests, structlog, pykka"
STATEMENTS = (
    DEPENDENCIES,
    "import oidc_actor",
    "from oidc_actor import TokenManager",
    "import supervision",
    "import pykka",
)


def run(*, quick: bool) -> list[Figure]:
    """Time them in turns."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    with tempfile.TemporaryDirectory() as cache:
        # All compiled, as installed packages are.
        known = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = known | {"PYTHONPYCACHEPREFIX": cache}
        for turn in range(5 if quick else 13):
            for statement in STATEMENTS:
                cost = _cost(statement, environment)
                if turn:  # the first compiles
                    times[statement].append(cost)
    figures = []
    for name, found in times.items():
        ratio = median_ratio(found, times[DEPENDENCIES])
        goal = at_most(1.1, ratio) if "oidc_actor" in name else {}
        figures.append(Figure("imports", name, statistics.median(found), "ms", ratio, "dependencies", **goal))
    return figures


def _cost(statement: str, environment: dict[str, str]) -> float:
    """Milliseconds of processor time."""
    program = f"import time; began = time.process_time(); {statement}; print((time.process_time() - began) * 1e3)"
    run = [sys.executable, "-c", program]
    return float(subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout)
