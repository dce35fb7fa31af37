"""How the demo is shown: a line for each thing that happens, and the meters: below the lines on a terminal, else among them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from oidc_actor.cli.demo.promises import Figures, Promise

PICTURE_EVERY_S = 0.125
LINE_EVERY_S = 2.0
STYLES = {"fresh": "green", "stale": "yellow", "expired": "red", "restarting": "magenta", "DOWN": "bold red"}


class View:
    """What a story shows of itself. Only the story's thread calls it.

    Args:
        console: Where it is shown.
        meters: What there is to see at a moment, by label.
    """

    def __init__(self, console: Console, meters: Callable[[], dict[str, str]]) -> None:
        self._console = console
        self._meters = meters
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._began = self._drawn = time.monotonic()

    def shown(self) -> AbstractContextManager[object]:
        """Show the meters on a terminal until the block ends."""
        return self._live or nullcontext()

    def line(self, text: str) -> None:
        """Say what happens."""
        elapsed_s = time.monotonic() - self._began
        self._console.print(f"[{elapsed_s:5.1f} s] {text}", markup=False, highlight=False, soft_wrap=True)

    def tick(self) -> None:
        """Show the meters again, if it is time."""
        if time.monotonic() - self._drawn < (PICTURE_EVERY_S if self._live else LINE_EVERY_S):
            return
        self._drawn = time.monotonic()
        meters = self._meters()
        if self._live is None:
            self.line("  " + ", ".join(f"{label} {value}" for label, value in meters.items()))
            return
        grid = Table.grid(padding=(0, 3))
        for label, value in meters.items():
            grid.add_row(Text(label, style="dim"), Text(value, style=STYLES.get(value, "")))
        self._live.update(grid, refresh=True)


def show_summary(console: Console, figures: Figures, promises: list[Promise]) -> None:
    """Print what was promised and what was measured."""
    table = Table("", "promise", "measured", title="What was promised, and what was measured", box=None)
    for promise in promises:
        verdict = "[green]kept[/]" if promise.kept else "[bold red]BROKEN[/]"
        table.add_row(verdict, promise.text, Text(promise.figure))
    console.print("", table)
    console.print(
        f"\n{figures.reads:,} reads: median {figures.median_read_s * 1e6:.1f} µs, 99 % within "
        f"{figures.p99_read_s * 1e6:.0f} µs; {figures.token_requests} token requests in all.",
        highlight=False,
    )
