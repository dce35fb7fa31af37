"""What travels through a mailbox besides the users' own messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from supervision.exits import Reason

__all__ = ["Down", "ExitSignal", "Withdrawable"]


@dataclass(frozen=True, slots=True)
class Down:
    """An actor that was monitored has ended; exactly one for each monitor. Equal to one that says the same.

    Attributes:
        monitor: what ``monitor()`` returned.
        ref: the actor that ended.
        reason: ``NORMAL``, ``SHUTDOWN``, ``KILLED``, ``Shutdown(detail)`` or ``Crash(exception)``; ``NOPROC`` where it was
            already gone when the monitor was made.
    """

    monitor: Any
    ref: Any
    reason: Reason

    def __hash__(self) -> int:
        return hash((self.monitor, self.ref))  # the reason may hold anything, be it hashable or not


@dataclass(frozen=True, slots=True)
class ExitSignal:
    """Ends the actor that handles it.

    Attributes:
        reason: what it ends with.
        sender: the life that waits for the end, ``None`` outside an actor; a call back to it could only deadlock.
        for_restart: whether this end is part of a restart: the actor is expected to be started again.
    """

    reason: Reason
    sender: Any = None
    for_restart: bool = False


class Withdrawable:
    """A message whose handling can be withdrawn until the moment it is handled (a timer's, a monitor's)."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:
        self.message = message

    def claim(self) -> bool:
        """Whether it may be handled now; never after it was withdrawn."""
        raise NotImplementedError
