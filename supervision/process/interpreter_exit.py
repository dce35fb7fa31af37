"""When the interpreter goes down: nothing is restarted any more. Our threads are daemons, which it does not wait for."""

from __future__ import annotations

import atexit
import os
import threading

__all__ = ["is_exiting"]

_main_is_through = threading.Event()


def _start_over() -> None:
    global _main_is_through  # noqa: PLW0603 - a forked child has a main thread of its own
    _main_is_through = threading.Event()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def _note() -> None:
    _main_is_through.set()


# What atexit calls comes only after the interpreter's wait for other threads, and whatever has been registered later than
# this comes before it; concurrent.futures needs threading's own hook for the same reason. Both say the same.
atexit.register(_note)
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_note)


def is_exiting() -> bool:
    """Whether the interpreter is going down: the main thread is through, and so are all others that it waits for."""
    if not _main_is_through.is_set():
        return False
    main = threading.main_thread()
    return all(thread.daemon or thread is main for thread in threading.enumerate())
