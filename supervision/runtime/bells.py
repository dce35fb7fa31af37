"""Two ways to be told across threads without a lock that a caller could be interrupted in.

A signal handler, a ``__del__`` or a weakref callback runs between any two instructions of the thread that it interrupts, and
may do there whatever that thread was just doing. A lock that the thread holds in Python code would then be waited for: by
the handler itself, for ever, or by the worker that the handler waits for. So nothing that a caller of `call`, `cast`, `tell`,
`ask` or of a token read passes through holds one. It makes changes that are one operation of C each (`list.append`, `dict.pop`,
`SimpleQueue.put`), in an order in which each prefix is safe to be stopped at, and rings one of these.
"""

from __future__ import annotations

import threading
from typing import TypeVar

__all__ = ["Bell", "Summons", "taken_out"]

T = TypeVar("T")


class Bell:
    """Rung once for good, by any thread; any number of threads wait for that."""

    __slots__ = ("_lock",)
    foreign = False

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held until it rings; guards nothing
        self._lock.acquire()

    def ring(self) -> None:
        """Let go all that wait, and all that will."""
        try:
            self._lock.release()
        except RuntimeError:  # it has been rung already
            return

    def wait(self, seconds: float) -> bool:
        """Wait for at most so many seconds; returns whether it has been rung."""
        if not self._lock.acquire(timeout=seconds):
            return False
        self.ring()  # it stays so, for the next to wait
        return True

    def deliver(self, reason: object) -> None:
        """Ring when an actor has ended, before any monitor's callable runs."""
        self.ring()


class Summons:
    """One message that has somebody look at a list, in place of one message for each entry.

    Who adds to the list first adds, then looks whether a summons stands, and makes one where none does. Who is summoned first
    says that it has heard, then looks at the list. So an entry that was added under a standing summons is seen.

    It stands only between the two. A caller that is interrupted *before* it has noted that the message is sent leaves a
    summons that does not stand: the handler that interrupts it makes another. A message too many does no harm; one too few
    would leave the handler waiting for the caller that it interrupts. Nobody takes a note back, so a note that comes late, on a
    thread that was slow, is about an old summons, and harmless.
    """

    __slots__ = ("_is_heard", "_is_sent", "to")

    def __init__(self, to: object = None) -> None:
        self.to = to  # whom it was sent to, where that can change
        self._is_sent = self._is_heard = False

    @property
    def stands(self) -> bool:
        """Whether who is summoned will look at the list after this."""
        return self._is_sent and not self._is_heard

    @classmethod
    def standing(cls) -> Summons:
        """One that stands from the beginning, where the first look comes without a message."""
        made = cls()
        made.sent()
        return made

    def sent(self) -> None:
        """Note that the message is on its way."""
        self._is_sent = True

    def heard(self) -> None:
        """Note that the list is about to be looked at."""
        self._is_heard = True


def taken_out(entries: list[T]) -> list[T]:
    """Empty a list that others may be adding to, or taking back from; each entry comes out of it once."""
    found: list[T] = []
    while entries:
        try:
            found.append(entries.pop())
        except IndexError:  # another thread has taken the last
            break
    found.reverse()
    return found
