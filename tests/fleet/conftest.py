"""Prints the fleet's table at the end of a run of the tests, where `OIDC_ACTOR_CHAOS_TABLE` is set."""

from __future__ import annotations

import os
from typing import Any

from fleet.table import HEAD, PLAYED, as_text


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print it."""
    if PLAYED and os.environ.get("OIDC_ACTOR_CHAOS_TABLE"):
        terminalreporter.section("the fleet's table")
        terminalreporter.line(HEAD)
        for row in PLAYED:
            terminalreporter.line(as_text(row))
