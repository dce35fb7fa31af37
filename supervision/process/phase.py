"""How far the life of an actor has come; what leads from one to the next is in ``supervision.process.process``. Pure."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Phase"]


class Phase(IntEnum):
    """Each is entered once, in that order."""

    STARTING = 0
    RUNNING = 1
    ENDING = 2
    ENDED = 3
