"""One row of the chaos table: what happens, where the row comes from, what is promised; and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.world import World

SCRIPTED, NPM = "scripted", "npm"
BOTH = (SCRIPTED, NPM)

Play = Callable[["World"], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row.

    Attributes:
        name: The row's name.
        source: Where it comes from, several separated by semicolons: "peers: ..." is a case in which other clients were
            measured, "pain N" what their users reported (`chaos.pains`), "elixir N" a fault of the original, "promise" one of
            ours.
        promise: What the library does.
        play: Lets it happen and notes what was measured.
        on: The providers it is played with.
        lifetime_s: Life of the provider's tokens, in seconds of the test's clock.
    """

    name: str
    source: str
    promise: str
    play: Play
    on: tuple[str, ...] = BOTH
    lifetime_s: int = 600


@dataclass(frozen=True, slots=True)
class Check:
    """One measured thing: what it is, what was measured, and whether that keeps the promise."""

    what: str
    measured: str
    kept: bool


@dataclass(slots=True)
class Row:
    """What came of playing a scenario with one provider."""

    scenario: Scenario
    provider: str
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether everything that was measured keeps the promise, and something was."""
        return bool(self.checks) and all(check.kept for check in self.checks)

    @property
    def broken(self) -> list[Check]:
        """What did not."""
        return [check for check in self.checks if not check.kept]


SCENARIOS: list[Scenario] = []


def row(source: str, promise: str, *, on: tuple[str, ...] = BOTH, lifetime_s: int = 600) -> Callable[[Play], Play]:
    """Enter a function into the table; its name is the row's."""

    def enter(play: Play) -> Play:
        add(play.__name__, source, promise, play, on=on, lifetime_s=lifetime_s)
        return play

    return enter


def add(name: str, source: str, promise: str, play: Play, *, on: tuple[str, ...] = BOTH, lifetime_s: int = 600) -> None:
    """Enter a row into the table."""
    assert name not in {known.name for known in SCENARIOS}, name
    SCENARIOS.append(Scenario(name, source, promise, play, on, lifetime_s))
