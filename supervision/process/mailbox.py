"""A mailbox that can be closed, and what lies in it besides the users' own messages.

After ``close`` nothing gets in, and what was in it is handed to the thread that ended the actor. Pykka's queue cannot be
closed: its actors drain it "while not empty" and leave, and a message put after that is lost, with its caller waiting for
ever. Here every message is either handled or answered.

No sender takes a lock: it may be a signal handler or a finalizer, which has interrupted another sender, or the actor's own turn
(`supervision.runtime.waits`). The sequences that meet::

    sender                              thread that ends the actor           worker, in a turn
    1. closed? then no                  1. closed                            1. hears the summons
    2. puts its envelope in             2. phase = ENDED                     2. takes the right to the turn, or leaves
    3. closed and ENDED? takes back     3. empties the queue, answers        3. takes envelopes till there is none
       what is in the queue             (each envelope comes out of it       4. gives the right back
    4. no turn and no summons stands?   once, for one of the two)            5. looks again: has one come? then another turn
       makes one

- An envelope that was put in before the ender's 3 is answered by the ender. One that comes later finds the actor ended at
  the sender's 3, and the sender takes it back. Were the sender's 3 left out, a message put in between the ender's 3 and
  the sender's 4 would lie there for ever, and its caller wait.
- An envelope that was put in while a summons stood is seen at the worker's 3: the worker hears first and looks then. Did it look
  first, one that comes between the two would be put in under a summons that is already being answered.
- A sender that finds the right taken at its 4 makes no summons, which would only wake a worker for nothing: the worker that has
  the right gives it back later than that, and looks at its 5, where it sees what the sender has put in at its 2.
- The actor is in the run queue as often as a sender was not sure. A turn whose right is taken is no turn, for the same reason.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from pykka import ActorDeadError

from supervision.errors import ServerDied
from supervision.exits import Reason
from supervision.frozen import dataclass
from supervision.process.pykka_internals import Envelope, StopRequest
from supervision.runtime.per_process import PerProcess
from supervision.runtime.waits import Bell, Reply, Summons, check_patches

if TYPE_CHECKING:
    from supervision.process.process import Process


@dataclass(frozen=True, slots=True)
class ExitSignal:
    """Ends the actor that handles it.

    Attributes:
        reason: what it ends with.
        sender: the process that waits for the end, ``None`` outside an actor; a call back to it could only deadlock.
        for_restart: whether this end is part of a restart: the actor is expected to be started again.
    """

    reason: Reason
    sender: Process | None = None
    for_restart: bool = False


class Cancellable:
    """A message that can be cancelled until the moment it is handled (a timer's, a monitor's)."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:
        self.message = message

    def claim(self) -> bool:
        """Whether it may be handled now; never after it was cancelled."""
        raise NotImplementedError


_first = Summons.standing()  # for ever; none is marked as heard, for a mailbox lets go of what it has heard
_quiet = Summons()  # never sent: stands for any that has been heard
_here = PerProcess(object)
"""Stands for this process of the operating system; a forked child has another, which makes every inherited mailbox a dead one."""

_closings: PerProcess[dict[Mailbox, Bell]] = PerProcess(dict)
"""What rings when a mailbox closes; made by the first that waits for that, as few do. Without a lock: who waits may be a signal
handler that has interrupted another wait, and what it waits for may end on a thread that would need the lock."""


class Mailbox:
    """An actor's inbox and stop flag (Pykka's ``ActorInbox`` protocol, and its ``actor_stopped``), and the way to its process."""

    __slots__ = ("_closed", "_made_in", "_queue", "lock", "process", "summons")

    def __init__(self) -> None:
        check_patches()  # before there is an actor: a mailbox is the first that each of ours gets
        # Guards the process's phase, handshake and names while it starts or ends; nothing is called under it but what is in this
        # package. No sender takes it, and a turn only where it starts or ends the process. Reentrant: the garbage collector may
        # choose that moment for a __del__ that kills the actor.
        self.lock = threading.RLock()
        self._queue: queue.SimpleQueue[Envelope[Any]] = queue.SimpleQueue()
        self._closed = False
        self._made_in = _here.value
        self.summons = _first  # no sender is to schedule before the first turn, which starts the actor
        self.process: Process = None  # type: ignore[assignment] # the process sets it when it is made

    @property
    def closed(self) -> bool:
        """Whether nothing gets in any more; also so in a forked child, without its lock."""
        return self._closed or self._made_in is not _here.value

    @property
    def inherited(self) -> bool:
        """Whether it belongs to a parent process: nothing runs its actor here, and its lock may be held for ever."""
        return self._made_in is not _here.value

    # --- in -----------------------------------------------------------------------------------------------------------

    def offer(self, message: Any, reply_to: Any = None) -> bool:
        """Put a message in and see that its actor runs; false, and nothing done, once closed. Any thread, at any instruction."""
        is_closed = self._closed
        if is_closed or self._made_in is not _here.value:  # `closed`: each message comes through here
            return False
        envelope: Envelope[Any] = Envelope(message, reply_to)
        self._queue.put(envelope)
        process = self.process
        if self._closed and process.is_ended and self._take_back(envelope):
            return False
        if not process.turn_right.locked() and (not self.summons.stands or process.caller_may_owe_its_turn()):
            summons = self.summons = Summons()
            process.dispatcher.schedule(process)
            summons.sent()
        return True

    def _take_back(self, envelope: Envelope[Any]) -> bool:
        """Empty the queue once more; false where the thread that ended the actor has answered that envelope."""
        ours = False
        for left in self.drain():
            if left is envelope:
                ours = True
            else:
                answer_unhandled(left, self.process.ref, self.process.reason)
        return ours

    def put(self, envelope: Envelope[Any]) -> None:
        """Pykka's way in; once closed an ask gets ``ActorDeadError`` as its answer, and a tell raises it.

        An actor that stops itself or its supervisor and waits for that (``ActorRegistry.stop_all()`` in a handler) would
        wait for ever; it is told "stopped" at once, and the stop comes when it is its turn.
        """
        asker: Any = envelope.reply_to
        message, reply_to = envelope.message, asker
        if asker is not None:
            if hasattr(asker, "asked"):
                asker.asked = self.process
            if isinstance(message, StopRequest) and self.process.must_outlive_caller():
                reply_to = None
        if self.offer(message, reply_to):
            if asker is not reply_to:
                asker.set(None)
            return
        error = ActorDeadError(f"{self.process.ref} is not alive")
        if asker is None:
            raise error
        asker.set_exception((ActorDeadError, error, None))

    # --- out, in a turn only ------------------------------------------------------------------------------------------

    def hear(self) -> None:
        """A turn is about to look; a sender summons anew from here on."""
        self.summons = _quiet

    def take(self) -> Envelope[Any] | None:
        """The oldest envelope; the process holds it until it has been handled. ``None`` where there is none."""
        if self._queue.empty():
            return None
        try:
            envelope = self._queue.get_nowait()
        except queue.Empty:  # the mailbox has been closed at this moment
            return None
        self.process.in_hand = envelope
        return envelope

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

    def close(self) -> None:
        """Let nothing more in; what is inside stays for the end."""
        self._closed = True
        self._ring()

    def drain(self) -> list[Envelope[Any]]:
        """Take out what is left, oldest first; the mailbox is closed, and the process has ended."""
        left: list[Envelope[Any]] = []
        while True:
            try:
                left.append(self._queue.get_nowait())
            except queue.Empty:
                return left

    # --- Pykka's ``actor_stopped``, an event; in a forked child it is set for an inherited actor -----------------------

    def is_set(self) -> bool:
        """Whether nothing gets in any more."""
        return self.closed

    def set(self) -> None:
        """Pykka sets it where we close the mailbox."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing gets in any more, at most ``timeout`` seconds; returns whether that is so."""
        if not self.closed:
            bell = _closings.value.setdefault(self, Bell())  # all that wait have the same
            # First the bell is there, then this looks; ``close`` marks first and looks for the bell then.
            if not self._closed:
                bell.wait(timeout)
            else:  # ``close`` may find nothing in its place any more, and others may wait for that bell
                self._ring()
        return self.closed

    def _ring(self) -> None:
        closing = _closings.value.pop(self, None)
        if closing is not None:
            closing.ring()


# --- answers ----------------------------------------------------------------------------------------------------------


def answer(reply_to: Any, value: Any) -> None:
    """Answer a ``Reply`` or a Pykka future, unless it has its answer (a killed actor's callers do)."""
    try:
        reply_to.set(value)
    except queue.Full:
        return


def answer_error(reply_to: Any, error: BaseException) -> None:
    """Answer with the exception of a handler, unchanged."""
    with contextlib.suppress(queue.Full):
        reply_to.set_exception((type(error), error, error.__traceback__))


def answer_dead(reply_to: Any, ref: Any, reason: Any) -> None:
    """Tell a caller that the server ended first: ``ServerDied`` for ``call``, ``ActorDeadError`` for Pykka's ``ask``."""
    if isinstance(reply_to, Reply):
        reply_to.fail(ServerDied(ref, reason))
    else:
        answer_error(reply_to, ActorDeadError(f"{ref} ended before it answered: {reason}"))


def answer_unhandled(envelope: Envelope[Any], ref: Any, reason: Any) -> None:
    """Answer what an actor that has ended left unhandled; a caller that asked it to stop has what it wanted."""
    if envelope.reply_to is None:
        return
    if isinstance(envelope.message, StopRequest):
        answer(envelope.reply_to, None)
    else:
        answer_dead(envelope.reply_to, ref, reason)
