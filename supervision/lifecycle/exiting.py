"""When the interpreter goes down: nothing is restarted any more, and no supervised actor's thread keeps it from exiting.

Ours run on daemon threads, which the interpreter does not wait for. One that Pykka had started before it was supervised may
not: once the main thread is through, and no other thread is left that the interpreter waits for, such actors are killed, as
daemon threads are, and their threads end when their handlers return.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

from supervision.exits import Reason

if TYPE_CHECKING:
    from supervision.lifecycle.life import Life

__all__ = ["is_exiting", "let_go_at_exit"]


class _Exit:
    """Whether it has come to that, and the actors whose threads the interpreter would wait for; made anew in a forked child."""

    def __init__(self) -> None:
        self.main_is_through = threading.Event()
        self.lock = threading.Lock()  # guards the watcher's start; the table's steps are atomic by themselves
        self.threads: dict[Life, threading.Thread] = {}
        self.watcher: threading.Thread | None = None

    def add(self, life: Life, thread: threading.Thread) -> None:
        with self.lock:
            if self.watcher is None:  # now, because at the end no thread may be started any more
                watcher = threading.Thread(target=self._watch, name="supervision-exit", daemon=True)
                watcher.start()
                self.watcher = watcher
        self.threads[life] = thread
        if not life.attach(_Forget(self.threads, life)):
            self.threads.pop(life, None)

    def _watch(self) -> None:
        self.main_is_through.wait()  # no deadline: a program goes on for as long as it likes
        while others := self.others():
            others[0].join()
        for life in tuple(self.threads):
            life.kill()

    def others(self) -> list[threading.Thread]:
        """The threads that the interpreter waits for, without those of our actors and the main one."""
        ours = {threading.main_thread(), *self.threads.values()}
        return [thread for thread in threading.enumerate() if not thread.daemon and thread not in ours]


class _Forget:
    """Takes an actor that has ended out of the table."""

    __slots__ = ("_life", "_threads")
    foreign = False

    def __init__(self, threads: dict[Life, threading.Thread], life: Life) -> None:
        self._threads = threads
        self._life = life

    def deliver(self, reason: Reason) -> None:
        self._threads.pop(self._life, None)


_exit = _Exit()


def _start_over() -> None:
    global _exit  # noqa: PLW0603 - a fork is the one thing that changes it
    _exit = _Exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)


def _main_is_through() -> None:
    _exit.main_is_through.set()


# What atexit calls comes only after the interpreter's wait for other threads, and whatever has been registered later than
# this comes before it; concurrent.futures needs threading's own hook for the same reason. Both say the same.
atexit.register(_main_is_through)
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_main_is_through)


def is_exiting() -> bool:
    """Whether the interpreter is going down; what is started now could not run, or would never end."""
    return _exit.main_is_through.is_set() and not _exit.others()


def let_go_at_exit(life: Life, thread: threading.Thread | None) -> None:
    """See that the thread of that actor does not keep the interpreter from exiting."""
    if thread is not None and not thread.daemon:
        _exit.add(life, thread)
