"""Prints the table at the end of a run of the tests, where `OIDC_ACTOR_CHAOS_TABLE` is set: it need not be played twice."""

from __future__ import annotations

import os
from typing import Any

from chaos.playing import PLAYED
from chaos.table import as_text, footer


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print it."""
    if PLAYED and os.environ.get("OIDC_ACTOR_CHAOS_TABLE"):
        terminalreporter.section("chaos table")
        for row in PLAYED:
            terminalreporter.line(as_text(row))
        terminalreporter.line(footer(PLAYED))
