"""A supervisor's flags: which siblings a restart takes along, how many restarts are too many, what ends it. Pure.

==================  ==================================  ========================
strategy            stopped, in reverse start order     started, in start order
==================  ==================================  ========================
``one_for_one``     the failed child                    the failed child
``rest_for_one``    it and every child after it         the same
``one_for_all``     all                                 all
==================  ==================================  ========================

Only those that are alive need stopping, and a temporary sibling is stopped and forgotten, never started again. A
child that an operator or its own normal end had stopped is started again when it lies in the range (OTP,
``supervisor.erl``, ``restart/3``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Reversible, Sequence
from typing import Literal, TypeAlias, TypeVar

from supervision.children import ChildSpec
from supervision.errors import check_count, check_one_of
from supervision.frozen import dataclass

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]
T = TypeVar("T")


def affected(strategy: Strategy, children: Reversible[T], failed: T) -> Sequence[T]:
    """The children that a restart of ``failed`` stops and starts, in start order; ``children`` are all of them, likewise.

    This looks at those alone: a restart must not cost more where there are more children that it does not concern.
    """
    if strategy == "one_for_one":
        return (failed,)
    found: list[T] = []
    for child in reversed(children):
        found.append(child)
        if child == failed and strategy == "rest_for_one":
            break
    found.reverse()
    return found


def ends_supervisor(auto_shutdown: AutoShutdown, significant: bool, others_active: bool) -> bool:
    """Whether a child that ended by itself, and is not restarted, takes the supervisor down.

    Args:
        auto_shutdown: the supervisor's flag.
        significant: whether that child is.
        others_active: whether another significant child runs or is being restarted.
    """
    if not significant or auto_shutdown == "never":
        return False
    return auto_shutdown == "any_significant" or not others_active


class Intensity:
    """The window and the attempts inside it (OTP, "Maximum Restart Intensity").

    Attributes:
        max_restarts: attempts allowed inside the window; 0 gives up at the first.
        max_seconds: length of the window in seconds.
        attempts: monotonic times in seconds of the attempts that may still count, oldest first.
    """

    __slots__ = ("attempts", "max_restarts", "max_seconds")

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        self.max_restarts, self.max_seconds = max_restarts, max_seconds
        self.attempts: deque[float] = deque()
        check_count("max_restarts", self.max_restarts)
        if isinstance(self.max_seconds, bool) or not isinstance(self.max_seconds, int | float):
            raise TypeError(f"max_seconds: expected seconds above 0, got {self.max_seconds!r}")
        if not 0 < self.max_seconds < float("inf"):
            raise ValueError(f"max_seconds: expected finite seconds above 0, got {self.max_seconds!r}")

    def attempt(self, now: float) -> bool:
        """Count one more attempt at ``now`` (monotonic seconds); false if it is one too many and must not be made."""
        while self.attempts and self.attempts[0] < now - self.max_seconds:  # each is dropped once, however many stay
            self.attempts.popleft()
        self.attempts.append(now)
        return len(self.attempts) <= self.max_restarts


@dataclass(frozen=True, slots=True)
class SupervisorFlags:
    """The flags of a ``Supervisor`` (OTP, ``supervisor:sup_flags()``).

    Attributes:
        strategy: what a restart takes along.
        max_restarts: restart attempts allowed within ``max_seconds``.
        max_seconds: length of that window in seconds.
        auto_shutdown: whether the end of significant children ends the supervisor.
    """

    strategy: Strategy = "one_for_one"
    max_restarts: int = 3
    max_seconds: float = 5.0
    auto_shutdown: AutoShutdown = "never"

    def __post_init__(self) -> None:
        check_one_of("strategy", self.strategy, Strategy)
        check_one_of("auto_shutdown", self.auto_shutdown, AutoShutdown)
        self.intensity()

    def intensity(self) -> Intensity:
        """An empty window of that size."""
        return Intensity(self.max_restarts, self.max_seconds)

    def accept(self, spec: ChildSpec) -> None:
        """Raise ``ValueError`` for a specification that this supervisor cannot honour."""
        if spec.significant and self.auto_shutdown == "never":
            raise ValueError(
                f'ChildSpec.significant of {spec.id!r}: needs a supervisor with auto_shutdown, got "never"'
            )

    def may_loop(self, spec: ChildSpec) -> bool:
        """Whether stopping that child as a sibling can take longer than the window, so that restarts go on for ever."""
        is_slow = isinstance(spec.shutdown, int | float) and spec.shutdown > self.max_seconds
        return is_slow and self.strategy != "one_for_one" and self.max_restarts > 0
