"""The table of names. A name belongs to one live actor, and is free before anyone hears that it died."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any

from supervision.errors import AlreadyStarted, NoProcess

__all__ = ["claim", "forget", "lookup", "release"]


class _Names:
    """Name to life; made anew in a forked child, where no inherited actor lives."""

    def __init__(self) -> None:
        # Guards the table against concurrent claims and releases. Taken before a life's lock, never after. Look-ups go without.
        # Reentrant for the sake of finalizers, which the garbage collector may run here.
        self.lock = threading.RLock()
        self.table: dict[str, Any] = {}


_names = _Names()


def _start_over() -> None:
    global _names  # noqa: PLW0603 - a fork is the one thing that changes it
    _names = _Names()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def lookup(name: str) -> Any:
    """The live life behind a name, or ``None``; one dictionary look-up, no lock."""
    life = _names.table.get(name)
    return None if life is None or life.is_ended else life


def claim(name: str, life: Any) -> None:
    """Give a name to a live actor.

    Raises:
        AlreadyStarted: the name has a live owner, this actor included.
        NoProcess: the actor has ended.
    """
    with _names.lock:
        owner = _names.table.get(name)
        if owner is not None and not owner.is_ended:
            raise AlreadyStarted(name, owner.ref)
        if not life.holds_name(name):
            raise NoProcess(life.ref)
        _names.table[name] = life


def release(names: Iterable[str], life: Any) -> None:
    """Free the names of an actor that has ended."""
    with _names.lock:
        for name in names:
            if _names.table.get(name) is life:
                del _names.table[name]


def forget(name: str) -> None:
    """Free one name; silent where there is nothing."""
    with _names.lock:
        life = _names.table.pop(name, None)
        if life is not None:
            life.drops_name(name)
