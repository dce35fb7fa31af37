"""Who is told of an end, in which order and where: first ours, who only take note of it, then what others have written.

A monitor's callable may block. So it runs when everything else has been seen to, and where nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from supervision import dispatch
from supervision.exits import Reason

__all__ = ["Audience", "Watch"]


class Watch(Protocol):
    """Somebody to tell of the end."""

    @property
    def foreign(self) -> bool:
        """Whether ``deliver`` runs code that is not ours, and may block."""

    def deliver(self, reason: Reason) -> None:
        """Called once: ours on the thread that ended the actor; a foreign one there too, or on one of the pool."""


class Audience:
    """All who are to hear of one end; ours, and the foreign ones, each in the order in which they began to watch."""

    __slots__ = ("_interrupt", "_ours", "_reason", "foreign")

    def __init__(self, watches: Iterable[Watch], reason: Reason) -> None:
        self._reason = reason
        self._interrupt: BaseException | None = None
        self._ours: list[Watch] = []
        self.foreign: list[Watch] = []
        for watch in watches:
            (self.foreign if watch.foreign else self._ours).append(watch)

    def tell_ours(self) -> None:
        """Tell supervisors, watching actors and those who wait."""
        self._tell(self._ours)

    def tell_foreign(self) -> None:
        """Run the callables. Raises a Ctrl-C that came since the first of all was told: it keeps none from hearing."""
        self._tell(self.foreign)
        self._break_off()

    def tell_aside(self) -> None:
        """Have the callables run on the pool, because the calling thread has more to do than to wait for them."""
        if self.foreign:
            dispatch.submit(self)
        self._break_off()

    def turn(self) -> bool:
        """It is their turn on the pool."""
        self._tell(self.foreign)
        return False

    def _tell(self, watches: list[Watch]) -> None:
        for watch in watches:
            try:
                watch.deliver(self._reason)
            except BaseException as error:  # noqa: BLE001 - see `tell_foreign`
                self._interrupt = error

    def _break_off(self) -> None:
        if self._interrupt is not None:
            raise self._interrupt
