"""What a page shows of the supervision trees at one moment: rows, of which there are never too many.

Nothing here asks a supervisor: the tables of children are read from outside, as `supervision.tree` does where one gives no
answer. So a look puts no message into any mailbox and waits for nothing. A row is read once, field by field.

**What a look costs** follows what is shown, not what there is. A supervisor with more than `FOLD` children is closed until
somebody opens it, and then shows `PAGE` of them at a time. What has to go through all children (how many run, how many messages
wait, what is found by a search) is done again only when its share of the time allows: a count that took 5 ms is a second old at
most.

**Nothing grows old by itself.** Ages and what a token still lives are told as instants of one clock, which the page reads off
against its own; a row in which nothing happens stays the same value, and is not sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from time import thread_time
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from supervision.child_process import name_of_child
from supervision.children import Child
from supervision.dynamic_supervisor import DynamicSupervisor
from supervision.exits import text_of
from supervision.observer.figures import Figure, Part, shown
from supervision.observer.timeline import failure_shown, reason_shown
from supervision.process.process import Phase, Process
from supervision.process.registry import ServerRef, find, name_in, name_of, process_of
from supervision.runtime.timer_thread import now
from supervision.tree import Branch, messages_in, text_of_wait

FOLD = 50
"""Children from which on a supervisor is closed until somebody opens it."""

PAGE = 50
"""Children of an open supervisor that are shown at a time."""

BY_ITSELF = 300
"""Rows up to which small supervisors are open without anybody's doing."""

MOST_ROWS = 1_000
"""Rows of a page."""

MOST_FOUND = 100
"""Rows that a search shows."""

MOST_KEYS = 64
"""Supervisors that somebody has opened or closed; the first of them count."""

SHARE = 400.0
"""What goes through all children is repeated after so many times what it took: a quarter of a percent of a core for each."""

SAME_S = 0.5
"""Two instants that are no further apart are the same."""

WAIT_S = 0.5
"""Seconds from which on it is told what a supervisor waits for."""

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """What one page wants to see.

    Attributes:
        search: a text that names, ids or classes have to contain; empty for the tree.
        opened: rows whose children are to be shown, with the number of the first.
        closed: rows whose children are not.
    """

    search: str = ""
    opened: Mapping[str, int] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()

    @classmethod
    def read(cls, query: bytes) -> View:
        """The view of a URL's query; what is wrong in it is left out."""
        search = ""
        opened: dict[str, int] = {}
        closed: set[str] = set()
        for name, value in parse_qsl(query[:8192].decode("latin-1"), errors="replace"):
            key, _, first = value.partition(":")
            if name == "search":
                search = shown(value.strip().casefold(), 100)
            elif name == "open" and len(opened) < MOST_KEYS:
                opened[key[:16]] = min(int(first), 10**9) if first.isdecimal() and first.isascii() else 0
            elif name == "close" and len(closed) < MOST_KEYS:
                closed.add(key[:16])
        return cls(search, opened, frozenset(closed))


class _Paced(Generic[T]):
    """A value that takes long to make: made again when its share of the time allows."""

    __slots__ = ("_due", "_value")

    def __init__(self) -> None:
        self._due = 0.0
        self._value: tuple[T] | None = None

    def __call__(self, make: Callable[[], T]) -> tuple[T, float]:
        """The value, and the seconds of a core that it took to make it now."""
        began, took_s = now(), 0.0
        if self._value is None or began >= self._due:
            used_s = thread_time()
            self._value = (make(),)
            took_s = thread_time() - used_s
            self._due = began + min(30.0, max(0.9, took_s * SHARE))
        return self._value[0], took_s


@dataclass(slots=True)
class Tally:
    """All children of a supervisor, counted.

    Attributes:
        running: those that run.
        restarting: those that are being restarted.
        stopped: those that are down.
        restarts: restarts of all of them.
        messages: messages that wait in all mailboxes.
        supervisors: those that are supervisors and run.
    """

    running: int = 0
    restarting: int = 0
    stopped: int = 0
    restarts: int = 0
    messages: int = 0
    supervisors: list[Child] = field(default_factory=list)

    @classmethod
    def of(cls, children: Sequence[Child]) -> Tally:
        """Count children, whose supervisor may be changing them."""
        tally = cls()
        for child in children:
            ref, state = child.ref, child.state
            tally.restarts += child.restarts
            if state == "restarting":
                tally.restarting += 1
            elif ref is None:
                tally.stopped += 1
            else:
                tally.running += 1
                process = process_of(ref)
                if process is not None:
                    tally.messages += messages_in(process)
                    if process.supervises:
                        tally.supervisors.append(child)
        return tally

    def add(self, other: Tally) -> None:
        """Add the figures of another."""
        for name in FIGURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_dict(self) -> dict[str, int]:
        """Its figures by name."""
        return {name: getattr(self, name) for name in FIGURES}


FIGURES = ("running", "restarting", "stopped", "restarts", "messages")


@dataclass(slots=True)
class Look:
    """What one page shows at one moment.

    Attributes:
        rows: by key, in their order.
        totals: the figures of all trees, and how many actors there are.
        summary: what the parts tell of all their actors.
        found: how many rows a search has found; ``None`` without one.
        is_cut: whether there are more rows than a page may have.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    summary: list[dict[str, Any]] = field(default_factory=list)
    found: int | None = None
    is_cut: bool = False


class Sampler:
    """Looks at trees; on one thread at a time, which the caller sees to."""

    def __init__(self, roots: Sequence[ServerRef], parts: Sequence[Part] = (), *, with_texts: bool = False) -> None:
        self._roots, self._parts, self._with_texts = tuple(roots), tuple(parts), with_texts
        # Each by a row's key, or by a search. Those of the look before go unless the next one uses them.
        self.paced_s = 0.0  # seconds of a core that went into what has a pace of its own
        self._rows: dict[str, tuple[Any, Row]] = {}
        self._paced: dict[str, _Paced[Any]] = {}
        self._older: tuple[dict[str, tuple[Any, Row]], dict[str, _Paced[Any]]] = ({}, {})

    def columns(self) -> list[str]:
        """The parts' columns."""
        return list(dict.fromkeys(column for part in self._parts for column in part.columns))

    def begin(self) -> None:
        """Look anew: what the views before have not used is forgotten."""
        self._older, self._rows, self._paced = (self._rows, self._paced), {}, {}

    def look(self, view: View) -> Look:
        """What a view shows now; what several have in common is read once."""
        look, totals = Look(), Tally()
        for number, root in enumerate(self._roots):
            self._show_root(look, view, number, root, totals)
        actors = totals.running + totals.restarting + totals.stopped
        look.totals = {**totals.to_dict(), "actors": actors}
        look.summary = self._paced_value("summary", lambda: self._summary(None, None))
        if view.search:
            self._show_found(look, view.search)
        return look

    # --- the tree -----------------------------------------------------------------------------------------------------

    def _show_root(self, look: Look, view: View, number: int, root: ServerRef, totals: Tally) -> None:
        process = find(root)
        ref = root if process is None and not isinstance(root, str) else None if process is None else process.ref
        alive = process is not None or (ref is not None and ref.is_alive())
        name = name_in(root) or name_of(ref)
        kind = "" if ref is None else ref.actor_class.__name__
        key = _key("", f"{number}", name or kind)
        supervises = process is not None and process.supervises
        fields: Row = {
            "level": 1,
            "label": shown(name or kind),
            "class": shown(kind),
            "type": "supervisor" if supervises else "worker",
            "state": "running" if alive else "stopped",
            "mailbox": 0 if process is None else messages_in(process),
            "figures": self._figures(key, name, ref),
        }
        totals.running, totals.stopped = totals.running + alive, totals.stopped + (not alive)
        if process is not None and supervises:
            self._show_supervisor(look, view, process, key, fields, totals, is_hidden=bool(view.search))
        elif not view.search:
            self._add(look, key, fields)

    def _show_supervisor(
        self, look: Look, view: View, process: Process, key: str, fields: Row, totals: Tally, *, is_hidden: bool = False
    ) -> None:
        """Its row, and below it those of its children that are to be seen; all of them count in the totals."""
        supervisor = process.actor
        if supervisor is None:  # it has ended since
            return
        children = list(supervisor._children.values())
        tally: Tally = self._paced_value(key, lambda: Tally.of(children))
        totals.add(tally)
        few = len(children) <= FOLD and len(look.rows) + len(children) <= BY_ITSELF
        is_open = not is_hidden and key not in view.closed and (key in view.opened or few)
        first = min(view.opened.get(key, 0), max(0, len(children) - 1)) // PAGE * PAGE if len(children) > FOLD else 0
        wait = supervisor._waits
        if not is_hidden:
            waits_for = None
            if wait is not None and now() - wait.since > WAIT_S:
                waits_for = shown(text_of_wait(wait, is_starting=process.phase is Phase.STARTING))
            ref, name = process.ref, name_of(process.ref)
            below = self._paced_value(f"{key} below", lambda: self._summary(name, ref))
            more: Row = {"children": len(children), "open": is_open, "below": {**tally.to_dict(), "parts": below}}
            if waits_for is not None:
                more["waits"] = waits_for
            if len(children) > FOLD:
                more["first"] = first
            self._add(look, key, {**fields, **more})
        by_name, shown_ones = isinstance(supervisor, DynamicSupervisor), set()
        if is_open:
            for child in children if len(children) <= FOLD else children[first : first + PAGE]:
                shown_ones.add(id(child))
                restarts = supervisor._attempting and (
                    wait is not None and wait.child is child and wait.what == "start"
                )
                own = _key_of(key, child, by_name)
                row = self._row(child, own, key, fields["level"] + 1, restarts=restarts)
                self._show_child(look, view, child, own, row, totals)
        for child in tally.supervisors:  # closed, or on another page: they count
            if id(child) not in shown_ones and (below_it := _process_of(child)) is not None:
                inner_key = _key_of(key, child, by_name)
                self._show_supervisor(look, view, below_it, inner_key, fields, totals, is_hidden=True)

    def _show_child(self, look: Look, view: View, child: Child, key: str, row: Row, totals: Tally) -> None:
        process = _process_of(child)
        if process is not None and process.supervises:
            self._show_supervisor(look, view, process, key, row, totals)
        else:
            self._add(look, key, row)

    def _add(self, look: Look, key: str, fields: Row, kind: str = "row") -> None:
        """Add a row: the one before, where nothing has changed, so that it is known to be the same."""
        if len(look.rows) >= MOST_ROWS:
            look.is_cut = True
            return
        kept = f"{kind} {key}"
        before = self._rows.get(kept) or self._older[0].get(kept)
        row = fields if before is None or before[1] != fields else before[1]
        self._rows[kept] = (None, row)
        look.rows[key] = row

    # --- one row ------------------------------------------------------------------------------------------------------

    def _row(self, child: Child, key: str, above: str, level: int, *, restarts: bool = False) -> Row:
        ref, retry = child.ref, child.retry
        process = None if ref is None else process_of(ref)
        mailbox = None if process is None else messages_in(process)
        seen = (
            *(child.spec, child.state, ref, child.restarts, child.last_exit, child.failure),
            *(mailbox, above, level, retry is None, restarts),
        )
        before = self._rows.get(key) or self._older[0].get(key)
        if before is None or before[0] != seen or retry is not None:  # which tells how long until then
            before = (seen, self._made(child, above, level, restarts))
        self._rows[key] = before
        figures = self._figures(key, name_of_child(child), ref or child.last_ref)
        return {**before[1], "figures": figures} if figures is not None else before[1]

    def _made(self, child: Child, above: str, level: int, restarts: bool) -> Row:
        branch, started_at = Branch.of(child, restarts=restarts), child.started_at
        label = shown(branch.id)
        row: Row = {
            "level": level,
            "parent": above or None,
            "label": label,
            "name": None if branch.name in (None, branch.id) else shown(branch.name),
            "class": None if branch.class_name is None else shown(branch.class_name),
            "type": branch.type,
            "restart": branch.restart,
            "state": branch.state,
            "since": None if branch.ref is None or started_at is None else round(started_at, 2),
            "mailbox": branch.mailbox,
            "restarts": branch.restarts,
            "exit": None if branch.last_exit is None else reason_shown(text_of(branch.last_exit), self._with_texts),
            "waits": branch.waits_for,
        }
        failure = branch.last_failure
        if failure is not None:
            row["failure"] = failure_shown(f"{failure.kind}: {failure}", self._with_texts)
        return {name: value for name, value in row.items() if value is not None}

    def _figures(self, key: str, name: str | None, ref: Any) -> dict[str, Any] | None:
        for part in self._parts:
            found = part.figures(name, ref)
            if found is not None:
                kept = f"{key} figures"
                before = self._rows.get(kept) or self._older[0].get(kept)
                made = {column: _as_json(one) for column, one in found.items()}
                if before is not None:
                    _steady(made, before[1])
                    if made == before[1]:
                        made = before[1]
                self._rows[kept] = (None, made)
                return made
        return None

    def _summary(self, name: str | None, ref: Any) -> list[dict[str, Any]]:
        return [_as_json(one) for part in self._parts for one in part.summary(name, ref) or ()]

    def _paced_value(self, key: str, make: Callable[[], T]) -> T:
        paced: _Paced[T] = self._paced.get(key) or self._older[1].get(key) or _Paced()
        self._paced[key] = paced
        value, took_s = paced(make)
        self.paced_s += took_s
        return value

    # --- a search -----------------------------------------------------------------------------------------------------

    def _show_found(self, look: Look, search: str) -> None:
        found: tuple[int, list[tuple[Child, str, str]]] = self._paced_value(
            f"search {search}", lambda: self._search(search)
        )
        look.found = found[0]
        for child, key, path in found[1]:
            row = {**self._row(child, f"found {key}", "", 1), "path": path}
            self._add(look, key, row, "found row")

    def _search(self, search: str) -> tuple[int, list[tuple[Child, str, str]]]:
        found: list[tuple[Child, str, str]] = []
        count = 0
        for number, root in enumerate(self._roots):
            process = find(root)
            if process is None or not process.supervises:
                continue
            name = name_in(root) or name_of(process.ref) or process.ref.actor_class.__name__
            for child, above, path, by_name in _everything(process, _key("", f"{number}", name), name):
                if search in _searched(child):
                    count += 1
                    if len(found) < MOST_FOUND:
                        found.append((child, _key_of(above, child, by_name), shown(path)))
        return count, found


def _everything(process: Process, key: str, path: str) -> Iterator[tuple[Child, str, str, bool]]:
    """Every child below a supervisor in the order of the tree, with the key and the path of its own supervisor."""
    supervisor = process.actor
    if supervisor is None:
        return
    by_name = isinstance(supervisor, DynamicSupervisor)
    for child in list(supervisor._children.values()):
        yield child, key, path, by_name
        inner = _process_of(child)
        if inner is not None and inner.supervises:
            yield from _everything(inner, _key_of(key, child, by_name), f"{path} / {text_of(child.spec.id)}")


def _searched(child: Child) -> str:
    ref = child.last_ref
    kind = "" if ref is None else ref.actor_class.__name__
    return f"{text_of(child.spec.id)}\n{name_of_child(child)}\n{kind}\n{child.state}".casefold()


def _process_of(child: Child) -> Process | None:
    ref = child.ref
    return None if ref is None else process_of(ref)


def _key_of(above: str, child: Child, by_name: bool) -> str:
    """A child's key: of its id, or where ids are not unique of its name, else of its incarnation."""
    child_id, last = child.spec.id, child.last_ref
    if by_name:
        return _key(above, "", name_of_child(child) or ("" if last is None else last.actor_urn))
    return _key(above, type(child_id).__name__, text_of(child_id))


def _key(above: str, kind: str, text: str) -> str:
    """A short word for a place in the tree: the same after a restart."""
    return blake2b(f"{above}/{kind}/{text}".encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _as_json(figure: Figure) -> dict[str, Any]:
    """A figure as JSON has it, with the instant in place of the seconds that are left."""
    made: dict[str, Any] = {"text": shown(figure.text, 300)}
    if figure.ends_in_s is not None:
        made["ends"] = round(now() + figure.ends_in_s, 1)
    if figure.of_s is not None:
        made["of"] = round(figure.of_s, 1)
    if figure.tone != "plain":
        made["tone"] = figure.tone
    return made


def _steady(made: dict[str, Any], before: dict[str, Any]) -> None:
    """Keep the instants before, where they are the same but for the reading of a clock."""
    for column, figure in made.items():
        ends, ended = figure.get("ends"), before.get(column, {}).get("ends")
        if ends is not None and ended is not None and abs(ends - ended) < SAME_S:
            figure["ends"] = ended
