"""``DynamicSupervisor``: any number of children, started on demand, known by their refs (Elixir's, OTP's simple_one_for_one)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable
from typing import Any, Self, TypeVar, overload

import pykka

from supervision.callback_module import WithInit, check_options, with_init
from supervision.child_process import check_start, name_of_child
from supervision.children import Backoff, Child, ChildSpec, ShutdownSetting, require_spec
from supervision.errors import ChildNotFound, MaxChildren, check_count
from supervision.exits import Reason, Restart, text_of
from supervision.process.registry import ServerRef, current, name_in, refs_of
from supervision.strategy import Intensity
from supervision.supervising import AnySupervisor, ask

LISTED = 10  # children in the text of an error

A = TypeVar("A", bound=pykka.Actor)
T = TypeVar("T", bound=pykka.Actor)


class DynamicSupervisor(AnySupervisor):
    """Starts children on demand, restarts each by itself, stops all of them at the same time.

    It serves calls and deaths one at a time, on a thread of its own, so that a child's slow ``on_start`` delays the others.
    In every function ``sup`` is a ref or a name; a supervisor that is not alive gives ``NoProcess``. One that is killed
    takes its children along, as a ``Supervisor`` does.

    A subclass may say its options in a class method ``init``, which returns a dict with some of ``max_children``,
    ``max_restarts``, ``max_seconds``, ``extra_args``; all else is as for a ``Supervisor`` with an ``init``.
    """

    # Its children are kept by the ref of their newest incarnation; one that was started again is the last in start order.

    def __init__(self, *, init: Callable[[], Any] | None = None, **options: Any) -> None:
        checked = _checked(**options)
        super().__init__(Intensity(checked["max_restarts"], checked["max_seconds"]), init)
        self._max_children: int | None = checked["max_children"]
        self.extra_args = tuple(checked["extra_args"])

    # --- client API ---------------------------------------------------------------------------------------------------

    @overload  # type: ignore[override]
    @classmethod
    def start_link(cls: WithInit[A], *args: Any, name: str | None = None, **kwargs: Any) -> pykka.ActorRef[A]: ...

    @overload
    @classmethod
    def start_link(
        cls,
        *,
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        extra_args: tuple[Any, ...] = (),
        name: str | None = None,
    ) -> pykka.ActorRef[Self]: ...

    @with_init("_start_with_init")
    @classmethod
    def start_link(
        cls,
        *,
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        extra_args: tuple[Any, ...] = (),
        name: str | None = None,
    ) -> pykka.ActorRef[Self]:
        """Start it, without children (Elixir, ``DynamicSupervisor.start_link/1``).

        Args:
            max_children: the most children at a time, those being restarted included; ``None`` for no limit.
            max_restarts: restart attempts allowed within ``max_seconds``; one more ends the supervisor with ``SHUTDOWN``.
            max_seconds: length of that window in seconds.
            extra_args: arguments put before those of every child, at each start.
            name: a name to register it under, or ``None``.

        Returns:
            Its ref, once it is up.

        Raises:
            AlreadyStarted: the name is taken.
            TypeError: an argument of the wrong type, before anything starts.
            ValueError: an argument out of range, before anything starts.
        """
        return super().start_link(name=name, **_checked(max_children, max_restarts, max_seconds, extra_args))

    @overload  # type: ignore[override]
    @classmethod
    def child_spec(cls: WithInit[A], *args: Any, id: Hashable = None, **kwargs: Any) -> ChildSpec[A]: ...

    @overload
    @classmethod
    def child_spec(
        cls,
        *,
        id: Hashable,
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        extra_args: tuple[Any, ...] = (),
        name: str | None = None,
        restart: Restart = "permanent",
        shutdown: ShutdownSetting = "infinity",
        significant: bool = False,
        backoff: Backoff | None = None,
        start_timeout: float | None = None,
    ) -> ChildSpec[Self]: ...

    @with_init("_child_spec_with_init")
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
        start_timeout: float | None = None,
    ) -> ChildSpec[Self]:
        """The specification of a dynamic supervisor as a child.

        Args:
            id: its id under the other supervisor.
            max_children: as for ``start_link``.
            max_restarts: as for ``start_link``.
            max_seconds: as for ``start_link``.
            extra_args: as for ``start_link``.
            name: as for ``start_link``.
            restart: when the other supervisor restarts it, as for ``ChildSpec``.
            shutdown: seconds that it has to end; by default as long as its children take.
            significant: whether its end counts for the other supervisor's ``auto_shutdown``.
            backoff: a delay before each restart, or ``None``.
            start_timeout: seconds for each of its starts, with that of all that it starts; ``None`` for no limit.

        Returns:
            The specification; nothing has started.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: an argument out of range.
        """
        flags = {**_checked(max_children, max_restarts, max_seconds, extra_args), "name": name}
        return ChildSpec(
            id,
            cls.start_link,
            (),
            flags,
            restart,
            shutdown,
            "supervisor",
            significant,
            name,
            backoff,
            start_timeout,
        )

    @staticmethod
    def start_child(sup: ServerRef, spec: ChildSpec[T]) -> pykka.ActorRef[T]:
        """Start one more child; its id need not be unique (Elixir, ``DynamicSupervisor.start_child/2``).

        Args:
            sup: the supervisor, a ref or a name.
            spec: how to start it; it must not be ``significant``.

        Returns:
            Its ref; ``None`` where its start raised ``Ignore``.

        Raises:
            MaxChildren: there are as many as allowed.
            AlreadyStarted: the child's name is taken.
            StartError: it did not start.
            NoProcess: the supervisor is not alive.
            TypeError: ``spec`` is no ``ChildSpec``, or has a start that cannot be one.
            ValueError: it is ``significant``.
        """
        if require_spec(spec).significant:
            raise ValueError("ChildSpec.significant: a DynamicSupervisor has no auto_shutdown that it could count for")
        check_start(spec)
        return ask(sup, DynamicSupervisor, DynamicSupervisor._start_child, spec)

    @staticmethod
    def terminate_child(sup: ServerRef, ref: ServerRef) -> None:
        """Stop and forget a child (Elixir, ``DynamicSupervisor.terminate_child/2``). Returns when it is down.

        Args:
            sup: the supervisor, a ref or a name.
            ref: its ref, for one that is being restarted the last one; or its name. Ids need not be unique here.

        Raises:
            ChildNotFound: it has no such child.
            NoProcess: the supervisor is not alive.
            SupervisionError: the caller is in a handler of the child, or below it, and would wait for its own end.
        """
        ask(sup, DynamicSupervisor, DynamicSupervisor._terminate_ref, ref, current())

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def on_terminate(self, reason: Reason) -> None:
        """Stop all children at the same time, each with its own deadline.

        All are asked before any is waited for. Then come the waits that end at a deadline, the nearest first, so that none
        of them is held up by a child without a deadline, or by a thread that is slow to return.
        """
        for_restart = self._children_end_for_restart(reason)
        children = list(self._children.values())
        asked = [(one, request) for one in children if (request := self._request_exit(one, for_restart=for_restart))]
        asked.sort(key=lambda pair: pair[1].deadline)
        for child, request in asked:
            if request.deadline < math.inf:
                self._waits_for_end(child, request)
                request.await_deadline()
        for child, request in asked:
            self._await_exit(child, request)

    def _take_options(self, answer: Any) -> None:
        where = f"{type(self).__name__}.init"
        options = check_options(where, answer, list(_checked()))
        try:
            options = _checked(**options)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{where}: {error}") from error
        self._intensity = Intensity(options["max_restarts"], options["max_seconds"])
        self._max_children, self.extra_args = options["max_children"], tuple(options["extra_args"])

    # --- operations ---------------------------------------------------------------------------------------------------

    def _start_child(self, spec: ChildSpec) -> Any:
        if self._max_children is not None and len(self._children) >= self._max_children:
            raise MaxChildren(self._max_children)
        return self._bring_up(Child(spec))

    # --- steps --------------------------------------------------------------------------------------------------------

    def _bring_up(self, child: Child) -> Any:
        last_ref = child.last_ref
        ref = super()._bring_up(child)
        self._children.pop(last_ref, None)
        if ref is not None:
            self._children[ref] = child
        return ref

    def _forget(self, child: Child) -> None:
        self._children.pop(child.last_ref, None)

    def _by_ref(self, ref: Any) -> Child:
        name, child = name_in(ref), None
        if name is not None:
            child = self._by_name(name)
        elif isinstance(ref, pykka.ActorRef):
            child = self._children.get(ref)
        if child is None:
            raise ChildNotFound(ref, self._listed())
        return child

    def _by_name(self, name: str) -> Child | None:
        return next((self._children[ref] for ref in refs_of(name) if ref in self._children), None)

    def _listed(self) -> str:
        """For a ``ChildNotFound``: what there is instead."""
        first = itertools.islice(self._children.values(), LISTED)
        listed = [f"id {text_of(child.spec.id, repr)}, name {name_of_child(child)!r}" for child in first]
        more = [f"and {len(self._children) - LISTED} more"] if len(self._children) > LISTED else []
        return f"it is known by its ref or name, not by its id; there are: {'; '.join([*listed, *more]) or 'none'}"


def _checked(
    max_children: object = None, max_restarts: Any = 3, max_seconds: Any = 5.0, extra_args: object = ()
) -> dict[str, Any]:
    """The constructor's arguments; raises for what would make it fail, before anything starts."""
    check_count("max_children", max_children, or_none=True)
    if not isinstance(extra_args, tuple | list):
        raise TypeError(f"extra_args: expected a tuple, got {type(extra_args).__name__}")
    window = {"max_restarts": max_restarts, "max_seconds": max_seconds}
    Intensity(**window)
    return {"max_children": max_children, "extra_args": extra_args, **window}
