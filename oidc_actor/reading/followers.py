"""Which manager trades whose token, so that it hears of each new one."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable

from oidc_actor.machine.events import SourceRenewed
from oidc_actor.reading.cell import Cell
from oidc_actor.reading.directory import cell_of

_followers: dict[
    Hashable, weakref.WeakSet[Cell]
] = {}  # by name, which may not be anybody's yet, and by a cell's number
_lock = threading.Lock()  # guards the table; held for no longer than a change of it


def follow(source: Hashable, follower: Cell) -> None:
    """Have a manager told of each new token of another; it is until it is gone.

    Args:
        source: The other's ref or name; one of that name may be started later.
        follower: The manager's cell.
    """
    cell = cell_of(source)  # by ref, or by a second name
    keys = [key for key in (source if isinstance(source, str) else None, cell and cell.number) if key is not None]
    with _lock:
        for key in keys:
            _followers.setdefault(key, weakref.WeakSet()).add(follower)


def tell_followers(cell: Cell) -> None:
    """A manager has a new token, which readers get already."""
    with _lock:
        sets = [known for key in (cell.name, cell.number) if (known := _followers.get(key)) is not None]
        found = {follower.number: follower for known in sets for follower in known}
    for follower in found.values():
        follower.tell(SourceRenewed())


def _start_over() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent may hold it for ever
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
