"""Which process is behind a name, a ref, or the calling thread (Elixir's unique ``Registry``; ``self/0``).

A name is looked up at every send. It belongs to one live actor, and is free before any observer hears that its owner has died.

An actor is *unmanaged* where Pykka alone has started it: it runs in Pykka's own loop, no process of ours is behind its ref, it is
talked to in Pykka's way, and it can be neither watched, named nor supervised.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import pykka

from supervision.errors import AlreadyStarted, NoProcess, SupervisionError
from supervision.process.pykka_internals import is_registered
from supervision.runtime.per_process import PerProcess

if TYPE_CHECKING:
    from supervision.process.process import Process

ServerRef: TypeAlias = "pykka.ActorRef[Any] | str"
"""What names an actor: its ref, or a name of it (OTP's ``server_ref()``)."""


# --- by the calling thread --------------------------------------------------------------------------------------------


class _OfThread(threading.local):
    process: Process | None = None


_this = _OfThread()


def current() -> Process | None:
    """The process whose handler or hook the calling thread is in."""
    return _this.process


def set_current(process: Process | None) -> None:
    """The calling thread begins or ends a turn of a process."""
    _this.process = process


def is_current(ref: pykka.ActorRef[Any] | None) -> bool:
    """Whether the calling thread is in a handler or hook of that very actor, or in a finalizer that the collector runs there."""
    caller = _this.process
    return caller is not None and caller.ref is ref


# --- by a ref ---------------------------------------------------------------------------------------------------------


def process_of(ref: pykka.ActorRef[Any]) -> Process | None:
    """The process behind a ref, ended or not; ``None`` where the actor is not ours."""
    process: Process | None = getattr(ref.actor_inbox, "process", None)  # Pykka's own inboxes are queues without one
    return process


def find(server: ServerRef) -> Process | None:
    """The process behind a ref or a name, ``None`` where there is nothing alive, or an unmanaged actor.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(server, str):
        return lookup(server)
    if not isinstance(server, pykka.ActorRef):
        raise TypeError(f"server: expected a pykka.ActorRef or a name, got {server!r}")
    process: Process | None = getattr(server.actor_inbox, "process", None)
    return None if process is None or process.is_ended else process


def name_of(ref: pykka.ActorRef[Any] | None) -> str | None:
    """The first name that the actor behind a ref was given and keeps, or had when it ended; ``None`` without one."""
    process = None if ref is None else process_of(ref)
    return process.names[0] if process is not None and process.names else None


def unmanaged(server: ServerRef) -> pykka.ActorRef[Any] | None:
    """The ref, where it is one of a running unmanaged actor; only what ``find`` does not find can be.

    An actor counts as running from its entry into ``ActorRegistry`` on, not while its ``__init__`` runs.
    """
    if not isinstance(server, pykka.ActorRef) or process_of(server) is not None:
        return None
    return server if server.is_alive() and is_registered(server) else None


def refuse_unmanaged(server: ServerRef, what: str) -> None:
    """Raise ``SupervisionError`` where it is an unmanaged actor; ``what`` says what that cannot be."""
    ref = unmanaged(server)
    if ref is not None:
        cls = ref.actor_class.__name__
        raise SupervisionError(
            f"{ref} was started by Pykka alone and cannot be {what}: start it as a child, "
            f"DynamicSupervisor.start_child(sup, ChildSpec(id, {cls}, args)) or in the list of Supervisor.start_link"
        )


# --- by a name --------------------------------------------------------------------------------------------------------


class _Names:
    """Name to process; empty in a forked child, where no inherited actor lives."""

    def __init__(self) -> None:
        # Guards the table against concurrent claims and releases. Taken before a mailbox's lock, never after it: a claim
        # notes the name at the process, and the other way round two threads could each wait for what the other holds.
        # Look-ups take none. Reentrant for the sake of finalizers, which the garbage collector may run here.
        self.lock = threading.RLock()
        self.table: dict[str, Process] = {}


_names = PerProcess(_Names)


def lookup(name: str) -> Process | None:
    """The live process behind a name, or ``None``; one dictionary look-up, no lock."""
    process = _names.value.table.get(name)
    return None if process is None or process.is_ended else process


def whereis(name: str) -> pykka.ActorRef[Any] | None:
    """The live actor behind a name, or ``None``. Any thread; takes no lock.

    Args:
        name: the name.
    """
    process = lookup(name)
    return None if process is None else process.ref


def register(name: str, ref: pykka.ActorRef[Any]) -> None:
    """Give a live actor a name; it may hold several. Any thread.

    Args:
        name: a text of at least one character.
        ref: the actor.

    Raises:
        TypeError: the name is no text, or the ref no ``ActorRef``.
        ValueError: the name is empty.
        AlreadyStarted: the name has a live owner, this very actor included; ``.ref`` is that owner.
        NoProcess: the actor has ended.
        SupervisionError: it was started by Pykka alone, which frees no name at its end.
    """
    check_name(name)
    process = find(ref)
    if process is None:
        refuse_unmanaged(ref, "named")
        raise NoProcess(ref)
    claim(name, process)


def unregister(name: str) -> None:
    """Free a name; silent where there is nothing. Any thread.

    Without effect in the abandoned handler of a killed actor: the name may be its successor's by now.

    Args:
        name: the name.
    """
    caller = _this.process
    if caller is not None and caller.abandoned:
        return
    with _names.value.lock:
        process = _names.value.table.pop(name, None)
        if process is not None:
            process.remove_name(name)


def claim(name: str, process: Process) -> None:
    """Give a name to a process.

    Raises:
        AlreadyStarted: the name has a live owner, this process included.
        NoProcess: the process has ended.
    """
    with _names.value.lock:
        owner = lookup(name)
        if owner is not None:
            raise AlreadyStarted(name, owner.ref)
        if not process.add_name(name):
            raise NoProcess(process.ref)
        _names.value.table[name] = process


def release(names: Iterable[str], process: Process) -> None:
    """Free the names of a process that has ended."""
    with _names.value.lock:
        for name in names:
            if _names.value.table.get(name) is process:
                del _names.value.table[name]


def check_name(name: object) -> None:
    """Raise unless it can be a name."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected a non-empty str, got {name!r}")
    if not name:
        raise ValueError("name: expected a non-empty str, got an empty one")
