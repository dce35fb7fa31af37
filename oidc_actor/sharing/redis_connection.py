"""One process's connection to Redis or Valkey: the client, and the thread that uses it.

**Each call is bounded**, whatever the client does: it runs on a thread of its own, and its caller waits no longer than the
timeout. redis-py bounds each read and each write of a socket, of which one call may have many: a new connection has a
handshake of several, and Sentinel and a cluster ask several servers. A call that is over time is given up with its client:
its sockets are closed, so that its thread ends soon, and the next call has a new client and a new thread. Only where the
client is just being made it is waited for by later calls, too: one of a cluster first asks what there is.

Calls come one after the other, in the order in which they were asked for. After any error the client is closed and a new
one is made, which finds the server that is the master by then. The thread and the connection end after a while in which
nothing was asked.

**Fork.** A child has neither thread nor client until its first use. It keeps what it inherited for ever, and never touches it:
to close it there could wait for a lock that a thread of the parent held.
"""

from __future__ import annotations

import contextlib
import importlib
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from oidc_actor.values.errors import OIDCActorError, StoreError
from supervision.runtime.per_process import in_forked_child

T = TypeVar("T")

IDLE_S = 30.0
"""Seconds without a call after which the connection is closed and its thread ends."""

MAKING_S = 5.0
"""Seconds that a client may take to be made."""

MOST_LOST = 4
"""Threads that may be stuck in calls that were given up; with as many no other call is made."""

_CODE = re.compile(r"[A-Z]{2,20}\b")

_open: dict[int, Any] = {}
"""The clients of this process by their identity. Each change is one operation."""

_inherited: list[Any] = []
"""The clients of the processes that this one was forked from: kept, for what is let go of is closed."""


def _keep_inherited() -> None:
    _inherited.append(dict(_open))
    _open.clear()


in_forked_child(_keep_inherited)


class Connection:
    """What one process has of one server."""

    def __init__(self, make: Callable[[], Any], timeout_s: float, host: Callable[[], str]) -> None:
        """Connect to nothing yet.

        Args:
            make: Makes a client. Called on the connection's thread.
            timeout_s: For one call.
            host: Says where the server is, for errors.
        """
        self._make, self._timeout_s, self._host = make, timeout_s, host
        # Of the caller whose call is under way, and of none for longer than the timeout. Guards what follows.
        self._turn = _Turn()
        self._line: _Line | None = None
        self._lost: list[_Line] = []

    def call(self, do: Callable[[Any], T]) -> T:
        """Have the server asked; any thread.

        Args:
            do: Asks it, given the client.

        Raises:
            StoreError: It did not answer in time, or with an error; or earlier calls still hang.
        """
        ends_at = time.monotonic() + self._timeout_s
        if not self._turn.acquire(timeout=self._timeout_s):
            raise StoreError(f"{self._host()}: earlier calls have not ended", sent=False)
        try:
            call = _Call(do)
            line = self._put(call)
            if not call.done.wait(max(0.0, ends_at - time.monotonic())):
                call.is_over = True
                if not line.is_making():
                    self._line = None
                    self._lost.append(line)
                    line.give_up()
                raise StoreError(f"{self._host()}: no answer within {self._timeout_s:g} s")
        finally:
            self._turn.release()
        if call.problem is not None:
            raise StoreError(call.problem if call.is_ours else f"{self._host()}: {call.problem}", sent=call.is_sent)
        return call.answer  # type: ignore[no-any-return]

    def _put(self, call: _Call) -> _Line:
        line = self._line
        if line is not None and line.takes(call):
            return line
        self._lost = [one for one in self._lost if one.thread.is_alive()]
        if len(self._lost) >= MOST_LOST:
            raise StoreError(f"{self._host()}: {MOST_LOST} earlier calls hang", sent=False)
        try:
            line = self._line = _Line(self._make)
        except RuntimeError:  # the system has no thread left
            raise StoreError(f"{self._host()}: no thread can be started", sent=False) from None
        line.takes(call)
        return line


class _Turn:
    """One thread's after the other's, in the order in which they ask for it.

    A plain lock is often taken again by the thread that has just let it go, while those that wait for it are still waking up. On
    a busy machine they wait for longer than a call may take.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows, and is held for a few instructions
        self._taken_by: threading.Lock | None = None
        self._waiting: deque[threading.Lock] = deque()  # each is released when the turn is its thread's

    def acquire(self, timeout: float) -> bool:
        """Wait for the turn, for seconds; whether it is this thread's now."""
        mine, is_mine = threading.Lock(), False
        mine.acquire()
        try:
            with self._lock:
                is_free = self._taken_by is None
                if is_free:
                    self._taken_by = mine
                else:
                    self._waiting.append(mine)
            is_mine = is_free or mine.acquire(timeout=timeout)
        finally:  # a signal's handler may raise, anywhere in there
            if not is_mine:
                self._leave(mine)
        return is_mine

    def release(self) -> None:
        """Hand the turn over to the thread that has waited longest."""
        with self._lock:
            self._hand_over()

    def _hand_over(self) -> None:
        self._taken_by = self._waiting.popleft() if self._waiting else None
        if self._taken_by is not None:
            self._taken_by.release()

    def _leave(self, mine: threading.Lock) -> None:
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
            elif self._taken_by is mine:  # it was handed over just now
                self._hand_over()


class _Call:
    """One call: what is asked, and, once ``done`` is set, its answer or what went wrong."""

    def __init__(self, do: Callable[[Any], Any]) -> None:
        self.do = do
        self.done = threading.Event()
        self.answer: Any = None
        self.problem: str | None = None
        self.is_ours = False  # whether the problem is a `StoreError`'s whole text
        self.is_sent = True
        self.is_over = False  # whether nobody waits for it any more


class _Line:
    """One thread with one client."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._client: Any = None  # written by the thread alone, and so is the next
        self._making_since: float | None = None
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._ended = False
        self._lock = threading.Lock()  # guards ``_ended``: a call is put in before the thread has ended, or not at all
        self.thread = threading.Thread(target=self._run, name="oidc-actor-store", daemon=True)
        self.thread.start()

    def takes(self, call: _Call) -> bool:
        """Put a call in; false where the thread has ended."""
        with self._lock:
            if not self._ended:
                self._calls.put(call)
            return not self._ended

    def is_making(self) -> bool:
        """Whether its client is being made, and not for too long."""
        since = self._making_since
        return since is not None and time.monotonic() - since < MAKING_S

    def give_up(self) -> None:
        """Close the client's sockets, so that the thread that waits at one goes on, and ends. Does not wait."""
        with self._lock:
            self._ended = True
        client = self._client
        if client is not None:  # on a thread of its own: a client may have a lock, which the other thread holds
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=close, args=(client,), name="oidc-actor-store-close", daemon=True).start()

    def _run(self) -> None:
        try:
            while (call := self._next()) is not None:
                self._answer(call)
                del call  # an idle thread keeps no answer
        finally:
            self._forget()

    def _next(self) -> _Call | None:
        while True:
            try:
                return None if self._ended else self._calls.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    self._ended = self._calls.empty()

    def _answer(self, call: _Call) -> None:
        try:
            if self._client is None:
                self._making_since = time.monotonic()
                self._client = opened(self._make)
                self._making_since = None
            if not call.is_over:
                call.answer = call.do(self._client)
        except StoreError as error:
            call.problem, call.is_ours, call.is_sent = str(error), True, error.sent
        except BaseException as error:  # noqa: BLE001 - whatever a client raises
            call.problem = said(error)
            self._forget()
        self._making_since = None
        call.done.set()

    def _forget(self) -> None:
        """Close the connection: the server may not be the one to ask any more, and an answer may still be on its way."""
        client, self._client = self._client, None
        if client is not None:
            close(client)


def opened(make: Callable[[], Any]) -> Any:
    """Make a client that does not try again by itself: a call that was carried out is not to be sent once more."""
    client = make()
    _open[id(client)] = client
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for one in (client, *getattr(manager, "sentinels", ())):
        package = type(one).__module__.partition(".")[0]
        with contextlib.suppress(ImportError, AttributeError):  # it has no such notion
            retry = importlib.import_module(f"{package}.retry").Retry
            one.set_retry(retry(importlib.import_module(f"{package}.backoff").NoBackoff(), 0))
    return client


def close(client: Any) -> None:
    """Close a client's connections, those in use too. Any thread; may block."""
    pool = getattr(client, "connection_pool", None)
    for end in (getattr(pool, "disconnect", None), getattr(client, "close", None)):
        if end is not None:
            with contextlib.suppress(Exception):  # it is being given up
                end()
    _open.pop(id(client), None)


def is_cluster(client: Any) -> bool:
    """Whether that is a client of a cluster, in which each key has a server of its own."""
    return hasattr(client, "get_node_from_key")


def said(error: BaseException) -> str:
    """The kind of an error, and the code that the server's begin with; the rest of the text may quote what was sent."""
    if isinstance(error, OIDCActorError):  # the address cannot be read, or is none
        return str(error)
    found = _CODE.match(str(error))
    kind = type(error).__name__
    return f"{kind} ({found.group()})" if found is not None else kind
