"""When the interpreter goes down: nothing is restarted any more, and no supervised actor's thread keeps it from exiting.

Ours run on daemon threads, which the interpreter does not wait for. One that a start callable has started in Pykka's own way
may not: once the main thread is through, and no other thread is left that the interpreter waits for, such actors are killed,
as daemon threads are, and their threads end when their handlers return.
"""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING

from supervision import alarm
from supervision.exits import Reason

if TYPE_CHECKING:
    from supervision.lifecycle.life import Life

__all__ = ["is_exiting", "let_go_at_exit"]

LOOK_S = 0.05

_exiting = False
_held: dict[Life, threading.Thread] = {}  # each addition, removal and copy is one atomic step


class _Forget:
    """Takes an actor that has ended off the list."""

    __slots__ = ("_life",)

    def __init__(self, life: Life) -> None:
        self._life = life

    def deliver(self, reason: Reason) -> None:
        _held.pop(self._life, None)


def is_exiting() -> bool:
    """Whether the interpreter is going down; a thread started now could not run, or would never end."""
    return _exiting


def let_go_at_exit(life: Life, thread: threading.Thread | None) -> None:
    """See that the thread of that actor does not keep the interpreter from exiting."""
    if thread is None or thread.daemon:
        return
    _held[life] = thread
    if not life.attach(_Forget(life)):
        _held.pop(life, None)


@atexit.register
def _exit() -> None:
    global _exiting  # noqa: PLW0603 - the interpreter goes down once
    _exiting = True
    for life in tuple(_held):
        life.kill()


def _main_is_through() -> None:
    """The interpreter waits for the other threads now; look until there is none but those of our actors."""
    if not _held:
        return
    ours = {threading.main_thread(), *_held.values()}
    if any(not thread.daemon and thread not in ours for thread in threading.enumerate()):
        alarm.call_later(LOOK_S, _main_is_through)
    else:
        _exit()


# What atexit calls comes only after that wait; concurrent.futures needs this hook of threading's for the same reason.
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_main_is_through)
