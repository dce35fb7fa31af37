"""What belongs to one process of the operating system: a forked child gets its own, before any other code runs there.

A fork copies the parent's memory, and of its threads only the one that forks. What another thread was just holding or changing
stays so in the child for ever: a lock is never released, a table names threads that are not there. So what threads share in a
module stands in a `PerProcess`, which has a new one made in the child.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

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
