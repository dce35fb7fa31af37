"""What belongs to one process of the operating system: a forked child gets its own; and whether the interpreter goes down.

A fork copies the parent's memory, and of its threads only the one that forks. What another thread was just holding or changing
stays so in the child for ever: a lock is never released, a table names threads that are not there. So what threads share in a
module stands in a `PerProcess`, which has a new one made in the child.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["PerProcess", "in_forked_child", "is_exiting"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value of which each process has its own.

    Read ``value`` at each use, and keep what it gives no longer than that use: a thread that forks finds another in the child. A
    `PerProcess` may be a variable of a module or belong to an object, and goes when the object goes.

    Attributes:
        value: this process's own.

    Args:
        make: makes a value. It is called here, and again in each forked child, on the child's only thread and before any code
            that follows the fork. It must not raise, nor read what another thread of the parent may just have been changing.
    """

    __slots__ = ("__weakref__", "_make", "value")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        _everyone[self] = None  # first: a finalizer that runs here and forks must not leave the child with its parent's
        self.value = make()

    def _renew(self) -> None:
        self.value = self._make()


_everyone: WeakKeyDictionary[PerProcess[Any], None] = WeakKeyDictionary()  # in the order in which they were made


def in_forked_child(hook: Callable[[], None]) -> None:
    """Have a function called in each forked child, on its only thread, when every `PerProcess` has its new value.

    Several run in the order in which they were given. Without effect on a system that has no fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=hook)


def _renew_everyone() -> None:
    for one in _everyone.keyrefs():
        kept = one()
        if kept is not None:
            kept._renew()


in_forked_child(_renew_everyone)


_main_is_through = PerProcess(threading.Event)  # a forked child has a main thread of its own


def _note_exit() -> None:
    _main_is_through.value.set()


# What atexit calls comes only after the interpreter's wait for other threads, and whatever has been registered later than
# this comes before it; concurrent.futures needs threading's own hook for the same reason. Both say the same.
atexit.register(_note_exit)
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_note_exit)


def is_exiting() -> bool:
    """Whether the interpreter is going down: the main thread is through, and so are all others that it waits for.

    Nothing is restarted any more then. Our threads are daemons, which the interpreter does not wait for.
    """
    if not _main_is_through.value.is_set():
        return False
    main = threading.main_thread()
    return all(thread.daemon or thread is main for thread in threading.enumerate())
