"""``DynamicSupervisor``: any number of children, started on demand, known by their refs (Elixir's, OTP's simple_one_for_one)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from typing import Any

import pykka

from supervision.child_process import Departure, check_start
from supervision.child_spec import Backoff, ChildSpec, ShutdownSetting, require_spec
from supervision.children import Child, ChildCounts, ChildInfo
from supervision.errors import AlreadyStarted, ChildNotFound, MaxChildren, StartError
from supervision.exits import Reason, Restart, words
from supervision.process import name_of
from supervision.registry import ServerName
from supervision.server import ClassOrInstance
from supervision.strategy import Intensity
from supervision.supervising import Parent, ask, stop_tree
from supervision.tree import Branch

__all__ = ["DynamicSupervisor"]


LISTED = 10  # children in the text of an error


class DynamicSupervisor(Parent):
    """Starts children on demand, restarts each by itself, stops all of them at the same time.

    In every function ``sup`` is a ref or a name; a supervisor that is not alive gives ``NoProcess``.
    """

    def __init__(
        self,
        *,
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        extra_args: tuple[Any, ...] = (),
    ) -> None:
        _check_flags(max_children, extra_args)
        super().__init__(Intensity(max_restarts, max_seconds))
        self._max_children = max_children
        self.extra_args = tuple(extra_args)
        self._by_ref: dict[Any, Child] = {}  # by the newest incarnation, in start order
        self._operations = {
            "start_child": self._start_child,
            "terminate_child": self._terminate_child,
            "terminate_ref": self._terminate_child,
            "which_children": lambda _: [child.info for child in self._by_ref.values()],
            "count_children": lambda _: self._counts(),
            "tree": lambda _: [Branch.of(child) for child in self._by_ref.values()],
        }

    # --- client API ---------------------------------------------------------------------------------------------------

    @classmethod
    def start_link(  # type: ignore[override]
        cls,
        *,
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        extra_args: tuple[Any, ...] = (),
        name: str | None = None,
    ) -> pykka.ActorRef[Any]:
        """Start it, without children.

        Args:
            max_children: the most children at a time, those being restarted included; ``None`` for no limit.
            max_restarts: restart attempts allowed within ``max_seconds``; one more ends the supervisor with ``SHUTDOWN``.
            max_seconds: length of that window in seconds.
            extra_args: arguments put before those of every child, at each start.
            name: a name to register it under.

        Raises:
            AlreadyStarted: the name is taken.
            TypeError: an argument of the wrong type.
            ValueError: an argument out of range.
        """
        _check_flags(max_children, extra_args)
        Intensity(max_restarts, max_seconds)
        return super().start_link(
            name=name,
            max_children=max_children,
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            extra_args=extra_args,
        )

    @classmethod
    def child_spec(
        cls,
        *,
        id: Hashable,  # noqa: A002 - OTP's word
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        extra_args: tuple[Any, ...] = (),
        name: str | None = None,
        restart: Restart = "permanent",
        shutdown: ShutdownSetting = "infinity",
        significant: bool = False,
        backoff: Backoff | None = None,
    ) -> ChildSpec:
        """The specification of a dynamic supervisor as a child; arguments as for ``start_link`` and ``ChildSpec``."""
        _check_flags(max_children, extra_args)
        Intensity(max_restarts, max_seconds)
        options = {
            "max_children": max_children,
            "max_restarts": max_restarts,
            "max_seconds": max_seconds,
            "extra_args": extra_args,
            "name": name,
        }
        return ChildSpec(
            id,
            cls.start_link,
            kwargs=options,
            restart=restart,
            shutdown=shutdown,
            type="supervisor",
            significant=significant,
            name=name,
            backoff=backoff,
        )

    @staticmethod
    def start_child(sup: ServerName, spec: ChildSpec) -> Any:
        """Start one more child; its id need not be unique.

        Returns:
            Its ref; ``None`` where its start raised ``Ignore``.

        Raises:
            MaxChildren: there are as many as allowed.
            AlreadyStarted: the child's name is taken.
            StartError: it did not start.
        """
        if require_spec(spec).significant:
            raise ValueError("ChildSpec.significant: a DynamicSupervisor has no auto_shutdown that it could count for")
        check_start(spec)
        return ask(sup, DynamicSupervisor, "start_child", spec)

    @staticmethod
    def terminate_child(sup: ServerName, ref: ServerName) -> None:
        """Stop and forget a child.

        Args:
            sup: the supervisor.
            ref: its ref, for one that is being restarted the last one; or its name. Ids need not be unique here.

        Raises:
            ChildNotFound: it has no such child.
        """
        ask(sup, DynamicSupervisor, "terminate_child", ref)

    @staticmethod
    def which_children(sup: ServerName) -> list[ChildInfo]:
        """All children in start order."""
        rows: list[ChildInfo] = ask(sup, DynamicSupervisor, "which_children")
        return rows

    @staticmethod
    def count_children(sup: ServerName) -> ChildCounts:
        """How many there are, run, and are of which type; ``specs`` is the number of children."""
        counts: ChildCounts = ask(sup, DynamicSupervisor, "count_children")
        return counts

    stop = ClassOrInstance(stop_tree)  # type: ignore[assignment]

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def on_terminate(self, reason: Reason) -> None:
        """Stop all children at the same time, each with its own deadline."""
        bystander = self.leaves_bystanders(reason)
        leaving = [(child, self.send_away(child, bystander=bystander)) for child in list(self._by_ref.values())]
        leaving.sort(key=_deadline)
        for _, departure in leaving:
            if departure is not None and departure.deadline < math.inf:
                departure.await_end()  # all of them, before any wait that has nothing to do with a deadline
        for child, departure in leaving:
            self.see_off(child, departure)

    def watched_by(self, watch: Any) -> Child | None:
        """The child whose incarnation that monitor watches."""
        child = self._by_ref.get(getattr(watch, "ref", None))
        return child if child is not None and child.monitor is watch else None

    def holds(self, child: Child) -> bool:
        """Whether it is still one of the children."""
        return self._by_ref.get(child.last_ref) is child

    def gone(self, child: Child, reason: Reason) -> None:
        """Forget it."""
        self._forget(child)

    def attempt(self, child: Child) -> None:
        """Start it again with the same arguments."""
        last_ref = child.last_ref
        try:
            ref = self.bring_up(child)
        except (StartError, AlreadyStarted) as error:
            self.restart_failed(child, error)
            return
        del self._by_ref[last_ref]
        if ref is not None:
            self._by_ref[ref] = child
            self.restarted(child)

    # --- operations ---------------------------------------------------------------------------------------------------

    def _start_child(self, spec: ChildSpec) -> Any:
        if self._max_children is not None and len(self._by_ref) >= self._max_children:
            raise MaxChildren(self._max_children)
        child = Child(spec)
        ref = self.bring_up(child)
        if ref is not None:
            self._by_ref[ref] = child
        return ref

    def _terminate_child(self, wanted: Any) -> None:
        child = self._by_ref.get(wanted) if isinstance(wanted, pykka.ActorRef) else self._by_name(wanted)
        if child is None:
            raise ChildNotFound(wanted, self._listed())
        self.see_off(child, self.send_away(child))
        self._forget(child)

    def _counts(self) -> ChildCounts:
        children = self._by_ref.values()
        supervisors = sum(child.spec.type == "supervisor" for child in children)
        active = sum(child.state == "running" for child in children)
        return ChildCounts(len(children), active, supervisors, len(children) - supervisors)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _by_name(self, name: Any) -> Child | None:
        if not isinstance(name, str):
            return None
        return next((child for ref, child in self._by_ref.items() if (child.spec.name or name_of(ref)) == name), None)

    def _listed(self) -> str:
        """For a ``ChildNotFound``: what there is instead."""
        listed = [
            f"id {words(child.spec.id, repr)}, name {child.spec.name or name_of(ref)!r}"
            for ref, child in itertools.islice(self._by_ref.items(), LISTED)
        ]
        more = [f"and {len(self._by_ref) - LISTED} more"] if len(self._by_ref) > LISTED else []
        return f"it is known by its ref or name, not by its id; there are: {'; '.join([*listed, *more]) or 'none'}"

    def _forget(self, child: Child) -> None:
        self._by_ref.pop(child.last_ref, None)


def _deadline(leaving: tuple[Child, Departure | None]) -> float:
    departure = leaving[1]
    return -math.inf if departure is None else departure.deadline


def _check_flags(max_children: object, extra_args: object) -> None:
    if max_children is not None and (isinstance(max_children, bool) or not isinstance(max_children, int)):
        raise TypeError(f"max_children: expected an int of at least 0 or None, got {max_children!r}")
    if isinstance(max_children, int) and max_children < 0:
        raise ValueError(f"max_children: expected an int of at least 0 or None, got {max_children!r}")
    if not isinstance(extra_args, tuple | list):
        raise TypeError(f"extra_args: expected a tuple, got {type(extra_args).__name__}")
