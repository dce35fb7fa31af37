"""``Supervisor``: children known by id, in start order, restarted by a strategy (OTP, ``supervisor.erl``)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import asdict
from typing import Any

import pykka

from supervision.child_process import accepted, check_start
from supervision.child_spec import Backoff, ChildSpec, ShutdownSetting, require_spec
from supervision.children import Child, ChildCounts, ChildInfo, Children
from supervision.errors import AlreadyStarted, StartError
from supervision.exits import SHUTDOWN, Exit, Reason, Restart, words
from supervision.registry import ServerName
from supervision.runtime.reports import report
from supervision.server import ClassOrInstance
from supervision.strategy import AutoShutdown, Strategy, SupervisorFlags, comes_back, ends_supervisor, plan_restart
from supervision.supervising import Parent, ask, stop_tree
from supervision.tree import Branch, Tree, grow

__all__ = ["Supervisor"]


class Supervisor(Parent):
    """Starts children in order, restarts them by a strategy, stops them in reverse.

    It serves calls and deaths one at a time, on a thread of its own: a child's slow ``on_start`` delays the others (as in
    OTP). In every function ``sup`` is a ref or a name; a supervisor that is not alive gives ``NoProcess``. One that is
    killed takes its children along: they are asked to leave, all at the same time.
    """

    def __init__(
        self,
        children: Iterable[ChildSpec],
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
    ) -> None:
        self._flags = SupervisorFlags(strategy, max_restarts, max_seconds, auto_shutdown)
        specs = accepted(children, self._flags)
        super().__init__(self._flags.intensity())
        self._children = Children(specs)
        self._operations = {
            "start_child": self._start_child,
            "terminate_child": lambda child_id: self._end(self._children[child_id]),
            "terminate_ref": lambda ref: self._end(self._children.last_run_as(ref)),
            "restart_child": self._restart_child,
            "delete_child": self._delete_child,
            "get_childspec": lambda child_id: self._children[child_id].spec,
            "which_children": lambda _: [child.info for child in self._children],
            "count_children": lambda _: self._children.counts(),
            "tree": lambda _: [Branch.of(child) for child in self._children],
        }

    # --- client API ---------------------------------------------------------------------------------------------------

    @classmethod
    def start_link(  # type: ignore[override]
        cls,
        children: Iterable[ChildSpec],
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        name: str | None = None,
    ) -> pykka.ActorRef[Any]:
        """Start the supervisor and its children; returns once all are up.

        Args:
            children: the specifications, in start order.
            strategy: ``"one_for_one"``, ``"one_for_all"`` or ``"rest_for_one"``.
            max_restarts: restart attempts allowed within ``max_seconds``; one more ends the supervisor, ``SHUTDOWN``.
            max_seconds: length of that window in seconds.
            auto_shutdown: ``"never"``, ``"any_significant"`` or ``"all_significant"``.
            name: a name to register it under.

        Raises:
            StartError: a child did not start; ``.child_id`` says which. Those before it are stopped, in reverse order.
            AlreadyStarted: the supervisor's name is taken.
            TypeError: an argument of the wrong type, before anything starts.
            ValueError: an argument out of range, before anything starts.
        """
        specs, flags = _checked(children, strategy, max_restarts, max_seconds, auto_shutdown)
        return super().start_link(specs, name=name, **flags)

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
    ) -> ChildSpec:
        """The specification of a supervisor as a child; arguments as for ``start_link`` and ``ChildSpec``."""
        specs, flags = _checked(children, strategy, max_restarts, max_seconds, auto_shutdown)
        return ChildSpec(
            id,
            cls.start_link,
            (specs,),
            {**flags, "name": name},
            restart=restart,
            shutdown=shutdown,
            type="supervisor",
            significant=significant,
            name=name,
            backoff=backoff,
        )

    @staticmethod
    def start_child(sup: ServerName, spec: ChildSpec) -> Any:
        """Add a child at the end of the start order and start it.

        Returns:
            Its ref; ``None`` where its start raised ``Ignore``.

        Raises:
            AlreadyStarted: the id runs, or the child's name is taken; ``.ref`` is the live actor.
            AlreadyPresent: the id's specification is kept, and the child stopped or restarting.
            StartError: it did not start; its specification is not kept.
        """
        check_start(require_spec(spec))
        return ask(sup, Supervisor, "start_child", spec)

    @staticmethod
    def terminate_child(sup: ServerName, id: Hashable) -> None:  # noqa: A002
        """Stop a child, or cancel its restart. Its specification stays, unless it is temporary. ``ChildNotFound``."""
        ask(sup, Supervisor, "terminate_child", id)

    @staticmethod
    def restart_child(sup: ServerName, id: Hashable) -> Any:  # noqa: A002
        """Start a stopped child again; its ref.

        Raises:
            ChildNotFound: no such id.
            ChildRunning: it runs.
            ChildRestarting: it is between two attempts.
            StartError: it did not start; its specification is kept.
        """
        return ask(sup, Supervisor, "restart_child", id)

    @staticmethod
    def delete_child(sup: ServerName, id: Hashable) -> None:  # noqa: A002
        """Forget a stopped child. ``ChildNotFound``, ``ChildRunning``, ``ChildRestarting``."""
        ask(sup, Supervisor, "delete_child", id)

    @staticmethod
    def get_childspec(sup: ServerName, id: Hashable) -> ChildSpec:  # noqa: A002
        """The specification of a child, all defaults filled in. ``ChildNotFound``."""
        spec: ChildSpec = ask(sup, Supervisor, "get_childspec", id)
        return spec

    @staticmethod
    def which_children(sup: ServerName) -> list[ChildInfo]:
        """All children in start order."""
        rows: list[ChildInfo] = ask(sup, Supervisor, "which_children")
        return rows

    @staticmethod
    def count_children(sup: ServerName) -> ChildCounts:
        """How many there are, run, and are of which type."""
        counts: ChildCounts = ask(sup, Supervisor, "count_children")
        return counts

    @staticmethod
    def tree(sup: ServerName) -> Tree:
        """The whole system below a supervisor of either kind, as a value; its ``str`` is for a person."""
        return grow(sup)

    stop = ClassOrInstance(stop_tree)  # type: ignore[assignment]

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Start the children in order; on a failure stop those that are up, in reverse."""
        for child in self._children:
            self._warn(child.spec)
            try:
                self._start_new(child)
            except (StartError, AlreadyStarted) as error:
                self._stop_all(bystanders=self.is_started_again())
                cause = error.cause if isinstance(error, StartError) else error
                raise StartError(child.spec.id, cause) from cause

    def on_terminate(self, reason: Reason) -> None:
        """Stop the children in reverse start order, one after the other."""
        self._stop_all(bystanders=self.leaves_bystanders(reason))

    def watched_by(self, watch: Any) -> Child | None:
        """The child whose incarnation that monitor watches."""
        return self._children.watched_by(watch)

    def holds(self, child: Child) -> bool:
        """Whether it is still one of the children."""
        return child.spec.id in self._children and self._children[child.spec.id] is child

    def gone(self, child: Child, reason: Reason) -> None:
        """Forget a temporary child; see whether a significant one takes the supervisor along."""
        if child.spec.restart == "temporary":
            self._children.remove(child.spec.id)
        if ends_supervisor(self._flags.auto_shutdown, child.spec.significant, self._children.has_active_significant()):
            self._report("info", "supervisor_auto_shutdown", child, auto_shutdown=self._flags.auto_shutdown)
            raise Exit(SHUTDOWN)

    def attempt(self, child: Child) -> None:
        """Stop and start what the strategy says."""
        plan = plan_restart(self._flags.strategy, self._children.ids, child.spec.id)
        for child_id in plan.stop:
            self._end_for_restart(self._children[child_id])
        for child_id in plan.start:
            if child_id not in self._children:  # a temporary bystander
                continue
            sibling = self._children[child_id]
            try:
                ref = self.bring_up(sibling)
            except (StartError, AlreadyStarted) as error:
                self.restart_failed(sibling, error)
                return
            if ref is not None:
                self.restarted(sibling)

    def clear_for(self, child: Child) -> None:
        """Stop at once the siblings that the delayed restart will start again."""
        for child_id in plan_restart(self._flags.strategy, self._children.ids, child.spec.id).stop:
            if child_id != child.spec.id:
                self._end_for_restart(self._children[child_id])

    # --- operations ---------------------------------------------------------------------------------------------------

    def _start_child(self, spec: ChildSpec) -> Any:
        self._flags.accept(spec)
        child = self._children.add(spec)
        try:
            ref = self._start_new(child)
        except (StartError, AlreadyStarted):
            self._children.remove(spec.id)
            raise
        self._warn(spec)
        return ref

    def _restart_child(self, child_id: Hashable) -> Any:
        return self.bring_up(self._children.idle(child_id))

    def _delete_child(self, child_id: Hashable) -> None:
        self.send_away(self._children.idle(child_id))  # it may wait behind a failing sibling
        self._children.remove(child_id)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _start_new(self, child: Child) -> Any:
        ref = self.bring_up(child)
        if ref is None and child.spec.restart == "temporary":
            self._children.remove(child.spec.id)
        return ref

    def _end(self, child: Child, *, bystander: bool = False) -> None:
        self.see_off(child, self.send_away(child, bystander=bystander))
        if child.spec.restart == "temporary":
            self._children.remove(child.spec.id)

    def _end_for_restart(self, child: Child) -> None:
        self._end(child, bystander=comes_back(child.spec.restart))

    def _stop_all(self, *, bystanders: bool = False) -> None:
        for child_id in reversed(self._children.ids):
            self._end(self._children[child_id], bystander=bystanders)

    def _warn(self, spec: ChildSpec) -> None:
        if self._flags.may_loop(spec):
            report(
                "warning",
                "shutdown_exceeds_window",
                supervisor=self.label,
                child=words(spec.id),
                name=spec.name,
                shutdown=spec.shutdown,
                max_seconds=self._flags.max_seconds,
                hint="a sibling this slow to stop can make restarts go on for ever: raise max_seconds above shutdown",
            )


def _checked(children: object, *flags: Any) -> tuple[list[ChildSpec], dict[str, Any]]:
    """The constructor's arguments; raises for what would make it fail, before anything starts."""
    checked = SupervisorFlags(*flags)
    return accepted(children, checked), asdict(checked)
