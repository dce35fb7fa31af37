"""Pykka's ``ActorRegistry`` with removal in constant time.

Pykka keeps its actors in a list and removes by search, so stopping n actors takes n² steps (100,000 never ended). This puts
an ordered dictionary behind the few list operations that ``ActorRegistry`` uses; what it answers stays the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pykka import ActorRegistry

__all__ = ["enter", "greet_with", "install", "knows", "leave"]

_greeters: list[Callable[[Any], None]] = []


class _IndexedRefs:
    """The list operations of ``ActorRegistry``, each in constant time. Its lock, Pykka's own, guards it."""

    def __init__(self, refs: Iterable[Any]) -> None:
        self._refs: dict[Any, None] = dict.fromkeys(refs)

    def append(self, ref: Any) -> None:
        for greet in _greeters:
            greet(ref)
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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def greet_with(greet: Callable[[Any], None]) -> None:
    """Have a function called with every ref that is about to enter, on the thread that starts the actor, before its own does."""
    _greeters.append(greet)


def enter(ref: Any) -> None:
    """Make an actor visible to ``ActorRegistry``; constant time."""
    install()
    ActorRegistry.register(ref)


def leave(ref: Any) -> None:
    """Take it out; constant time, and silent if it is not there."""
    ActorRegistry.unregister(ref)


def knows(ref: Any) -> bool:
    """Whether it is there: started, not ended, and of this process."""
    install()
    with ActorRegistry._actor_refs_lock:
        return ref in ActorRegistry._actor_refs
