"""What is done at its first use, on whichever thread that is, and never while the process forks: imports, and OpenSSL's set-up.

A child that was forked in the middle of another thread's import finds the module's lock held, by a thread that it does not have,
and hangs at its own first use of it. A preloading server, which starts managers and then forks its workers, would do that.
The same holds for OpenSSL, which sets itself up when a process makes its first TLS context, under locks of its own and
without the interpreter's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from supervision.runtime.per_process import PerProcess

LONGEST_IMPORT_S = 10.0
"""Seconds that a fork, or another import, waits for one under way; past them it goes on, rather than never."""

# Held while something is imported or set up, and by the thread that forks while it does. Reentrant: imports nest, and may fork.
#
# At a fork the forking thread takes the lock first, and so waits for the import of another thread; it forks; then the parent's
# thread gives the lock back, and the child has a new one, which no thread of the parent holds. A thread that begins an import
# while another forks waits in the parent until the fork is over. It does not exist in the child.
_lock = PerProcess(threading.RLock)


@contextmanager
def fork_waits() -> Iterator[None]:
    """Have forks wait while the block imports or sets up something; one thread at a time, unless another takes too long."""
    lock = _lock.value  # in a child that is forked within the block it is another
    is_held = lock.acquire(timeout=LONGEST_IMPORT_S)
    try:
        yield
    finally:
        if is_held:
            lock.release()


def _before_fork() -> None:
    _lock.value.acquire(timeout=LONGEST_IMPORT_S)


def _after_fork() -> None:
    # Two threads may fork at a time, and only the lock knows which of them has it: to the other it raises a `RuntimeError`.
    with suppress(RuntimeError):
        _lock.value.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)
