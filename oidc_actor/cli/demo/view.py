"""How the demo is shown: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from oidc_actor.cli.demo.promises import Figures, Pace, Promise
from oidc_actor.cli.demo.stage import Sample
from oidc_actor.cli.demo.story import SCENES

PICTURES_PER_S = 8
LINE_EVERY_S = 2.0
STATE_STYLES = {"fresh": "green", "stale": "yellow", "expired": "red", "empty": "red", "restarting": "magenta"}


class Rate:
    """Reads per second, over about the last second."""

    def __init__(self) -> None:
        self._then = time.monotonic()
        self._count = 0
        self._per_s = 0.0

    def of(self, count: int) -> float:
        """The rate, now that there are `count` in all."""
        now = time.monotonic()
        if now - self._then >= 1.0:
            self._per_s = (count - self._count) / (now - self._then)
            self._then, self._count = now, count
        return self._per_s


class LiveView:
    """Redraws itself a few times a second, on Rich's thread.

    Args:
        console: The terminal.
        pace: For the bar's full length.
        sample: What to show; called on Rich's thread.
    """

    def __init__(self, console: Console, pace: Pace, sample: Callable[[], Sample]) -> None:
        self._lifetime_s = pace.token_lifetime_s
        self._sample = sample
        self._rate = Rate()
        self._spinner = Spinner("dots", style="cyan")
        self._doing = ""
        self._number = 0
        self._results: dict[int, str] = {}
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=PICTURES_PER_S)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def begin(self, number: int, doing: str) -> None:
        """Show what goes on in this scene."""
        self._number, self._doing = number, doing

    def end(self, number: int, result: str) -> None:
        """Tick the scene off."""
        self._results[number] = result

    def _picture(self) -> RenderableType:
        sample = self._sample()
        return Group(
            Rule("oidc-actor demo: one supervised token manager", style="cyan"),
            Padding(self._meters(sample), (1, 2)),
            Rule(style="dim"),
            Padding(self._scenes(), (0, 2)),
        )

    def _meters(self, sample: Sample) -> RenderableType:
        life = Table.grid(padding=(0, 2))
        bar = ProgressBar(
            total=self._lifetime_s,
            completed=sample.left_s,
            width=30,
            complete_style=_style(sample),
            finished_style="green",
        )
        life.add_row(bar, f"{sample.left_s:4.1f} s of {self._lifetime_s} s")
        failed = Text(f"{sample.failed_reads}", style="bold red" if sample.failed_reads else "green")
        provider = Text("up", style="green") if sample.provider_up else Text("DOWN", style="bold red")
        grid = Table.grid(padding=(0, 3))
        grid.add_column(style="dim", width=14)
        grid.add_column()
        grid.add_row("token", Text(sample.fingerprint or "none", style="bold"))
        grid.add_row("life left", life)
        grid.add_row("manager", Text(sample.state, style=_style(sample)))
        grid.add_row("provider", provider)
        grid.add_row("reads/s", f"{self._rate.of(sample.reads):,.0f}")
        grid.add_row("failed reads", failed)
        grid.add_row("token requests", str(sample.token_requests))
        grid.add_row("restarts", str(sample.restarts))
        return grid

    def _scenes(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        for number, scene in enumerate(SCENES):
            if number in self._results:
                grid.add_row(Text("✓", style="green"), scene.title, Text(self._results[number], style="dim"))
            elif number == self._number:
                grid.add_row(self._spinner, Text(scene.title, style="bold"), Text(self._doing, style="cyan"))
            else:
                grid.add_row(" ", Text(scene.title, style="dim"), "")
        return grid


class PlainView:
    """Lines, for pipes, logs and terminals that cannot redraw. A thread of its own adds one every two seconds.

    Args:
        console: Where the lines go.
        sample: What to show; called on this view's thread.
    """

    def __init__(self, console: Console, sample: Callable[[], Sample]) -> None:
        self._console = console
        self._sample = sample
        self._rate = Rate()
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="demo-view", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(LINE_EVERY_S)

    def begin(self, number: int, doing: str) -> None:
        """Say what goes on in this scene."""
        self._line(f"{SCENES[number].title}: {doing}")

    def end(self, number: int, result: str) -> None:
        """Say how it ended."""
        self._line(f"{SCENES[number].title} done: {result}")

    def _tell(self) -> None:
        while not self._over.wait(LINE_EVERY_S):
            now = self._sample()
            self._line(
                f"  token {now.fingerprint or 'none'}, {now.left_s:.1f} s left, {now.state}, provider "
                f"{'up' if now.provider_up else 'DOWN'}, {self._rate.of(now.reads):,.0f} reads/s, "
                f"{now.failed_reads} failed, {now.token_requests} token requests, {now.restarts} restarts"
            )

    def _line(self, text: str) -> None:
        elapsed_s = time.monotonic() - self._began
        self._console.print(f"[{elapsed_s:5.1f} s] {text}", markup=False, highlight=False, soft_wrap=True)


def _style(sample: Sample) -> str:
    return STATE_STYLES.get(sample.state, "white")


def show_summary(console: Console, figures: Figures, promises: list[Promise]) -> None:
    """Print what was promised and what was measured."""
    table = Table(
        title="What was promised, and what was measured", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    table.add_column("", width=6)
    table.add_column("promise", overflow="fold")
    table.add_column("measured", overflow="fold")
    for promise in promises:
        verdict = Text("kept", style="green") if promise.kept else Text("BROKEN", style="bold red")
        table.add_row(verdict, Text(promise.text), Text(promise.figure))
    console.print()
    console.print(table)
    console.print(
        f"\n{figures.reads:,} reads: median {figures.median_read_s * 1e6:.1f} µs, 99 % within "
        f"{figures.p99_read_s * 1e6:.0f} µs; {figures.token_requests} token requests in all.",
        highlight=False,
    )
