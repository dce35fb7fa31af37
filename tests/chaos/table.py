"""Rows as a person reads them, and as a program does."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.pains import PAINS
from chaos.scenario import Row


def as_json(row: Row) -> dict[str, object]:
    """A row as plain values."""
    scenario = row.scenario
    return {
        "name": scenario.name,
        "source": scenario.source,
        "promise": scenario.promise,
        "provider": row.provider,
        "kept": row.kept,
        "seconds": round(row.seconds, 3),
        "checks": [{"what": c.what, "measured": c.measured, "kept": c.kept} for c in row.checks],
    }


def as_text(row: Row) -> str:
    """A row as a few lines."""
    scenario = row.scenario
    head = (
        f"{'kept  ' if row.kept else 'BROKEN'} {row.provider:8} {scenario.name} [{scenario.source}] {row.seconds:.1f} s"
    )
    notes = [f"{'' if check.kept else 'BROKEN: '}{check.what}: {check.measured}" for check in row.checks]
    return "\n".join([head, f"         {scenario.promise}", f"         {'; '.join(notes)}"])


def footer(rows: Sequence[Row]) -> str:
    """What stands below the rows: the pains that they are about, and how many broke."""
    pains = [f"pain {number}: {what} ({where})" for number, (where, what) in PAINS.items()]
    broken = sum(not row.kept for row in rows)
    return "\n".join([*pains, "", f"{len(rows)} rows, {broken} broken, {sum(row.seconds for row in rows):.1f} s"])
