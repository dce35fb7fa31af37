"""Waiters: a thread or a task for one outcome, a subscription for every new token until it is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Final, Protocol

from oidc_actor.machine.events import Outcome, Rejected
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse
from supervision.runtime.tasks import task_bell
from supervision.runtime.waits import wait_for


class Gone:
    """The outcome of a wait for a manager that is not there any more."""


GONE: Final = Gone()


_caller_now: Callable[[], object] | None = None


def note_callers(caller_now: Callable[[], object] | None) -> None:
    """Have each waiter that is made keep what its reader is doing; ``None`` ends that.

    Args:
        caller_now: Called on the reader's thread, or in its task; it must be quick and raise nothing.
    """
    global _caller_now  # noqa: PLW0603 - one for the process, as the library that traces is
    _caller_now = caller_now


class _Waiter:
    """A reader that waits for an outcome; the first one stands.

    Two threads may resolve it at once, a manager's and one that closes the cell. The thread that takes `_first` stores its
    outcome and *then* lets the reader go, which therefore finds it. A reader whose time is over takes what is there by then.
    """

    __slots__ = ("_first", "caller", "deadline", "known_to", "min_validity_s", "outcome", "rejected", "wants_refresh")

    def __init__(
        self, deadline: float, min_validity_s: float, *, wants_refresh: bool, rejected: Rejected | None = None
    ) -> None:
        self.deadline = deadline
        self.min_validity_s = min_validity_s
        self.wants_refresh = wants_refresh
        self.rejected = rejected
        self.known_to: object = None  # the incarnation that knows of it
        self.caller = None if _caller_now is None else _caller_now()  # what the reader is doing, for a trace
        self.outcome: Outcome | Gone | None = None
        self._first = threading.Lock()  # taken for good by the thread that resolves first; guards nothing else

    def resolve(self, outcome: Outcome | Gone) -> None:
        """Give the outcome; any thread."""
        if self._first.acquire(blocking=False):
            self.outcome = outcome
            self._let_go()

    def _let_go(self) -> None:
        raise NotImplementedError


class ThreadWaiter(_Waiter):
    """A thread that waits."""

    __slots__ = ("_done",)

    def __init__(
        self, deadline: float, min_validity_s: float, *, wants_refresh: bool, rejected: Rejected | None = None
    ) -> None:
        super().__init__(deadline, min_validity_s, wants_refresh=wants_refresh, rejected=rejected)
        self._done = threading.Lock()  # held until there is an outcome
        self._done.acquire()

    def wait(self, timeout_s: float) -> Outcome | Gone | None:
        """Wait for the outcome; ``None`` where none came in time. On a pooled actor's thread a spare one stands in."""
        wait_for(self._wait, timeout_s)
        return self.outcome

    def _wait(self, seconds: float) -> bool:
        return self._done.acquire(timeout=seconds)

    def _let_go(self) -> None:
        self._done.release()


class TaskWaiter(_Waiter):
    """A task of asyncio or trio that waits, without blocking its event loop. Where that is closed no task waits any more."""

    __slots__ = ("_bell",)

    def __init__(
        self, deadline: float, min_validity_s: float, *, wants_refresh: bool, rejected: Rejected | None = None
    ) -> None:
        super().__init__(deadline, min_validity_s, wants_refresh=wants_refresh, rejected=rejected)
        self._bell = task_bell()

    async def wait(self, timeout_s: float | None) -> Outcome | Gone | None:
        """Wait for the outcome, ``None`` seconds for ever; ``None`` where none came in time."""
        await self._bell.wait(timeout_s)
        return self.outcome

    def _let_go(self) -> None:
        self._bell.ring()


def check_listener(listener: object) -> None:
    """Check what is to be called.

    Raises:
        ConfigError: It cannot be called, or is a coroutine function, whose coroutine would not be awaited.
    """
    if iscoroutinefunction(listener):
        raise ConfigError(
            "expected a plain function, got a coroutine function; for tasks there is oidc_actor.streams.renewals",
            ("listener",),
        )
    if not callable(listener):
        raise ConfigError(f"expected a callable that takes a token, got {type(listener).__name__}", ("listener",))


class _Home(Protocol):
    closed: bool

    def unsubscribe(self, subscription: Subscription, /) -> None: ...


class Subscription:
    """What `TokenManager.subscribe` returns. It outlives restarts of the manager, and ends with its orderly stop."""

    __slots__ = ("_home", "_is_told", "_listener", "_lock", "_missed")

    def __init__(self, home: _Home, listener: Callable[[TokenResponse], object]) -> None:
        self._home = home
        self._listener: Callable[[TokenResponse], object] | None = listener
        self.fork()

    def __dir__(self) -> list[str]:
        return ["cancel", "is_over"]

    def __repr__(self) -> str:
        state = "cancelled" if self._listener is None else "active"
        return f"<Subscription {state}>"

    def fork(self) -> None:
        """In a forked child: no thread runs the listener."""
        self._lock = threading.Lock()  # guards the two below; never held while the listener runs
        self._is_told = False
        self._missed: TokenResponse | None = None  # the newest that came while it was told of another

    @property
    def is_over(self) -> bool:
        """Whether the listener is told no more: it was cancelled, or the manager was stopped."""
        return self._listener is None or self._home.closed

    def cancel(self) -> None:
        """Have the listener told no more; one call may still be under way. Idempotent; any thread."""
        self._listener = None
        self._home.unsubscribe(self)

    def tell(self, token: TokenResponse, failed: Callable[[BaseException], object]) -> None:
        """Call the listener, unless it has been cancelled.

        A manager's subscriptions are told one after the other, on a thread of the pool. Only a listener that was left behind,
        because it had not returned in time, may still be in its call when the next token comes, on another thread. It is not
        called a second time at once: the token is noted as missed, and when the listener returns, the thread that it kept
        tells it of the newest of those. Both look under the lock, so that a token is either missed in time, or told here.

        Args:
            token: The token.
            failed: Told of what the listener raises.
        """
        due = self._begin(token)
        while due is not None:
            listener = self._listener
            try:
                if listener is not None:
                    listener(due)
            except BaseException as error:  # noqa: BLE001 - a user callback
                failed(error)
            due = self._next()

    def _begin(self, token: TokenResponse) -> TokenResponse | None:
        with self._lock:
            if self._is_told:
                self._missed = token
                return None
            self._is_told = True
            return token

    def _next(self) -> TokenResponse | None:
        with self._lock:
            token, self._missed = self._missed, None
            self._is_told = token is not None
            return token
