"""Random scenarios: a tree of supervisors, what each start of each child does, and steps; all of it is JSON.

A scenario has

- ``top``: the child that is the tree. A child has an ``id`` (no two in a scenario have the same), ``restart``, ``shutdown``
  (milliseconds, ``"infinity"``, ``"brutal_kill"``), ``significant``, and either ``supervisor`` (flags and ``children``) or
  ``kind`` (``"pooled"``, ``"thread"``, ``"plain"``: which class of ours; a plain one traps no exits in OTP), a ``name`` that
  two may want, and ``stop``: what its end hook does;
- ``scripts``: for an id what its first, second, ... start does: ``"ok"``, ``"fail"``, ``"exit"``, ``"ignore"``; then ``"ok"``;
- ``dynamic``: for the id of each supervisor whether it is a dynamic one; ``above``: for each id whose child it is;
- ``steps``: ``at`` the supervisor that is held while it gets the ``actions``, deaths and requests, in that order; ``age``:
  how many seconds pass before. Where the top is down, it is started again instead.

Each choice keeps a scenario deterministic. What OTP itself leaves open is not drawn: a shutdown time that a child may or may not
keep, two restarts whose distance is between the period and one second more (OTP counts whole seconds), a child that crashes
while its supervisor is busy with another.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

PERIOD_S = 1000
AGES_S = (300, 600, 1300)
"""No sum of them comes near the period."""

NEVER_S = 60_000
"""Milliseconds that no child takes to end, whatever else the machine does."""

RESTARTS = ("permanent", "permanent", "transient", "temporary")
DEATHS = ("crash", "crash", "crash", "normal", "shutdown", "moved", "kill", "stop", "call")
MOST_IDS = 14


def make(seed: int) -> dict[str, Any]:
    """The scenario of that seed."""
    return _Author(seed).scenario()


def children(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All children that a scenario has, or may get in a step."""
    roots = [made["top"]]
    roots += [action[1] for step in made["steps"] for action in step["actions"] if action[0] == "start_child"]
    while roots:
        child = roots.pop()
        yield child
        roots += child.get("supervisor", {}).get("children", ())


class _Author(random.Random):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.ids = 0
        self.scripts: dict[str, list[str]] = {}
        self.supervisors: dict[str, dict[str, Any]] = {}
        self.calm: set[str] = set()  # supervisors that may be killed: all below them end at once
        self.abrupt = {"top"}  # supervisors that none above asks to end
        self.known: dict[str, list[dict[str, Any]]] = {}

    def chance(self, share: float) -> bool:
        return self.random() < share

    def scenario(self) -> dict[str, Any]:
        top = {"id": "top", "supervisor": self.supervisor("top", depth=0, calm=False)}
        top |= {"restart": "temporary", "shutdown": "infinity", "significant": False}
        favourite = self.choice([*self.supervisors])
        steps = [self.step(favourite) for _ in range(self.randint(3, 10))]
        steps.append({"at": "top", "age": 0, "actions": [["stop"]]})
        dynamic = {one: sup["dynamic"] for one, sup in self.supervisors.items()}
        above = {child["id"]: sup for sup, children in self.known.items() for child in children}
        return {"top": top, "scripts": self.scripts, "dynamic": dynamic, "above": above, "steps": steps}

    # --- the tree -----------------------------------------------------------------------------------------------------

    def supervisor(self, sup_id: str, depth: int, *, calm: bool) -> dict[str, Any]:
        dynamic = self.chance(0.25)
        sup: dict[str, Any] = {
            "dynamic": dynamic,
            "strategy": "one_for_one" if dynamic else self.choice(["one_for_one", "one_for_all", "rest_for_one"]),
            "max_restarts": self.choice([0, 1, 2, 3, 3, 5, 8, 20]),
            "max_seconds": PERIOD_S,
            "auto_shutdown": "never"
            if dynamic
            else self.choice(["never", "never", "any_significant", "all_significant"]),
            "max_children": self.choice([None, None, 0, 1, 2, 3]) if dynamic else None,
            "extra": self.choice([[], [], ["x"]]) if dynamic else [],
            "children": [],
        }
        self.supervisors[sup_id] = sup
        if calm:
            self.calm.add(sup_id)
        self.known[sup_id] = []
        if not dynamic:
            for _ in range(self.randint(0, 4)):
                if self.ids < MOST_IDS:
                    child = self.child(sup_id, depth + 1)
                    self.scripts[child["id"]] = ["ok" if self.chance(0.97) else "fail", *self.outcomes()]
                    sup["children"].append(child)
        return sup

    def child(self, sup_id: str, depth: int) -> dict[str, Any]:
        sup = self.supervisors[sup_id]
        name = "abcdefghijklmnopqrstuvwxyz"[self.ids]
        self.ids += 1
        child: dict[str, Any] = {"id": name, "restart": self.choice(RESTARTS)}
        child["significant"] = sup["auto_shutdown"] != "never" and child["restart"] != "permanent" and self.chance(0.6)
        calm = sup_id in self.calm
        if depth <= 2 and self.chance(0.3):
            calm = calm or self.chance(0.5)
            child["shutdown"] = self.choice(["infinity", "infinity", NEVER_S, *(["brutal_kill"] if calm else [])])
            if child["shutdown"] == "brutal_kill":
                self.abrupt.add(name)
            self.known[sup_id].append(child)
            child["supervisor"] = self.supervisor(name, depth, calm=calm)
        else:
            child |= self.worker(sup_id, name)
            self.known[sup_id].append(child)
        self.scripts.setdefault(name, [])
        return child

    def worker(self, sup_id: str, child_id: str) -> dict[str, Any]:
        stop: Any = "prompt"
        kind = self.choice(["pooled", "thread", "plain"])
        if sup_id not in self.calm and kind != "plain":
            stop = self.choice(["prompt", "prompt", "prompt", "takes", "hangs", "takes along"])
            if stop == "takes along":
                stop = self.takes_along(sup_id)
        shutdown = self.choice([NEVER_S, "infinity", "brutal_kill"])
        if stop == "hangs":
            kind, shutdown = "thread", self.choice([20, 40, "brutal_kill"])
        name = self.choice([None] * 14 + [child_id] * 4 + ["shared"] * 2)
        return {"kind": kind, "stop": stop, "shutdown": shutdown, "name": name}

    def takes_along(self, sup_id: str) -> Any:
        """A sibling's end in its end hook; those of a dynamic supervisor are all ending by then, in no order."""
        siblings = [one["id"] for one in self.known[sup_id] if one.get("stop") == "prompt"]
        return (
            ["takes along", self.choice(siblings)] if siblings and not self.supervisors[sup_id]["dynamic"] else "prompt"
        )

    def outcomes(self) -> list[str]:
        if self.chance(0.55):
            return []
        kinds = ["ok", "ok", "fail", "fail", "fail", "exit", "ignore"]
        return [self.choice(kinds) for _ in range(self.randint(1, 6))]

    # --- steps --------------------------------------------------------------------------------------------------------

    def step(self, favourite: str) -> dict[str, Any]:
        at = favourite if self.chance(0.5) else self.choice(["top", *self.supervisors])
        step = {"at": at, "age": self.choice([0, 0, *AGES_S, AGES_S[-1]]), "actions": []}
        while len(step["actions"]) < self.randint(1, 5):
            step["actions"] += self.actions(at)
        if at not in self.abrupt and self.chance(0.15):
            step["actions"].append(["end from above"])
        return step

    def actions(self, at: str) -> list[list[Any]]:
        """Some that belong together, mostly deaths and requests of and for children that there are."""
        sup, known = self.supervisors[at], self.known[at]
        if sup["dynamic"] and len(known) < 3 and self.chance(0.7):
            return [self.start_child(at)]
        if not known or self.chance(0.15):
            return [self.choice([self.start_child(at)] * 3 + [["which_children"], ["count_children"], ["stop"]])]
        child = self.choice(known)
        name, death = child["id"], ["die", child["id"], self.death(child)]
        if self.chance(0.5):
            return [death]
        if sup["dynamic"]:
            more = self.start_child(at)
            terminate = ["terminate_child", name]
            return self.choice(
                [[terminate], [death, terminate], [death, more], [death, more, terminate], [["which_children"]]]
            )
        terminate, restart, delete = (
            [operation, name] for operation in ("terminate_child", "restart_child", "delete_child")
        )
        return self.choice(
            [
                [terminate],
                [restart],
                [delete],
                [terminate, restart],
                [terminate, delete, ["start_child", child]],
                [death, restart],
                [death, delete],
                [death, terminate, restart],
                [death, ["start_child", child]],
                [["start_child", child]],
                [["get_childspec", name]],
                [["which_children"]],
                [["count_children"]],
            ]
        )

    def start_child(self, at: str) -> list[Any]:
        if self.ids >= MOST_IDS:
            return ["count_children"]
        child = self.child(at, 1 if at == "top" else 2)
        first = self.choice(["ok"] * 8 + ["fail", "ignore"])
        self.scripts[child["id"]] = [first, *self.outcomes()]
        return ["start_child", child]

    def death(self, child: dict[str, Any]) -> str:
        if "supervisor" in child:
            return self.choice(["stop", "kill"]) if child["id"] in self.calm else "stop"
        how = self.choice(DEATHS)
        return "crash" if how == "call" and child["kind"] == "plain" else how
