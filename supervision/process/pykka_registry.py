"""Pykka's ``ActorRegistry`` with removal in constant time, and with supervisors after their children.

Pykka keeps its actors in a list and removes by search, so stopping n actors takes n² steps (100,000 never ended). This puts
an ordered dictionary behind the few list operations that ``ActorRegistry`` uses.

What it answers stays the same but for the order: Pykka has its actors in start order, and ``stop_all`` goes through them from
the end. A supervisor moves to the end whenever it starts a child, and those above it move behind it: ``stop_all`` comes to
the top of a tree first, which stops what is below in its own order and time, and restarts nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pykka import ActorRegistry

from supervision.process.current import supervisors_of_caller
from supervision.runtime.per_process import in_forked_child
from supervision.runtime.reports import harmless

__all__ = ["enter", "greet_with", "install", "knows", "leave", "move_supervisors_behind"]

_greeters: list[Callable[[Any], None]] = []


class _IndexedRefs:
    """The list operations of ``ActorRegistry``, each in constant time. Its lock, Pykka's own, guards it."""

    def __init__(self, refs: Iterable[Any]) -> None:
        self._refs: dict[Any, None] = dict.fromkeys(refs)

    def append(self, ref: Any) -> None:
        for greet in _greeters:
            greet(ref)
        self._refs[ref] = None
        self.move_to_end(life.ref for life in supervisors_of_caller())

    def move_to_end(self, refs: Iterable[Any]) -> None:
        for ref in refs:
            if ref in self._refs:  # one that is ending is not there any more
                del self._refs[ref]
                self._refs[ref] = None

    def remove(self, ref: Any) -> None:
        try:
            del self._refs[ref]
        except KeyError:
            raise ValueError(ref) from None

    def clear(self) -> None:
        self._refs.clear()

    def __contains__(self, ref: Any) -> bool:
        return ref in self._refs

    def __iter__(self) -> Iterator[Any]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, key: Any) -> Any:
        return list(self._refs)[key]


def install() -> None:
    """See that it is in place; whoever sets Pykka's list anew sets it aside."""
    with ActorRegistry._actor_refs_lock:
        if isinstance(ActorRegistry._actor_refs, list):
            ActorRegistry._actor_refs = _IndexedRefs(ActorRegistry._actor_refs)  # type: ignore[assignment]


def _start_over() -> None:
    # The inherited lock may be held by a thread that does not exist in the child, and no inherited actor lives here.
    ActorRegistry._actor_refs_lock = threading.RLock()
    ActorRegistry._actor_refs.clear()


in_forked_child(_start_over)


def greet_with(greet: Callable[[Any], None]) -> None:
    """Have a function called with every ref that is about to enter, on the thread that starts the actor, before its own does."""
    _greeters.append(greet)


def enter(ref: Any) -> None:
    """Make an actor visible to ``ActorRegistry``; constant time."""
    install()
    with harmless:  # Pykka logs it
        ActorRegistry.register(ref)


def leave(ref: Any) -> None:
    """Take it out; constant time, and silent if it is not there."""
    with harmless:  # Pykka logs it
        ActorRegistry.unregister(ref)


def knows(ref: Any) -> bool:
    """Whether it is there: started, not ended, and of this process."""
    install()
    with ActorRegistry._actor_refs_lock:
        return ref in ActorRegistry._actor_refs


def move_supervisors_behind() -> None:
    """The caller supervises an actor that somebody else had started: move it, and those above it, behind that one."""
    install()
    with ActorRegistry._actor_refs_lock:
        refs: Any = ActorRegistry._actor_refs
        refs.move_to_end(life.ref for life in supervisors_of_caller())
