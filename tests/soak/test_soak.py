"""Twenty seconds of the soak, in a process of its own. `python tests/soak/run.py --minutes 60` is the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parent / "run.py"


def test_twenty_seconds_of_faults_and_crashes_break_no_promise() -> None:
    command = [sys.executable, "-W", "error", str(RUN), "--seconds", "20", "--seed", "1", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode in (0, 1), run.stderr
    summary = json.loads(run.stdout)
    assert summary["broken"] == []
    counts = summary["counts"]
    assert min(counts[what] for what in ("reads", "token requests", "kill", "network", "provider_outage")) > 10
    assert not run.stderr
