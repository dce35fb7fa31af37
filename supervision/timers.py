"""Messages for later. After ``cancel()`` a timer's message is never handled, wherever it was."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pykka
from pykka._envelope import Envelope

from supervision.messages import Withdrawable
from supervision.process import Life, names
from supervision.registry import ServerName, find, stranger
from supervision.runtime import timer_thread as alarm

__all__ = ["Timer", "send_after"]


class Timer(Withdrawable):
    """A message on its way; it lies in the mailbox itself, and is opened only if it was not cancelled."""

    __slots__ = ("_alarm", "_pending", "_target")

    def __init__(self, message: Any, target: Life | pykka.ActorRef[Any] | str | None) -> None:
        super().__init__(message)
        self._target = target
        self._pending = (
            [] if target is None else [None]
        )  # empty once it is handled or withdrawn: who takes it out decides
        self._alarm: alarm.Alarm | None = None

    def __repr__(self) -> str:
        return f"<Timer {'pending' if self._pending else 'done'}>"

    def cancel(self) -> bool:
        """Withdraw the message. Returns whether it had not been handled yet; it never will be."""
        if not self.claim():
            return False
        if self._alarm is not None:
            self._alarm.cancel()
        self.message = self._target = None
        return True

    def claim(self) -> bool:
        """Whether it may be handled now: true once, and never after ``cancel``."""
        try:
            self._pending.pop()
        except IndexError:
            return False
        return True

    def start(self, delay_s: float) -> None:
        """Have it delivered in ``delay_s`` seconds."""
        self._alarm = alarm.call_later(delay_s, self._deliver)

    def _deliver(self) -> None:
        target = self._target
        if isinstance(target, pykka.ActorRef):
            message = self.message
            if self.claim():
                with contextlib.suppress(pykka.ActorDeadError):
                    target.tell(message)
            return
        life = names.lookup(target) if isinstance(target, str) else target
        if life is None or not life.mailbox.offer(Envelope(self)):
            self.claim()  # nobody there: as in OTP the message is dropped


def send_after(delay_s: float, server: ServerName, message: Any) -> Timer:
    """Send a message in ``delay_s`` seconds, on a clock that counts suspend.

    Args:
        delay_s: seconds, 0 or more.
        server: a ref, and the message is for that incarnation only; or a name, looked up when the time comes. To an actor
            that Pykka alone has started the message is told when the time comes, and counts as handled then.
        message: what ``on_receive`` gets, as from ``cast``.

    Returns:
        A ``Timer``; its ``cancel()`` answers whether the message had not been handled yet.
    """
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float):
        raise TypeError(f"delay_s: expected finite seconds of at least 0, got {delay_s!r}")
    if not 0 <= delay_s < math.inf:
        raise ValueError(f"delay_s: expected finite seconds of at least 0, got {delay_s!r}")
    timer = Timer(message, server if isinstance(server, str) else find(server) or stranger(server))
    if timer._pending:
        timer.start(delay_s)
    return timer
