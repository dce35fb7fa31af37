"""How many restarts a supervisor makes before it gives up. Pure.

One window per supervisor. On every automatic restart attempt, before it is made: forget attempts older than
``max_seconds`` (one exactly that old still counts), add this one, and give up when more than ``max_restarts`` remain
(OTP, ``supervisor.erl``, ``add_restart/1``; OTP counts in whole seconds, this in exact floats).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Intensity"]


@dataclass(frozen=True, slots=True)
class Intensity:
    """The window and the attempts inside it.

    Attributes:
        max_restarts: attempts allowed inside the window; 0 gives up at the first.
        max_seconds: length of the window in seconds.
        attempts: monotonic times in seconds of the attempts that may still count, oldest first.
    """

    max_restarts: int
    max_seconds: float
    attempts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.max_restarts, bool) or not isinstance(self.max_restarts, int):
            raise TypeError(f"max_restarts: expected an int of at least 0, got {self.max_restarts!r}")
        if self.max_restarts < 0:
            raise ValueError(f"max_restarts: expected an int of at least 0, got {self.max_restarts!r}")
        if isinstance(self.max_seconds, bool) or not isinstance(self.max_seconds, int | float):
            raise TypeError(f"max_seconds: expected seconds above 0, got {self.max_seconds!r}")
        if not 0 < self.max_seconds < float("inf"):
            raise ValueError(f"max_seconds: expected finite seconds above 0, got {self.max_seconds!r}")

    def attempt(self, now: float) -> Intensity:
        """The window after one more attempt at ``now`` (monotonic seconds)."""
        kept = tuple(at for at in self.attempts if at >= now - self.max_seconds)
        return Intensity(self.max_restarts, self.max_seconds, (*kept, now))

    @property
    def exceeded(self) -> bool:
        """Whether the newest attempt is one too many and must not be made."""
        return len(self.attempts) > self.max_restarts
