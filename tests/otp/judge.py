"""Plays scenarios on both sides and compares the traces; makes a scenario that differs as small as it goes."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from otp import ours, scenario
from otp.differences import Trace, normalised
from otp.erlang import Erlang

Scenario = dict[str, Any]
SHRINK_S = 120.0
WIDTH = 60


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A scenario on which the two differ: its seed, it, and both traces, normalised."""

    seed: int
    scenario: Scenario
    theirs: Trace
    ours: Trace


@dataclass(slots=True)
class Figures:
    """What a run came to."""

    seed: int
    scenarios: int = 0
    steps: int = 0
    agreed: int = 0
    seconds: float = 0.0


def silence() -> None:
    """Log nothing of the thousands of crashes that are ordered."""
    for logger in ("supervision", "pykka"):
        logging.getLogger(logger).setLevel(logging.CRITICAL + 1)


def judge(
    erlang: Erlang, seed: int, count: int, figures: Figures | None = None, **ours_does: Any
) -> Iterator[Mismatch]:
    """Play the scenarios of that many seeds from the first on, and give each mismatch."""
    figures = figures or Figures(seed)
    began = time.monotonic()
    seeds = range(seed, seed + count)
    for one, theirs in zip(seeds, erlang.play(map(scenario.make, seeds)), strict=True):
        made = scenario.make(one)
        mismatch = compared(one, made, theirs, ours.play(made, **ours_does))
        figures.scenarios += 1
        figures.steps += len(made["steps"])
        figures.agreed += mismatch is None
        figures.seconds = round(time.monotonic() - began, 1)
        if mismatch is not None:
            yield mismatch


def compared(seed: int, made: Scenario, theirs: Trace, ours_: Trace) -> Mismatch | None:
    """The mismatch, if there is one."""
    one, other = normalised(made, theirs, ours_)
    return None if one == other else Mismatch(seed, made, one, other)


# --- making a scenario small ------------------------------------------------------------------------------------------


def shrunk(erlang: Erlang, mismatch: Mismatch, **ours_does: Any) -> Mismatch:
    """The smallest scenario found that still differs: steps, actions, children and scripts are taken out while it does."""
    until = time.monotonic() + SHRINK_S
    progress = True
    while progress:
        progress = False
        for smaller in list(_smaller(mismatch.scenario)):
            if time.monotonic() > until:
                return mismatch
            (theirs,) = erlang.play([smaller])
            found = compared(mismatch.seed, smaller, theirs, ours.play(smaller, **ours_does))
            if found is not None:
                mismatch, progress = found, True
                break
    return mismatch


def _smaller(made: Scenario) -> Iterator[Scenario]:
    """Scenarios that are that one without something, the largest pieces first."""
    for place, key in _pieces(made):
        less = copy.deepcopy(made)
        holder = _at(less, place)
        if isinstance(key, tuple):
            name, plain = key
            if holder[name] == plain:
                continue
            holder[name] = plain
        else:
            del holder[key]
        yield less


def _pieces(made: Scenario) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """What can be taken out or made plain: the place of its holder, and its key there."""
    steps = made["steps"]
    yield from ((("steps",), number) for number in reversed(range(len(steps))))
    trees = [("top",)]
    for number, step in enumerate(steps):
        for place, action in enumerate(step["actions"]):
            if action[0] == "start_child":
                trees.append(("steps", number, "actions", place, 1))
    for tree in trees:
        yield from _children(_at(made, tree), tree)
    for number, step in enumerate(steps):
        yield from ((("steps", number, "actions"), place) for place in reversed(range(len(step["actions"]))))
        yield ("steps", number), ("age", 0)
    for child_id, script in made["scripts"].items():
        if script:
            yield ("scripts",), child_id
            yield ("scripts", child_id), len(script) - 1
    for tree in trees:
        yield from _plain(_at(made, tree), tree)


def _children(child: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for number, one in enumerate(child.get("supervisor", {}).get("children", ())):
        yield (*place, "supervisor", "children"), number
        yield from _children(one, (*place, "supervisor", "children", number))


def _plain(child: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if "supervisor" not in child:
        for name, plain in (("stop", "prompt"), ("kind", "pooled"), ("shutdown", "infinity"), ("name", None)):
            if (name, child["stop"]) != ("shutdown", "hangs"):
                yield place, (name, plain)
    for number, one in enumerate(child.get("supervisor", {}).get("children", ())):
        yield from _plain(one, (*place, "supervisor", "children", number))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


# --- what is printed --------------------------------------------------------------------------------------------------


def side_by_side(mismatch: Mismatch) -> str:
    """The scenario, and both traces; a line where they differ begins with ``!``."""
    lines = [f"seed {mismatch.seed}", *_described(mismatch.scenario), "", f"   {'OTP':{WIDTH}} ours"]
    for left, right in zip_longest(mismatch.theirs, mismatch.ours):
        one, other = (" ".join(map(str, line)) if line is not None else "" for line in (left, right))
        lines.append(f" {' ' if left == right else '!'} {one:{WIDTH}} {other}".rstrip())
    return "\n".join(lines)


def _described(made: Scenario) -> Iterator[str]:
    yield from _tree(made["top"], "  ")
    for child_id, script in made["scripts"].items():
        if set(script) - {"ok"}:
            yield f"  starts of {child_id}: {' '.join(script)}"
    for step in made["steps"]:
        later = f", {step['age']} s later" if step["age"] else ""
        yield f"  at {step['at']}{later}: " + "; ".join(" ".join(_action(action)) for action in step["actions"])
        for action in step["actions"]:
            if action[0] == "start_child":
                yield from _tree(action[1], "      ")


def _action(action: list[Any]) -> Iterator[str]:
    yield from (one["id"] if isinstance(one, dict) else str(one) for one in action)


def _tree(child: dict[str, Any], indent: str) -> Iterator[str]:
    told = {key: value for key, value in child.items() if key not in ("id", "supervisor")}
    flags = {key: value for key, value in child.get("supervisor", {}).items() if key != "children"}
    yield f"{indent}{child['id']}: " + ", ".join(f"{key} {value}" for key, value in {**told, **flags}.items())
    for one in child.get("supervisor", {}).get("children", ()):
        yield from _tree(one, indent + "  ")
