"""Answers to a waiting caller: ours for ``call``, Pykka's futures for ``ask``; the first answer stands."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from typing import Any, cast

from pykka import ActorDeadError
from pykka.messages import _ActorStop

from supervision.errors import ServerDied
from supervision.runtime import dispatcher as dispatch
from supervision.runtime.waits import in_turns

__all__ = ["NoAnswer", "Reply", "answer", "answer_dead", "answer_error", "answer_unhandled"]


class NoAnswer(Exception):
    """There was no answer in time; not a ``TimeoutError``, which may be the answer."""


class Reply:
    """A one-shot answer. The first outcome stands, later ones are dropped.

    Attributes:
        error: the exception that was the answer, once it is there; ``None`` where it was a value.
        deserted: whether nobody waits for it any more.
    """

    __slots__ = ("_done", "_first", "_value", "deserted", "error")

    def __init__(self) -> None:
        self._first = threading.Lock()  # taken for good by whoever answers first; guards nothing else
        self._done = threading.Lock()  # held until there is an answer
        self._done.acquire()
        self._value: Any = None
        self.error: BaseException | None = None
        self.deserted = False

    def set(self, value: Any = None) -> bool:
        """Answer with a value; false where there is an answer."""
        if not self._first.acquire(blocking=False):
            return False
        self._value = value
        self._done.release()
        return True

    def fail(self, error: BaseException) -> None:
        """Answer with an exception, which ``wait`` raises unchanged."""
        if self._first.acquire(blocking=False):
            self.error = error
            self._done.release()

    def set_exception(self, exc_info: Any = None) -> None:
        """Answer with an exception, in the way of a Pykka future: by default with the one being handled."""
        self.fail(cast(BaseException, (exc_info or sys.exc_info())[1]))

    def arrived(self, timeout: float | None) -> bool:
        """Wait for the answer, at most ``timeout`` seconds (``None``: for ever); returns whether it is there."""
        with dispatch.blocking():
            there = in_turns(self._acquire, timeout)
        if there:
            self._done.release()  # it stays there, for whoever else waits
        return there

    def _acquire(self, seconds: float) -> bool:
        return self._done.acquire(timeout=seconds)

    def outcome(self) -> Any:
        """The value that arrived; raises the exception if that was the answer."""
        if self.error is not None:
            raise self.error
        return self._value

    def wait(self, timeout: float | None) -> Any:
        """The value.

        Args:
            timeout: seconds, ``None`` for no limit.

        Raises:
            NoAnswer: nothing came in time.
            BaseException: the exception that was the answer.
        """
        try:
            arrived = self.arrived(timeout)
        except BaseException:  # a signal handler's
            self.deserted = True
            raise
        if not arrived:
            self.deserted = True
            raise NoAnswer
        return self.outcome()


def answer(reply_to: Any, value: Any) -> None:
    """Answer a ``Reply`` or a Pykka future, unless it has its answer (a killed actor's callers do)."""
    with contextlib.suppress(queue.Full):
        reply_to.set(value)


def answer_error(reply_to: Any, error: BaseException) -> None:
    """Answer with the exception of a handler, unchanged."""
    if isinstance(reply_to, Reply):
        reply_to.fail(error)
    else:
        with contextlib.suppress(queue.Full):
            reply_to.set_exception((type(error), error, error.__traceback__))


def answer_dead(reply_to: Any, ref: Any, reason: Any) -> None:
    """Tell a caller that the server ended first: ``ServerDied`` for ``call``, ``ActorDeadError`` for Pykka's ``ask``."""
    if isinstance(reply_to, Reply):
        reply_to.fail(ServerDied(ref, reason))
    else:
        answer_error(reply_to, ActorDeadError(f"{ref} ended before it answered: {reason}"))


def answer_unhandled(envelope: Any, ref: Any, reason: Any) -> None:
    """Answer what an actor that has ended left unhandled; whoever asked it to stop has what he wanted."""
    if envelope.reply_to is None:
        return
    if isinstance(envelope.message, _ActorStop):
        answer(envelope.reply_to, None)
    else:
        answer_dead(envelope.reply_to, ref, reason)
