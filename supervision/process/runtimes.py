"""What an actor's turns run on: the shared pool, or a thread of its own."""

from __future__ import annotations

import itertools
import queue
import threading
from typing import TYPE_CHECKING, Protocol

from supervision.runtime import dispatcher as dispatch
from supervision.runtime.per_process import PerProcess

if TYPE_CHECKING:
    from supervision.process.process import Life

__all__ = ["POOL", "OwnThread", "Pool", "Runtime"]

_numbers = itertools.count(1)


class Runtime(Protocol):
    """What an actor's turns run on.

    Attributes:
        thread: the thread of its own, ``None`` without one.
    """

    thread: threading.Thread | None

    def begin(self, life: Life) -> None:
        """Have the first turn run; raises ``RuntimeError`` where there is no thread to be had."""

    def schedule(self, life: Life) -> None:
        """Have a turn run soon; called when the mailbox stops being idle, now and then more than once."""

    def retire(self, life: Life) -> None:
        """The life has ended: let go of what waits for its mail."""

    def lost(self, life: Life) -> None:
        """Its thread is stuck in an abandoned handler."""

    def found(self, life: Life) -> None:
        """That thread came back."""


class Pool:
    """Turns on the shared pool: a worker is occupied only while there is mail."""

    thread: threading.Thread | None = None

    def begin(self, life: Life) -> None:
        if not dispatch.begin(life):
            raise RuntimeError("can't start new thread: the pool has no worker, and could not make one")

    def schedule(self, life: Life) -> None:
        dispatch.submit(life)

    def retire(self, life: Life) -> None:
        """Nothing waits for a pooled actor's mail."""

    def lost(self, life: Life) -> None:
        dispatch.lost_worker(life)

    def found(self, life: Life) -> None:
        dispatch.found_worker(life)


POOL = Pool()


class OwnThread:
    """Turns on one daemon thread, which ends with the actor."""

    __slots__ = ("_bell", "thread")

    def __init__(self) -> None:
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None

    def begin(self, life: Life) -> None:
        name = f"{life.ref.actor_class.__name__}-{next(_numbers)}"
        thread = threading.Thread(target=self.run, args=(life,), name=name, daemon=True)
        thread.start()
        self.thread = thread

    def run(self, life: Life) -> None:
        """Give the calling thread to the actor until that has ended."""
        while True:
            while life.turn():
                pass
            if life.is_ended:
                return
            self._bell.get()  # no deadline: retire() rings, whatever way the life ends

    def schedule(self, life: Life) -> None:
        self._bell.put(None)

    def retire(self, life: Life) -> None:
        self._bell.put(None)

    def lost(self, life: Life) -> None:
        """It takes nobody else's place."""

    def found(self, life: Life) -> None:
        """It gave nobody's place back."""


__all__ = ["abandon", "abandoned_count", "comes_back"]

_abandoned: PerProcess[dict[Life, None]] = PerProcess(
    dict
)  # killed while a thread was in their turn, which is still there


def abandoned_count() -> int:
    """How many threads are stuck right now in handlers of killed actors."""
    return len(_abandoned.value)


def abandon(life: Life) -> bool:
    """Leave the thread behind that is in a turn of an actor, unless it is the caller's, or is just leaving it."""
    busy = life.busy
    if not busy or busy == [threading.get_ident()]:
        return False
    # All of it before the thread can see it, which takes it back.
    life.abandoned = True
    _abandoned.value[life] = None
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
    _abandoned.value.pop(life, None)
    life.runtime.found(life)
