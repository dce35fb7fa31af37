"""Messages to an actor by ref or by name, now or later (``GenServer.call``, ``cast``, ``stop``; ``Process.send_after``)."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pykka
from pykka import ActorDeadError

from supervision.errors import CallTimeout, ChildNotFound, ServerDied, SupervisionError, check_seconds
from supervision.exits import NOPROC, NORMAL, Reason
from supervision.process.mailbox import Cancellable, ExitSignal
from supervision.process.process import Process
from supervision.process.pykka_internals import Envelope, RefByName, StopRequest, actor_of
from supervision.process.registry import (
    ServerRef,
    Succession,
    behind,
    current,
    find,
    lookup,
    name_in,
    owner_now,
    process_of,
    refuse_unmanaged,
    unmanaged,
)
from supervision.runtime import timer_thread
from supervision.runtime.waits import Bell, NoAnswer, Reply, check_timeout

LOOK_S = 0.5
"""Seconds between two looks whether an unmanaged actor that owes an answer is still alive."""


def call(server: ServerRef, message: Any, timeout: float | None = 5.0, *, await_restart: bool = False) -> Any:
    """Send a message and wait for the answer.

    Any thread may call; a handler on the pool that waits is stood in for. Takes no lock that an interrupted thread could hold.

    Args:
        server: a ref or a name; an actor that Pykka alone has started stays as it is.
        message: what ``on_receive`` gets; its return value is the answer.
        timeout: seconds to wait, ``None`` for as long as the server lives.
        await_restart: while a supervisor is restarting that name, wait for the successor, within the same ``timeout`` (``None``:
            until the supervisor gives up), and send the message then. It is sent once: a server that ends after that gives
            ``ServerDied``. A ref means its one incarnation, which has no successor; but see ``named``.

    Returns:
        What the handler returned.

    Raises:
        NoProcess: nothing alive behind ``server``, and no supervisor is restarting it any more.
        ServerRestarting: a supervisor is restarting that name, and with ``await_restart`` there was no successor in time. Nothing
            was sent.
        CallTimeout: no answer in time; the server is not told and stays alive.
        ServerDied: it ended before it answered; ``.reason`` says why.
        SupervisionError: the call could only deadlock: it is to the caller itself, or to the supervisor that waits for it, or
            that supervisor is to start the successor.
        Exception: what the handler raised, unchanged.
        TypeError: the timeout is no number; the server hears nothing.
        ValueError: the timeout is negative or not finite.
    """
    check_timeout(timeout)
    process, reply = find(server), Reply()
    if process is None and (ref := unmanaged(server)) is not None:
        return _call_unmanaged(ref, message, timeout)
    if await_restart or (isinstance(server, RefByName) and server.await_restart):
        succession = Succession(server, timeout)
        process = succession.await_owner()
        while not offer(process, message, reply):  # it has ended since
            process = succession.await_owner()
        timeout_s = succession.left_s
    else:
        process, timeout_s = process or owner_now(server), timeout
        while not offer(process, message, reply):
            process = owner_now(server)
    try:
        return reply.result(timeout_s)
    except NoAnswer:
        raise CallTimeout(process.ref, timeout or 0.0) from None


def offer(process: Process, message: Any, reply: Reply) -> bool:
    """Put a request into a mailbox; false if that is closed.

    Raises:
        SupervisionError: it could never be answered.
    """
    if process.waits_for_caller():
        raise SupervisionError(
            f"{process.ref} calls itself: the answer could never come; do the work in place, or cast"
            if current() is process
            else f"{process.ref} waits for this actor to start or end: a call to it could never be answered; use on_continue"
        )
    return process.mailbox.offer(message, reply)


def cast(server: ServerRef, message: Any) -> None:
    """Send a message and forget it; to a dead or unknown server it is dropped. Any thread; takes no lock.

    Args:
        server: a ref or a name.
        message: what ``on_receive`` gets; what it returns is dropped.
    """
    process = behind(server)
    if process is not None:
        process.mailbox.offer(message)
        return
    ref = unmanaged(server)
    if ref is not None:
        with contextlib.suppress(ActorDeadError):
            ref.tell(message)


def stop(server: ServerRef, *, timeout: float | None = 5.0) -> None:
    """End an actor in an orderly way: it handles what is in its mailbox, runs its end hook, and is down on return.

    Monitors' callables may still be running then. Any thread but the actor's own.

    Args:
        server: a ref or a name.
        timeout: seconds to wait, ``None`` for no limit.

    Raises:
        NoProcess: nothing alive behind ``server``.
        ServerRestarting: a supervisor is restarting that name; ``terminate_child`` cancels that.
        CallTimeout: not down in time; the stop goes on.
        SupervisionError: an actor stops itself by this (raise ``Exit()`` instead), or the supervisor above it.
        TypeError: the timeout is no number.
        ValueError: the timeout is negative or not finite.
    """
    stop_with(server, NORMAL, timeout)


def stop_with(server: ServerRef, reason: Reason, timeout: float | None) -> None:
    """``stop`` with a reason."""
    check_timeout(timeout)
    process = find(server)
    if process is None:
        ref = unmanaged(server)
        if ref is not None:
            _stop_unmanaged(ref, timeout)
            return
        process = owner_now(server)
    if process.must_outlive_caller():
        raise SupervisionError(
            f"{process.ref} waits for its own end: raise Exit() instead"
            if current() is process
            else f"{process.ref} supervises this actor, or waits for it: it cannot end before this handler has returned"
        )
    down = Bell()
    if not process.attach(down) or not process.mailbox.offer(ExitSignal(reason, current())):
        process.detach(down)
        owner_now(server)  # which raises, unless a successor is up since
        stop_with(server, reason, timeout)
        return
    try:
        ended = down.wait(timeout)
    finally:
        process.detach(down)
    if not ended:
        raise CallTimeout(process.ref, timeout or 0.0, stopping=True)


def stop_for_good(ref: pykka.ActorRef[Any], *, timeout: float | None = 5.0) -> None:
    """Stop an actor: at its supervisor, which does not restart it and counts nothing, else as ``stop`` does.

    Args:
        ref: the actor; one that its supervisor is about to restart is not restarted.
        timeout: seconds to wait, ``None`` for no limit.

    Raises:
        NoProcess: it has ended and no supervisor would start it again, or its supervisor has ended.
        ServerDied: its supervisor ended meanwhile, and the actor with it.
        CallTimeout: not down in time; the stop goes on.
        SupervisionError: the calling thread is in the actor, in its supervisor, or in an actor that this one waits for.
    """
    check_timeout(timeout)
    process = process_of(ref)
    starter = None if process is None else process.starter  # a supervisor that has ended gives `NoProcess` below
    if process is None or starter is None or not starter.supervises or process.must_outlive_caller():
        stop(ref, timeout=timeout)  # which refuses the last of these
        return
    try:
        starter.ref.actor_class._supervision_end_child(starter.ref, process.ref, timeout)
    except ChildNotFound:  # forgotten since it ended, or started in a start callable that returned another actor
        stop(ref, timeout=timeout)
    except CallTimeout:
        raise CallTimeout(ref, timeout or 0.0, stopping=True) from None


def kill(server: ServerRef) -> None:
    """End an actor now, with reason ``KILLED`` and without its hooks.

    Python cannot end a thread: a handler that is running is abandoned. Its actor is dead to all others, and nothing that the
    handler still does with it has an effect. Silent where nothing is alive. Any thread; monitors' callables run on the caller's.

    Args:
        server: a ref or a name.

    Raises:
        SupervisionError: Pykka alone has started it, and would let it go on.
    """
    process = find(server)
    if process is not None:
        process.kill()
    else:
        refuse_unmanaged(server, "killed")


# --- later ------------------------------------------------------------------------------------------------------------


class Timer(Cancellable, timer_thread.Entry):
    """A message on its way; it lies in the heap and in the mailbox itself, and is opened only if it was not cancelled.

    Three threads may meet here: the timer thread, which puts it into the mailbox; the actor's, which opens it there; one
    that cancels it. The last two both take the one entry out of ``_pending``, and only the thread that finds it there goes
    on. So after a ``cancel()`` that answered true the message is never handled, wherever it was, and after one that
    answered false it has been or is being.
    """

    __slots__ = ("_pending", "_target")

    def __init__(self, message: Any, target: Process | pykka.ActorRef[Any] | str | None) -> None:
        super().__init__(message)
        self._target = target
        self._pending = [] if target is None else [None]

    def __repr__(self) -> str:
        return f"<Timer {'pending' if self._pending else 'done'}>"

    def cancel(self) -> bool:
        """Cancel the message. Returns whether it had not been handled yet; it never will be. Any thread; takes no lock."""
        if not self.claim():
            return False
        self.message = self._target = None
        return True

    def claim(self) -> bool:
        """Whether it may be handled now: true once, and never after ``cancel``."""
        try:
            self._pending.pop()
        except IndexError:
            return False
        return True

    @property
    def _is_pending(self) -> bool:
        """Whether the message has been neither handled nor cancelled."""
        return bool(self._pending)

    def _take(self) -> Callable[[], None] | None:
        """What the timer thread is to do when it is due."""
        return self._deliver if self._pending else None

    def _start(self, delay_s: float) -> None:
        """Have it delivered in ``delay_s`` seconds."""
        if self._pending:
            timer_thread.add(delay_s, self)

    def _deliver(self) -> None:
        target = self._target
        if isinstance(target, pykka.ActorRef):
            message = self.message
            if self.claim():
                with contextlib.suppress(ActorDeadError):
                    target.tell(message)
            return
        process = lookup(target) if isinstance(target, str) else target
        if process is None or not process.mailbox.offer(self):
            self.claim()  # nothing alive there: as in OTP the message is dropped


def send_after(delay_s: float, server: ServerRef, message: Any) -> Timer:
    """Send a message in ``delay_s`` seconds, on a clock that counts suspend. Any thread; takes no lock.

    Args:
        delay_s: seconds, 0 or more.
        server: a ref, and the message is for that incarnation only; or a name, or a ref that is one (``named``), looked up when
            the time comes. To an actor that Pykka alone has started the message is told when the time comes, and counts as
            handled then.
        message: what ``on_receive`` gets, as from ``cast``.

    Returns:
        A ``Timer``; its ``cancel()`` answers whether the message had not been handled yet.

    Raises:
        TypeError: the delay is no number, or ``server`` neither a ref nor a name.
        ValueError: the delay is negative or not finite.
    """
    if not (type(delay_s) is float and 0.0 <= delay_s < math.inf):
        check_seconds("delay_s", delay_s)
    timer = Timer(message, name_in(server) or find(server) or unmanaged(server))
    timer._start(delay_s)
    return timer


# --- unmanaged actors -------------------------------------------------------------------------------------------------
#
# They are talked to in Pykka's way, with this package's errors, and stay as they are. Pykka's loop may end without an
# answer: a message that came while it emptied its queue for the last time is lost, and a BaseException in a handler
# leaves the asker waiting. So a caller that waits looks now and then whether the actor is still alive.


def _call_unmanaged(ref: pykka.ActorRef[Any], message: Any, timeout: float | None) -> Any:
    reply = Reply()
    send_to_unmanaged(ref, message, reply)
    if not _is_answered_or_dead(ref, reply, timeout):
        raise CallTimeout(ref, timeout or 0.0)
    return outcome_of_unmanaged(ref, reply)


def outcome_of_unmanaged(ref: pykka.ActorRef[Any], reply: Reply) -> Any:
    """The answer of an unmanaged actor; raises ``ServerDied`` where none can come any more."""
    if not reply.wait(0.0):
        raise ServerDied(ref, NOPROC)
    if isinstance(reply.error, ActorDeadError) and reply.error.__traceback__ is None:
        raise ServerDied(ref, NOPROC)  # Pykka's answer to what was not handled; a handler's own would have been raised
    return reply.outcome()


def _stop_unmanaged(ref: pykka.ActorRef[Any], timeout: float | None) -> None:
    reply = Reply()
    send_to_unmanaged(ref, StopRequest(), reply, "raise Exit() or call self.stop() instead")
    if not reply.wait(timeout):
        raise CallTimeout(ref, timeout or 0.0, stopping=True)


def send_to_unmanaged(
    ref: pykka.ActorRef[Any],
    message: Any,
    reply: Reply,
    instead: str = "the answer could never come; do the work in place, or cast",
) -> None:
    """Put a request into the queue of an unmanaged actor; raises ``SupervisionError`` where that is the caller."""
    loop = getattr(threading.current_thread(), "_target", None)
    if getattr(loop, "__self__", None) is actor_of(ref) is not None:  # the calling thread is the actor's own
        raise SupervisionError(f"{ref} calls itself: {instead}")
    ref.actor_inbox.put(Envelope(message, reply))  # type: ignore[arg-type]


def _is_answered_or_dead(ref: pykka.ActorRef[Any], reply: Reply, timeout: float | None) -> bool:
    """Wait for the answer, or until none can come any more; false where the time is up first."""
    ends_at = None if timeout is None else time.monotonic() + timeout
    while True:
        was_alive = ref.is_alive()  # Pykka answers what is left in the queue soon after the end
        left_s = LOOK_S if ends_at is None else ends_at - time.monotonic()
        if reply.wait(max(0.0, min(left_s, LOOK_S))) or not was_alive:
            return True
        if left_s <= LOOK_S and ends_at is not None:
            return False
