"""Looks for handlers that run for long and mailboxes that grow long, off the path of every message, and warns of them.

A turn only enters its process in the table ``busy`` and leaves one mark where its mailbox has more than a batch left. All else
is done by a look of the timer thread each `LOOK_S`, over those that were just busy, never over all actors. While no actor is
busy, and no warning stands, no look is due. So a program that is idle has no timer, and an actor that is idle costs nothing.

What a look sees is one moment. A handler counts as the same one while the process is in the same turn with the same envelope; it
has run for at least as long as it has been seen, so a warning comes up to `LOOK_S` late. The envelope is kept until the next
look for that, and no longer.

**Who logs.** A handler that is stuck may hold the lock of the program's own logging, and what blocks there must not stop the
timers of the process, nor wait for a worker of a pool that is stuck. So the timer thread hands each warning to a daemon thread
that lives as long as there is one to log::

    timer thread                                        thread that logs
    1. puts the warning into the queue                  1. logs what is in the queue, until it is empty
    2. is such a thread there? else starts one          2. says that it is not there any more
                                                        3. looks once more; goes on if it is the one to do so

A warning that is put in before the other's 3 is seen there; for a later one the timer thread finds no thread at its 2.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from supervision.runtime import timer_thread
from supervision.runtime.per_process import PerProcess
from supervision.runtime.reports import report

if TYPE_CHECKING:
    from supervision.process.process import Process

MAILBOX_WARNING = 1_000
"""Messages in a mailbox above which there is a warning, unless the actor's class says otherwise."""

HANDLER_WARNING_S = 30.0
"""Seconds that a handler has run for when there is a warning, unless the actor's class says otherwise."""

LOOK_S = 1.0
"""Seconds between two looks."""

MOST = 10
"""Warnings that begin within `WITHIN_S` at most; what is left out then is counted in the next."""

WITHIN_S = 60.0

SHOWN = 12
"""Functions in the stack of a handler, the innermost."""

UNSAID = 100
"""Warnings that wait for the thread that logs, at most: those after it are dropped, because the program's logging hangs."""


@dataclass(slots=True)
class _Sight:
    """A turn as a look has seen it; the same one as long as both values are the same."""

    turn: list[int]
    envelope: Any
    since: float
    warned: bool = False


class Turns(timer_thread.Repeated):
    """Who is in a turn, and what of that is long. One in each process of the operating system.

    Attributes:
        busy: each process that is in a turn, with the ident of the thread that is in it: a value of its own for each turn. The
            thread takes it out at the end of the turn, or a kill does.
        crowded: processes that had more than a batch left after a turn, or at the last look.

    Args:
        batch: how many messages a batch is.
        run_batch: the code of the function that a turn runs; what it calls is the actor's.
    """

    def __init__(self, batch: int, run_batch: CodeType) -> None:
        super().__init__()
        self.busy: dict[Process, list[int]] = {}
        self.crowded: dict[Process, None] = {}
        self._batch, self._run_batch = batch, run_batch
        # The timer thread's own, from here on.
        self._sights: dict[Process, _Sight] = {}
        self._long: dict[Process, None] = {}  # those whose mailbox there is a warning of
        self._begun: deque[float] = deque()  # when the newest warnings have begun
        self._log = _Log()

    @property
    def period_s(self) -> float:
        return LOOK_S

    def run(self) -> bool:
        """Look at all that are busy, on the timer thread; returns whether there is something to look at."""
        if not (self.busy or self.crowded or self._sights or self._long):
            return False
        now, busy = time.monotonic(), self.busy.copy()  # in one step: turns begin and end meanwhile
        while self._begun and self._begun[0] <= now - WITHIN_S:
            self._begun.popleft()
        self._look_at_handlers(busy, now)
        self._look_at_mailboxes(busy, now)
        return True

    # --- handlers -----------------------------------------------------------------------------------------------------

    def _look_at_handlers(self, busy: dict[Process, list[int]], now: float) -> None:
        before, self._sights = self._sights, {}
        due: list[tuple[Process, _Sight]] = []
        for process, turn in busy.items():
            sight, envelope = before.get(process), process.in_hand
            if sight is None or sight.turn is not turn or sight.envelope is not envelope:
                sight = _Sight(turn, envelope, now)
            self._sights[process] = sight
            limit_s = _limit(process, "handler_warning", HANDLER_WARNING_S)
            if not sight.warned and limit_s is not None and now - sight.since >= limit_s:
                due.append((process, sight))
        for process, sight in before.items():
            if sight.warned and self._sights.get(process) is not sight:
                self._say(
                    "info",
                    "long_handler_over",
                    process,
                    seconds=round(now - sight.since, 1),
                    abandoned=process.abandoned,
                )
        if due:
            self._warn_of_handlers(due, {process.waited_for_by for process in busy}, now)

    def _warn_of_handlers(self, due: list[tuple[Process, _Sight]], waiting: set[Process | None], now: float) -> None:
        # Of a supervisor that waits for an actor to start or to end there is no warning, while that is in a turn itself.
        due = [(process, sight) for process, sight in due if process not in waiting]
        for number, (process, sight) in enumerate(due, 1):
            if not self._may_begin():
                return
            stack = stack_of(sight.turn[0], self._run_batch)
            if process.in_hand is not sight.envelope:
                continue  # it has gone on just now, and the stack may be of another handler
            self._begun.append(now)
            sight.warned = True
            seconds = round(now - sight.since, 1)
            others = self._left_out(len(due) - number)
            self._say("warning", "long_handler", process, seconds=seconds, stack=stack, others=others)

    # --- mailboxes ----------------------------------------------------------------------------------------------------

    def _look_at_mailboxes(self, busy: dict[Process, list[int]], now: float) -> None:
        crowded, self.crowded = self.crowded, {}
        due: list[tuple[Process, int]] = []
        for process in {**crowded, **self._long, **busy}:
            messages = process.mailbox.qsize()
            limit = _limit(process, "mailbox_warning", MAILBOX_WARNING)
            if messages > self._batch and not process.is_ended:
                self.crowded[process] = None
            if process in self._long:
                if process.is_ended or limit is None or messages <= limit / 2:  # so that it does not flicker
                    del self._long[process]
                    self._say("info", "long_mailbox_over", process, messages=messages)
            elif limit is not None and messages > limit and not process.is_ended:
                due.append((process, messages))
        for number, (process, messages) in enumerate(due, 1):
            if not self._may_begin():
                return
            self._begun.append(now)
            self._long[process] = None
            self._say("warning", "long_mailbox", process, messages=messages, others=self._left_out(len(due) - number))

    # --- warnings -----------------------------------------------------------------------------------------------------

    def _may_begin(self) -> bool:
        return len(self._begun) < MOST

    def _left_out(self, more: int) -> int:
        """How many others are so now, of which there is no warning."""
        return 0 if self._may_begin() else more

    def _say(self, level: str, event: str, process: Process, **fields: Any) -> None:
        name = process.names[0] if process.names else None
        actor = str(process.ref)
        self._log.say(lambda: report(level, event, actor=actor, name=name, **fields))


def _limit(process: Process, attribute: str, default: float) -> float | None:
    """What the actor's class says; a value that is no number counts as ``None``."""
    limit = getattr(process.ref.actor_class, attribute, default)
    return limit if isinstance(limit, int | float) else None


def stack_of(ident: int, inside: CodeType) -> list[str]:
    """Where a thread is now: modules, lines and functions, the innermost last, and no values.

    Args:
        ident: the thread's; nothing is known of a greenlet.
        inside: the code of the function within which it is the actor's business; empty where the thread has left that.
    """
    frames: list[FrameType] = []
    with _no_collection():
        frame = sys._current_frames().get(ident)
        while frame is not None and frame.f_code is not inside:
            frames.append(frame)
            frame = frame.f_back
    if frame is None:
        return []
    shown = list(itertools.islice(_of_the_actor(frames), SHOWN))
    return [f"{one.f_globals.get('__name__')}:{one.f_lineno} {one.f_code.co_qualname}" for one in reversed(shown)]


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Have no garbage collected meanwhile, on any thread.

    Python 3.11 may collect amid ``f_back``. What is finalized then may let the thread go on whose frames these are. It
    leaves the one that is just being looked at, and the interpreter crashes.
    """
    with _switch.value:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


# Guards the collector's switch, for a few microseconds. Reentrant: a signal handler may look at a thread while this one does.
_switch = PerProcess(threading.RLock)


def _of_the_actor(frames: list[FrameType]) -> Iterable[FrameType]:
    """Without those between the turn, or the start, and the actor's own code; the innermost first."""
    outermost = len(frames)
    while outermost and frames[outermost - 1].f_globals.get("__name__") in _BETWEEN:
        outermost -= 1
    return frames[:outermost] or frames


_BETWEEN = (
    "pykka._actor",
    "supervision.child_process",
    "supervision.process.process",
    "supervision.process.pykka_actors",
    "supervision.server",
)


class _Log:
    """The thread that logs; see the module."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads: dict[str, object] = {}  # the one that logs, while it does

    def say(self, warning: Callable[[], None]) -> None:
        """Have it called; dropped where too many wait."""
        if self._queue.qsize() >= UNSAID:
            return
        self._queue.put(warning)
        if not self._threads:
            with contextlib.suppress(
                RuntimeError
            ):  # the interpreter is going down, or is out of threads: the next will see to it
                threading.Thread(target=self._run, name="supervision-warnings", daemon=True).start()

    def _run(self) -> None:
        me = object()
        while not self._queue.empty() and self._threads.setdefault("it", me) is me:
            try:
                while True:
                    self._queue.get_nowait()()
            except queue.Empty:
                pass
            finally:
                self._threads.clear()
