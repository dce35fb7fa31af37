"""What ``actor_stopped`` is on our actors: the part of ``threading.Event`` that Pykka uses, at a tenth of its size."""

from __future__ import annotations

from supervision import dispatch
from supervision.bells import Bell
from supervision.lifecycle.mailbox import Mailbox
from supervision.waiting import in_turns

__all__ = ["StopFlag"]


class StopFlag:
    """Set once nothing gets into the mailbox any more; so it is in a forked child for an inherited actor."""

    __slots__ = ("_mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def is_set(self) -> bool:
        return self._mailbox.closed

    def set(self) -> None:
        """Pykka sets it where we close the mailbox."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; returns whether it is. ``timeout`` is in seconds."""
        bell = Bell()
        self._mailbox.ring_when_closed(bell)
        try:
            with dispatch.blocking():
                in_turns(bell.wait, timeout)
        finally:
            self._mailbox.ring_no_more(bell)
        return self.is_set()
