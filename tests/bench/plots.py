"""The pictures: read latency against threads, memory against managers, one refresh, and what one of many costs."""

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
    if any(one.bench == "refresh" for one in figures):
        _refreshes(figures, where / "refresh.png")
    if any(one.bench in {"scale", "children"} for one in figures):
        _growth(figures, where / "growth.png")


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


def _refreshes(figures: Sequence[Figure], path: Path) -> None:
    from matplotlib import pyplot

    bars = [(one.what, one.ratio) for one in figures if one.bench == "refresh" and one.against == "requests.post"]
    picture, axes = pyplot.subplots(figsize=(7, 0.4 * len(bars) + 1.2))
    names = [name for name, _ in bars]
    ratios = [ratio or 0.0 for _, ratio in bars]
    colours = ["#0b6e4f" if name.startswith("oidc_actor") else "#999999" for name in names]
    axes.barh(names, ratios, color=colours)
    axes.axvline(1.0, color="#666666", linestyle="--", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlim(right=1.12 * max(ratios))
    axes.set_title("One refresh: processor time over that of requests.post", fontsize=10)
    axes.tick_params(labelsize=8)
    for row, ratio in enumerate(ratios):
        axes.text(ratio, row, f" {ratio:.2f}", va="center", fontsize=8)
    _save(picture, path)


def _growth(figures: Sequence[Figure], path: Path) -> None:
    """What one child and one manager cost, against their number: a flat line is linear growth."""
    from matplotlib import pyplot

    lines: defaultdict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for one in figures:
        child = re.fullmatch(r"(.+): each of ([\d,]+)", one.what)
        manager = re.fullmatch(r"([\d,]+) managers: processor time (a \w+)", one.what)
        if one.bench == "children" and child:
            lines["children", child[1]].append((_count(child[2]), one.value))
        elif one.bench == "scale" and manager:
            lines["managers", manager[2]].append((_count(manager[1]), one.value))
    kinds = [kind for kind in ("children", "managers") if any(one == kind for one, _ in lines)]
    picture, panels = pyplot.subplots(1, len(kinds), figsize=(5.6 * len(kinds), 4.2), squeeze=False)
    for axes, kind in zip(panels[0], kinds, strict=True):
        found = {what: sorted(points) for (one, what), points in lines.items() if one == kind}
        most = max(len(points) for points in found.values())
        shown = {what: points for what, points in found.items() if len(points) == most}
        for what, points in shown.items():
            axes.plot(*zip(*points, strict=True), marker="o", linewidth=1.6, label=what)
        axes.set_title(f"What one of many {kind} costs", fontsize=10)
        axes.set_ylabel("microseconds of processor time")
        _axes(axes, kind, sorted({number for points in shown.values() for number, _ in points}))
        axes.set_ylim(bottom=10, top=2_000)
        axes.legend(fontsize=7, frameon=False, ncol=2)
    _save(picture, path)


def _count(text: str) -> int:
    return int(text.replace(",", ""))


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
