"""The table of names. A name belongs to one live actor, and is free before anyone hears that it died."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from supervision.errors import AlreadyStarted, NoProcess
from supervision.runtime.per_process import PerProcess

__all__ = ["claim", "forget", "lookup", "release"]


class _Names:
    """Name to life; empty in a forked child, where no inherited actor lives."""

    def __init__(self) -> None:
        # Guards the table against concurrent claims and releases. Taken before a life's lock, never after. Look-ups go without.
        # Reentrant for the sake of finalizers, which the garbage collector may run here.
        self.lock = threading.RLock()
        self.table: dict[str, Any] = {}


_names = PerProcess(_Names)


def lookup(name: str) -> Any:
    """The live life behind a name, or ``None``; one dictionary look-up, no lock."""
    life = _names.value.table.get(name)
    return None if life is None or life.is_ended else life


def claim(name: str, life: Any) -> None:
    """Give a name to a live actor.

    Raises:
        AlreadyStarted: the name has a live owner, this actor included.
        NoProcess: the actor has ended.
    """
    with _names.value.lock:
        owner = _names.value.table.get(name)
        if owner is not None and not owner.is_ended:
            raise AlreadyStarted(name, owner.ref)
        if not life.holds_name(name):
            raise NoProcess(life.ref)
        _names.value.table[name] = life


def release(names: Iterable[str], life: Any) -> None:
    """Free the names of an actor that has ended."""
    with _names.value.lock:
        for name in names:
            if _names.value.table.get(name) is life:
                del _names.value.table[name]


def forget(name: str) -> None:
    """Free one name; silent where there is nothing."""
    with _names.value.lock:
        life = _names.value.table.pop(name, None)
        if life is not None:
            life.drops_name(name)
