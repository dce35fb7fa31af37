"""A mailbox that can be closed: after ``close`` nothing gets in, and what was in it is handed to whoever closed it.

Pykka's queue cannot be: its actors drain it "while not empty" and leave, and a message put after that is lost, with its
caller waiting for ever. Here every message is either handled or answered.

No sender takes a lock: it may be a signal handler or a finalizer, which has interrupted another sender, or the actor's own turn
(`supervision.runtime.bells`). The sequences that meet::

    sender                              who ends the actor                   worker, in a turn
    1. closed? then no                  1. closed                            1. the summons is heard
    2. puts its envelope in             2. phase = ENDED                     2. takes the right to the turn, or leaves
    3. closed and ENDED? takes back     3. empties the queue, answers        3. takes envelopes till there is none
       what is in the queue             (each envelope comes out of it       4. gives the right back
    4. no summons stands? makes one      once, whoever takes it)             5. looks again: has one come? then another turn

An envelope that was put in before the ender's 3 is answered by it. One that comes later finds it ended, and takes itself back.
The actor is in the run queue as often as somebody was not sure: a turn whose right is taken is no turn.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any

from pykka import ActorDeadError
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from supervision.process.current import current, must_outlive_caller
from supervision.process.patches import check_patches
from supervision.process.phase import Phase
from supervision.process.replies import answer_unhandled
from supervision.runtime import dispatcher as dispatch
from supervision.runtime.bells import Bell, Summons
from supervision.runtime.dispatcher import is_between_turns
from supervision.runtime.per_process import PerProcess
from supervision.runtime.waits import in_turns

__all__ = ["Mailbox"]

_bells: PerProcess[dict[Mailbox, list[Bell]]] = PerProcess(
    dict
)  # who waits for a mailbox to close; few do, so it is no field
_quiet = Summons()  # never sent: stands for any that has been heard
_process = PerProcess(object)  # a forked child has another one, which makes every inherited mailbox a dead one


class Mailbox:
    """An actor's inbox (Pykka's ``ActorInbox`` protocol), and the way from a ref to its actor's life."""

    __slots__ = ("_closed", "_process", "_queue", "life", "lock", "summons")

    def __init__(self) -> None:
        check_patches()  # before there is an actor: a mailbox is the first that each of ours gets
        # Guards the life's phase and names while it starts or ends. No sender takes it, and no turn. Reentrant: the garbage
        # collector may choose that moment for somebody's __del__, which kills an actor.
        self.lock = threading.RLock()
        self._queue: queue.SimpleQueue[Envelope[Any]] = queue.SimpleQueue()
        self._closed = False
        self._process = _process.value
        self.summons = Summons.standing()  # nobody is to ring before the first turn, which starts the actor
        self.life: Any = None

    @property
    def closed(self) -> bool:
        """Whether nothing gets in any more; also so in a forked child, without its lock."""
        return self._closed or self._process is not _process.value

    @property
    def inherited(self) -> bool:
        """Whether it belongs to a parent process: nothing runs its actor here, and its lock may be held for ever."""
        return self._process is not _process.value

    # --- in -----------------------------------------------------------------------------------------------------------

    def offer(self, envelope: Envelope[Any]) -> bool:
        """Put an envelope in and see that its actor runs; false, and nothing done, once closed."""
        if self.closed:
            return False
        self._queue.put(envelope)
        if self._closed and self.life.phase is Phase.ENDED and self._take_back(envelope):
            return False
        if not self.summons.stands or self._holds_the_summons():
            summons = self.summons = Summons()
            self.life.runtime.schedule(self.life)
            summons.sent()
        return True

    def _take_back(self, envelope: Envelope[Any]) -> bool:
        """Settle what came at the last moment; false where that envelope has been answered by who ended the actor."""
        ours = False
        for left in self.empty_out():
            if left is envelope:
                ours = True
            else:
                answer_unhandled(left, self.life.ref, self.life.reason)
        return ours

    def _holds_the_summons(self) -> bool:
        """Whether the calling thread may be the one that was summoned, and a finalizer has interrupted it before it could hear.

        Such a worker is in no turn yet. Another one takes it then.
        """
        return is_between_turns() and current() is None and self.life.phase is not Phase.STARTING

    def put(self, envelope: Envelope[Any]) -> None:
        """Pykka's way in; once closed an ask gets ``ActorDeadError`` as its answer, and a tell raises it.

        An actor that stops itself or its supervisor and waits for that (``ActorRegistry.stop_all()`` in a handler) would
        wait for ever; it is told "stopped" at once, and the stop comes when it is its turn.
        """
        asker = envelope.reply_to
        if asker is not None and hasattr(asker, "asked"):
            asker.asked = self.life
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
        """The oldest envelope, which is then the one in the life's hand; ``None`` where there is none. In a turn only."""
        if self._queue.empty():
            return None
        try:
            envelope = self._queue.get_nowait()
        except queue.Empty:  # it has been closed at this moment
            return None
        self.life.in_hand = envelope
        return envelope

    def hear(self) -> None:
        """A turn is about to look: who sends from here on summons anew."""
        self.summons.heard()
        self.summons = _quiet  # which lets go of that one

    def get(self) -> Envelope[Any]:
        """Pykka's way out, which no loop of ours takes."""
        envelope = self.take()
        if envelope is None:
            raise IndexError("the mailbox is empty")
        return envelope

    def empty(self) -> bool:
        """Whether no message waits."""
        return self._queue.empty()

    def qsize(self) -> int:
        """How many messages wait, by the name that it has on Pykka's own queue."""
        return self._queue.qsize()

    # --- the end ------------------------------------------------------------------------------------------------------

    def refuse_more(self) -> None:
        """Let nothing more in; what is inside stays for the end."""
        self._closed = True
        for bell in _bells.value.pop(self, ()):
            bell.ring()

    def empty_out(self) -> list[Envelope[Any]]:
        """Take out what is left, oldest first; it is closed, and the life has ended."""
        left: list[Envelope[Any]] = []
        while True:
            try:
                left.append(self._queue.get_nowait())
            except queue.Empty:
                return left

    def ring_when_closed(self, bell: Bell) -> None:
        """Ring that bell once nothing gets in any more, maybe now."""
        _bells.value.setdefault(self, []).append(bell)
        if self.closed:  # maybe before it was in there
            bell.ring()

    def ring_no_more(self, bell: Bell) -> None:
        """Undo ``ring_when_closed``."""
        waiting = _bells.value.get(self, [])
        with contextlib.suppress(ValueError):
            waiting.remove(bell)
        if not waiting or self.closed:
            for late in _bells.value.pop(self, ()):  # somebody has come in between: that one goes back, or is rung
                self.ring_when_closed(late)

    @staticmethod
    def is_stop(message: Any) -> bool:
        """Whether it is Pykka's request to stop."""
        return isinstance(message, _ActorStop)


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
