"""Which process is behind a name, a ref, or the calling thread (Elixir's unique ``Registry``; ``self/0``).

A name is looked up at every send. It belongs to one live actor, and is free before any observer hears that its owner has died.

A name is *awaited* from the end of its owner until a successor is up, where a supervisor is to start one: then a caller gets
`ServerRestarting` in place of `NoProcess`, and may wait.

An actor is *unmanaged* where Pykka alone has started it: it runs in Pykka's own loop, no process of ours is behind its ref, it is
talked to in Pykka's way, and it can be neither watched, named nor supervised.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import pykka

from supervision.errors import AlreadyStarted, NoProcess, ServerRestarting, SupervisionError
from supervision.exits import must_restart
from supervision.process.pykka_internals import RefByName, is_registered
from supervision.runtime.per_process import PerProcess
from supervision.runtime.tasks import task_bell
from supervision.runtime.waits import Bell

if TYPE_CHECKING:
    from supervision.children import Child
    from supervision.process.process import Process

ServerRef: TypeAlias = "pykka.ActorRef[Any] | str"
"""What names an actor: its ref, or a name of it (OTP's ``server_ref()``); a ref may be a name, too (`supervision.named`)."""


# --- by the calling thread --------------------------------------------------------------------------------------------


class Attempt(Protocol):
    """One start of a child, as what is started in it sees it (`supervision.child_process.StartAttempt`)."""

    def add(self, process: Process) -> bool:
        """Note that this is started in it; false where the start has been cancelled, and nothing more may start."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the start has been cancelled."""


class _OfThread(threading.local):
    process: Process | None = None
    attempt: Attempt | None = None


_this = _OfThread()


def current() -> Process | None:
    """The process whose handler or hook the calling thread is in."""
    return _this.process


def starting_supervisor() -> pykka.ActorRef[Any] | None:
    """The supervisor that is starting a child on the calling thread: for the child's constructor; ``None`` elsewhere."""
    process = current()
    return process.ref if process is not None and process.supervises else None


def starting_predecessor() -> pykka.ActorRef[Any] | None:
    """The last incarnation of the child that is started again on the calling thread; ``None`` elsewhere, and at a first start."""
    process = current()
    child = None if process is None else process.starting_child
    return None if child is None else child.last_ref


def set_current(process: Process | None) -> None:
    """The calling thread begins or ends a turn of a process."""
    _this.process = process


def current_attempt() -> Attempt | None:
    """The start of a child that the calling thread is in; ``None`` elsewhere."""
    return _this.attempt


def set_current_attempt(attempt: Attempt | None) -> None:
    """The calling thread begins or ends a start of a child."""
    _this.attempt = attempt


def is_current(ref: pykka.ActorRef[Any] | None) -> bool:
    """Whether the calling thread is in a handler or hook of that very actor, or in a finalizer that the collector runs there."""
    caller = _this.process
    return caller is not None and caller.ref is ref


# --- by a ref ---------------------------------------------------------------------------------------------------------


def process_of(ref: pykka.ActorRef[Any]) -> Process | None:
    """The process behind a ref, ended or not; ``None`` where the actor is not ours."""
    try:
        process: Process | None = ref.actor_inbox.process  # type: ignore[attr-defined]
    except AttributeError:  # Pykka's own inboxes are queues without one; and a ref that is a name may have no actor now
        return None
    return process


def find(server: ServerRef) -> Process | None:
    """The process behind a ref or a name, ``None`` where there is nothing alive, or an unmanaged actor.

    Raises:
        TypeError: it is neither.
    """
    process = behind(server)
    return None if process is None or process.is_ended else process


def behind(server: ServerRef) -> Process | None:
    """What ``find`` gives, or a process that has ended: for one that sends to it, and is told by its mailbox.

    Raises:
        TypeError: it is no ref and no name.
    """
    if isinstance(server, str):
        return _names.value.table.get(server)
    if not isinstance(server, pykka.ActorRef):
        raise _no_server(server)
    try:
        process: Process | None = server.actor_inbox.process  # type: ignore[attr-defined]
    except AttributeError:  # as in `process_of`, which would be one more function on the way of each message
        return None
    return process


def _no_server(got: object) -> TypeError:
    hint = ": give its actor_ref" if isinstance(got, pykka.ActorProxy) else ""
    return TypeError(f"server: expected a pykka.ActorRef or a name, got {got!r}{hint}")


def name_in(server: object) -> str | None:
    """The name, where it is one or a ref that is one (`supervision.named`); ``None`` for the ref of one incarnation."""
    if isinstance(server, str):
        return server
    return server.name if isinstance(server, RefByName) else None


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
        # Guards the two below, and what processes note of their successors. It is the last lock to be taken, and nothing else is
        # called under it. Those that look take none. Reentrant for the same reason.
        self.succession = threading.RLock()
        self.awaited: dict[
            str, tuple[Process, ...]
        ] = {}  # by name, those that end or have ended, and have a successor to come
        self.decided = 0  # how often one was taken out of there


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

    Without effect in the abandoned handler of a killed actor, or in a start that was cancelled: the name may be the successor's.

    Args:
        name: the name.
    """
    caller = _this.process
    if (caller is not None and caller.abandoned) or (_this.attempt is not None and _this.attempt.is_cancelled):
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
    call_waiters((name,))


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


# --- names that are awaited -------------------------------------------------------------------------------------------
#
# Between the end of a child that is started again and the moment that its successor is up, its name is always awaited:
#
#     thread that ends the owner           supervisor's thread                      thread that looks for the owner
#     1. the name is awaited               1. the successor is up under the name    1. how many ends are decided by now?
#     2. the mailbox closes, ENDED         2. the end is decided: the name is not   2. has the name an owner that is up?
#     3. the name is free                     awaited any more                      3. is it awaited?
#                                          3. rings those that wait                 4. neither, and none decided since 1?
#
# Without its 1 and 4 the third thread could look for an owner before the supervisor's 1, ask whether the name is awaited after
# the supervisor's 2, and take the name for gone.
#
# The first thread foresees what the supervisor will do when it hears of the end. It looks at the child's specification, at the
# reason, at whether the supervisor has asked for this end, and, where the supervisor ends too, at what becomes of that. So when
# a supervisor ends, or its own end is decided, the names that are awaited below it are looked at again. What is noted here of a
# process goes when its end is decided: a successor is up, or none will come.


class Ringable(Protocol):
    """What wakes one that waits."""

    def ring(self) -> None:
        """Wake it, for good. Any thread."""


R = TypeVar("R", bound=Ringable)


def comes_back(process: Process) -> bool:
    """Whether one that ends or has ended is started again, by its supervisor or together with that one."""
    child, supervisor = process.child, process.starter
    while child is not None and supervisor is not None:
        if not supervisor.is_ending:
            asked = process.asked_for_restart
            return must_restart(child.spec.restart, process.reason) if asked is None else asked
        if not child.comes_with_supervisor:
            return False
        process = supervisor
        child, supervisor = process.child, process.starter
    return False


def await_successor(process: Process) -> None:
    """A process begins to end, or what its end means has changed: its names are awaited from here on, or no more.

    So are those of all that have ended below it.
    """
    if not _concerns_names(process):
        return
    waiters: list[Ringable] = []
    with _names.value.succession:
        if comes_back(process):
            _note_awaited(process)
        else:
            _strike(process, waiters)
        _look_below(process, waiters)
    for waiter in waiters:
        waiter.ring()


def asked_to_exit(process: Process, *, for_restart: bool) -> None:
    """Its supervisor is about to ask it to exit, and to wait for that."""
    process.asked_for_restart = for_restart
    if process.is_ending:
        await_successor(process)
    for bell in list(process.waits_for_successors or ()):
        bell.ring()  # its handler waits for a restart that may come to wait for it


def adopted(process: Process, child: Child, predecessor: Process | None) -> None:
    """A child is up, or was a moment ago. On its supervisor's thread.

    One that began to end before this was no child then, and where it is a supervisor, what had ended below it was taken for gone.
    What had ended below its predecessor stays awaited, therefore, until its own end is decided.
    """
    process.child = child
    if not process.is_ending:
        if predecessor is not None:
            decided(predecessor)
        return
    await_successor(process)
    if predecessor is not None:
        with _names.value.succession:
            process.awaited_below = process.awaited_below or {}
            process.awaited_below[predecessor] = None


def decided(process: Process) -> None:
    """The end of a process is decided: its successor is up, or none will come. Nothing is awaited of it, nor of those below."""
    if not _concerns_names(process):
        process.child = None
        return
    waiters: list[Ringable] = []
    with _names.value.succession:
        _strike(process, waiters)
        process.child = None
    for waiter in waiters:
        waiter.ring()


def _concerns_names(process: Process) -> bool:
    """Whether its end can matter to one that waits for a name, its own or one below it; it cannot where there is no name."""
    child = process.child
    its_own = child is not None and (process.names or child.spec.name or process.supervises)
    return bool(its_own or process.awaited_names or process.awaited_below)


def _note_awaited(process: Process) -> None:
    awaited, child, supervisor = _names.value.awaited, process.child, process.starter
    assert child is not None
    assert supervisor is not None
    process.waiters = {} if process.waiters is None else process.waiters
    own = () if child.spec.name is None else (child.spec.name,)
    for name in dict.fromkeys((*process.names, *own)):
        if name not in process.awaited_names:
            process.awaited_names = (*process.awaited_names, name)
            awaited[name] = (*awaited.get(name, ()), process)
    if process.awaited_names or process.supervises:
        supervisor.awaited_below = supervisor.awaited_below or {}
        supervisor.awaited_below[process] = None


def _strike(process: Process, waiters: list[Ringable]) -> None:
    names = _names.value
    for name in process.awaited_names:
        others = tuple(one for one in names.awaited.get(name, ()) if one is not process)
        if others:
            names.awaited[name] = others
        else:
            names.awaited.pop(name, None)
    process.awaited_names = ()
    names.decided += 1
    waiters.extend(process.waiters or ())
    if process.starter is not None:
        (process.starter.awaited_below or {}).pop(process, None)
    for below in tuple(process.awaited_below or ()):
        _strike(below, waiters)


def _look_below(process: Process, waiters: list[Ringable]) -> None:
    for below in tuple(process.awaited_below or ()):
        if not comes_back(below):
            _strike(below, waiters)
            continue
        waiters.extend(
            below.waiters or ()
        )  # another supervisor is to start it now, and may be waiting for one that waits
        _look_below(below, waiters)


def call_waiters(names: Iterable[str]) -> None:
    """An actor that has those names is up: those that wait for an owner look again."""
    awaited = _names.value.awaited
    if awaited:
        for name in names:
            for process in awaited.get(name, ()):
                for waiter in list(process.waiters or ()):
                    waiter.ring()


class Succession:
    """A wait for the owner of a name; ``owner`` looks for it, and where there is none yet, a bell rings when to look again.

    Args:
        server: the name, or a ref that is one; a ref of one incarnation is awaited by nothing.
        timeout: seconds to wait, ``None`` for as long as a supervisor is to start the owner.
    """

    def __init__(self, server: ServerRef, timeout: float | None) -> None:
        self._server = server
        self._timeout = timeout
        self._ends_at = None if timeout is None else time.monotonic() + timeout
        self._predecessor: Process | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds of the timeout that are left, ``None`` without one."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def owner(self) -> Process | None:
        """The owner, if it is up, and ``None`` while it is being restarted.

        Raises:
            NoProcess: there is none, and none to come.
            ServerRestarting: there is none yet, and the time is up.
            SupervisionError: the supervisor that is to start it waits for the caller.
        """
        owner, self._predecessor = _look(self._server)
        if owner is not None:
            return owner
        if self._predecessor is None:
            raise NoProcess(self._server)
        if _restarter_waits_for_caller(self._predecessor):
            raise SupervisionError(
                f"{name_in(self._server)!r} is being restarted by a supervisor that waits for this actor to start or end: the "
                "successor could never come; use on_continue, or call without await_restart"
            )
        if self.left_s == 0.0:
            raise ServerRestarting(self._server, self._timeout)
        return None

    def await_owner(self) -> Process:
        """Wait for the owner; raises as ``owner`` does. On a worker of the pool another one stands in meanwhile."""
        while (owner := self.owner()) is None:
            with self.rings(Bell()) as bell:
                bell.wait(self.left_s)
        return owner

    async def await_owner_in_task(self) -> Process:
        """Do what ``await_owner`` does, without blocking the event loop."""
        while (owner := self.owner()) is None:
            with self.rings(task_bell()) as bell:
                await bell.wait(self.left_s)
        return owner

    @contextlib.contextmanager
    def rings(self, bell: R) -> Iterator[R]:
        """Have a bell ring when to look again. First it is there, and then this looks: so nothing is missed in between."""
        predecessor, caller = self._predecessor, current()
        assert predecessor is not None
        assert predecessor.waiters is not None
        predecessor.waiters[bell] = None
        if caller is not None:
            caller.waits_for_successors = caller.waits_for_successors or {}
            caller.waits_for_successors[bell] = None
        try:
            if _look(self._server) != (None, predecessor) or _restarter_waits_for_caller(predecessor):
                bell.ring()
            yield bell
        finally:
            predecessor.waiters.pop(bell, None)
            if caller is not None and caller.waits_for_successors is not None:
                caller.waits_for_successors.pop(bell, None)


def owner_now(server: ServerRef) -> Process:
    """The process behind a name or ref that ``find`` did not find, or that takes no more messages: it may have come up since.

    Raises:
        ServerRestarting: it is a name, and a supervisor is starting a successor.
        NoProcess: there is none, and none to come.
    """
    server = name_in(server) or server
    owner, predecessor = _look(server)
    if owner is None:
        raise NoProcess(server) if predecessor is None else ServerRestarting(server)
    return owner


def _look(server: ServerRef) -> tuple[Process | None, Process | None]:
    """The owner of a name, if it is up; or else, while it is awaited, its newest predecessor. A ref is never awaited."""
    name, names = name_in(server), _names.value
    if name is None:
        process = find(server)
        return None if process is None or process.mailbox.closed else process, None
    while True:
        decided, owner = names.decided, names.table.get(name)
        # First whether its mailbox is open, then whether the name is awaited. An owner that ends between the two, the other way
        # round, would be found closed, and its name not awaited.
        is_open = owner is not None and not owner.mailbox.closed
        awaited = names.awaited.get(name)
        if owner is not None and is_open and not (awaited and owner.is_starting):
            return owner, None
        if awaited:
            return None, awaited[-1]
        if decided == names.decided:
            return None, None


def refs_of(name: str) -> Iterator[pykka.ActorRef[Any]]:
    """The ref of the owner of a name, and those of its predecessors that a supervisor is restarting, the newest first."""
    owner = whereis(name)
    if owner is not None:
        yield owner
    for process in reversed(_names.value.awaited.get(name, ())):
        yield process.ref


def _restarter_waits_for_caller(process: Process) -> bool:
    """Whether the supervisor that is to start a successor is the calling thread's own process, or waits for that one."""
    supervisor = process.starter
    while supervisor is not None and supervisor.is_ended:
        supervisor = supervisor.starter
    return supervisor is not None and supervisor.waits_for_caller()
