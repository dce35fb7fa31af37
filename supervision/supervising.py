"""What both kinds of supervisor do: operations, deaths, restarts within the window, and the end of their children.

The functions at the top run on the caller's thread and wait there. Every method of ``AnySupervisor`` runs on the
supervisor's own thread, one message at a time, and only that thread touches a ``Child``; so nothing here is locked.

**A child ends by itself.** In this order, each for a reason:

1. The thread of the child's last turn, or the thread that kills it, closes the child's mailbox, frees its names, answers its
   callers, and puts a ``Down`` into the supervisor's mailbox (`supervision.process.process`). The names come before the
   ``Down``: the successor needs them.
2. The supervisor takes the ``Down`` when its turn comes, and joins the child's thread. Until that has left its last turn its
   frames hold what the child held, such as an open port that the successor wants.
3. ``exits.must_restart`` decides. Of a child that is not restarted it is made known that it has ended for good: what is kept
   for its successor can go.
4. ``strategy.Intensity`` counts the attempt *before* it is made. One too many ends the supervisor, and the failed child is
   not started once more (OTP, ``supervisor.erl``, ``add_restart/1``).
5. ``strategy.affected`` says which siblings are ended, in reverse start order, and started again. One at a time: a sibling
   may need those before it until its own end hook has run.
6. An attempt that fails is repeated by a message of the supervisor to itself (OTP, ``try_again_restart``), or by a timer
   where the child has a ``Backoff``. What came meanwhile is served in between. A loop in place of the message would let no
   ``terminate_child`` cancel the restart, and would serve no stop, before the window is full.

**Messages that come too late.** A ``Down`` may lie in the mailbox when the supervisor ends that child itself, and a
``Retry`` when the restart is cancelled. Each is known by identity (``child.monitor``, ``child.retry``), never by the child's
id, which another child may have by then.
"""

from __future__ import annotations

import atexit
import random
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import pykka

from supervision import child_process, exits
from supervision.callback_module import CallbackModule
from supervision.calls import Timer, call, cast, send_after, stop_with
from supervision.child_process import ChildMonitor, ExitRequest, Link, StartAttempt
from supervision.children import Child, ChildCounts, ChildInfo
from supervision.errors import AlreadyStarted, StartError, SupervisionError
from supervision.exits import KILLED, SHUTDOWN, ExceptionText, Exit, Reason, text_of
from supervision.frozen import dataclass
from supervision.monitors import Down, demonitor, ends_for_restart
from supervision.process.process import Phase, Process
from supervision.process.registry import (
    ServerRef,
    adopted,
    decided,
    find,
    name_of,
    owner_now,
    process_of,
    unmanaged,
)
from supervision.runtime import timer_thread
from supervision.runtime.per_process import PerProcess
from supervision.runtime.reports import is_heard, is_told, report, tell
from supervision.server import ClassOrInstance
from supervision.strategy import Intensity

T = TypeVar("T")


# --- on the caller's thread -------------------------------------------------------------------------------------------


class Operation(NamedTuple):
    """A message that has a supervisor do something: its thread calls the function with the supervisor and the arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Raised:
    """The answer of an operation that raised: the caller gets the error, and the supervisor does not end by it."""

    error: Exception


def ask(
    sup: ServerRef, kind: type[AnySupervisor], operation: Callable[..., T], *args: Any, timeout: float | None = None
) -> T:
    """Have a supervisor of that kind do something; without a timeout this waits for as long as it lives, as OTP does."""
    answer: T | Raised = call(find_supervisor(sup, kind), Operation(operation, args), timeout=timeout)
    if isinstance(answer, Raised):
        raise answer.error
    return answer


def find_supervisor(sup: ServerRef, kind: type[AnySupervisor]) -> pykka.ActorRef[Any]:
    """The live supervisor of that kind behind a ref or a name; raises ``NoProcess`` or ``TypeError``."""
    process = find(sup)
    ref: pykka.ActorRef[Any] | None = unmanaged(sup) if process is None else process.ref
    if ref is None:
        ref = owner_now(sup).ref
    if not issubclass(ref.actor_class, kind):
        wanted = "supervisor" if kind is AnySupervisor else kind.__name__
        raise TypeError(f"sup: expected a {wanted}, got {ref.actor_class.__name__}")
    return ref


def is_supervisor(ref: pykka.ActorRef[Any]) -> bool:
    """Whether a ref is a supervisor's."""
    return issubclass(ref.actor_class, AnySupervisor)


# --- on the supervisor's thread ---------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Retry:
    """A supervisor's message to itself: make the next attempt for that child, if this is still its ``retry``.

    Attributes:
        child: the child.
        timer: what sends it after the backoff's delay; ``None`` where it is in the mailbox already.
        due: when that is, in ``timer_thread.now()``'s seconds; ``None`` likewise.
    """

    child: Child
    timer: Timer | None = None
    due: float | None = None


class Wait(NamedTuple):
    """What a supervisor's thread is waiting for; other threads read it, to show it.

    Attributes:
        what: ``"start"``, ``"end"``, or ``"thread"``: that an ended child's thread leaves its last turn.
        child: whose.
        since: since when, in ``timer_thread.now()``'s seconds.
        limit_s: for how many seconds in all, ``None`` where there is no limit.
    """

    what: Literal["start", "end", "thread"]
    child: Child
    since: float
    limit_s: float | None = None


class AnySupervisor(CallbackModule):
    """What ``Supervisor`` and ``DynamicSupervisor`` share. A subclass says which child is meant, and which are affected."""

    runtime: ClassVar[Literal["pool", "thread"]] = "thread"
    _supervision_supervises: ClassVar[bool] = True
    extra_args: tuple[Any, ...] = ()

    def __init__(self, intensity: Intensity, init: Callable[[], Any] | None = None) -> None:
        super().__init__(init)
        self._children: dict[Hashable, Child] = {}  # in start order
        self._intensity = intensity
        self._random = random.Random()
        self._link = Link(self.actor_ref)
        self._gave_up = False
        self._attempting = False  # also read on the thread of a child supervisor that this thread is starting
        self._waits: Wait | None = None  # also read on any thread that looks at the tree
        self._looks: list[float] = []  # when each look that is still unanswered was asked for; see `supervision.tree`

    # --- client API ---------------------------------------------------------------------------------------------------

    @classmethod
    def which_children(cls, sup: ServerRef) -> list[ChildInfo]:
        """All children, in start order (OTP, ``supervisor:which_children/1``, which has a static supervisor's in reverse).

        Args:
            sup: the supervisor, a ref or a name.

        Returns:
            A row for each child. A ``DynamicSupervisor`` has a child that was restarted behind the others.

        Raises:
            NoProcess: the supervisor is not alive.
        """
        return ask(sup, cls._kind(), AnySupervisor._which_children)

    @classmethod
    def count_children(cls, sup: ServerRef) -> ChildCounts:
        """How many children there are, run, and are of which type (OTP, ``supervisor:count_children/1``).

        Args:
            sup: the supervisor, a ref or a name.

        Returns:
            The four figures.

        Raises:
            NoProcess: the supervisor is not alive.
        """
        return ask(sup, cls._kind(), AnySupervisor._count_children)

    # On an instance, in a handler, this is Pykka's `stop()`.
    @ClassOrInstance
    def stop(sup: ServerRef, timeout: float | None = None) -> None:  # type: ignore[override]
        """Stop a supervisor and everything below it, with reason ``SHUTDOWN``.

        Args:
            sup: a ref or a name.
            timeout: seconds to wait, ``None`` for as long as it takes.

        Raises:
            NoProcess: it is not alive.
            CallTimeout: not down in time; the stop goes on.
        """
        stop_with(find_supervisor(sup, AnySupervisor), SHUTDOWN, timeout)

    @classmethod
    def _supervision_end_child(cls, sup: pykka.ActorRef[Any], ref: pykka.ActorRef[Any], timeout: float | None) -> None:
        """What `supervision.calls.stop_for_good` has a child's supervisor do, whose class it finds by its ref."""
        ask(sup, AnySupervisor, AnySupervisor._terminate_ref, ref, timeout=timeout)

    @classmethod
    def _kind(cls) -> type[AnySupervisor]:
        """``Supervisor`` or ``DynamicSupervisor``, where this is a subclass of a program's, too: it may ask any of that kind."""
        return next((one for one in reversed(cls.__mro__) if AnySupervisor in one.__bases__), cls)

    # --- for the subclasses -------------------------------------------------------------------------------------------

    def _by_ref(self, ref: Any) -> Child:
        """The child whose newest incarnation that is, alive or not; raises ``ChildNotFound``."""
        raise NotImplementedError

    def _affected(self, child: Child) -> Sequence[Child]:
        """The children that a restart of that one stops and starts, in start order."""
        return (child,)

    def _forget(self, child: Child) -> None:
        """A child is down and is not to be restarted: drop it, if its specification is not kept."""
        raise NotImplementedError

    def _ended_by_itself(self, child: Child) -> None:
        """A child has ended by itself and is not restarted."""
        self._forget(child)

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> Any:
        """Carry out an operation, hear of a death, or make the next attempt."""
        if isinstance(message, Operation):
            try:
                return message.function(self, *message.args)
            except (SupervisionError, ValueError, TypeError) as error:
                return Raised(error)  # raised here, it would end this supervisor and every child of it
        if isinstance(message, Down):
            return self._child_ended(message)
        if isinstance(message, Retry):
            if message.child.retry is message:  # else the restart was cancelled while this lay in the mailbox
                self._attempt(message.child)
            return None
        return super().on_receive(message)

    def _which_children(self) -> list[ChildInfo]:
        return [child.info for child in self._children.values()]

    def _count_children(self) -> ChildCounts:
        return ChildCounts.of(self._children.values())

    def _terminate_ref(self, ref: Any, caller: Process | None = None) -> None:
        self._end_for(caller, self._by_ref(ref))

    def _child_ended(self, down: Down) -> None:
        watch = down.monitor
        if not isinstance(watch, ChildMonitor) or watch.child.monitor is not watch:
            return  # of an actor that is no child; or of an incarnation that this supervisor has ended itself meanwhile
        child = watch.child
        self._waits = Wait("thread", child, timer_thread.now(), child_process.JOIN_S)
        child_process.join(down.ref)
        self._waits = None
        self._link.remove(down.ref)
        # While the interpreter goes down no thread can be started: an attempt would fail until the window is full.
        restart = exits.must_restart(child.spec.restart, down.reason) and not _is_exiting()
        level = "info" if exits.is_orderly(down.reason) else "error"
        self._report(level, "child_ended", child, reason=str(down.reason), restart=restart)
        backoff = child.spec.backoff
        if backoff is not None and backoff.starts_over(timer_thread.now() - (child.started_at or 0.0)):
            child.in_a_row = 0
        if not restart:
            child.ended("stopped", down.reason)
            child_process.ended_for_good(down.ref, asked=False)
            self._ended_by_itself(child)
            return
        child.ended("restarting", down.reason)
        if backoff is None:
            self._attempt(child, down.reason)
        else:
            child.failure = exits.failure_of(down.reason)
            self._try_again(child)

    # --- restarts -----------------------------------------------------------------------------------------------------

    def _attempt(self, child: Child, reason: Reason | None = None) -> None:
        """Make one restart attempt, unless it is one too many; ``reason`` is of the end that it follows at once."""
        child.retry = None
        if not self._intensity.attempt(timer_thread.now()):
            child.ended("stopped")
            self._gave_up = True
            window = {"max_restarts": self._intensity.max_restarts, "max_seconds": self._intensity.max_seconds}
            failure = child.failure or exits.failure_of(reason)
            why = text_of(child.last_exit)  # `failure` says it better, where there is one
            self._report("error", "supervisor_gave_up", child, failure=failure, error=why, **window)
            raise Exit(SHUTDOWN)
        # A supervisor that is started in this attempt, on its own thread, asks whether its failing would be the end of its
        # children (`_is_started_again`). It reads this while this thread waits for its start, so that neither changes it.
        self._attempting = True
        try:
            self._restart(self._affected(child))
        finally:
            self._attempting = False

    def _restart(self, affected: Sequence[Child]) -> None:
        for child in reversed(affected):  # those that a failed attempt before this one has started are among them
            self._end_for_restart(child)
        for child in affected:
            if child.spec.restart == "temporary":  # a sibling, which is forgotten by now
                continue
            try:
                ref = self._bring_up(child)
            except (StartError, AlreadyStarted) as error:
                child.failure = ExceptionText.of(getattr(error, "cause", error), with_traceback=True)
                self._report("error", "child_restart_failed", child, failure=child.failure)
                self._try_again(child)
                return  # those after it stay down till then, stopped and without a ref: only this one is restarting
            if ref is None:
                self._report("info", "child_ignored", child)
                continue
            child.restarts += 1
            self._report("info", "child_restarted", child)

    def _try_again(self, child: Child) -> None:
        """Have an attempt made later: after the backoff's delay, or once the mailbox has had its turn."""
        child.ended("restarting")
        child.retry = retry = Retry(child)
        backoff = child.spec.backoff
        if backoff is None:
            cast(self.actor_ref, retry)  # behind what is in the mailbox already, which is served first
            return
        delay_s = backoff.delay(child.in_a_row, self._random.uniform)
        child.in_a_row += 1
        for sibling in reversed(self._affected(child)):
            if sibling is not child:  # it must not run on without this one
                self._end_for_restart(sibling)
        retry.due = timer_thread.now() + delay_s
        retry.timer = send_after(delay_s, self.actor_ref, retry)

    def _bring_up(self, child: Child) -> Any:
        """Start a child, link and watch it; its ref, or ``None`` where its start raised ``Ignore``.

        A start may last, and this supervisor may be killed meanwhile by another thread. Its own thread is abandoned then but
        runs on, so it asks its link twice: before the start, and after it.
        """
        attempt = StartAttempt(child.spec, self.extra_args)
        if not self._link.begin(attempt):
            raise Exit(KILLED)
        own, last = process_of(self.actor_ref), child.last_ref
        assert own is not None
        self._waits = Wait("start", child, timer_thread.now(), child.spec.start_timeout)
        own.starting_child = child
        try:
            ref = child_process.start_child(attempt)
        except (StartError, AlreadyStarted):
            self._link.failed()
            if self._link.is_broken:  # it was cancelled because this supervisor was killed: it decides nothing any more
                raise Exit(KILLED) from None
            raise
        finally:
            self._waits = own.starting_child = None
        predecessor = None if last is None else process_of(last)
        if ref is None:
            self._link.failed()
            child.runs(None, None, timer_thread.now())
            if predecessor is not None:
                decided(predecessor)
            return None
        if not self._link.add(ref, child.spec.shutdown):
            ExitRequest(ref, child.spec.shutdown, for_restart=True).await_exit()
            raise Exit(KILLED)
        watch = ChildMonitor(child, ref, self.actor_ref)
        child.runs(ref, watch, timer_thread.now())
        process = process_of(ref)
        assert process is not None  # `child_process.start_child` has seen to that
        adopted(process, child, predecessor)
        watch.begin()
        if not self._attempting and is_told():  # an attempt reports what it has restarted
            tell("child_started", supervisor=self._label, child=child.spec.id, name=child_process.name_of_child(child))
        return ref

    def _is_started_again(self) -> bool:
        """Whether it starts in a restart attempt, its supervisor's or one further up, which is repeated if it fails."""
        process = process_of(self.actor_ref)
        while process is not None and process.phase is Phase.STARTING:
            process = process.starter
            if process is not None and isinstance(process.actor, AnySupervisor) and process.actor._attempting:
                return True
        return False

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _end(self, child: Child, *, for_restart: bool = False) -> None:
        request = self._request_exit(child, for_restart=for_restart)
        if request is not None:
            self._await_exit(child, request)
        if not for_restart:
            self._forget(child)

    def _end_for(self, caller: Process | None, child: Child) -> None:
        """End a child as a caller has asked, who waits for that: ``None`` outside an actor.

        Raises:
            SupervisionError: the child is the caller's own process, or above it, and could only be abandoned at its deadline.
        """
        process = None if child.ref is None else process_of(child.ref)
        if process is not None and caller is not None and not caller.is_ended and process.is_or_supervises(caller):
            raise SupervisionError(
                f"{child.ref} waits for its own end: raise Exit() instead, which ends a transient or temporary child for good"
                if process is caller
                else f"{child.ref} supervises the actor that asks: it cannot end before that one's handler has returned"
            )
        self._end(child)

    def _end_for_restart(self, child: Child) -> None:
        self._end(child, for_restart=child.spec.restart != "temporary")

    def _request_exit(self, child: Child, *, for_restart: bool = False) -> ExitRequest | None:
        """Ask a child to exit, or cancel its pending restart; ``None`` where it does not run.

        The watch ends first: this death is the supervisor's own doing, and no ``Down`` may tell it of one to be restarted.
        """
        retry, child.retry = child.retry, None
        if retry is not None and retry.timer is not None:
            retry.timer.cancel()
        if child.ref is None:
            child.ended("stopped")
            if not for_restart:
                child_process.ended_for_good(child.last_ref, asked=True)
                waited = self._affected(child) if retry is not None else ()  # for the attempt that is cancelled here
                for sibling in waited:
                    if sibling.state == "stopped" and sibling is not child:
                        child_process.ended_for_good(sibling.last_ref, asked=False)
            return None
        demonitor(child.monitor)
        return ExitRequest(child.ref, child.spec.shutdown, process_of(self.actor_ref), for_restart=for_restart)

    def _await_exit(self, child: Child, request: ExitRequest) -> None:
        self._waits_for_end(child, request)
        reason = request.await_exit()
        self._waits = None
        # Taken out only now: if this supervisor is killed while it waits, the link must still end the child at its deadline.
        self._link.remove(child.ref)
        child.ended("stopped", reason)
        as_asked = exits.leaves_as_asked(child.spec.restart, child.spec.shutdown == "brutal_kill", reason)
        self._report("info" if as_asked else "warning", "child_ended", child, reason=str(reason), restart=False)

    def _waits_for_end(self, child: Child, request: ExitRequest) -> None:
        limit_s = child.spec.shutdown if isinstance(child.spec.shutdown, int | float) else None
        self._waits = Wait("end", child, request.asked_at, limit_s)

    def _children_end_for_restart(self, reason: Reason) -> bool:
        """Whether the children, which it stops because it ends, are expected to be started again together with it."""
        for_restart = ends_for_restart(self.actor_ref)
        return exits.children_end_for_restart(reason, gave_up=self._gave_up, for_restart=for_restart)

    def _report(self, level: str, event: str, child: Child, **fields: Any) -> None:
        if not is_heard(level):
            return
        child_id, name = text_of(child.spec.id), child_process.name_of_child(child)
        report(level, event, supervisor=self._label, child=child_id, name=name, restarts=child.restarts, **fields)

    @property
    def _label(self) -> str:
        """What a report calls it: its name, or its ref without one."""
        return name_of(self.actor_ref) or str(self.actor_ref)


# --- the end of the interpreter ---------------------------------------------------------------------------------------

_main_is_through = PerProcess(threading.Event)  # a forked child has a main thread of its own


def _note_exit() -> None:
    _main_is_through.value.set()


# What atexit calls comes only after the interpreter's wait for other threads, and functions that were registered later than
# this one come before it; concurrent.futures needs threading's own hook for the same reason. Both say the same.
atexit.register(_note_exit)
if hasattr(threading, "_register_atexit"):
    try:
        threading._register_atexit(_note_exit)
    except RuntimeError:  # this is imported while the interpreter goes down
        _note_exit()


def _is_exiting() -> bool:
    """Whether the interpreter is going down: the main thread is through, and so are all others that it waits for.

    Nothing is restarted any more then. Our threads are daemons, which the interpreter does not wait for.
    """
    if not _main_is_through.value.is_set():
        return False
    main = threading.main_thread()
    return all(thread.daemon or thread is main for thread in threading.enumerate())
