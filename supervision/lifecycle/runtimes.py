"""What an actor's turns run on: the shared pool, or a thread of its own."""

from __future__ import annotations

import itertools
import queue
import threading
from typing import TYPE_CHECKING

from supervision import dispatch

if TYPE_CHECKING:
    from supervision.lifecycle.life import Life

__all__ = ["POOL", "OwnThread", "Pool"]

_numbers = itertools.count(1)


class Pool:
    """Turns on the shared pool: a worker is occupied only while there is mail."""

    __slots__ = ()

    def begin(self, life: Life) -> None:
        dispatch.submit(life)

    def schedule(self, life: Life) -> None:
        dispatch.submit(life)

    def retire(self, life: Life) -> None:
        """Nothing waits for a pooled actor's mail."""

    def join(self, timeout: float) -> None:
        """A pooled actor has no thread of its own."""

    def lost(self) -> None:
        dispatch.lost_worker()

    def found(self) -> None:
        dispatch.found_worker()


POOL = Pool()


class OwnThread:
    """Turns on one daemon thread, which ends with the actor."""

    __slots__ = ("_bell", "_thread")

    def __init__(self) -> None:
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, life: Life) -> None:
        name = f"{life.ref.actor_class.__name__}-{next(_numbers)}"
        self._thread = threading.Thread(target=self._run, args=(life,), name=name, daemon=True)
        self._thread.start()

    def takes_over(self, life: Life) -> None:
        """Run on the calling thread, which somebody else has started, until the actor has ended."""
        self._thread = threading.current_thread()
        self._run(life)

    def _run(self, life: Life) -> None:
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

    def join(self, timeout: float) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def lost(self) -> None:
        """It takes nobody else's place."""

    def found(self) -> None:
        """It gave nobody's place back."""
