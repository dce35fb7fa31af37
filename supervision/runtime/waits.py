"""What a thread can wait for, and how it waits; and how it tells another thread without a lock.

**Interruptions.** A signal handler, a ``__del__`` or a weakref callback runs between any two instructions of the thread that it
interrupts, and may do the same as that thread was just doing. A lock that the thread holds in Python code would then be waited
for: by the handler itself, for ever, or by the worker that the handler waits for. So nothing that a caller of `call`, `cast`,
`tell`, `ask` or of a token read passes through holds one. It makes changes that are one operation of C each (`list.append`,
`dict.pop`, `SimpleQueue.put`), in an order in which each prefix is safe to be stopped at, and then rings a `Bell` or sends a
`Summons`.

**Waits.** A worker of the pool that waits says so, and another worker stands in for it. The main thread waits in turns, because a
signal that arrives just before a wait of CPython's begins does not end that wait.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from supervision.errors import SupervisionError, check_seconds
from supervision.runtime.dispatcher import blocking, is_worker

LONGEST_S = threading.TIMEOUT_MAX - 1.0
"""Seconds that a wait may be given; the one second is for sums of a clock's time and this, which may end up a little above."""

TURN_S = 1.0
"""Seconds after which Ctrl-C is dealt with, at the latest."""

T = TypeVar("T")


def check_timeout(timeout: object, what: str = "timeout") -> None:
    """Raise unless it is ``None`` or finite seconds of at least 0; ``what`` names it in the text.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative or not finite.
    """
    if timeout is not None and not (type(timeout) is float and 0.0 <= timeout < math.inf):
        check_seconds(what, timeout)


def wait_for(wait: Callable[[float], bool], seconds: float | None) -> bool:
    """Wait, on any thread: on a worker of the pool another stands in meanwhile, on the main thread in turns.

    A signal that arrives just before a wait of CPython's begins does not wake it: its handler, Ctrl-C's
    ``KeyboardInterrupt`` too, would run when the wait is over. Only the main thread runs handlers.

    Args:
        wait: waits for at most so many seconds, and returns whether what it waits for is there; it stays there.
        seconds: how long in all, ``None`` for ever; more than threading can wait are as many as it can.

    Returns:
        Whether it is there.
    """
    left_s = LONGEST_S if seconds is None else min(max(0.0, seconds), LONGEST_S)
    if is_worker():
        with blocking():
            return wait(left_s)
    if left_s <= TURN_S or threading.get_ident() != threading.main_thread().ident:
        return wait(left_s)
    ends_at = time.monotonic() + left_s
    while not wait(min(left_s, TURN_S)):
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            return False
    return True


class Bell:
    """Rung once for good, by any thread; any number of threads wait for that."""

    __slots__ = ("_lock",)
    is_user_callback = False

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held until it rings; guards nothing
        self._lock.acquire()

    def ring(self) -> None:
        """Let go all that wait, and all that will."""
        try:
            self._lock.release()
        except RuntimeError:  # it has been rung already
            return

    def wait(self, timeout: float | None) -> bool:
        """Wait until it has been rung, at most ``timeout`` seconds (``None``: for ever); returns whether it has."""
        return wait_for(self._rung_within, timeout)

    def _rung_within(self, seconds: float) -> bool:
        if not self._lock.acquire(timeout=seconds):
            return False
        self.ring()  # it stays so, for the next to wait
        return True

    def deliver(self, reason: object) -> None:
        """Ring when an actor has ended, before any user callback runs."""
        self.ring()


class NoAnswer(Exception):
    """There was no answer in time; not a ``TimeoutError``, which may be the answer."""


class Reply(Bell):
    """A one-shot answer; its bell rings when it is there. The first outcome stands, later ones are dropped.

    Attributes:
        error: the exception that was the answer, once it is there; ``None`` where it was a value.
        deserted: whether the caller does not wait for it any more.
    """

    __slots__ = ("_first", "_value", "deserted", "error")

    def __init__(self) -> None:
        Bell.__init__(self)  # not by `super`, which takes as long as all else here: each call makes one
        self._first = threading.Lock()  # taken for good by the first to answer; guards nothing else
        self._value: Any = None
        self.error: BaseException | None = None
        self.deserted = False

    def set(self, value: Any = None) -> bool:
        """Answer with a value; false where there is an answer."""
        if not self._first.acquire(blocking=False):
            return False
        self._value = value
        self._lock.release()
        return True

    def fail(self, error: BaseException) -> None:
        """Answer with an exception, which ``result`` raises unchanged."""
        if self._first.acquire(blocking=False):
            self.error = error
            self._lock.release()

    def set_exception(self, exc_info: Any = None) -> None:
        """Answer with an exception, in the way of a Pykka future: by default with the one being handled."""
        self.fail(cast(BaseException, (exc_info or sys.exc_info())[1]))

    def outcome(self) -> Any:
        """The value that is there; raises the exception if that was the answer."""
        if self.error is not None:
            raise self.error
        return self._value

    def result(self, timeout: float | None) -> Any:
        """Wait for the value.

        Args:
            timeout: seconds, ``None`` for no limit.

        Raises:
            NoAnswer: nothing came in time.
            BaseException: the exception that was the answer.
        """
        is_there = False
        try:
            is_there = self.wait(timeout)
        finally:  # a signal handler may have raised
            self.deserted = not is_there
        if not is_there:
            raise NoAnswer
        return self.outcome()


class Summons:
    """One message that has another thread look at a list, in place of one message for each entry.

    ::

        sender (any thread, at any instruction)              the thread that is summoned
        1. adds its entry to the list                        1. hears: marks the summons as heard
        2. stands the last summons? then no more             2. looks at the list, until it is empty
        3. makes a new summons, the list's last one
        4. sends the message
        5. marks the summons as sent

    An entry that was added under a standing summons is seen: the other thread hears first and looks then. A summons
    stands only between its "sent" and its "heard". A sender that is interrupted between 3 and 5 leaves one that does not
    stand, so the handler that interrupts it sends another message. A message too many does no harm; one too few would
    leave the handler waiting for the sender that it interrupts. Neither mark is ever taken back, so a late "sent", of a
    slow thread, is about an old summons.
    """

    __slots__ = ("_is_heard", "_is_sent", "to")

    def __init__(self, to: object = None) -> None:
        self.to = to  # whom it was sent to, where that can change
        self._is_sent = self._is_heard = False

    @property
    def stands(self) -> bool:
        """Whether the thread that is summoned will look at the list after this."""
        return self._is_sent and not self._is_heard

    @classmethod
    def standing(cls) -> Summons:
        """One that stands from the beginning, where the first look comes without a message."""
        made = cls()
        made.sent()
        return made

    def sent(self) -> None:
        """Note that the message is on its way."""
        self._is_sent = True

    def heard(self) -> None:
        """Note that the list is about to be looked at."""
        self._is_heard = True


def take_all(entries: list[T]) -> list[T]:
    """Empty a list that others may be adding to, or taking back from; each entry comes out of it once."""
    found: list[T] = []
    while entries:
        try:
            found.append(entries.pop())
        except IndexError:  # another thread has taken the last
            break
    found.reverse()
    return found


_GEVENT_PATCHES = ("threading", "queue")


def _patched() -> tuple[bool, ...]:
    monkey: Any = sys.modules.get("gevent.monkey")
    return tuple(monkey is not None and monkey.is_module_patched(name) for name in _GEVENT_PATCHES)


_patched_at_import = _patched()


def check_patches() -> None:
    """Refuse to start an actor that could never be waited for.

    Our locks are made when this package is imported, its threads and queues later. Where some of these are gevent's and some are
    not, one waits in a way that keeps the other from ever running: for ever, past every timeout.

    Raises:
        SupervisionError: gevent has patched ``threading`` and ``queue`` after this package was imported, or only one of them.
    """
    if "gevent.monkey" not in sys.modules:
        return
    now = _patched()
    if all(now) and not any(_patched_at_import):
        got = "they came after that"
    elif any(now) and not (all(now) and all(_patched_at_import)):
        got = f"only {' and '.join(name for name, patched in zip(_GEVENT_PATCHES, now, strict=True) if patched)}"
    else:
        return
    raise SupervisionError(
        f"gevent's patches: expected those of threading and queue before supervision is imported, or none, got: {got}; call "
        "gevent.monkey.patch_all() before everything else"
    )
