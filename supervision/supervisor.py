"""``Supervisor``: children known by id, in start order, restarted by a strategy (OTP, ``supervisor.erl``)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Self, TypeVar, overload

import pykka

from supervision.callback_module import WithInit, check_options, with_init
from supervision.child_process import check_start
from supervision.children import Backoff, Child, ChildCounts, ChildSpec, ShutdownSetting, require_children, require_spec
from supervision.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    StartError,
)
from supervision.exits import SHUTDOWN, Exit, Reason, Restart, text_of
from supervision.process.process import Process
from supervision.process.registry import ServerRef, current
from supervision.runtime.reports import report
from supervision.strategy import AutoShutdown, Strategy, SupervisorFlags, affected, ends_supervisor
from supervision.supervising import AnySupervisor, ask
from supervision.tree import Tree, grow

A = TypeVar("A", bound=pykka.Actor)
T = TypeVar("T", bound=pykka.Actor)


class Supervisor(AnySupervisor):
    """Starts children in order, restarts them by a strategy, stops them in reverse.

    It serves calls and deaths one at a time, on a thread of its own: a child's slow ``on_start`` delays the others (as in
    OTP). So a call to it from the ``on_start`` of its own child is refused with ``SupervisionError``. In every function
    ``sup`` is a ref or a name; a supervisor that is not alive gives ``NoProcess``. One that is killed takes its children
    along: all of them are asked to exit at the same time.

    A subclass may say its children in a class method ``init`` (OTP: a callback module). Its ``start_link`` and ``child_spec``
    take the arguments of ``init``, which runs on the supervisor's own thread at each of its starts, and returns the children,
    or ``(children, options)``: a dict with some of ``strategy``, ``max_restarts``, ``max_seconds``, ``auto_shutdown``.
    """

    def __init__(
        self, children: Iterable[ChildSpec] = (), *, init: Callable[[], Any] | None = None, **flags: Any
    ) -> None:
        self._flags = SupervisorFlags(**flags)
        super().__init__(self._flags.intensity(), init)
        self._by_last_ref: dict[Any, Child] = {}  # by the newest incarnation, alive or not
        self._significant: set[Child] = set()  # those that run or are being restarted
        self._children = {spec.id: self._made(spec, comes_with_supervisor=True) for spec in children}

    # --- client API ---------------------------------------------------------------------------------------------------

    @overload  # type: ignore[override]
    @classmethod
    def start_link(cls: WithInit[A], *args: Any, name: str | None = None, **kwargs: Any) -> pykka.ActorRef[A]: ...

    @overload
    @classmethod
    def start_link(
        cls,
        children: Iterable[ChildSpec],
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        name: str | None = None,
    ) -> pykka.ActorRef[Self]: ...

    @with_init("_start_with_init")
    @classmethod
    def start_link(
        cls,
        children: Iterable[ChildSpec],
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        name: str | None = None,
    ) -> pykka.ActorRef[Self]:
        """Start the supervisor and its children (OTP, ``supervisor:start_link/2``).

        Args:
            children: the specifications, in start order.
            strategy: ``"one_for_one"``, ``"one_for_all"`` or ``"rest_for_one"``.
            max_restarts: restart attempts allowed within ``max_seconds``; one more ends the supervisor, ``SHUTDOWN``.
            max_seconds: length of that window in seconds.
            auto_shutdown: ``"never"``, ``"any_significant"`` or ``"all_significant"``.
            name: a name to register it under, or ``None``.

        Returns:
            Its ref, once all children are up; ``on_start`` of each runs on the child's thread, one after the other.

        Raises:
            StartError: a child did not start; ``.child_id`` says which. Those before it are stopped, in reverse order.
            AlreadyStarted: the supervisor's name is taken.
            TypeError: an argument of the wrong type, before anything starts.
            ValueError: an argument out of range, before anything starts.
        """
        specs, flags = _checked(children, strategy, max_restarts, max_seconds, auto_shutdown)
        return super().start_link(specs, name=name, **flags)

    @overload  # type: ignore[override]
    @classmethod
    def child_spec(cls: WithInit[A], *args: Any, id: Hashable = None, **kwargs: Any) -> ChildSpec[A]: ...

    @overload
    @classmethod
    def child_spec(
        cls,
        children: Iterable[ChildSpec],
        *,
        id: Hashable,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
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
        children: Iterable[ChildSpec],
        *,
        id: Hashable,  # noqa: A002 - OTP's word
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        name: str | None = None,
        restart: Restart = "permanent",
        shutdown: ShutdownSetting = "infinity",
        significant: bool = False,
        backoff: Backoff | None = None,
        start_timeout: float | None = None,
    ) -> ChildSpec[Self]:
        """The specification of a supervisor as a child: supervisors nest.

        Args:
            children: as for ``start_link``.
            id: its id under the other supervisor.
            strategy: as for ``start_link``.
            max_restarts: as for ``start_link``.
            max_seconds: as for ``start_link``.
            auto_shutdown: as for ``start_link``.
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
        specs, flags = _checked(children, strategy, max_restarts, max_seconds, auto_shutdown)
        flags["name"] = name
        return ChildSpec(
            id,
            cls.start_link,
            (specs,),
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
        """Add a child at the end of the start order and start it (OTP, ``supervisor:start_child/2``).

        Args:
            sup: the supervisor, a ref or a name.
            spec: how to start it. No class that is no actor's, and ``significant`` only where the supervisor has
                ``auto_shutdown``.

        Returns:
            Its ref; ``None`` where its start raised ``Ignore``.

        Raises:
            AlreadyStarted: the id runs, or the child's name is taken; ``.ref`` is the live actor.
            AlreadyPresent: the id's specification is kept, and the child stopped or restarting.
            StartError: it did not start; its specification is not kept.
            NoProcess: the supervisor is not alive.
            TypeError: ``spec`` is no ``ChildSpec``, or has a start that cannot be one.
            ValueError: it is ``significant``, and the supervisor has no ``auto_shutdown``.
        """
        check_start(require_spec(spec))
        return ask(sup, Supervisor, Supervisor._start_child, spec)

    @staticmethod
    def terminate_child(sup: ServerRef, id: Hashable) -> None:  # noqa: A002
        """Stop a child, or cancel its restart (OTP, ``supervisor:terminate_child/2``).

        The call returns when the child is down, after its end hook. Its specification stays, unless it is temporary.

        Args:
            sup: the supervisor, a ref or a name.
            id: the child's.

        Raises:
            ChildNotFound: no such id.
            NoProcess: the supervisor is not alive.
            SupervisionError: the caller is in a handler of the child, or below it, and would wait for its own end.
        """
        ask(sup, Supervisor, Supervisor._terminate_child, id, current())

    @staticmethod
    def restart_child(sup: ServerRef, id: Hashable) -> pykka.ActorRef[Any]:  # noqa: A002
        """Start a stopped child again; no restart is counted (OTP, ``supervisor:restart_child/2``).

        Args:
            sup: the supervisor, a ref or a name.
            id: the child's.

        Returns:
            Its ref; ``None`` where its start raised ``Ignore``.

        Raises:
            ChildNotFound: no such id.
            ChildRunning: it runs.
            ChildRestarting: it is between two attempts.
            AlreadyStarted: the child's name is taken.
            StartError: it did not start; its specification is kept.
            NoProcess: the supervisor is not alive.
        """
        return ask(sup, Supervisor, Supervisor._restart_child, id)

    @staticmethod
    def delete_child(sup: ServerRef, id: Hashable) -> None:  # noqa: A002
        """Forget a stopped child (OTP, ``supervisor:delete_child/2``).

        Args:
            sup: the supervisor, a ref or a name.
            id: the child's.

        Raises:
            ChildNotFound: no such id.
            ChildRunning: it runs.
            ChildRestarting: it is between two attempts.
            NoProcess: the supervisor is not alive.
        """
        ask(sup, Supervisor, Supervisor._delete_child, id)

    @staticmethod
    def get_childspec(sup: ServerRef, id: Hashable) -> ChildSpec:  # noqa: A002
        """The specification of a child (OTP, ``supervisor:get_childspec/2``).

        Args:
            sup: the supervisor, a ref or a name.
            id: the child's.

        Returns:
            It, with all defaults filled in; a temporary child's has no arguments once that has started, as in OTP.

        Raises:
            ChildNotFound: no such id.
            NoProcess: the supervisor is not alive.
        """
        return ask(sup, Supervisor, Supervisor._get_childspec, id)

    @staticmethod
    def tree(sup: ServerRef) -> Tree:
        """The whole system below a supervisor of either kind, as a value (OTP: ``observer``).

        The calling thread asks each supervisor in it, and waits for at most a second in all. One that gives no answer, because
        it waits for a child to start or to end, is shown as it is, with what it waits for. Any thread, a child's hook too.

        Args:
            sup: the supervisor, a ref or a name.

        Returns:
            A ``Tree`` with ``children``, each a ``Branch``; its ``str`` is for a person, its ``to_dict()`` for ``json.dumps``.

        Raises:
            NoProcess: the supervisor is not alive.
            TypeError: it is no supervisor.
        """
        return grow(sup)

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Start the children in order; on a failure stop those that are up, in reverse."""
        super().on_start()
        for child in list(self._children.values()):
            self._warn_of_loop(child.spec)
            try:
                ref = self._bring_up(child)
            except (StartError, AlreadyStarted) as error:
                self._stop_all(for_restart=self._is_started_again())
                cause = error.cause if isinstance(error, StartError) else error
                raise StartError(child.spec.id, cause) from cause
            if ref is None:
                self._forget(child)

    def on_terminate(self, reason: Reason) -> None:
        """Stop the children in reverse start order, one after the other."""
        self._stop_all(for_restart=self._children_end_for_restart(reason))

    def _take_options(self, answer: Any) -> None:
        where = f"{type(self).__name__}.init"
        has_options = isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping)
        children, options = answer if has_options else (answer, {})
        flags = check_options(where, options, [field.name for field in fields(SupervisorFlags)])
        try:
            specs, _ = _checked(children, **flags)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{where}: {error}") from error
        self._flags = SupervisorFlags(**flags)
        self._intensity = self._flags.intensity()
        self._children = {spec.id: self._made(spec, comes_with_supervisor=True) for spec in specs}

    # --- operations ---------------------------------------------------------------------------------------------------

    def _start_child(self, spec: ChildSpec) -> Any:
        self._flags.accept(spec)
        present = self._children.get(spec.id)
        if present is not None:
            raise AlreadyPresent(spec.id) if present.ref is None else AlreadyStarted(spec.id, present.ref)
        child = self._made(spec)
        ref = self._bring_up(child)
        self._children[spec.id] = child
        if ref is None:
            self._forget(child)
        self._warn_of_loop(spec)
        return ref

    def _count_children(self) -> ChildCounts:
        return ChildCounts.of(self._children.values(), alive=True)

    def _terminate_child(self, child_id: Hashable, caller: Process | None = None) -> None:
        self._end_for(caller, self._child(child_id))

    def _restart_child(self, child_id: Hashable) -> Any:
        return self._bring_up(self._stopped(child_id))

    def _delete_child(self, child_id: Hashable) -> None:
        child = self._stopped(child_id)
        self._request_exit(child)  # it may wait behind a failing sibling, and would come back
        self._drop(child)

    def _get_childspec(self, child_id: Hashable) -> ChildSpec:
        return self._child(child_id).spec

    # --- steps --------------------------------------------------------------------------------------------------------

    def _made(self, spec: ChildSpec, *, comes_with_supervisor: bool = False) -> Child:
        active = self._significant if spec.significant else None
        return Child(spec, comes_with_supervisor=comes_with_supervisor, active=active)

    def _bring_up(self, child: Child) -> Any:
        last_ref = child.last_ref
        ref = super()._bring_up(child)
        if ref is not None:
            self._by_last_ref.pop(last_ref, None)
            self._by_last_ref[ref] = child
        return ref

    def _child(self, child_id: Hashable) -> Child:
        try:
            return self._children[child_id]
        except (KeyError, TypeError):
            raise ChildNotFound(child_id) from None

    def _stopped(self, child_id: Hashable) -> Child:
        child = self._child(child_id)
        if child.state != "stopped":
            raise ChildRunning(child_id) if child.state == "running" else ChildRestarting(child_id)
        return child

    def _by_ref(self, ref: Any) -> Child:
        child = self._by_last_ref.get(ref)
        if child is None:
            raise ChildNotFound(ref)
        return child

    def _affected(self, child: Child) -> Sequence[Child]:
        return affected(self._flags.strategy, self._children.values(), child)

    def _forget(self, child: Child) -> None:
        if child.spec.restart == "temporary":
            self._drop(child)

    def _drop(self, child: Child) -> None:
        self._children.pop(child.spec.id, None)
        self._by_last_ref.pop(child.last_ref, None)

    def _ended_by_itself(self, child: Child) -> None:
        super()._ended_by_itself(child)
        if ends_supervisor(self._flags.auto_shutdown, child.spec.significant, bool(self._significant)):
            self._report("info", "supervisor_auto_shutdown", child, auto_shutdown=self._flags.auto_shutdown)
            raise Exit(SHUTDOWN)

    def _stop_all(self, *, for_restart: bool) -> None:
        for child in reversed(list(self._children.values())):
            self._end(child, for_restart=for_restart)

    def _warn_of_loop(self, spec: ChildSpec) -> None:
        if self._flags.may_loop(spec):
            hint = "a sibling this slow to stop can make restarts go on for ever: raise max_seconds above shutdown"
            window_s = self._flags.max_seconds
            rest: dict[str, Any] = {"name": spec.name, "shutdown": spec.shutdown, "max_seconds": window_s, "hint": hint}
            report("warning", "shutdown_exceeds_window", supervisor=self._label, child=text_of(spec.id), **rest)


def _checked(children: object, *by_position: Any, **flags: Any) -> tuple[list[ChildSpec], dict[str, Any]]:
    """The constructor's arguments; raises for what would make it fail, before anything starts."""
    checked, specs = SupervisorFlags(*by_position, **flags), require_children(children)
    for spec in specs:
        checked.accept(spec)
        check_start(spec)
    return specs, asdict(checked)
