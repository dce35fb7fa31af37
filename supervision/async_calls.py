"""`call` from a coroutine, without blocking its event loop: `acall`, under asyncio and trio."""

from __future__ import annotations

import time
from typing import Any

import pykka

from supervision.calls import LOOK_S, offer, outcome_of_unmanaged, send_to_unmanaged
from supervision.errors import CallTimeout
from supervision.process.pykka_internals import RefByName
from supervision.process.registry import ServerRef, Succession, find, owner_now, unmanaged
from supervision.runtime.tasks import TaskReply
from supervision.runtime.waits import NoAnswer, check_timeout


async def acall(server: ServerRef, message: Any, timeout: float | None = 5.0, *, await_restart: bool = False) -> Any:
    """Send a message and wait for the answer, as ``call`` does, in a task of asyncio or trio, which others run beside.

    The message is sent before the task yields for the first time, unless it waits for a restart. No thread is made, or waits.

    Args:
        server: a ref or a name; an actor that Pykka alone has started stays as it is.
        message: what ``on_receive`` gets; its return value is the answer.
        timeout: seconds to wait, ``None`` for as long as the server lives.
        await_restart: as for ``call``.

    Returns:
        What the handler returned.

    Raises:
        CancelledError: the task was cancelled. The server is not told: it does the work all the same, and the answer is dropped.
        RuntimeError: no event loop runs here; the server hears nothing.
        BaseException: all that ``call`` raises, for the same reasons.
    """
    check_timeout(timeout)
    process, reply = find(server), TaskReply()
    if process is None and (ref := unmanaged(server)) is not None:
        return await _acall_unmanaged(ref, message, reply, timeout)
    if await_restart or (isinstance(server, RefByName) and server.await_restart):
        succession = Succession(server, timeout)
        process = await succession.await_owner_in_task()
        while not offer(process, message, reply):  # it has ended since
            process = await succession.await_owner_in_task()
        timeout_s = succession.left_s
    else:
        process, timeout_s = process or owner_now(server), timeout
        while not offer(process, message, reply):
            process = owner_now(server)
    try:
        return await reply.result_for_task(timeout_s)
    except NoAnswer:
        raise CallTimeout(process.ref, timeout or 0.0) from None


async def _acall_unmanaged(ref: pykka.ActorRef[Any], message: Any, reply: TaskReply, timeout: float | None) -> Any:
    """Look now and then whether the actor is alive, as ``call`` does: Pykka's loop may end without an answer."""
    send_to_unmanaged(ref, message, reply)
    ends_at = None if timeout is None else time.monotonic() + timeout
    while True:
        was_alive = ref.is_alive()
        left_s = LOOK_S if ends_at is None else ends_at - time.monotonic()
        if await reply.is_there_within(min(left_s, LOOK_S)) or not was_alive:
            return outcome_of_unmanaged(ref, reply)
        if left_s <= LOOK_S and ends_at is not None:
            raise CallTimeout(ref, timeout or 0.0)
