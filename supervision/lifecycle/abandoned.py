"""How many threads are stuck in handlers of killed actors: Python cannot end them, so at least they are counted."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervision.lifecycle.life import Life

__all__ = ["abandon", "abandoned_count", "comes_back", "note_abandoned", "note_returned"]

_count = 0
_lock = threading.Lock()  # guards the count


def _start_over() -> None:
    global _count, _lock  # noqa: PLW0603 - a forked child has none of those threads, and the lock may be held for ever
    _count = 0
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def abandoned_count() -> int:
    """How many threads are stuck right now in handlers of killed actors."""
    return _count


def note_abandoned() -> None:
    """One more is."""
    global _count  # noqa: PLW0603 - one figure for the process
    with _lock:
        _count += 1


def note_returned() -> None:
    """One of them came back."""
    global _count  # noqa: PLW0603 - one figure for the process
    with _lock:
        _count -= 1


def abandon(life: Life) -> bool:
    """Leave the thread behind that is in a turn of an actor, unless it is the caller's, or is just leaving it."""
    busy = life.busy
    if not busy or busy == [threading.get_ident()]:
        return False
    # All of it before the thread can see it, which takes it back.
    life.abandoned = True
    note_abandoned()
    life.runtime.lost(life)
    try:
        busy.pop()
    except IndexError:
        _take_back(life)
        return False
    return True


def comes_back(life: Life) -> None:
    """The calling thread has come out of a turn of that actor, which may have been left behind in it."""
    busy, life.busy = life.busy, None
    if busy is not None:
        try:
            busy.pop()
        except IndexError:  # the kill has been first
            _take_back(life)


def _take_back(life: Life) -> None:
    life.abandoned = False
    note_returned()
    life.runtime.found(life)
