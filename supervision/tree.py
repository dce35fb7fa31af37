"""The system below a supervisor as a value that a person can read.

The calling thread asks each supervisor by itself, one after the other. Were they to ask those below them, each would be busy
until the slowest below it has answered, and two trees that look at each other would wait for ever.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from supervision.child_process import name_of_child
from supervision.children import Child, ChildState
from supervision.errors import NoProcess, ServerDied
from supervision.exits import Reason, text_of
from supervision.process.registry import ServerRef, name_of
from supervision.runtime import timer_thread
from supervision.supervising import AnySupervisor, ask, find_supervisor, is_supervisor


@dataclass(frozen=True, slots=True)
class Branch:
    """One child, and what is below it.

    Attributes:
        id: its id under its supervisor.
        name: the name that it was given, by its specification or at its start, or ``None``.
        ref: the live incarnation, ``None`` unless running.
        state: ``"running"``, ``"restarting"`` or ``"stopped"``.
        restarts: restarts that succeeded, since its supervisor started.
        last_exit: the reason of its newest end, ``None`` before the first. The exception of a ``Crash`` is not the original
            here, which would keep the dead actor in memory, but an ``ExceptionText``.
        age_s: seconds since its newest good start, ``None`` unless running.
        children: below a supervisor, its children in start order.
    """

    id: Hashable
    name: str | None
    ref: Any
    state: ChildState
    restarts: int
    last_exit: Reason | None
    age_s: float | None
    children: tuple[Branch, ...] = ()

    @classmethod
    def of(cls, child: Child) -> Branch:
        """The row of one child, without what is below it."""
        age_s = None if child.ref is None or child.started_at is None else timer_thread.now() - child.started_at
        name = name_of_child(child)
        return cls(child.spec.id, name, child.ref, child.state, child.restarts, child.last_exit, age_s)

    def _line(self) -> str:
        name = f" ({self.name})" if self.name not in (None, self.id) else ""
        age = "" if self.age_s is None else f", up {self.age_s:.1f} s"
        restarts = f", {self.restarts} restart{'s' if self.restarts > 1 else ''}" if self.restarts else ""
        last_exit = "" if self.last_exit is None else f", last exit {self.last_exit}"
        return f"{text_of(self.id)}{name}: {self.state}{age}{restarts}{last_exit}"


@dataclass(frozen=True, slots=True)
class Tree:
    """A supervisor and all below it; ``str`` draws it.

    Attributes:
        ref: the supervisor.
        children: its children in start order.
        name: its own name, or ``None``.
    """

    ref: Any
    children: tuple[Branch, ...]
    name: str | None = None

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name is not None else ""
        return "\n".join([f"{self.ref.actor_class.__name__}{name}", *_draw(self.children, "")])


def _draw(children: tuple[Branch, ...], indent: str) -> Iterator[str]:
    for number, child in enumerate(children, 1):
        last = number == len(children)
        yield f"{indent}{'└─' if last else '├─'} {child._line()}"
        yield from _draw(child.children, indent + ("   " if last else "│  "))


def grow(sup: ServerRef) -> Tree:
    """The tree below a supervisor; raises ``NoProcess`` where that is not alive."""
    ref = find_supervisor(sup, AnySupervisor)
    return Tree(ref, _branches(ref), name_of(ref))


def _branches(ref: Any) -> tuple[Branch, ...]:
    return tuple(_with_children(row) for row in ask(ref, AnySupervisor, rows))


def rows(supervisor: AnySupervisor) -> list[Branch]:
    """The rows of a supervisor's children, as they are now; on the supervisor's thread."""
    return [Branch.of(child) for child in supervisor._children.values()]


def _with_children(row: Branch) -> Branch:
    if row.ref is None or not is_supervisor(row.ref):
        return row
    try:
        below = _branches(row.ref)
    except (NoProcess, ServerDied):  # it ended since; the next look will show what became of it
        return row
    return replace(row, children=below)
