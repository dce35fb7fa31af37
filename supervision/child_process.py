"""One child as a process: it is started and watched, asked to exit and waited for, and may be started again.

Which thread does what:

- The supervisor's own thread starts its children, asks them to exit and waits for them: all functions here but ``deliver``.
  A start with a ``start_timeout`` has a thread of its own, because Python cannot take the supervisor's out of a constructor.
- The thread of a child's last turn, or the thread that kills the child, calls ``deliver`` of what watches the child.
- The thread that kills the *supervisor* calls ``Link.deliver``, while the supervisor's own thread may be anywhere in here.

**A child ends by itself while it is being asked to exit.** `ExitRequest`::

    supervisor's thread                                   thread that ends the child
    1. ends its own watch of the child                    1. the process is ended, its watches are taken out
    2. attaches the request to the child's process        2. delivers the reason to each of them
    3. was it ended already? then it does not wait
    4. asks the child to exit, and waits

A request that is attached before the ender's 1 hears at its 2; for a later one the supervisor finds out at its 3. A look
whether the child is alive, and then a wait, would miss an end between the two, and wait until the deadline, or for ever
without one. The supervisor's 1 comes first, because a ``Down`` that lies in its mailbox already would have the child
restarted after it was stopped.

**A start is cancelled** at its ``start_timeout``, or because its supervisor is killed meanwhile. Python cannot end the thread
that is in it, and no actor may live on without a supervisor, or hold a name that the next attempt needs. `StartAttempt`::

    thread of the start                                   thread that cancels it
    1. makes an actor, adds it                            1. the start is cancelled
    2. is the start cancelled? then ends the actor        2. takes those added so far
    3. enters it under its name, has its turns begin      3. kills each, or asks it to exit

An actor that was added before the other thread's 2 is ended by its 3, maybe before its own 3; for one that comes later the
start is cancelled at its 2, and it never begins. There is no lock, which a forked child could find held. At the
``start_timeout`` each is killed: first a supervisor, which can do nothing about it then, and then what that one is starting,
and so on, down to what hangs. Where the supervisor was killed for another reason, each is asked, as its other children are: it
is ended when it has come up, or abandoned at its deadline.

**A supervisor is killed when a child is up, and not yet linked**::

    supervisor's thread                                   thread that kills the supervisor
    1. notes the start at the link, unless that is        1. ends the supervisor's process
       broken (one lock); then starts nothing             2. breaks the link, takes the children and the start out
    2. starts the child                                      (one lock)
    3. adds it to the link in place of the start,         3. cancels the start, asks all of them to exit
       unless that is broken (one lock); then it
       ends the child itself

At the killer's 2 the child is among the children, or among what the start has begun; or the start begins later, and does not.

**A killed supervisor is restarted.** Its own supervisor joins it first, and with it the children that the link has asked to
exit: their successors would find their names, ports and files still in use. The link is attached to the supervisor's process
in the constructor, before any monitor can be, so that it is broken when the first of them hears of the end.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from typing import Any, cast

import pykka

from supervision.children import Child, ChildSpec, ShutdownSetting
from supervision.errors import AlreadyStarted, StartError
from supervision.exits import NOPROC, SHUTDOWN, Ignore, Reason, children_end_for_restart, text_of
from supervision.monitors import Monitor
from supervision.process.mailbox import ExitSignal
from supervision.process.process import Phase, Process, abandoned_count, thread_found, thread_lost, took_too_long
from supervision.process.pykka_actors import construct
from supervision.process.registry import (
    asked_to_exit,
    comes_back,
    current,
    decided,
    lookup,
    name_of,
    process_of,
    refuse_unmanaged,
    register,
    set_current,
    set_current_attempt,
)
from supervision.process.watch import stack_of
from supervision.runtime import timer_thread
from supervision.runtime.reports import report
from supervision.runtime.waits import Bell, Reply
from supervision.server import Server

JOIN_S = 5.0
"""Seconds to wait for the thread of an actor that has ended."""

LEAVE_S = 0.1
"""Seconds that the thread of a start has to leave it, when what it waits for has ended, before it counts as abandoned."""

LOOK_S = 0.01
"""Seconds between two looks at such a thread."""

ORPHAN_S = 5.0
"""Seconds that a killed supervisor's child has to exit, where its specification says ``"infinity"``."""


# --- start ------------------------------------------------------------------------------------------------------------


def check_start(spec: ChildSpec) -> None:
    """Raise ``TypeError`` for a class that is no actor's, before anything starts."""
    start = spec.start
    if isinstance(start, type) and not issubclass(start, Server | pykka.ThreadingActor):
        raise TypeError(
            f"ChildSpec.start of {spec.id!r}: expected a Server or a pykka.ThreadingActor class, or a callable that returns "
            f"an ActorRef, got the class {start.__name__}"
        )


class StartAttempt:
    """One start of a child, which can be cancelled: what it has begun is ended then, and what it begins later ends at once.

    Args:
        spec: the child's.
        extra_args: arguments that come before the specification's.
    """

    __slots__ = ("_extra_args", "is_cancelled", "spec", "started")

    def __init__(self, spec: ChildSpec, extra_args: tuple[Any, ...]) -> None:
        self.spec = spec
        self._extra_args = extra_args
        self.started: list[Process] = []
        self.is_cancelled = False

    def add(self, process: Process) -> bool:
        """Note that an actor is started in this; false where it must not be. On the thread of the start."""
        self.started.append(process)
        return not self.is_cancelled

    def cancel(self) -> list[Process]:
        """Let nothing more start; returns what was started, which is the caller's to end. Any thread."""
        self.is_cancelled = True
        return list(self.started)

    def run(self) -> Any:
        """Start the child, as ``start_child`` says. On the supervisor's thread."""
        timeout = self.spec.start_timeout
        return self._start() if timeout is None else self._start_within(timeout)

    def _start(self) -> Any:
        set_current_attempt(self)
        try:
            return _start(self.spec, (*self._extra_args, *self.spec.args), self)
        finally:
            set_current_attempt(None)

    def _start_within(self, timeout: float) -> Any:
        outcome, is_over = Reply(), Bell()
        supervisor = current()

        def start() -> None:
            set_current(supervisor)  # for whom it works: a call to that one could only deadlock
            try:
                outcome.set(self._start())
            except BaseException as error:  # noqa: BLE001 - it is raised on the supervisor's thread
                outcome.fail(error)
            is_over.ring()
            thread_found(self)

        thread = threading.Thread(target=start, name=f"start of {text_of(self.spec.id)}", daemon=True)
        thread.start()
        if outcome.wait(timeout):
            return outcome.outcome()
        begun = self.cancel()
        if outcome.wait(0.0):  # it was up, or has failed, at the last moment
            return outcome.outcome()
        what, hanging = _what_hangs(begun)
        where = stack_of(thread.ident or 0, StartAttempt._start.__code__) if hanging is None else hanging.stack()
        for request in [request for process in begun for request in _kill_with_what_it_starts(process)]:
            request.await_exit()
        if not is_over.wait(LEAVE_S):
            thread_lost(self)
            if not is_over.wait(0.0):
                report(
                    "warning",
                    "thread_abandoned",
                    actor=f"start of {text_of(self.spec.id)}",
                    leaked_threads=abandoned_count(),
                )
            else:
                thread_found(self)
        raise took_too_long(what, timeout, where)


def _kill_with_what_it_starts(process: Process) -> list[ExitRequest]:
    requests = [ExitRequest(process.ref, "brutal_kill", for_restart=True)]
    link: Link | None = process.link
    attempt = None if link is None else link.attempt
    for below in () if attempt is None else attempt.cancel():
        if below.phase is Phase.STARTING:
            requests += _kill_with_what_it_starts(below)
    return requests


def _what_hangs(begun: Sequence[Process]) -> tuple[str, Process | None]:
    """For an error: what a start waits for, as far below as can be seen, and in which process; ``None`` before there is one."""
    hanging = next((process for process in begun if process.phase is Phase.STARTING), None)
    if hanging is None:
        return "__init__ or the start callable", None
    link: Link | None = hanging.link
    if link is not None and link.attempt is not None:
        what, below = _what_hangs(link.attempt.started)
        return what, below or hanging
    return f"{'on_start' if link is None else 'init'} of {hanging.ref.actor_class.__name__}", hanging


def start_child(attempt: StartAttempt) -> Any:
    """Start a child; its ref once it is up, ``None`` where its start raised ``Ignore``. On the supervisor's thread.

    Raises:
        AlreadyStarted: its name has a live owner.
        StartError: anything else; the child id is the specification's.
    """
    spec = attempt.spec
    try:
        return attempt.run()
    except Ignore:
        return None
    except AlreadyStarted:
        raise
    except StartError as error:
        # A supervisor's own error says which child of its failed; a worker's only wraps the cause.
        raise StartError(spec.id, error if spec.type == "supervisor" else error.cause) from error
    except BaseException as error:
        raise StartError(spec.id, error) from error


def _start(spec: ChildSpec, args: tuple[Any, ...], attempt: StartAttempt) -> Any:
    start: Any = spec.start
    if not isinstance(start, type):
        if getattr(start, "__func__", None) is not pykka.Actor.start.__func__:  # type: ignore[attr-defined]
            return _await_up(start(*args, **spec.kwargs), spec, attempt)
        start = start.__self__  # `Class.start` returns before `on_start` has run: it is taken as `Class`
    if issubclass(start, Server):
        named: dict[str, Any] = {} if spec.name is None else {"name": spec.name}
        return start.start_link(*args, **named, **spec.kwargs)
    owner = None if spec.name is None else lookup(spec.name)
    if owner is not None:  # before the constructor of an unmodified Pykka class runs for nothing
        raise AlreadyStarted(spec.name, owner.ref)
    return construct(cast(Any, start), args, dict(spec.kwargs)).start_link(spec.id, name=spec.name)


def _await_up(ref: Any, spec: ChildSpec, attempt: StartAttempt) -> Any:
    """A start callable has returned that ref: wait until the actor is up, and see that it has its name."""
    if ref is None:
        raise Ignore
    if not isinstance(ref, pykka.ActorRef):
        raise TypeError(f"start: expected the callable to return a pykka.ActorRef, got {type(ref).__name__}")
    process = process_of(ref)
    if process is None:
        refuse_unmanaged(ref, "supervised")
        raise pykka.ActorDeadError(f"{ref} ended before its supervisor could watch it")
    if process not in attempt.started and not attempt.add(process):  # it was made before, or by another thread
        raise pykka.ActorDeadError(f"{ref} came too late: its start has been cancelled")
    process.await_start()
    if spec.name is not None and lookup(spec.name) is not process:
        try:
            register(spec.name, ref)
        except BaseException:  # the name is taken, or the actor has ended: it must not live on under no name
            ExitRequest(ref, spec.shutdown).await_exit()
            raise
    return process.ref


class ChildMonitor(Monitor):
    """A supervisor's monitor of one incarnation of a child; ``child`` is the child."""

    __slots__ = ("child",)

    def __init__(self, child: Child, ref: Any, supervisor: Any) -> None:
        super().__init__(ref, supervisor)
        self.child = child

    def begin(self) -> None:
        """Watch the child, which is up, or was a moment ago.

        It may have ended since. The ``Down`` then carries the reason of that end, as OTP's link would, where a plain monitor
        says ``NOPROC``: whether it is restarted must depend on why it ended, not on which thread was faster.
        """
        process = process_of(self.ref)
        if process is None or not process.attach(self):
            self.deliver(NOPROC if process is None else process.reason)


def name_of_child(child: Child) -> str | None:
    """The name that a child was given by its specification, or at its start; ``None`` without one."""
    return child.spec.name or name_of(child.last_ref)


# --- exit -------------------------------------------------------------------------------------------------------------


class ExitRequest:
    """A child has been asked to exit (OTP, ``supervisor.erl``, ``shutdown/1``): the constructor asks, ``await_exit`` waits.

    These are two steps, so that many children can be asked first and then all be waited for.

    Attributes:
        asked_at: when the child was asked, in ``timer_thread.now()``'s seconds.
        deadline: when the child is abandoned, in the same; infinite without one.

    Args:
        ref: the child.
        shutdown: its specification's setting.
        waiter: the supervisor that will wait; a call to it from the child's last handler or end hook could only deadlock.
        for_restart: whether this end is part of a restart: the child is expected to be started again. It ends with
            ``SHUTDOWN`` all the same.
    """

    def __init__(
        self, ref: Any, shutdown: ShutdownSetting | None, waiter: Process | None = None, *, for_restart: bool = False
    ) -> None:
        self._ref = ref
        self.asked_at = timer_thread.now()
        self.deadline = self.asked_at + shutdown if isinstance(shutdown, int | float) else math.inf
        self._ended = Bell()  # the process rings it, on the thread that ends it
        self._process: Process | None = process_of(ref)
        if self._process is not None:
            if waiter is not None:  # from now on, not only when it comes to this message
                self._process.waited_for_by = waiter
            asked_to_exit(self._process, for_restart=for_restart)
        if self._process is None or not self._process.attach(self._ended):
            self._ended.ring()
        elif shutdown == "brutal_kill":
            # Not on this thread: a callable that calls the supervisor would wait for the very thread that runs it.
            self._process.kill(callbacks_on_pool=True)
        else:
            self._process.mailbox.offer(ExitSignal(SHUTDOWN, waiter, for_restart))

    @property
    def is_over(self) -> bool:
        """Whether the child has ended."""
        return self._process is None or self._process.is_ended

    def await_deadline(self) -> None:
        """Wait until the child has ended, and abandon it at its deadline."""
        if not self._ended.wait(self.deadline - timer_thread.now()):
            self.abandon()

    def await_exit(self) -> Reason:
        """Wait until nothing of the child is in a successor's way any more. Returns the reason that it ended with."""
        self.await_deadline()
        join(self._ref)
        return NOPROC if self._process is None else self._process.reason

    def abandon(self) -> None:
        """Kill the child, unless it has ended."""
        if self._process is not None:
            self._process.kill(callbacks_on_pool=True)
            # `kill` does nothing where another thread is ending the child this very moment. That thread has its last steps to
            # do, of which `deliver` is one: names are free when it comes.
            self._ended.wait(JOIN_S)


def join(ref: Any) -> None:
    """Wait until the thread of an ended incarnation is gone, so that the next one finds its port and files free.

    An actor counts as ended before its thread has left its last turn, whose frames hold what the actor held. Two kinds of
    thread are not waited for: an abandoned one, which may never return; and one that only runs the callables of monitors,
    which may be waiting for the caller. Where a killed supervisor has left children behind, they are waited for, too.
    """
    process = process_of(ref)
    thread = None if process is None or process.abandoned else process.dispatcher.thread
    if process is not None and thread is not None and thread is not threading.current_thread():
        # In short steps, because the thread may enter the callables of monitors meanwhile, and is then not waited for.
        deadline = timer_thread.now() + JOIN_S
        while thread.is_alive() and not process.in_user_callbacks and timer_thread.now() < deadline:
            thread.join(LOOK_S)
    link: Link | None = None if process is None else process.link
    if link is not None:
        link.await_orphans()


class Link:
    """From a supervisor to its children, one way: none of them outlives it (OTP has ``link/1``, both ways).

    A supervisor that ends in an orderly way has stopped its children, and its link holds none. When it is killed, no hook of
    it runs, and the thread that kills it breaks the link: all children are asked to exit at the same time. The timer thread
    abandons each that has not ended within its own shutdown time, or within ``ORPHAN_S`` where that is infinite.
    """

    __slots__ = ("_children", "_lock", "_orphans", "_supervisor", "attempt", "is_broken")
    is_user_callback = False

    def __init__(self, supervisor: Any) -> None:
        self._lock = threading.Lock()  # guards the three below; nothing else is locked or called under it
        self._children: dict[Any, ShutdownSetting | None] = {}
        self.attempt: StartAttempt | None = None  # the start that the supervisor is in, or was in when it ended
        self.is_broken = False
        self._orphans: list[ExitRequest] = []  # filled before any thread hears of the end that could look here
        process = process_of(supervisor)
        self._supervisor = None if process is None else weakref.ref(process)
        if process is not None:
            process.link = self  # kept by nothing else: what has ended below a killed supervisor goes with it
            process.attach(self)

    def begin(self, attempt: StartAttempt) -> bool:
        """The supervisor begins to start a child; false if it has ended, and must not."""
        with self._lock:
            if not self.is_broken:
                self.attempt = attempt
            return not self.is_broken

    def add(self, ref: Any, shutdown: ShutdownSetting | None) -> bool:
        """Add the child that is up; false if the supervisor has ended, and the child is the caller's to end."""
        with self._lock:
            if not self.is_broken:
                self._children[ref] = shutdown
                self.attempt = None
            return not self.is_broken

    def failed(self) -> None:
        """The start has failed, or was ignored."""
        with self._lock:
            if not self.is_broken:
                self.attempt = None

    def remove(self, ref: Any) -> None:
        """Take out a child that has ended."""
        with self._lock:
            self._children.pop(ref, None)

    def deliver(self, reason: Reason) -> None:
        """The supervisor has ended; called on the thread that ended it, before its own supervisor hears of the end."""
        with self._lock:  # in one step: `add` finds the link broken, or its child is among those taken out here
            self.is_broken = True
            left, self._children = self._children, {}
            attempt = self.attempt
        if attempt is not None:
            left.update({process.ref: attempt.spec.shutdown for process in attempt.cancel()})
        # The supervisor above joins them. One that waits for a restart by that is told so now, instead of holding it up.
        killed = None if self._supervisor is None else self._supervisor()
        above = None if killed is None else killed.starter
        joins = above if above is not None and above.supervises else None
        for ref, shutdown in left.items():
            within_s = ORPHAN_S if shutdown is None or shutdown == "infinity" else shutdown
            self._orphans.append(ExitRequest(ref, within_s, joins, for_restart=children_end_for_restart(reason)))
        # They are not waited for: this is the thread that called `kill`.
        _abandon_in_turn(sorted(self._orphans, key=lambda request: request.deadline, reverse=True))

    def await_orphans(self) -> None:
        """Wait until all children that were left behind are gone, each for as long as its shutdown time allows."""
        for request in self._orphans:
            request.await_exit()


def _abandon_in_turn(left: list[ExitRequest]) -> None:
    """Have the timer thread abandon each that has not ended at its deadline; the first is the last of the list.

    There is one timer at a time, for most have ended when the first is due.
    """
    while left and left[-1].is_over:
        left.pop()
    if left and left[-1].deadline < math.inf:
        timer_thread.call_later(left[-1].deadline - timer_thread.now(), lambda: _abandon_first(left))


def _abandon_first(left: list[ExitRequest]) -> None:
    first = left.pop()
    _abandon_in_turn(left)  # before that: whatever becomes of the first, the others have their turn
    first.abandon()


# --- succession -------------------------------------------------------------------------------------------------------


def ended_for_good(ref: Any, *, asked: bool) -> None:
    """An actor that has ended is not started again; called on its supervisor's thread. ``None`` is no actor."""
    if ref is None:
        return
    process = process_of(ref)
    supervisor = None if process is None else process.starter
    # Where the supervisor itself ends, and is started again, its children are, too.
    if process is None:
        return
    if not (supervisor is not None and supervisor.is_ending and comes_back(process)):
        decided(process)
    if process.kept is not None:
        process.kept.not_restarted(ref, asked)
