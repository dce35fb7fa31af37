"""Talking to an actor by ref or by name (``GenServer.call``, ``cast``, ``stop``; ``Process.exit(pid, :kill)``)."""

from __future__ import annotations

import contextlib
from typing import Any

from pykka import ActorDeadError
from pykka._envelope import Envelope

from supervision.child_spec import check_seconds
from supervision.errors import CallTimeout, NoProcess, SupervisionError
from supervision.exits import NORMAL, Reason
from supervision.messages import ExitSignal
from supervision.process import Life, NoAnswer, Reply, current, is_awaited_by_caller, must_outlive_caller
from supervision.registry import ServerName, find, refuse_stranger, stranger
from supervision.runtime import dispatcher as dispatch
from supervision.runtime.bells import Bell
from supervision.runtime.waits import in_turns
from supervision.strangers import ask, stop_stranger

__all__ = ["call", "cast", "kill", "stop", "stop_with"]


def call(server: ServerName, message: Any, timeout: float | None = 5.0) -> Any:
    """Send a message and wait for the answer.

    Args:
        server: a ref or a name; an actor that Pykka alone has started stays as it is.
        message: what ``on_receive`` gets; its return value is the answer.
        timeout: seconds to wait, ``None`` for as long as the server lives.

    Raises:
        NoProcess: nothing alive behind ``server``.
        CallTimeout: no answer in time; the server is not told and stays alive.
        ServerDied: it ended before it answered; ``.reason`` says why.
        SupervisionError: the call could only deadlock: it is to the caller itself, or to the supervisor that waits for it.
        Exception: what the handler raised, unchanged.
        TypeError: the timeout is no number; the server hears nothing.
        ValueError: the timeout is negative or not finite.
    """
    if timeout is not None:
        check_seconds("timeout", timeout)
    ref = stranger(server)
    if ref is not None:
        return ask(ref, message, timeout)
    life = _alive(server)
    if is_awaited_by_caller(life):
        raise SupervisionError(
            f"{life.ref} calls itself: the answer could never come; do the work in place, or cast"
            if current() is life
            else f"{life.ref} waits for this actor to start or end: a call to it could never be answered; use on_continue"
        )
    reply = Reply()
    if not life.mailbox.offer(Envelope(message, reply)):  # type: ignore[arg-type]
        raise NoProcess(server)
    try:
        return reply.wait(timeout)
    except NoAnswer:
        raise CallTimeout(life.ref, timeout or 0.0) from None


def cast(server: ServerName, message: Any) -> None:
    """Send a message and forget it; to a dead or unknown server it is dropped."""
    life = find(server)
    if life is not None:
        life.mailbox.offer(Envelope(message))
        return
    ref = stranger(server)
    if ref is not None:
        with contextlib.suppress(ActorDeadError):
            ref.tell(message)


def stop(server: ServerName, *, timeout: float | None = 5.0) -> None:
    """End an actor in an orderly way: it handles what is in its mailbox, runs its end hook, and is down on return.

    Monitors' callables may still be running then.

    Args:
        server: a ref or a name.
        timeout: seconds to wait, ``None`` for no limit.

    Raises:
        NoProcess: nothing alive behind ``server``.
        CallTimeout: not down in time; the stop goes on.
        SupervisionError: an actor stops itself by this (raise ``Exit()`` instead), or the supervisor above it.
    """
    ref = stranger(server)
    if ref is None:
        stop_with(server, NORMAL, timeout)
    else:
        stop_stranger(ref, timeout)


def stop_with(server: ServerName, reason: Reason, timeout: float | None) -> None:
    """``stop`` with a reason."""
    if timeout is not None:
        check_seconds("timeout", timeout)
    life = _alive(server)
    if must_outlive_caller(life):
        raise SupervisionError(
            f"{life.ref} waits for its own end: raise Exit() instead"
            if current() is life
            else f"{life.ref} supervises this actor, or waits for it: it cannot end before this handler has returned"
        )
    down = Bell()
    if not life.attach(down) or not life.mailbox.offer(Envelope(ExitSignal(reason, current()))):
        life.detach(down)
        raise NoProcess(server)
    try:
        with dispatch.blocking():
            ended = in_turns(down.wait, timeout)
    finally:
        life.detach(down)
    if not ended:
        raise CallTimeout(life.ref, timeout or 0.0, stopping=True)


def kill(server: ServerName) -> None:
    """End an actor now, with reason ``KILLED`` and without its hooks.

    Python cannot end a thread: a handler that is running is abandoned. Its actor is dead to everybody, and nothing that the
    handler still does with it has an effect. Silent where nothing is alive.

    Raises:
        SupervisionError: Pykka alone has started it, and would let it go on.
    """
    life = find(server)
    if life is not None:
        life.kill()
    else:
        refuse_stranger(server, "killed")


def _alive(server: ServerName) -> Life:
    life = find(server)
    if life is None:
        raise NoProcess(server)
    return life
