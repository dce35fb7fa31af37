"""How many threads are stuck in handlers of killed actors: Python cannot end them, so at least they are counted."""

from __future__ import annotations

import os
import threading

__all__ = ["abandoned_count", "note_abandoned", "note_returned"]

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
