"""One reader that waits for one outcome: a thread, or a task on an event loop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from oidc_actor.machine.events import Outcome, Rejected
from supervision.runtime.dispatcher import blocking
from supervision.runtime.waits import in_turns

if TYPE_CHECKING:
    import asyncio


class Gone:
    """The outcome of whoever waited for a manager that is not there any more."""


GONE: Final = Gone()


class ThreadWaiter:
    """A thread that waits; the first outcome stands."""

    __slots__ = ("_done", "_first", "deadline", "joined", "min_validity_s", "outcome", "rejected", "wants_refresh")

    def __init__(
        self, deadline: float, min_validity_s: float, *, wants_refresh: bool, rejected: Rejected | None = None
    ) -> None:
        self.deadline = deadline
        self.min_validity_s = min_validity_s
        self.wants_refresh = wants_refresh
        self.rejected = rejected
        self.joined: object = None  # the incarnation that knows of it
        self.outcome: Outcome | Gone | None = None
        self._first = threading.Lock()  # taken for good by whoever resolves first; guards nothing else
        self._done = threading.Lock()  # held until there is an outcome
        self._done.acquire()

    def resolve(self, outcome: Outcome | Gone) -> None:
        """Give the outcome; any thread."""
        if self._first.acquire(blocking=False):
            self.outcome = outcome
            self._done.release()

    def wait(self, timeout_s: float) -> Outcome | Gone | None:
        """Wait for the outcome; ``None`` where none came in time. On a pooled actor's thread a spare one stands in."""
        with blocking():
            in_turns(self._wait, timeout_s)
        return self.outcome

    def _wait(self, seconds: float) -> bool:
        return self._done.acquire(timeout=seconds)


class TaskWaiter:
    """A task that waits on its event loop; the first outcome stands."""

    __slots__ = ("_loop", "deadline", "future", "joined", "min_validity_s", "rejected", "wants_refresh")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadline: float,
        min_validity_s: float,
        *,
        wants_refresh: bool,
        rejected: Rejected | None = None,
    ) -> None:
        self.deadline = deadline
        self.min_validity_s = min_validity_s
        self.wants_refresh = wants_refresh
        self.rejected = rejected
        self.joined: object = None
        self.future: asyncio.Future[Outcome | Gone | None] = loop.create_future()
        self._loop = loop

    def resolve(self, outcome: Outcome | Gone) -> None:
        """Give the outcome; any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._set, outcome)

    async def wait(self, timeout_s: float) -> Outcome | Gone | None:
        """Wait for the outcome; ``None`` where none came in time."""
        deadline = self._loop.call_later(timeout_s, self._set, None)
        try:
            return await self.future
        finally:
            deadline.cancel()

    def _set(self, outcome: Outcome | Gone | None) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


def dismiss(waiters: Iterable[ThreadWaiter | TaskWaiter]) -> None:
    """Tell them that what they wait for does not come: their manager is not there any more."""
    for waiter in waiters:
        waiter.resolve(GONE)
