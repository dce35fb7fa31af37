"""What the observer (`supervision.observer`) shows of token managers: `managers` is its part. It reads cells, as metrics do.

No manager is asked, made anew, or counted as used. An error's text is the one that `Health` has, in which the provider's words
are redacted; no token and no secret is among the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oidc_actor.machine.health import Health, health_of
from oidc_actor.machine.state import State
from oidc_actor.manager.log import EVENTS
from oidc_actor.pool.members import table_of
from oidc_actor.pool.token_pool import TokenPool
from oidc_actor.reading.cell import Cell, by_name
from oidc_actor.reading.directory import all_cells, cell_of
from oidc_actor.values.errors import OIDCActorError
from supervision.observer import Figure, Part

__all__ = ["managers"]
__dir__ = __all__.copy

_UNTOLD = {"fingerprint", "token_endpoint", "at", "reason"}
"""Fields of events that say nothing to a person who looks, or that a program may have put anything into."""

_OFTEN = {"provider_discovered", "issuer_held"}
"""Events that a timeline of a hundred does not need."""


def managers() -> Part:
    """The managers' part of an observer: their tokens' remaining life, next attempts, requests, sharing and last errors.

    Returns:
        What `supervision.observer.Observer` takes as one of its ``parts``.
    """
    return _Managers()


class _Managers:
    columns: Sequence[str] = ("token", "next attempt", "requests", "sharing")
    loggers: Sequence[str] = ("oidc_actor",)

    def figures(self, name: str | None, ref: Any) -> Mapping[str, Figure] | None:
        cell = _cell(name, ref)
        if cell is None:
            return None
        state = cell.state
        if state is None or cell.closed:
            return {"token": Figure("starting" if not cell.closed else "no token", tone="warn")}
        health = health_of(state, cell.clock())
        found = {
            "token": _token(health, state),
            "next attempt": _next_attempt(health),
            "requests": Figure(f"{health.token_requests:,}"),
        }
        if health.sharing != "off":
            found["sharing"] = Figure(health.sharing, tone="good" if health.sharing == "shared" else "warn")
        error = health.last_error or health.store_error
        if error is not None:
            failures = health.consecutive_failures
            told = f"{error} ({failures:,} times in a row)" if failures > 1 else error
            found["last error"] = Figure(told, tone="bad" if health.blocked else "warn")
        return found

    def summary(self, name: str | None, ref: Any) -> Sequence[Figure] | None:
        if ref is None:
            cells: Iterable[Cell] = all_cells()
        elif issubclass(ref.actor_class, TokenPool):
            try:
                cells = [member.cell for member in list(table_of(ref).members.values())]
            except OIDCActorError:  # it has ended
                return None
        else:
            return None
        counts = _counted(cells)
        told = [] if ref is not None else [Figure(f"{counts['all']:,} token managers")]
        told += [
            Figure(f"{counts[what]:,} {what}", tone="warn" if what == "failing" else "bad")
            for what in ("without a token", "failing", "blocked")
            if counts[what]
        ]
        return told

    def event(self, event: str, fields: Mapping[str, Any]) -> tuple[str, str] | None:
        if event in _OFTEN or event not in EVENTS:
            return None
        names = [name for name in EVENTS[event][1].split(", ") if name and name not in _UNTOLD]
        told = [f"{name.removesuffix('_s').replace('_', ' ')} {_worded(name, fields[name])}" for name in names
                if fields.get(name) is not None and fields[name] is not False]  # fmt: skip
        return str(fields.get("manager", "")), ", ".join(told)


def _cell(name: str | None, ref: Any) -> Cell | None:
    """The cell of a manager; ``None`` for any other actor."""
    if ref is None:
        return None if name is None else by_name.get(name)
    return cell_of(ref) if getattr(ref.actor_class, "has_cell", False) is True else None


def _token(health: Health, state: State) -> Figure:
    asking = ", asking" if health.refreshing else ""
    if health.state in ("empty", "expired"):
        return Figure(f"{'no token' if health.state == 'empty' else 'expired'}{asking}", tone="bad")
    lifetime_s = state.lifetimes[-1] if state.lifetimes else None
    is_fresh = health.state == "fresh"
    return Figure(f"{health.state}{asking}", health.expires_in_s, lifetime_s, tone="good" if is_fresh else "warn")


def _next_attempt(health: Health) -> Figure:
    if health.next_attempt_in_s is None:
        return Figure("under way" if health.refreshing else "none")
    return Figure(
        "probe in" if health.blocked else "in",
        health.next_attempt_in_s,
        tone="bad" if health.blocked else "plain",
    )


def _counted(cells: Iterable[Cell]) -> dict[str, int]:
    """How many there are, and are in trouble."""
    readings: dict[Any, float] = {}  # each clock is read once
    everyone = without = failing = blocked = 0
    for cell in cells:
        state = cell.state
        if state is None or cell.closed:
            continue
        everyone += 1
        now = readings.get(cell.clock)
        if now is None:
            now = readings[cell.clock] = cell.clock()
        if (cell.inherited or cell.snapshot).deadline <= now:
            without += 1
        if state.blocked:
            blocked += 1
        elif state.failures:
            failing += 1
    return {"all": everyone, "without a token": without, "failing": failing, "blocked": blocked}


def _worded(name: str, value: Any) -> str:
    if value is True:
        return "yes"
    if isinstance(value, int | float):
        return f"{value:,.4g}{' s' if name.endswith('_s') else ''}"
    return str(value)
