"""A mailbox that can be closed: after ``close`` nothing gets in, and what was in it is handed to whoever closed it.

Pykka's queue cannot be: its actors drain it "while not empty" and leave, and a message put after that is lost, with its
caller waiting for ever. Here ``offer`` and ``close`` exclude each other, so every message is either handled or answered.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any

from pykka import ActorDeadError
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

__all__ = ["Mailbox"]

_process = object()  # of this process; a forked child has another one, which makes every inherited mailbox a dead one


def _start_over() -> None:
    global _process  # noqa: PLW0603 - a fork is the one thing that changes it
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


class Mailbox:
    """An actor's inbox (Pykka's ``ActorInbox`` protocol), and the way from a ref to its actor's life."""

    __slots__ = ("_closed", "_process", "_queue", "life", "lock", "scheduled")

    def __init__(self) -> None:
        # Guards the queue and `scheduled` here, and the phase of the life; held for a few instructions only.
        self.lock = threading.Lock()
        self._queue: deque[Envelope[Any]] = deque()
        self._closed = False
        self._process = _process
        self.scheduled = True  # a turn is due or under way; a new actor's first turn starts it
        self.life: Any = None

    @property
    def closed(self) -> bool:
        """Whether nothing gets in any more; also so in a forked child, without its lock."""
        return self._closed or self.inherited

    @property
    def inherited(self) -> bool:
        """Whether it belongs to a parent process: nothing runs its actor here, and its lock may be held for ever."""
        return self._process is not _process

    def offer(self, envelope: Envelope[Any]) -> bool:
        """Put an envelope in and see that its actor runs; false, and nothing done, once closed."""
        if self.closed:
            return False
        with self.lock:
            if self._closed:
                return False
            self._queue.append(envelope)
            ring = not self.scheduled
            self.scheduled = True
        if ring:
            self.life.runtime.schedule(self.life)
        return True

    def put(self, envelope: Envelope[Any]) -> None:
        """Pykka's way in; once closed an ask gets ``ActorDeadError`` as its answer, and a tell raises it."""
        if self.offer(envelope):
            return
        error = ActorDeadError(f"{self.life.ref} is not alive")
        if envelope.reply_to is None:
            raise error
        envelope.reply_to.set_exception((ActorDeadError, error, None))

    def take(self) -> Envelope[Any] | None:
        """The oldest envelope; with none left the turn is over."""
        with self.lock:
            if self._queue:
                return self._queue.popleft()
            self.scheduled = False
            return None

    def get(self) -> Envelope[Any]:
        """Pykka's way out, which no loop of ours takes."""
        with self.lock:
            return self._queue.popleft()

    def empty(self) -> bool:
        """Whether no message waits."""
        return not self._queue

    def refuse_more(self) -> None:
        """Let nothing more in; what is inside stays for the end. The caller does not hold the lock."""
        with self.lock:
            self._closed = True

    def close(self) -> list[Envelope[Any]]:
        """Let nothing more in and give out what is left. The caller holds the lock."""
        self._closed = True
        left = list(self._queue)
        self._queue.clear()
        return left

    def discard(self, message: Any) -> None:
        """Take that very message out, if it is still there."""
        if self.closed:
            return
        with self.lock:
            kept = [envelope for envelope in self._queue if envelope.message is not message]
            if len(kept) != len(self._queue):
                self._queue = deque(kept)

    @staticmethod
    def is_stop(message: Any) -> bool:
        """Whether it is Pykka's request to stop."""
        return isinstance(message, _ActorStop)
