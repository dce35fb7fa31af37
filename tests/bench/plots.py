"""The two pictures: read latency against threads, and memory against managers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figures import Figure

SHOWN = {
    "source": ("TokenSource", "#0b6e4f", "o"),
    "name": ("by name", "#41ab5d", "o"),
    "floor": ("floor", "#999999", "_"),
    "Authlib": ("Authlib", "#4575b4", "s"),
    "google-auth": ("google-auth", "#74add1", "^"),
    "requests-oauth2client": ("requests-oauth2client", "#fdae61", "D"),
    "botocore": ("botocore", "#f46d43", "v"),
    "msal": ("msal", "#d73027", "P"),
    "azure-identity": ("azure-identity", "#7f0000", "X"),
}


def draw(figures: Sequence[Figure], where: Path) -> None:
    """Draw what the figures allow, as PNG files."""
    import matplotlib as mpl

    mpl.use("Agg")
    where.mkdir(parents=True, exist_ok=True)
    if any(one.bench == "reads" for one in figures):
        _reads(figures, where / "reads.png")
    if any(one.bench == "scale" for one in figures):
        _memory(figures, where / "memory.png")


def _reads(figures: Sequence[Figure], path: Path) -> None:
    from matplotlib import pyplot

    picture, panels = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for axes, kind in zip(panels, ("median", "p99"), strict=True):
        lines: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for one in figures:
            found = re.fullmatch(r"(.+), (\d+) thr, " + kind, one.what)
            if one.bench == "reads" and found:
                lines[found[1]].append((int(found[2]), one.value / 1e3))
        for name, (label, colour, marker) in SHOWN.items():
            if name in lines:
                axes.plot(*zip(*lines[name], strict=True), label=label, color=colour, marker=marker, linewidth=1.6)
        axes.set_title(f"One read of a cached valid token: {kind}", fontsize=10)
        _axes(axes, "threads", [1, 8, 64])
    panels[0].set_ylabel("microseconds")
    panels[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    _save(picture, path)


def _memory(figures: Sequence[Figure], path: Path) -> None:
    from matplotlib import pyplot

    picture, axes = pyplot.subplots(figsize=(5.6, 4.2))
    points = []
    for one in figures:
        found = re.fullmatch(r"([\d,]+) managers: resident each", one.what)
        if found:
            managers = int(found[1].replace(",", ""))
            points.append((managers, managers * one.value / 1e6))
    sizes = [managers for managers, _ in points]
    axes.plot(sizes, [size * 8_000 / 1e6 for size in sizes], color="#999999", linestyle="--", label="8 kB each")
    axes.plot(*zip(*points, strict=True), color="#0b6e4f", marker="o", label="measured, beyond the token texts")
    axes.set_title("Resident memory of managers", fontsize=10)
    axes.set_ylabel("megabytes")
    _axes(axes, "managers", sizes)
    axes.legend(fontsize=8, frameon=False)
    _save(picture, path)


def _axes(axes: Any, label: str, ticks: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.grid(visible=True, alpha=0.25)


def _save(picture: Any, path: Path) -> None:
    picture.tight_layout()
    picture.savefig(path, dpi=110)
    print(f"drew {path}")
