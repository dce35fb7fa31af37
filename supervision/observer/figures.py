"""What a page shows of one thing: figures, and texts that are fit for a page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from supervision.exits import text_of

Tone: TypeAlias = Literal["plain", "good", "warn", "bad"]

LONGEST = 200
"""Characters of a text that are shown."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell of a row.

    Attributes:
        text: what it says; the page cuts a long one.
        ends_in_s: seconds until what it tells of ends, which the page counts down; ``None`` where nothing ends.
        of_s: how many seconds that lasts in all: the page draws a bar; ``None`` for no bar.
        tone: ``"plain"``, ``"good"``, ``"warn"`` or ``"bad"``; the text alone has to say what it means.
    """

    text: str = ""
    ends_in_s: float | None = None
    of_s: float | None = None
    tone: Tone = "plain"


class Part(Protocol):
    """What another package adds to the rows of its own actors: the managers' part is ``oidc_actor.observing.managers()``.

    All of it is called on the observer's thread, for the rows that a page shows, once a second at most; it waits for nothing, and
    gives no secret. The timeline alone asks on the thread of an event.
    """

    @property
    def columns(self) -> Sequence[str]:
        """The figures that have a column, in their order; others are shown below the name."""

    @property
    def loggers(self) -> Sequence[str]:
        """The loggers whose events it words."""

    def figures(self, name: str | None, ref: Any) -> Mapping[str, Figure] | None:
        """The figures of an actor, by column; ``None`` where it is none of its own.

        Args:
            name: its name, ``None`` without one.
            ref: its newest incarnation, alive or not; ``None`` before the first.
        """

    def summary(self, name: str | None, ref: Any) -> Sequence[Figure] | None:
        """What is worth saying of all actors below a supervisor; ``None`` where it knows none.

        Args:
            name: the supervisor's name, ``None`` without one.
            ref: its newest incarnation.
        """

    def event(self, event: str, fields: Mapping[str, Any]) -> tuple[str, str] | None:
        """Whom an event of one of its loggers is about, and what it says; ``None`` for one that no timeline needs.

        Args:
            event: the event's name.
            fields: its fields.
        """


def shown(value: object, longest: int = LONGEST) -> str:
    """A text as a page may have it: short, and with no character that moves or hides others."""
    text = value if type(value) is str else text_of(value)
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return text if text.isprintable() else "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return " " if one.isspace() else f"\\u{{{ord(one):x}}}"
