"""When the interpreter goes down: nothing is restarted any more. Our threads are daemons, which it does not wait for."""

from __future__ import annotations

import atexit
import threading

from supervision.runtime.per_process import PerProcess

__all__ = ["is_exiting"]

_main_is_through = PerProcess(threading.Event)  # a forked child has a main thread of its own


def _note() -> None:
    _main_is_through.value.set()


# What atexit calls comes only after the interpreter's wait for other threads, and whatever has been registered later than
# this comes before it; concurrent.futures needs threading's own hook for the same reason. Both say the same.
atexit.register(_note)
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_note)


def is_exiting() -> bool:
    """Whether the interpreter is going down: the main thread is through, and so are all others that it waits for."""
    if not _main_is_through.value.is_set():
        return False
    main = threading.main_thread()
    return all(thread.daemon or thread is main for thread in threading.enumerate())
