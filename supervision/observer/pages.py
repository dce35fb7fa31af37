"""The pages that are open, and the one thread that looks for all of them: it is there only while there is a page.

A page's connection is a task of some event loop; the looking is not, because a look at a large system takes milliseconds in which
that loop would serve nobody. For each page the order is

1. the task adds the page, which wakes the thread, or starts it;
2. the thread puts one message into the page's box, and rings on the page's loop;
3. the task takes the message out, and sends it, which takes as long as the reader likes;
4. the thread makes no other message for that page until the box is empty. What then goes into it are the differences from what
   the reader has: a slow one gets fewer, and nothing is piled up for it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from time import thread_time
from typing import Any

from supervision.observer.figures import Part
from supervision.observer.sampling import Look, Sampler, View
from supervision.observer.timeline import Timeline
from supervision.process.registry import ServerRef
from supervision.runtime.per_process import PerProcess
from supervision.runtime.reports import report
from supervision.runtime.timer_thread import now

EVERY_S = 1.0
"""Seconds between two looks."""

SOON_S = 0.05
"""The least seconds between two looks, however many pages open and close."""

COST = 60.0
"""A look is made again after so many times what it took, at the soonest: it takes a small part of a core, whatever there is."""


class Page:
    """One open page. Its box is filled on the thread that looks, and emptied on the page's loop."""

    __slots__ = ("_bell", "_loop", "box", "has", "is_closed", "version", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.box: bytes | None = None
        self.has: Look | None = None  # what the reader was told last; the thread's alone
        self.version = 0  # of the newest event that it was told
        self.is_closed = False
        self._loop, self._bell = asyncio.get_running_loop(), asyncio.Event()

    async def message(self, timeout_s: float) -> bytes | None:
        """The next message; ``None`` where none comes in time, or the page is closed."""
        if self.box is None and not self.is_closed:
            try:
                await asyncio.wait_for(self._bell.wait(), timeout_s)
            except TimeoutError:
                return None
        self._bell.clear()
        message, self.box = self.box, None
        return message

    def ring(self) -> None:
        """Wake its task; any thread."""
        try:
            self._loop.call_soon_threadsafe(self._bell.set)
        except RuntimeError:  # its loop has ended, and its task with it
            self.is_closed = True


class _Open:
    """The pages that are open in this process, and their thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # guards the two below
        self.pages: list[Page] = []
        self.thread: threading.Thread | None = None
        self.poke = threading.Event()  # a page has come, or the last one has gone
        self.pause = threading.Event()  # is never set
        self.looking = threading.Lock()  # guards the sampler: one look at a time
        self.sampler: Sampler | None = None


class Pages:
    """All pages of an observer."""

    def __init__(self, roots: Sequence[ServerRef], parts: Sequence[Part], most: int, *, with_texts: bool) -> None:
        self.timeline = Timeline(parts, with_texts=with_texts)
        self._roots, self._parts, self._with_texts = roots, parts, with_texts
        self._most = most
        self._open = PerProcess(_Open)

    def add(self, page: Page) -> bool:
        """Open a page; false where there are as many as there may be."""
        here = self._open.value
        with here.lock:
            here.pages = [one for one in here.pages if not one.is_closed]
            if len(here.pages) >= self._most:
                return False
            here.pages.append(page)
            if here.thread is None:
                here.thread = threading.Thread(target=self._run, args=(here,), name="supervision-observer", daemon=True)
                here.thread.start()
        here.poke.set()
        return True

    def remove(self, page: Page) -> None:
        """Close a page. With the last one the thread ends."""
        here = self._open.value
        page.is_closed = True
        with here.lock:
            if page in here.pages:
                here.pages.remove(page)
            is_last = not here.pages
        if is_last:
            here.poke.set()

    def close(self) -> None:
        """Close all of them: their streams end."""
        here = self._open.value
        with here.lock:
            pages, here.pages = here.pages, []
        for page in pages:
            page.is_closed = True
            page.ring()
        here.poke.set()

    def state(self, view: View) -> bytes:
        """What a view shows now, as JSON; any thread, one at a time."""
        here = self._open.value
        with here.looking:
            sampler = self._sampler(here)
            if here.thread is None:  # else that does
                sampler.begin()
            return _json(self._whole(sampler, sampler.look(view))[0])

    def _sampler(self, here: _Open) -> Sampler:
        if here.sampler is None:
            here.sampler = Sampler(self._roots, self._parts, with_texts=self._with_texts)
        return here.sampler

    # --- on the thread that looks -------------------------------------------------------------------------------------

    def _run(self, here: _Open) -> None:
        due = now()
        while True:
            with here.lock:
                if not here.pages:
                    here.thread = here.sampler = None
                    return
                pages = list(here.pages)
            here.poke.clear()
            began, used_s = now(), thread_time()
            is_due = began >= due
            wanted = [page for page in pages if page.box is None and (is_due or page.has is None)]
            with here.looking:
                sampler = self._sampler(here)
                paced_s = sampler.paced_s
                self._look(sampler, wanted, anew=is_due)
                used_s += sampler.paced_s - paced_s
            if is_due:
                due = began + max(EVERY_S, (thread_time() - used_s) * COST)
            here.pause.wait(SOON_S)
            here.poke.wait(max(0.0, due - now()))

    def _look(self, sampler: Sampler, pages: Sequence[Page], *, anew: bool) -> None:
        if anew:
            sampler.begin()
        for page in pages:
            try:
                self._fill(sampler, page)
            except Exception:  # noqa: BLE001 - a part's fault, or ours: the others go on
                report("error", "look_failed", exc_info=True)
                page.is_closed = True
                page.ring()

    def _fill(self, sampler: Sampler, page: Page) -> None:
        look = sampler.look(page.view)
        if page.has is None:
            (told, page.version), kind = self._whole(sampler, look), b"snapshot"
        else:
            (told, page.version), kind = self._differences(page, look), b"changes"
        page.has = look
        if told:
            page.box = b"event: %s\ndata: %s\n\n" % (kind, _json(told))
            page.ring()

    def _whole(self, sampler: Sampler, look: Look) -> tuple[dict[str, Any], int]:
        entries = self.timeline.entries()
        told = {
            "now": round(now(), 3),
            "columns": sampler.columns(),
            "rows": look.rows,
            "events": [one.to_dict() for one in entries],
            **_around(look),
        }
        return told, max((one.version for one in entries), default=0)

    def _differences(self, page: Page, look: Look) -> tuple[dict[str, Any], int]:
        before = page.has
        assert before is not None
        rows = {key: row for key, row in look.rows.items() if before.rows.get(key) is not row}
        told: dict[str, Any] = {}
        if rows:
            told["rows"] = rows
        if list(look.rows) != list(before.rows):
            told["order"] = list(look.rows)
        around, around_before = _around(look), _around(before)
        told |= {name: value for name, value in around.items() if value != around_before[name]}
        entries = self.timeline.entries(page.version)
        if entries:
            told["events"] = [one.to_dict() for one in entries]
        if told:
            told["now"] = round(now(), 3)
        return told, max((one.version for one in entries), default=page.version)


def _around(look: Look) -> dict[str, Any]:
    return {"totals": look.totals, "summary": look.summary, "found": look.found, "cut": look.is_cut}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
