"""What a supervisor knows of its children. Pure: no actor is touched here."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias

from supervision.child_spec import ChildSpec, ChildType
from supervision.exits import Bygone, Reason, bygone

__all__ = ["Child", "ChildCounts", "ChildInfo", "ChildState"]

ChildState: TypeAlias = Literal["running", "restarting", "stopped"]


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One row of ``which_children``.

    Attributes:
        id: the specification's id.
        ref: the ``pykka.ActorRef`` of the live incarnation, ``None`` unless running.
        state: ``"running"``, ``"restarting"`` (between attempts or in its backoff delay) or ``"stopped"``.
        type: ``"worker"`` or ``"supervisor"``.
    """

    id: Hashable
    ref: Any
    state: ChildState
    type: ChildType


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """The answer of ``count_children`` (OTP, ``supervisor:count_children/1``).

    Attributes:
        specs: the specifications that are kept; under a ``DynamicSupervisor`` the children, those being restarted included.
        active: the children that run.
        supervisors: the children of type ``"supervisor"``, running or not.
        workers: the children of type ``"worker"``, running or not.
    """

    specs: int
    active: int
    supervisors: int
    workers: int

    @classmethod
    def of(cls, children: Collection[Child]) -> Self:
        """The figures for those children."""
        supervisors = sum(child.spec.type == "supervisor" for child in children)
        active = sum(child.state == "running" for child in children)
        return cls(len(children), active, supervisors, len(children) - supervisors)


@dataclass(slots=True, eq=False)
class Child:
    """One child: its specification and what has become of it. Only its supervisor's thread reads or changes it.

    Attributes:
        spec: how to start it.
        ref: the live incarnation, ``None`` unless running.
        state: see ``ChildInfo``.
        monitor: the supervisor's monitor of the live incarnation, ``None`` unless running.
        last_ref: the newest incarnation there was, alive or not; ``None`` before the first.
        retry: the restart attempt that is due, ``None`` without one.
        in_a_row: restart attempts since the last stable run, for the backoff.
        restarts: restarts that succeeded, since the supervisor started.
        started_at: monotonic seconds of the newest good start, ``None`` before the first.
        last_exit: the reason of its newest end as it can be kept, ``None`` before the first.
        failure: why it is not up, for the reports; ``None`` while it is, or where no exception was the reason.
    """

    spec: ChildSpec
    ref: Any = None
    state: ChildState = "stopped"
    monitor: Any = None
    last_ref: Any = None
    retry: Any = None
    in_a_row: int = 0
    restarts: int = 0
    started_at: float | None = None
    last_exit: Reason | None = None
    failure: Bygone | None = None

    @property
    def info(self) -> ChildInfo:
        """The row that ``which_children`` shows."""
        return ChildInfo(self.spec.id, self.ref, self.state, self.spec.type)

    def runs(self, ref: Any, monitor: Any, now: float) -> None:
        """A new incarnation is up; ``ref`` is ``None`` where its start raised ``Ignore``."""
        self.ref, self.monitor, self.retry, self.failure = ref, monitor, None, None
        self.state = "stopped" if ref is None else "running"
        if ref is not None:
            self.last_ref, self.started_at = ref, now
        if self.spec.restart == "temporary":  # never started again: what it was started with can go (as in OTP)
            self.spec = replace(self.spec, args=(), kwargs={})

    def ended(self, state: ChildState, reason: Reason | None = None) -> None:
        """No incarnation is up any more; ``state`` says what happens next."""
        self.ref = self.monitor = None
        self.state = state
        if reason is not None:
            self.last_exit = bygone(reason)
