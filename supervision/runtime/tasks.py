"""How a task waits, without blocking its event loop, for what another thread does; under asyncio and under trio.

Neither is imported here: a program whose tasks wait has imported its own. Nothing here polls, and no thread is made. The thread
that rings hands the loop a callback, in the one way that each of the two has for other threads, and takes no lock of ours.
"""

from __future__ import annotations

import contextlib
import math
import sys
from typing import Any, Protocol

from supervision.runtime.waits import NoAnswer, Reply


class TaskBell(Protocol):
    """Rung once for good, by any thread; one task waits for that."""

    def ring(self) -> None:
        """Let go the task that waits, or will wait. Any thread; without effect where its loop is closed."""

    async def wait(self, timeout: float | None) -> bool:
        """Wait until it has been rung, at most ``timeout`` seconds (``None``: for ever); returns whether it has."""


def task_bell() -> TaskBell:
    """A bell for the task that runs on the calling thread.

    Raises:
        RuntimeError: no event loop runs here, or one that is neither asyncio's nor trio's.
    """
    return _TrioBell() if _library() == "trio" else _AsyncioBell()


def _library() -> str:
    """The library whose task this is. trio brings sniffio along, which knows: one may run on top of the other.

    A release of trio without it is asked itself.
    """
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is not None:
        with contextlib.suppress(sniffio.AsyncLibraryNotFoundError):
            return str(sniffio.current_async_library())
    trio: Any = sys.modules.get("trio")
    return "trio" if trio is not None and trio.lowlevel.in_trio_task() else "asyncio"


class _AsyncioBell:
    """The callback finds the future that waits, because it runs on the loop's thread, and not before the task has yielded."""

    __slots__ = ("_future", "_is_rung", "_loop")

    def __init__(self) -> None:
        asyncio: Any = sys.modules.get("asyncio")
        if asyncio is None:
            raise RuntimeError("expected to run in a task of asyncio or trio, got neither")
        self._loop = asyncio.get_running_loop()
        self._future: Any = None
        self._is_rung = False

    def ring(self) -> None:
        self._is_rung = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: no task waits any more
            self._loop.call_soon_threadsafe(self._wake)

    async def wait(self, timeout: float | None) -> bool:
        if self._is_rung or (timeout is not None and timeout <= 0):
            return self._is_rung
        self._future = self._loop.create_future()
        deadline = None if timeout is None else self._loop.call_later(timeout, self._wake)
        try:
            await self._future
        finally:
            self._future = None
            if deadline is not None:
                deadline.cancel()
        return self._is_rung

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class _TrioBell:
    __slots__ = ("_event", "_is_rung", "_token", "_trio")

    def __init__(self) -> None:
        self._trio: Any = sys.modules["trio"]
        self._token = self._trio.lowlevel.current_trio_token()
        self._event = self._trio.Event()
        self._is_rung = False

    def ring(self) -> None:
        self._is_rung = True
        with contextlib.suppress(self._trio.RunFinishedError):  # no task waits any more
            self._token.run_sync_soon(self._event.set)

    async def wait(self, timeout: float | None) -> bool:
        with self._trio.move_on_after(math.inf if timeout is None else max(0.0, timeout)):
            await self._event.wait()
        return self._is_rung


class TaskReply(Reply):
    """An answer that a task waits for; answered as any reply is, on any thread.

    Raises:
        RuntimeError: no event loop runs here, or one that is neither asyncio's nor trio's.
    """

    __slots__ = ("_bell",)

    def __init__(self) -> None:
        super().__init__()
        self._bell = task_bell()

    def set(self, value: Any = None) -> bool:
        """Answer with a value; false where there is an answer."""
        is_first = super().set(value)
        self._tell_task()
        return is_first

    def fail(self, error: BaseException) -> None:
        """Answer with an exception, which ``result_for_task`` raises unchanged."""
        super().fail(error)
        self._tell_task()

    async def is_there_within(self, timeout: float | None) -> bool:
        """Wait for the answer, at most ``timeout`` seconds (``None``: for ever); returns whether it is there."""
        return await self._bell.wait(timeout)

    async def result_for_task(self, timeout: float | None) -> Any:
        """Wait for the value, as ``result`` does. A task that is cancelled meanwhile does not wait any more."""
        is_there = False
        try:
            is_there = await self._bell.wait(timeout)
        finally:
            self.deserted = not is_there
        if not is_there:
            raise NoAnswer
        return self.outcome()

    def _tell_task(self) -> None:
        if not self.deserted:
            self._bell.ring()
