"""The least that a read which checks expiry can cost in Python; what the reads are compared with."""

from __future__ import annotations

import time

_clock_gettime, _BOOTTIME = time.clock_gettime, time.CLOCK_BOOTTIME


class Snapshot:
    """A token's text and its deadline."""

    __slots__ = ("deadline", "text")

    def __init__(self, text: str, deadline: float) -> None:
        self.text = text
        self.deadline = deadline


class Floor:
    """Loads a snapshot, reads the clock once, compares."""

    __slots__ = ("snapshot",)

    def __init__(self, lifetime_s: float) -> None:
        self.snapshot = Snapshot("t" * 600, _clock_gettime(_BOOTTIME) + lifetime_s)

    def read(self) -> str:
        """The token's text."""
        snapshot = self.snapshot
        if _clock_gettime(_BOOTTIME) < snapshot.deadline:
            return snapshot.text
        raise LookupError("expired")

    async def aread(self) -> str:
        """Do what `read` does, in a task."""
        snapshot = self.snapshot
        if _clock_gettime(_BOOTTIME) < snapshot.deadline:
            return snapshot.text
        raise LookupError("expired")
