"""MCP's own conformance suite judges the SDK's client with our auth: machine to machine with a secret, with a key, and ID-JAG."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from integration.node_provider import installed, unavailable

HERE = Path(__file__).parent
TIMEOUT_S = 90
SCENARIOS = {
    "auth/client-credentials-basic": "client-credentials-basic-auth",
    "auth/client-credentials-jwt": "client-credentials-jwt-verified",
    "auth/cross-app-access-complete-flow": "complete-flow-jwt-bearer",
}
"""By scenario the check without which it would show nothing."""


@pytest.fixture(scope="module")
def suite() -> list[str]:
    """The command that plays a scenario. Node.js 22, which the suite wants, comes from npm too."""
    folder = installed(HERE / "mcp_node") / "node_modules"
    found = sorted(folder.glob("node-linux-*/bin/node"))
    if not found:
        unavailable("npm has no Node.js for this machine")
    return [str(found[0]), str(folder / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"), "client"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_passes(scenario: str, suite: list[str], tmp_path: Path) -> None:
    client = shlex.join([sys.executable, str(HERE / "mcp_client.py")])
    command = [*suite, "--scenario", scenario, "--command", client, "--output-dir", str(tmp_path), "--timeout", "60000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Passed: (\d+)/\1, 0 failed, 0 warnings", done.stderr), done.stderr
    (found,) = tmp_path.rglob("checks.json")
    checks = {one["id"]: one["status"] for one in json.loads(found.read_text())}
    assert checks[SCENARIOS[scenario]] == "SUCCESS"
