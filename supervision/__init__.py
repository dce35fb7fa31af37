"""OTP for Pykka: servers with a safe life cycle, names, monitors, timers and supervisors.

**Layers.** A file or folder imports only what is above it here (``tests/packaging/test_layering.py``)::

    frozen.py                   the decorator of values, as `dataclasses.dataclass` is                              pure
    exits.py                    why an actor ended, and whether it is restarted then                                pure
    errors.py                   every error; the checks of arguments                                                pure
    children.py                 how a child is specified (`ChildSpec`, `Backoff`), and what has become of it        pure
    strategy.py                 what a restart takes along, how many are too many, what ends the supervisor         pure
    runtime/                    threads, and nothing of actors
    runtime/per_process.py      what a forked child needs anew
    runtime/lazy_imports.py     what is imported at its first use, while no other thread forks
    runtime/reports.py          log events
    runtime/timer_thread.py     one thread and one heap for every delay
    runtime/dispatcher.py       the pool that actors take turns on, or a thread of an actor's own
    runtime/waits.py            how a thread waits, and how another one wakes it without a lock
    runtime/tasks.py            how a task of asyncio or trio waits for another thread
    process/                    one actor as a process
    process/pykka_internals.py  all of Pykka's private names that are used, each under a name of ours
    process/registry.py         which process is behind a name, a ref, or the calling thread
    process/mailbox.py          what lies in it, and how it is closed without losing a message
    process/watch.py            who is in a turn; warnings of handlers that run long, and mailboxes that grow long
    process/process.py          its start, its turns, its end, and whom that is told to
    process/pykka_actors.py     unmodified ``pykka.ThreadingActor`` classes, made ours before they start
    calls.py                    `call`, `cast`, `stop`, `kill`, `send_after`
    async_calls.py              `acall`, the call of a task
    named.py                    `named`: a ref that is a name, and proxies on it
    monitors.py                 `monitor`, `demonitor`, `Down`
    server.py                   `Server`, the GenServer
    callback_module.py          `init`: how a supervisor of one's own says its children
    child_process.py            how a child is started, linked, asked to exit; whether it may be started again
    supervising.py              what both kinds of supervisor do: requests, deaths, restarts
    tree.py                     `Supervisor.tree`: the whole system as a value
    supervisor.py               `Supervisor`: children by id, in start order, a strategy
    dynamic_supervisor.py       `DynamicSupervisor`: children by ref, each on its own
    observer/                   a page in the browser that shows trees while they live; nothing here imports it
    observer/figures.py         what other packages give to it; texts that are fit for a page
    observer/timeline.py        the last hundred events
    observer/sampling.py        rows of the trees at one moment
    observer/pages.py           the pages that are open, and the thread that looks for them
    observer/application.py     `Observer`: ASGI, and which requests are refused

**A call.** On the caller's thread, ``calls.py`` finds the process behind the name or ref, and puts the message with a reply
into its mailbox. Where no turn is due already, that submits the process to its dispatcher. A worker of the pool, or the
actor's own thread, takes a turn (``process/process.py``): it takes up to 16 messages out of the mailbox, runs
``on_receive`` on each, and sets the reply, which wakes the caller. What the handler raises goes to the caller too, and ends
a ``Server`` unless its class says otherwise. Where the actor is dead, or ends before it has handled the message,
the caller gets an error at once, because what is left in a closed mailbox is answered.

**A crash and a restart.** The end is on the thread of the actor's last turn: the mailbox closes, the names are free, callers
are answered, then those who watch are told. The supervisor is one of them and gets a ``Down``. On its own thread it waits
until the dead actor's thread is gone, looks into the tables of ``exits.py`` and ``strategy.py``, ends the siblings that the
strategy names, in reverse start order, and starts them again in start order (``supervising.py``, ``child_process.py``). A
start returns when ``on_start`` is done on the child's thread, and the child has its name before that. Past a
``start_timeout`` it is cancelled, and what it has begun is killed. An attempt that fails is made again by a message of the
supervisor to itself, so that requests are served in between; one attempt too many within the window ends the supervisor, and
its own supervisor hears of that in the same way. Every ref of the old incarnation stays dead; a name leads to the successor.

**A kill** ends an actor without its hooks, on the thread that calls it. Python cannot end a thread: a handler that runs is
abandoned, and nothing that it does later has an effect, because its process is ended and no longer owns a name.
"""

import importlib
from typing import TYPE_CHECKING, Any

from supervision.async_calls import acall
from supervision.calls import Timer, call, cast, kill, send_after, stop
from supervision.children import Backoff, ChildCounts, ChildInfo, ChildSpec
from supervision.errors import (
    AlreadyPresent,
    AlreadyStarted,
    CallTimeout,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    MaxChildren,
    NoProcess,
    ServerDied,
    ServerRestarting,
    StartError,
    SupervisionError,
)
from supervision.exits import KILLED, NOPROC, NORMAL, SHUTDOWN, Crash, Exit, Ignore, Shutdown
from supervision.monitors import Down, Monitor, demonitor, monitor
from supervision.named import named
from supervision.process.registry import register, unregister, whereis
from supervision.runtime.lazy_imports import fork_waits
from supervision.server import Server

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "Backoff",
    "CallTimeout",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "ChildSpec",
    "Crash",
    "Down",
    "DynamicSupervisor",
    "Exit",
    "Ignore",
    "KILLED",
    "MaxChildren",
    "Monitor",
    "NOPROC",
    "NORMAL",
    "NoProcess",
    "SHUTDOWN",
    "Server",
    "ServerDied",
    "ServerRestarting",
    "Shutdown",
    "StartError",
    "SupervisionError",
    "Supervisor",
    "Timer",
    "acall",
    "call",
    "cast",
    "demonitor",
    "kill",
    "monitor",
    "named",
    "register",
    "send_after",
    "stop",
    "unregister",
    "whereis",
]

# What starts others is imported at its first use: an actor that no supervisor has started, such as the only token manager of a
# program, pays for no supervisor.
_HOMES = {"DynamicSupervisor": "dynamic_supervisor", "Supervisor": "supervisor"}

if TYPE_CHECKING:
    from supervision.dynamic_supervisor import DynamicSupervisor
    from supervision.supervisor import Supervisor

    __version__: str
else:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            with fork_waits():
                found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
            globals()[name] = found
            return found
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import metadata  # reads a file: only where it is asked for

        try:
            return metadata.version("oidc-actor")  # the distribution that brings both packages
        except metadata.PackageNotFoundError:
            raise AttributeError("the distribution oidc-actor is not installed, and so there is no version") from None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
