"""The last hundred events of a process, as the log tells them; see `supervision.runtime.reports.hear`.

An event is heard on whatever thread reports it, perhaps in a signal handler, so nothing here is locked: each step is one
operation, and a race costs a count that is one too low. Ten thousand managers that get a token every five minutes are thirty
events a second; so of one kind only the first few within `SPAN_S` have entries of their own, and the next ones are counted in the
newest of them.
"""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervision.observer.figures import Part, shown
from supervision.runtime.reports import hear

MOST = 100
"""Events that are kept."""

SPAN_S = 10.0
"""Seconds within which events of one kind are counted together, beyond the first `ALONE`."""

ALONE = 3
"""Events of one kind within `SPAN_S` that have entries of their own."""

LEVELS = {"debug": "info", "info": "info", "warning": "warning", "error": "error"}


class Entry:
    """One event, or several of a kind; ``version`` grows with each that is counted in it."""

    __slots__ = ("at", "event", "level", "more", "number", "version", "what", "who")

    def __init__(self, number: int, level: str, event: str, who: str, what: str) -> None:
        self.number = self.version = number
        self.at, self.level, self.event, self.who, self.what, self.more = time.time(), level, event, who, what, 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; ``at`` is in seconds since 1970."""
        return {
            "number": self.number,
            "at": round(self.at, 3),
            "level": self.level,
            "event": self.event,
            "who": self.who,
            "what": self.what,
            "more": self.more,
        }


class Timeline:
    """Hears from its beginning until it is closed, or forgotten."""

    def __init__(self, parts: Sequence[Part] = (), *, with_texts: bool = False) -> None:
        self._parts = {name: part for part in parts for name in part.loggers}
        self._with_texts = with_texts
        self._entries: deque[Entry] = deque(maxlen=MOST)
        self._newest: dict[str, deque[Entry]] = {}
        self._numbers = itertools.count(1)
        me = weakref.ref(self)  # an observer that is forgotten hears no more
        self._end = hear(lambda *told: None if (one := me()) is None else one.heard(*told))
        weakref.finalize(self, self._end)

    def close(self) -> None:
        """Hear no more."""
        self._end()

    def entries(self, after: int = 0) -> list[Entry]:
        """The entries of which something has changed since that version, the oldest first. Any thread."""
        return [one for one in list(self._entries) if one.version > after]

    def heard(self, logger: str, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """An event; on the thread that reports it."""
        part = self._parts.get(logger)
        if part is not None:
            told = part.event(event, fields)
        elif logger == "supervision":
            told = _of_supervision(event, fields, self._with_texts)
        else:
            return
        if told is None:
            return
        who, what = told
        number, newest = next(self._numbers), self._newest.get(event)
        if newest is None:
            newest = self._newest[event] = deque(maxlen=ALONE)
        if len(newest) == ALONE and time.time() - newest[0].at < SPAN_S:
            last = newest[-1]
            last.more += 1
            last.version = number
            return
        entry = Entry(number, LEVELS.get(level, "info"), event, shown(who), shown(what, 300))
        newest.append(entry)
        self._entries.append(entry)


def _of_supervision(event: str, fields: Mapping[str, Any], with_texts: bool) -> tuple[str, str] | None:
    if event in _LEFT_OUT:
        return None
    child, name = fields.get("child"), fields.get("name")
    who = name or (fields.get("actor") if child is None else child) or ""
    worded: Callable[[Mapping[str, Any], bool], str] = _WORDS.get(event, _plain)
    return shown(who), worded(fields, with_texts)


def reason_shown(reason: object, with_texts: bool = False) -> str:
    """The text of a reason; of a ``Shutdown`` only that it was one, because its detail is any value of the program's."""
    text = shown(reason)
    return text if with_texts else text.partition("(detail=")[0]


def failure_shown(text: object, with_texts: bool) -> str:
    """Of ``kind: text`` only the kind, because an exception's text is the program's and may quote anything."""
    return shown(text, 300) if with_texts else reason_shown(shown(text).partition(":")[0])


def _ended(fields: Mapping[str, Any], with_texts: bool) -> str:
    again = ", starts again" if fields.get("restart") else ""
    return f"{reason_shown(fields.get('reason', ''), with_texts)}{again}"


def _restarted(fields: Mapping[str, Any], _with_texts: bool) -> str:
    return f"restart {fields.get('restarts')}"


def _failed(fields: Mapping[str, Any], with_texts: bool) -> str:
    return f"{failure_shown(fields.get('error', ''), with_texts)}, is tried again"


def _gave_up(fields: Mapping[str, Any], with_texts: bool) -> str:
    window = f"more than {fields.get('max_restarts')} restarts in {fields.get('max_seconds')} s"
    return f"{window}: {failure_shown(fields.get('error', ''), with_texts)}"


def _started(fields: Mapping[str, Any], _with_texts: bool) -> str:
    return f"under {shown(fields.get('supervisor', ''))}"


# `child_ended` tells of the first; the other is no matter of the tree.
_LEFT_OUT = {"server_crashed", "unexpected_message"}

_PLAIN = ("hook", "seconds", "messages", "leaked_threads", "auto_shutdown", "shutdown", "max_seconds", "others")


def _plain(fields: Mapping[str, Any], _with_texts: bool) -> str:
    """The fields that hold figures and words of ours."""
    found = [(name, fields[name]) for name in _PLAIN if fields.get(name) is not None]
    return ", ".join(
        f"{name} {value:g}" if type(value) in (int, float) else f"{name} {shown(value)}" for name, value in found
    )


_WORDS: dict[str, Callable[[Mapping[str, Any], bool], str]] = {
    "child_started": _started,
    "child_ended": _ended,
    "child_restarted": _restarted,
    "child_restart_failed": _failed,
    "supervisor_gave_up": _gave_up,
}
