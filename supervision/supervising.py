"""What both kinds of supervisor do: serve one request at a time, hear of deaths, count attempts, try again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pykka

from supervision.calls import call, cast, stop, stop_with
from supervision.child_process import Departure, Tether, give_up, is_bystander, settle, start_child, watch_child
from supervision.child_spec import check_seconds
from supervision.children import Child
from supervision.errors import CallTimeout, ChildNotFound, NoProcess, SupervisionError
from supervision.exits import (
    KILLED,
    SHUTDOWN,
    Bygone,
    Crash,
    Exit,
    Reason,
    is_orderly,
    leaves_as_asked,
    leaves_bystanders,
    must_restart,
    words,
)
from supervision.messages import Down, Request, Retry
from supervision.monitors import demonitor
from supervision.process import Phase, current, is_exiting, life_of, must_outlive_caller, name_of, supervises
from supervision.registry import ServerName, find, stranger
from supervision.runtime import timer_thread as alarm
from supervision.runtime.reports import report
from supervision.server import Server
from supervision.strategy import Intensity
from supervision.timers import Timer, send_after

__all__ = [
    "Parent",
    "Request",
    "ask",
    "is_parent",
    "starting_supervisor",
    "stop_for_good",
    "stop_tree",
    "supervisor_of",
]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The answer "no": raised in the caller, never in the supervisor."""

    error: Exception


def ask(sup: ServerName, kind: type[Parent], operation: str, argument: Any = None, timeout: float | None = None) -> Any:
    """Have a supervisor of that kind serve a request; without a timeout it waits for as long as that lives, as OTP does."""
    answer = call(_require(sup, kind), Request(operation, argument), timeout=timeout)
    if isinstance(answer, _Refusal):
        raise answer.error
    return answer


def stop_tree(sup: ServerName, timeout: float | None = None) -> None:
    """Stop a supervisor and everything below it, with reason ``SHUTDOWN``.

    Args:
        sup: a ref or a name.
        timeout: seconds to wait, ``None`` for as long as it takes.

    Raises:
        NoProcess: it is not alive.
        CallTimeout: not down in time; the stop goes on.
    """
    stop_with(_require(sup, Parent), SHUTDOWN, timeout)


def is_parent(ref: pykka.ActorRef[Any]) -> bool:
    """Whether a ref is a supervisor's."""
    return issubclass(ref.actor_class, Parent)


def starting_supervisor() -> pykka.ActorRef[Any] | None:
    """The supervisor that is starting a child on the calling thread, for a child that wants to know; else ``None``."""
    life = current()
    return life.ref if life is not None and is_parent(life.ref) else None


def _require(sup: ServerName, kind: type[Parent]) -> pykka.ActorRef[Any]:
    life = find(sup)
    ref: pykka.ActorRef[Any] | None = stranger(sup) if life is None else life.ref
    if ref is None:
        raise NoProcess(sup)
    if not issubclass(ref.actor_class, kind):
        raise TypeError(f"sup: expected a {kind.__name__}, got {ref.actor_class.__name__}")
    return ref


class Parent(Server):
    """The shell around the pure decisions; subclasses say what a restart takes along."""

    runtime: ClassVar[Literal["pool", "thread"]] = "thread"
    supervises: ClassVar[bool] = True
    extra_args: tuple[Any, ...] = ()

    def __init__(self, intensity: Intensity) -> None:
        super().__init__()
        self._intensity = intensity
        self._random = random.Random()
        self._tether = Tether(self.actor_ref)
        self._operations: dict[str, Callable[[Any], Any]] = {}
        self._gave_up = False
        self._attempting = False  # read on the thread of the child that it starts, for which it waits

    # --- for the subclasses -------------------------------------------------------------------------------------------

    def watched_by(self, watch: Any) -> Child | None:
        """The child whose incarnation that monitor watches."""
        raise NotImplementedError

    def holds(self, child: Child) -> bool:
        """Whether it is still one of the children."""
        raise NotImplementedError

    def gone(self, child: Child, reason: Reason) -> None:
        """A child ended by itself and is not restarted."""
        raise NotImplementedError

    def attempt(self, child: Child) -> None:
        """Make one restart attempt; the window has been asked."""
        raise NotImplementedError

    def clear_for(self, child: Child) -> None:
        """The child's restart is delayed: end now what must not run without it."""

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> Any:
        """Serve a request, hear of a death, or make the next attempt."""
        if isinstance(message, Request):
            try:
                return self._operations[message.operation](message.argument)
            except (SupervisionError, ValueError, TypeError) as error:
                return _Refusal(error)
        if isinstance(message, Down):
            return self._child_ended(message)
        if isinstance(message, Retry):
            if message.child.retry is not None and message.child.retry[0] is message and self.holds(message.child):
                self._attempt(message.child)
            return None
        return super().on_receive(message)

    def _child_ended(self, down: Down) -> None:
        child = self.watched_by(down.monitor)
        if child is None:
            return
        settle(down.ref)
        self._tether.untie(down.ref)
        restart = must_restart(child.spec.restart, down.reason) and not is_exiting()
        self._report(
            "info" if is_orderly(down.reason) else "error",
            "child_ended",
            child,
            reason=str(down.reason),
            restart=restart,
        )
        backoff = child.spec.backoff
        if backoff is not None and backoff.starts_over(alarm.now() - (child.started_at or 0.0)):
            child.in_a_row = 0
        if not restart:
            child.ended("stopped", down.reason)
            give_up(down.ref, asked=False)
            self.gone(child, down.reason)
            return
        child.ended("restarting", down.reason)
        child.failure = (
            Bygone.of(down.reason.exception, with_traceback=True) if isinstance(down.reason, Crash) else None
        )
        if backoff is None:
            self._attempt(child)
        else:
            self.try_again(child)

    # --- attempts -----------------------------------------------------------------------------------------------------

    def _attempt(self, child: Child) -> None:
        child.retry = None
        self._intensity = self._intensity.attempt(alarm.now())
        if self._intensity.exceeded:
            child.ended("stopped")
            self._gave_up = True
            self._report(
                "error",
                "supervisor_gave_up",
                child,
                failure=child.failure,
                error=words(child.last_exit),
                max_restarts=self._intensity.max_restarts,
                max_seconds=self._intensity.max_seconds,
            )
            raise Exit(SHUTDOWN)
        self._attempting = True
        try:
            self.attempt(child)
        finally:
            self._attempting = False

    def try_again(self, child: Child) -> None:
        """Have an attempt made later: after the backoff's delay, or once the mailbox has had its turn."""
        child.ended("restarting")
        retry = Retry(child)
        backoff = child.spec.backoff
        if backoff is None:
            child.retry = (retry, None)
            cast(self.actor_ref, retry)
            return
        delay_s = backoff.delay(child.in_a_row, self._random.uniform)
        child.in_a_row += 1
        self.clear_for(child)
        child.retry = (retry, send_after(delay_s, self.actor_ref, retry))

    def bring_up(self, child: Child) -> Any:
        """Start a child and watch it; its ref, or ``None`` where it chose to be ignored."""
        if self._tether.is_cut:  # killed: this thread is abandoned, and nothing it starts would have a supervisor
            raise Exit(KILLED)
        ref = start_child(child.spec, self.extra_args)
        if ref is None:
            child.runs(None, None, alarm.now())
            return None
        if not self._tether.tie(ref, child.spec.shutdown):
            Departure(ref, child.spec.shutdown, bystander=True).wait()
            raise Exit(KILLED)
        child.runs(ref, watch_child(ref, self.actor_ref), alarm.now())
        return ref

    def restarted(self, child: Child) -> None:
        """Note a restart that succeeded."""
        child.restarts += 1
        self._report("info", "child_restarted", child)

    def restart_failed(self, child: Child, error: BaseException) -> None:
        """Note one that did not, and try again."""
        child.failure = Bygone.of(getattr(error, "cause", error), with_traceback=True)
        self._report("error", "child_restart_failed", child, failure=child.failure)
        self.try_again(child)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def leaves_bystanders(self, reason: Reason) -> bool:
        """Whether its children, which it stops because it ends, are expected to be started again."""
        return leaves_bystanders(reason, gave_up=self._gave_up, bystander=is_bystander(self.actor_ref))

    def is_started_again(self) -> bool:
        """Whether it starts in a restart attempt, its supervisor's or one further up, which is repeated if it fails."""
        life = life_of(self.actor_ref)
        while life is not None and life.phase is Phase.STARTING:
            life = life.starter
            if life is not None and isinstance(life.actor, Parent) and life.actor._attempting:
                return True
        return False

    def send_away(self, child: Child, *, bystander: bool = False) -> Departure | None:
        """Ask a child to leave, or cancel its pending restart; the supervisor does not hear of its death any more."""
        if child.retry is not None:
            timer: Timer | None = child.retry[1]
            if timer is not None:
                timer.cancel()
            child.retry = None
        ref, watch = child.ref, child.monitor
        if ref is None:
            child.ended("stopped")
            if not bystander:
                give_up(child.last_ref, asked=True)
            return None
        demonitor(watch)
        return Departure(ref, child.spec.shutdown, life_of(self.actor_ref), bystander=bystander)

    def see_off(self, child: Child, departure: Departure | None) -> None:
        """Wait until a child that was sent away has left."""
        if departure is None:
            return
        ref, reason = child.ref, departure.wait()
        self._tether.untie(ref)
        child.ended("stopped", reason)
        as_asked = leaves_as_asked(child.spec.restart, child.spec.shutdown == "brutal_kill", reason)
        self._report("info" if as_asked else "warning", "child_ended", child, reason=str(reason), restart=False)

    def _report(self, level: str, event: str, child: Child, **fields: Any) -> None:
        report(
            level,
            event,
            supervisor=self.label,
            child=words(child.spec.id),
            name=child.spec.name or name_of(child.last_ref),
            restarts=child.restarts,
            **fields,
        )

    @property
    def label(self) -> str:
        """What a report calls it: its name, or its ref without one."""
        return name_of(self.actor_ref) or str(self.actor_ref)


def supervisor_of(ref: pykka.ActorRef[Any]) -> pykka.ActorRef[Any] | None:
    """The supervisor that an actor was started by, alive or not; ``None`` where no supervisor started it."""
    life = life_of(ref)
    starter = None if life is None else life.starter
    return starter.ref if starter is not None and supervises(starter) else None


def stop_for_good(ref: pykka.ActorRef[Any], *, timeout: float | None = 5.0) -> None:
    """Stop an actor: at its supervisor, which does not restart it and counts nothing, else as ``stop`` does.

    Args:
        ref: the actor; one that its supervisor is about to restart is not restarted.
        timeout: seconds to wait, ``None`` for no limit.

    Raises:
        NoProcess: it has ended and nobody would start it again, or its supervisor has ended.
        ServerDied: its supervisor ended meanwhile, and the actor with it.
        CallTimeout: not down in time; the stop goes on.
        SupervisionError: the calling thread is in the actor, in its supervisor, or in an actor that this one waits for.
    """
    if timeout is not None:
        check_seconds("timeout", timeout)
    life, supervisor = life_of(ref), supervisor_of(ref)
    if supervisor is None or life is None or must_outlive_caller(life):  # the last of which `stop` refuses
        stop(ref, timeout=timeout)
        return
    try:
        ask(supervisor, Parent, "terminate_ref", ref, timeout)
    except ChildNotFound:  # forgotten since it ended, or started in a start callable that returned another actor
        stop(ref, timeout=timeout)
    except CallTimeout:
        raise CallTimeout(ref, timeout or 0.0, stopping=True) from None
