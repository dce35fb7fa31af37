"""What a supervisor knows of its children, in start order. Pure: no actor is touched here."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from supervision.child_spec import ChildSpec, ChildType
from supervision.errors import AlreadyPresent, AlreadyStarted, ChildNotFound, ChildRestarting, ChildRunning
from supervision.exits import Bygone, Reason, bygone

__all__ = ["Child", "ChildCounts", "ChildInfo", "ChildState", "Children"]

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
    """The answer of ``count_children``: specifications, running children, and how many are of which type."""

    specs: int
    active: int
    supervisors: int
    workers: int


@dataclass(slots=True, eq=False)
class Child:
    """One child: its specification and what has become of it.

    Attributes:
        spec: how to start it.
        ref: the live incarnation, ``None`` unless running.
        state: see ``ChildInfo``.
        monitor: the supervisor's monitor of the live incarnation.
        last_ref: the newest incarnation there was, alive or not.
        retry: the timer of a restart attempt that is due, ``None`` without one.
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
        """A new incarnation is up; ``ref`` is ``None`` where its start was ignored."""
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


class Children:
    """The children of a static supervisor: unique ids, in start order."""

    def __init__(self, specs: Iterable[ChildSpec]) -> None:
        self._by_id: dict[Hashable, Child] = {}
        for spec in specs:
            self.add(spec)

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._by_id.values()))

    def __contains__(self, child_id: Hashable) -> bool:
        return child_id in self._by_id

    def __getitem__(self, child_id: Hashable) -> Child:
        """The child with that id; ``ChildNotFound`` without one."""
        try:
            return self._by_id[child_id]
        except (KeyError, TypeError):
            raise ChildNotFound(child_id) from None

    @property
    def ids(self) -> tuple[Hashable, ...]:
        """All ids in start order."""
        return tuple(self._by_id)

    def last_run_as(self, ref: Any) -> Child:
        """The child whose newest incarnation that is, alive or not; ``ChildNotFound`` without one."""
        for child in self._by_id.values():
            if child.last_ref is not None and child.last_ref == ref:
                return child
        raise ChildNotFound(ref)

    def add(self, spec: ChildSpec) -> Child:
        """Append a child; ``AlreadyStarted`` or ``AlreadyPresent`` where the id is taken."""
        present = self._by_id.get(spec.id)
        if present is not None:
            if present.state == "running":
                raise AlreadyStarted(spec.id, present.ref)
            raise AlreadyPresent(spec.id)
        child = self._by_id[spec.id] = Child(spec)
        return child

    def remove(self, child_id: Hashable) -> None:
        """Forget a child and its specification."""
        del self._by_id[child_id]

    def idle(self, child_id: Hashable) -> Child:
        """The child if it is stopped; ``ChildRunning`` or ``ChildRestarting`` otherwise."""
        child = self[child_id]
        if child.state == "running":
            raise ChildRunning(child_id)
        if child.state == "restarting":
            raise ChildRestarting(child_id)
        return child

    def watched_by(self, monitor: Any) -> Child | None:
        """The child whose live incarnation that monitor watches."""
        return next((child for child in self._by_id.values() if child.monitor is monitor), None)

    def has_active_significant(self) -> bool:
        """Whether a significant child runs or will run again."""
        return any(child.spec.significant and child.state != "stopped" for child in self._by_id.values())

    def counts(self) -> ChildCounts:
        """The figures for ``count_children``."""
        supervisors = sum(child.spec.type == "supervisor" for child in self._by_id.values())
        return ChildCounts(
            specs=len(self._by_id),
            active=sum(child.state == "running" for child in self._by_id.values()),
            supervisors=supervisors,
            workers=len(self._by_id) - supervisors,
        )
