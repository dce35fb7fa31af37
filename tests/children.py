"""Actors that write down what happens to them, and ways to wait for a supervisor without sleeping.

A supervisor watches its children before anyone else can, so when a test's own monitor of a child fires, the supervisor's
``Down`` is already in its mailbox: the answer of any call made after that comes from a supervisor that has handled it.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import Any

import pykka
from threads import DEADLINE_S

from supervision import (
    ChildSpec,
    Ignore,
    NoProcess,
    Server,
    ServerDied,
    Supervisor,
    cast,
    demonitor,
    kill,
    monitor,
)
from supervision.exits import KILLED, NORMAL, Reason, is_orderly


class Scripted(Exception):
    """A failure that a test has ordered."""


class Watch:
    """Counts the Downs of one actor, and waits for the first."""

    def __init__(self, ref: Any) -> None:
        self.downs: list[Any] = []
        self._rang = threading.Event()
        self.monitor = monitor(ref, self._heard)

    def _heard(self, down: Any) -> None:
        self.downs.append(down)
        self._rang.set()

    def reason(self) -> Reason:
        """Why it ended; fails unless it does before the deadline."""
        assert self._rang.wait(DEADLINE_S), f"{self.monitor.ref} is still alive"
        return self.downs[0].reason

    def drop(self) -> None:
        demonitor(self.monitor)


class World:
    """One test's children: what they are told to do, and what they did, in order."""

    def __init__(self) -> None:
        self._lock = threading.Condition()  # guards what follows
        self._lines: list[str] = []
        self._scripts: dict[Any, deque[Any]] = defaultdict(deque)
        self._live: dict[Any, int] = defaultdict(int)
        self.starts: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
        self.doubles: list[Any] = []

    # --- what a child does ----------------------------------------------------------------------------------------

    def script(self, child_id: Any, *outcomes: Any) -> None:
        """Say what the next starts of a child do: ``"fail"``, ``"ignore"``, ``"ok"``, an exception, or a callable."""
        with self._lock:
            self._scripts[child_id].extend(outcomes)

    def starting(self, child_id: Any, args: tuple[Any, ...] = ()) -> None:
        """Called by a child that starts: plays its script."""
        with self._lock:
            script = self._scripts[child_id]
            outcome = script.popleft() if script else "ok"
            word = {"ok": "start", "ignore": "ignore"}.get(outcome, "fail") if isinstance(outcome, str) else "fail"
            if callable(outcome) and not isinstance(outcome, BaseException):
                word = "start"
            self._lines.append(f"{word} {child_id}")
            self._lock.notify_all()
            self.starts[child_id].append(args)
            if word == "start":
                self._live[child_id] += 1
                if self._live[child_id] > 1:
                    self.doubles.append(child_id)
        if outcome == "fail":
            raise Scripted(child_id)
        if outcome == "ignore":
            raise Ignore
        if isinstance(outcome, BaseException):
            raise outcome
        if callable(outcome):
            outcome()

    def ended(self, child_id: Any, reason: Reason) -> None:
        """Called by a child's end hook."""
        with self._lock:
            self._lines.append(f"{'stop' if is_orderly(reason) else 'end'} {child_id}")
            self._live[child_id] -= 1
            self._lock.notify_all()

    def wait_for(self, line: str) -> None:
        """Wait until that line is in the log."""
        with self._lock:
            assert self._lock.wait_for(lambda: line in self._lines, DEADLINE_S), f"no {line!r} in {self._lines}"

    def gone(self, child_id: Any) -> None:
        """A kill runs no hook: the test says so before it kills, lest a quick successor be taken for a double."""
        with self._lock:
            self._live[child_id] -= 1

    def live(self) -> list[Any]:
        with self._lock:
            return sorted(child_id for child_id, count in self._live.items() if count)

    def log(self) -> list[str]:
        """What happened since the last look."""
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    # --- specifications -------------------------------------------------------------------------------------------

    def spec(self, child_id: Any, kind: type | None = None, *args: Any, **options: Any) -> ChildSpec:
        """A child that writes its log here."""
        return ChildSpec(child_id, kind or Probe, (*args, self, child_id), **options)

    def specs(self, ids: str, **options: Any) -> list[ChildSpec]:
        """One child for each letter."""
        return [self.spec(child_id, **options) for child_id in ids]


class _Child:
    """What both kinds of child do: play the script, and obey."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        *self.extra, self.world, self.child_id = args

    def on_start(self) -> None:
        self.world.starting(self.child_id, tuple(self.extra))

    def on_receive(self, message: Any) -> Any:
        """Raise an exception, call a callable, return anything else."""
        if isinstance(message, BaseException):
            raise message.with_traceback(None)  # tests raise the same one again and again
        return message(self) if callable(message) else message


class Probe(_Child, Server):
    """A ``Server`` on the pool."""

    def on_terminate(self, reason: Reason) -> None:
        self.world.ended(self.child_id, reason)


class ThreadProbe(Probe):
    """A ``Server`` on a thread of its own."""

    runtime = "thread"


class PlainProbe(_Child, pykka.ThreadingActor):
    """An unmodified Pykka actor."""

    def on_stop(self) -> None:
        self.world.ended(self.child_id, NORMAL)

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.world.ended(self.child_id, KILLED)


KINDS = (Probe, ThreadProbe, PlainProbe)


def ref_of(sup: Any, child_id: Any) -> Any:
    """The live incarnation of a child of a static supervisor."""
    return next(row.ref for row in Supervisor.which_children(sup) if row.id == child_id)


def states(sup: Any, kind: Any = Supervisor) -> dict[Any, str]:
    """Every child's state, in the order that ``which_children`` gives."""
    return {row.id: row.state for row in kind.which_children(sup)}


def die(ref: Any, exception: BaseException | None = None) -> Reason:
    """End an actor from inside by an exception (an abrupt ``kill`` without one), and wait until it is down."""
    watch = Watch(ref)
    if exception is None:
        kill(ref)
    else:
        cast(ref, exception)
    return watch.reason()


def quiet(sup: Any, kind: Any = Supervisor) -> bool:
    """Wait until a supervisor has handled what lies in its mailbox, retries included; false if that has ended it.

    A pending retry is a message in the mailbox, so the call after it is answered only once it has been made.
    """
    rounds = 0
    while True:
        try:
            rows = kind.which_children(sup)
        except (NoProcess, ServerDied):
            Watch(sup).reason()
            return False
        if all(row.state != "restarting" for row in rows):
            return True
        rounds += 1
        assert rounds < 10_000, f"{sup} restarts without end: {rows}"


def crash(sup: Any, child_id: Any, exception: BaseException | None = None) -> bool:
    """Crash one child of a static supervisor and wait for what comes of it; whether the supervisor lives on."""
    die(ref_of(sup, child_id), exception or Scripted(child_id))
    return quiet(sup)


class Clock:
    """A supervisor's clock that only moves when told."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def now(self) -> float:
        return self.at


__all__ = [
    "KINDS",
    "Clock",
    "PlainProbe",
    "Probe",
    "Scripted",
    "ThreadProbe",
    "Watch",
    "World",
    "crash",
    "die",
    "quiet",
    "ref_of",
    "states",
]
