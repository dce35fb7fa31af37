"""The system below a supervisor as a value: for a person, for a program, and as JSON.

The calling thread asks each supervisor by itself, one after the other. Were they to ask those below them, each would be busy
until the slowest below it has answered, and two trees that look at each other would wait for ever.

**A supervisor that does not answer** is why a person looks. It may be starting a child whose ``on_start`` hangs, or waiting for
one to end. The calling thread then reads its table of children itself, without a lock, and shows what it waits for::

    thread that looks                                   supervisor's thread
    1. asks, and notes when                             1. answers when its message is over: takes one note out of the
    2. has the answer? then that is the moment shown       list, and reads the table
    3. after its share of `LOOK_S` reads the table      2. changes the table meanwhile, one row at a time

An answer comes after the deaths that the caller has heard of before it looked, because a ``Down`` lies in the mailbox before the
question. A table that was read from outside may be in between two steps. A row is read once, field by field, so that it can
mix what was with what is for one child, and no more.

A note that has been in the list for long means that the supervisor owes an answer already. It is not asked again then: who
looks every second at one that hangs for an hour leaves one question in its mailbox, and not thousands.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any

from supervision.child_process import name_of_child
from supervision.children import Child, ChildState, ChildType
from supervision.errors import CallTimeout, NoProcess, ServerDied, SupervisionError
from supervision.exits import Crash, ExceptionText, Reason, Restart, text_of
from supervision.frozen import dataclass
from supervision.process.process import Phase, Process
from supervision.process.registry import ServerRef, name_of, process_of
from supervision.runtime import timer_thread
from supervision.supervising import AnySupervisor, Wait, ask, find_supervisor

LOOK_S = 1.0
"""Seconds that a look at a whole tree waits at most; each supervisor that does not answer costs half of what is left."""

WIDEST = 48
"""Characters of the column of names that those behind it are aligned to."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One child, and what is below it.

    Attributes:
        id: its id under its supervisor.
        name: the name that it was given, by its specification or at its start, or ``None``.
        ref: the live incarnation, ``None`` unless running.
        state: ``"running"``, ``"restarting"`` or ``"stopped"``.
        restarts: restarts that succeeded, since its supervisor started.
        last_exit: the reason of its newest end, ``None`` before the first. The exception of a ``Crash`` is not the original
            here, which would keep the dead actor in memory, but an ``ExceptionText``.
        age_s: seconds since its newest good start, ``None`` unless running.
        children: below a supervisor, its children in start order.
        type: ``"worker"`` or ``"supervisor"``.
        restart: ``"permanent"``, ``"transient"`` or ``"temporary"``.
        class_name: the name of the actor's class, ``None`` where no actor was there yet to tell.
        mailbox: how many messages wait in its mailbox, ``None`` where there is no actor.
        last_failure: why the newest attempt to start it failed, or what it has crashed with; ``None`` where it did not.
        waits_for: what its supervisor, or it itself where it is one, waits for, in words; ``None`` where neither does.
    """

    id: Hashable
    name: str | None
    ref: Any
    state: ChildState
    restarts: int
    last_exit: Reason | None
    age_s: float | None
    children: tuple[Branch, ...] = ()
    type: ChildType = "worker"
    restart: Restart = "permanent"
    class_name: str | None = None
    mailbox: int | None = None
    last_failure: ExceptionText | None = None
    waits_for: str | None = None

    @classmethod
    def of(cls, child: Child, starting: Process | None = None, *, restarts: bool = False) -> Branch:
        """The row of one child, without what is below it. Any thread.

        Args:
            child: the child, which its supervisor's thread may be changing.
            starting: the process that the supervisor is starting for it, ``None`` where it is not.
            restarts: whether the supervisor is in an attempt to restart it.
        """
        spec, state, last_exit, last_ref, retry = child.spec, child.state, child.last_exit, child.last_ref, child.retry
        ref, started_at = (child.ref, child.started_at) if state == "running" else (None, None)
        if ref is None:
            state = (
                "restarting" if restarts else "stopped" if state == "running" else state
            )  # its end, between two steps
        process = starting if ref is None else process_of(ref)
        crash = last_exit.exception if isinstance(last_exit, Crash) else None
        return cls(
            id=spec.id,
            name=name_of_child(child) if starting is None else spec.name or name_of(starting.ref),
            ref=ref,
            state=state,
            restarts=child.restarts,
            last_exit=last_exit,
            age_s=None if started_at is None else timer_thread.now() - started_at,
            type=spec.type,
            restart=spec.restart,
            class_name=_class_name(spec.start, last_ref if process is None else process.ref),
            mailbox=None if process is None else messages_in(process),
            last_failure=child.failure or (crash if isinstance(crash, ExceptionText) else None),
            waits_for=None if retry is None or state != "restarting" else _until(retry.due),
        )

    def to_dict(self) -> dict[str, Any]:
        """The branch in values that ``json.dumps`` takes; refs are their URNs, reasons and errors their texts."""
        failure = self.last_failure
        return {
            "id": _jsonable(self.id),
            "name": self.name,
            "class": self.class_name,
            "type": self.type,
            "state": self.state,
            "urn": None if self.ref is None else self.ref.actor_urn,
            "mailbox": self.mailbox,
            "restart": self.restart,
            "restarts": self.restarts,
            "last_exit": None if self.last_exit is None else text_of(self.last_exit),
            "last_failure": None if failure is None else f"{failure.kind}: {failure}",
            "age_s": None if self.age_s is None else round(self.age_s, 3),
            "waits_for": self.waits_for,
            "children": [child.to_dict() for child in self.children],
        }

    def _label(self) -> str:
        name = f" ({self.name})" if self.name not in (None, self.id) else ""
        return f"{text_of(self.id)}{name}"

    def _details(self) -> str:
        last_exit = "" if self.last_exit is None else text_of(self.last_exit)
        failure = "" if self.ref is not None or self.last_failure is None else self.last_failure.kind
        told = (
            "" if self.age_s is None else f"up {self.age_s:.1f} s",
            _counted(self.restarts, "restart"),
            last_exit and f"last exit {last_exit}",
            "" if failure in last_exit else f"last failure {failure}",  # it failed to start since
            _counted(self.mailbox or 0, "message"),
            self.waits_for or "",
        )
        return ", ".join(one for one in told if one)


@dataclass(frozen=True, slots=True)
class Tree:
    """A supervisor and all below it; ``str`` draws it.

    Attributes:
        ref: the supervisor.
        children: its children in start order.
        name: its own name, or ``None``.
        mailbox: how many messages wait in its mailbox.
        waits_for: what it waits for, in words; ``None`` where it answers.
    """

    ref: Any
    children: tuple[Branch, ...]
    name: str | None = None
    mailbox: int = 0
    waits_for: str | None = None

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name is not None else ""
        details = ", ".join(one for one in (_counted(self.mailbox, "message"), self.waits_for) if one)
        lines = [(f"{self.ref.actor_class.__name__}{name}", "", details), *_draw(self.children, "")]
        first, second = (min(max(len(line[column]) for line in lines), WIDEST) for column in (0, 1))
        return "\n".join(f"{label:<{first}}  {state:<{second}}  {rest}".rstrip() for label, state, rest in lines)

    def to_dict(self) -> dict[str, Any]:
        """The tree in values that ``json.dumps`` takes.

        Returns:
            The members of a branch, here and in each of ``"children"``: ``id``, ``name``, ``class``, ``type``, ``state``,
            ``urn``, ``mailbox`` (messages that wait), ``restart``, ``restarts``, ``last_exit`` (text), ``last_failure``
            (text), ``age_s`` (seconds since it is up), ``waits_for`` (text), ``children``. What is not known is ``None``: of
            the root all that only a supervisor above it would know.
        """
        root = Branch(None, self.name, self.ref, "running", 0, None, None, self.children, "supervisor")
        shown = replace(
            root, class_name=self.ref.actor_class.__name__, mailbox=self.mailbox, waits_for=self.waits_for
        ).to_dict()
        return {**shown, "restart": None}


def _draw(children: tuple[Branch, ...], indent: str) -> Iterator[tuple[str, str, str]]:
    for number, child in enumerate(children, 1):
        last = number == len(children)
        yield f"{indent}{'└─' if last else '├─'} {child._label()}", child.state, child._details()
        yield from _draw(child.children, indent + ("   " if last else "│  "))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number > 1 else ''}" if number else ""


def _jsonable(child_id: Hashable) -> Any:
    """An id as JSON has it, else its text."""
    plain = child_id is None or type(child_id) in (str, bool, int)
    return child_id if plain or (type(child_id) is float and math.isfinite(child_id)) else text_of(child_id)


def _class_name(start: Any, ref: Any) -> str | None:
    """The class of an actor that was there, else the one that the specification names."""
    actor_class = getattr(start, "__self__", start) if ref is None else ref.actor_class
    return actor_class.__name__ if isinstance(actor_class, type) else None


def messages_in(process: Process) -> int:
    """How many messages wait in its mailbox; the questions of those who look are none."""
    # A worker is a program's own: whatever it has under such a name is not ours, and none of its code is to run here.
    looks = getattr(process.actor, "_looks", ()) if process.supervises else ()
    return max(0, process.mailbox.qsize() - len(looks))


def _until(due: float | None) -> str:
    left_s = 0.0 if due is None else due - timer_thread.now()
    return f"next attempt in {left_s:.1f} s" if left_s > 0 else "next attempt is due"


def text_of_wait(wait: Wait | None, *, is_starting: bool) -> str:
    """What a supervisor that gives no answer waits for, in words."""
    if wait is None:
        return "in its init" if is_starting else "busy, gives no answer"
    child_id = text_of(wait.child.spec.id)
    for_s = f"{timer_thread.now() - wait.since:.1f} s"
    time_s = f"({for_s})" if wait.limit_s is None else f"({for_s} of {wait.limit_s:g} s)"
    if wait.what == "start":
        return f"starting {child_id} {time_s}"
    return f"waiting for {'the thread of ' if wait.what == 'thread' else ''}{child_id} to end {time_s}"


# --- the look, on the calling thread ----------------------------------------------------------------------------------


def grow(sup: ServerRef) -> Tree:
    """The tree below a supervisor; raises ``NoProcess`` where that is not alive."""
    ref = find_supervisor(sup, AnySupervisor)
    process = process_of(ref)
    if process is None:
        raise NoProcess(sup)
    try:
        below, waits_for = _look(process, time.monotonic() + LOOK_S)
    except ServerDied:
        raise NoProcess(sup) from None
    return Tree(ref, below, name_of(ref), messages_in(process), waits_for)


def _look(process: Process, ends_at: float) -> tuple[tuple[Branch, ...], str | None]:
    """What is below a supervisor, and what that waits for, ``None`` where it answers."""
    children, waits_for = _ask(process, ends_at), None
    if children is not None:
        found = [_row(child) for child in children]
    else:
        supervisor = process.actor
        if supervisor is None:
            raise NoProcess(process.ref)
        waits_for = text_of_wait(supervisor._waits, is_starting=process.phase is Phase.STARTING)
        found = rows_from_outside(supervisor)
    below: list[Branch] = []
    for row, inner in found:
        if inner is not None and inner.supervises:
            try:
                below_it, it_waits_for = _look(inner, ends_at)
                row = replace(row, children=below_it, waits_for=it_waits_for or row.waits_for)  # noqa: PLW2901
            except (NoProcess, ServerDied):  # it ended since; the next look will show what became of it
                pass
        below.append(row)
    return tuple(below), waits_for


def _row(child: Child, starting: Process | None = None, *, restarts: bool = False) -> tuple[Branch, Process | None]:
    """A child's row, with its process where there is one; the arguments are those of ``Branch.of``."""
    row = Branch.of(child, starting, restarts=restarts)
    return row, starting if row.ref is None else process_of(row.ref)


def _ask(process: Process, ends_at: float) -> list[Child] | None:
    """Copies of a supervisor's children as it tells them, ``None`` where it does not within its share of the time."""
    supervisor, share_s = process.actor, (ends_at - time.monotonic()) / 2
    if supervisor is None:
        raise NoProcess(process.ref)
    if share_s <= 0 or process.phase is Phase.STARTING or process.waits_for_caller() or _hangs(supervisor):
        return None
    asked_at = timer_thread.now()
    supervisor._looks.append(asked_at)
    try:
        return ask(process.ref, AnySupervisor, _answer, timeout=share_s)
    except CallTimeout:
        return None  # the note stays until the question is answered
    except BaseException as error:  # it was not asked, or will not answer, or a signal handler has raised
        with contextlib.suppress(ValueError):
            supervisor._looks.remove(asked_at)
        if not isinstance(error, SupervisionError) or isinstance(error, NoProcess | ServerDied):
            raise
        return None  # it has begun to wait for the caller


def _hangs(supervisor: AnySupervisor) -> bool:
    """Whether it is known to give no answer for a while."""
    since = [*supervisor._looks[:1], *([] if (wait := supervisor._waits) is None else [wait.since])]
    return any(timer_thread.now() - one > LOOK_S / 2 for one in since)


def _answer(supervisor: AnySupervisor) -> list[Child]:
    """On the supervisor's thread, quickly: it serves no other request meanwhile. The rows are made on the thread that looks."""
    with contextlib.suppress(IndexError):  # the one that asked has taken its note back
        supervisor._looks.pop(0)
    return copies(supervisor)


def copies(supervisor: AnySupervisor) -> list[Child]:
    """What a look shows of each child, at one moment."""
    return [
        Child(
            child.spec,
            ref=child.ref,
            state=child.state,
            last_ref=child.last_ref,
            retry=child.retry,
            restarts=child.restarts,
            started_at=child.started_at,
            last_exit=child.last_exit,
            failure=child.failure,
        )
        for child in supervisor._children.values()
    ]


def rows_from_outside(supervisor: AnySupervisor) -> list[tuple[Branch, Process | None]]:
    """The rows of a supervisor whose own thread may be changing its table; with the child that it is starting."""
    children, wait, attempt = list(supervisor._children.values()), supervisor._waits, supervisor._link.attempt
    started = wait.child if wait is not None and wait.what == "start" else None
    if started is not None and started not in children:  # it gets its place once it is up
        children.append(started)
    begun = [] if attempt is None else list(attempt.started)
    starting = next((process for process in begun if process.phase is Phase.STARTING), None)
    return [
        _row(child, starting, restarts=supervisor._attempting) if child is started else _row(child)
        for child in children
    ]
