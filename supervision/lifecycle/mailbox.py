"""A mailbox that can be closed: after ``close`` nothing gets in, and what was in it is handed to whoever closed it.

Pykka's queue cannot be: its actors drain it "while not empty" and leave, and a message put after that is lost, with its
caller waiting for ever. Here ``offer`` and ``close`` exclude each other, so every message is either handled or answered.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from pykka import ActorDeadError
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from supervision.lifecycle.caller import must_outlive_caller
from supervision.lifecycle.patches import check_patches

__all__ = ["Mailbox"]

_process = object()  # of this process; a forked child has another one, which makes every inherited mailbox a dead one


def _start_over() -> None:
    global _process  # noqa: PLW0603 - a fork is the one thing that changes it
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


class Mailbox:
    """An actor's inbox (Pykka's ``ActorInbox`` protocol), and the way from a ref to its actor's life.

    Two plain lists, not a deque: an idle actor's is ten times smaller. Newcomers are appended to one, and the turn takes
    them from the end of the other, which is the first one turned round.
    """

    __slots__ = ("_arrived", "_bells", "_closed", "_process", "_turned", "life", "lock", "scheduled")

    def __init__(self) -> None:
        check_patches()  # before there is an actor: a mailbox is the first that each of ours gets
        # Guards everything here but `life`, and the life's phase and what hangs on it; held for a few instructions only.
        # Reentrant: the garbage collector may choose that moment for somebody's __del__, which sends a message.
        self.lock = threading.RLock()
        self._arrived: list[Envelope[Any]] = []
        self._turned: list[Envelope[Any]] = []
        self._closed = False
        self._bells: list[threading.Event] | None = None
        self._process = _process
        self.scheduled = True  # a turn is due or under way; a new actor's first turn starts it
        self.life: Any = None

    @property
    def closed(self) -> bool:
        """Whether nothing gets in any more; also so in a forked child, without its lock."""
        return self._closed or self._process is not _process

    @property
    def inherited(self) -> bool:
        """Whether it belongs to a parent process: nothing runs its actor here, and its lock may be held for ever."""
        return self._process is not _process

    # --- in -----------------------------------------------------------------------------------------------------------

    def offer(self, envelope: Envelope[Any]) -> bool:
        """Put an envelope in and see that its actor runs; false, and nothing done, once closed."""
        if self.closed:
            return False
        with self.lock:
            if self._closed:
                return False
            self._arrived.append(envelope)
            ring = not self.scheduled
            self.scheduled = True
        if ring:
            self.life.runtime.schedule(self.life)
        return True

    def put(self, envelope: Envelope[Any]) -> None:
        """Pykka's way in; once closed an ask gets ``ActorDeadError`` as its answer, and a tell raises it.

        An actor that stops itself or its supervisor and waits for that (``ActorRegistry.stop_all()`` in a handler) would
        wait for ever; it is told "stopped" at once, and the stop comes when it is its turn.
        """
        asker = envelope.reply_to
        if asker is not None and self.is_stop(envelope.message) and must_outlive_caller(self.life):
            envelope.reply_to = None
        if self.offer(envelope):
            if asker is not envelope.reply_to:
                asker.set(None)  # type: ignore[union-attr]
            return
        error = ActorDeadError(f"{self.life.ref} is not alive")
        if asker is None:
            raise error
        asker.set_exception((ActorDeadError, error, None))

    # --- out ----------------------------------------------------------------------------------------------------------

    def take(self) -> Envelope[Any] | None:
        """The oldest envelope, which is then the one in the life's hand; with none left the turn is over."""
        with self.lock:
            if not self._turned:
                if not self._arrived:
                    self.scheduled = False
                    return None
                self._turned, self._arrived = self._arrived, self._turned
                self._turned.reverse()
            envelope = self._turned.pop()
            self.life.in_hand = envelope
            return envelope

    def get(self) -> Envelope[Any]:
        """Pykka's way out, which no loop of ours takes."""
        envelope = self.take()
        if envelope is None:
            raise IndexError("the mailbox is empty")
        return envelope

    def empty(self) -> bool:
        """Whether no message waits."""
        return not (self._arrived or self._turned)

    def qsize(self) -> int:
        """How many messages wait, by the name that it has on Pykka's own queue."""
        return len(self._arrived) + len(self._turned)

    # --- the end ------------------------------------------------------------------------------------------------------

    def refuse_more(self) -> None:
        """Let nothing more in; what is inside stays for the end. The caller does not hold the lock."""
        with self.lock:
            self._shut()

    def close(self) -> list[Envelope[Any]]:
        """Let nothing more in and give out what is left, oldest first. The caller holds the lock."""
        self._shut()
        left = [*reversed(self._turned), *self._arrived]
        self._turned, self._arrived = [], []
        return left

    def _shut(self) -> None:
        self._closed = True
        for bell in self._bells or ():
            bell.set()
        self._bells = None

    def ring_when_closed(self, bell: threading.Event) -> None:
        """Set that event once nothing gets in any more, maybe now."""
        if not self.inherited:
            with self.lock:
                if not self._closed:
                    self._bells = [*(self._bells or ()), bell]
                    return
        bell.set()

    def ring_no_more(self, bell: threading.Event) -> None:
        """Undo ``ring_when_closed``."""
        if self.inherited:
            return
        with self.lock:
            if self._bells and bell in self._bells:
                self._bells.remove(bell)

    @staticmethod
    def is_stop(message: Any) -> bool:
        """Whether it is Pykka's request to stop."""
        return isinstance(message, _ActorStop)
