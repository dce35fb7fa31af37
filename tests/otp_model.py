"""OTP's supervisor as plain Python: no thread, no actor, one mailbox. Written from .github/design/supervision.md 1,
not from the code."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

RESTARTING, RUNNING, STOPPED = "restarting", "running", "stopped"


@dataclass(frozen=True)
class Spec:
    """What the model needs of a specification; ``kind`` picks the real actor's class."""

    id: Hashable
    restart: str = "permanent"
    significant: bool = False
    kind: int = 0


@dataclass(eq=False)
class Child:
    """``alive`` is the truth, ``state`` what the supervisor knows; ``incarnation`` tells a late Down from one that counts."""

    spec: Spec
    state: str = STOPPED
    alive: bool = False
    incarnation: int = 0
    retry: object = None
    restarts: int = 0


@dataclass(eq=False)
class Model:
    """A static supervisor, or with ``dynamic`` a DynamicSupervisor (``max_children``, ids that need not be unique)."""

    strategy: str = "one_for_one"
    max_restarts: int = 3
    max_seconds: float = 5.0
    auto_shutdown: str = "never"
    dynamic: bool = False
    max_children: int | None = None
    now: float = 0.0
    running: bool = True
    children: list[Child] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    scripts: dict[Any, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    _attempts: list[float] = field(default_factory=list)
    _mailbox: deque[tuple[Any, ...]] = field(default_factory=deque)

    # --- what a test does to it -----------------------------------------------------------------------------------

    def start(self, specs: list[Spec]) -> Hashable | None:
        """Start them in order; the id of the child that failed, or ``None``."""
        self.children = [Child(spec) for spec in specs]
        for child in list(self.children):
            if not self._bring_up(child):
                self._finish()
                return child.spec.id
            if not child.alive and child.spec.restart == "temporary":
                self.children.remove(child)
        return None

    def die(self, child: Child, *, orderly: bool, silent: bool = False) -> None:
        """A child ends by itself; a killed one is silent."""
        child.alive = False
        if not silent:
            self.log.append(f"{'stop' if orderly else 'end'} {child.spec.id}")
        self._mailbox.append(("down", child, child.incarnation, orderly))

    def post(self, operation: str, argument: Any) -> list[str]:
        """Put a request into the mailbox; the list gets its answer."""
        answer: list[str] = []
        self._mailbox.append(("request", operation, argument, answer))
        return answer

    def run(self) -> None:
        """Handle everything in the mailbox."""
        while self._mailbox:
            kind, *details = self._mailbox.popleft()
            if kind == "request":
                operation, argument, answer = details
                answer.append(getattr(self, f"_{operation}")(argument) if self.running else "dead")
            elif self.running and kind == "down":
                self._down(*details)
            elif self.running:
                self._retry(*details)

    def find(self, child_id: Hashable) -> Child | None:
        """The (first) child with that id."""
        return next((child for child in self.children if child.spec.id == child_id), None)

    def stop(self) -> None:
        """Stop it from outside."""
        self._finish()

    # --- deaths and restarts --------------------------------------------------------------------------------------

    def _down(self, child: Child, incarnation: int, orderly: bool) -> None:
        if child not in self.children or child.incarnation != incarnation or child.state != RUNNING:
            return
        kind = child.spec.restart
        if kind == "permanent" or (kind == "transient" and not orderly):
            child.state = RESTARTING
            self._attempt(child)
            return
        child.state = STOPPED
        if kind == "temporary" or self.dynamic:
            self.children.remove(child)
        if child.spec.significant and self._ends_it():
            self._finish()

    def _ends_it(self) -> bool:
        if self.auto_shutdown == "all_significant":
            return not any(child.spec.significant and child.state != STOPPED for child in self.children)
        return self.auto_shutdown == "any_significant"

    def _retry(self, child: Child, token: object) -> None:
        if child in self.children and child.retry is token:
            child.retry = None
            self._attempt(child)

    def _attempt(self, child: Child) -> None:
        self._attempts = [self.now, *(at for at in self._attempts if at >= self.now - self.max_seconds)]
        if len(self._attempts) > self.max_restarts:
            child.state = STOPPED
            self._finish()
            return
        for one in reversed(self._affected(child)):
            self._end(one)
        for one in [one for one in self._affected(child) if one in self.children]:
            if not self._bring_up(one):
                one.state, one.retry = RESTARTING, object()
                self._mailbox.append(("retry", one, one.retry))
                return
            if one.alive:
                one.restarts += 1
            elif self.dynamic:
                self.children.remove(one)

    def _affected(self, child: Child) -> list[Child]:
        if self.dynamic or self.strategy == "one_for_one":
            return [child]
        if self.strategy == "one_for_all":
            return list(self.children)
        return self.children[self.children.index(child) :] if child in self.children else []

    # --- starting and ending one ----------------------------------------------------------------------------------

    def _bring_up(self, child: Child) -> bool:
        script = self.scripts[child.spec.id]
        outcome = script.popleft() if script else "ok"
        self.log.append(f"{'start' if outcome == 'ok' else outcome} {child.spec.id}")
        if outcome == "fail":
            return False
        child.alive = outcome == "ok"
        child.state = RUNNING if child.alive else STOPPED
        child.incarnation += 1
        child.retry = None
        return True

    def _end(self, child: Child) -> None:
        if child.alive:
            self.log.append(f"stop {child.spec.id}")
        child.alive, child.state, child.retry = False, STOPPED, None
        if child.spec.restart == "temporary":
            self.children.remove(child)

    def _finish(self) -> None:
        for child in reversed(list(self.children)):
            self._end(child)
        self.running = False

    # --- requests -------------------------------------------------------------------------------------------------

    def _start_child(self, spec: Spec) -> str:
        present = None if self.dynamic else self.find(spec.id)
        if present is not None:
            return "AlreadyStarted" if present.state == RUNNING else "AlreadyPresent"
        if self.dynamic and self.max_children is not None and len(self.children) >= self.max_children:
            return "MaxChildren"
        child = Child(spec)
        if not self._bring_up(child):
            return "StartError"
        if child.alive or not (self.dynamic or spec.restart == "temporary"):
            self.children.append(child)
        return "ref" if child.alive else "None"

    def _terminate_child(self, which: Any) -> str:
        """By id; in a dynamic supervisor by ref, which is an incarnation of a child: the newest one, alive or not."""
        child, incarnation = which if isinstance(which, tuple) else (self.find(which), None)
        if child not in self.children or incarnation not in (None, child.incarnation):
            return "ChildNotFound"
        self._end(child)
        if self.dynamic and child in self.children:
            self.children.remove(child)
        return "None"

    def _restart_child(self, child_id: Hashable) -> str:
        child = self.find(child_id)
        refusal = self._not_idle(child)
        if child is None or refusal:
            return refusal
        if not self._bring_up(child):
            return "StartError"
        return "ref" if child.alive else "None"

    def _delete_child(self, child_id: Hashable) -> str:
        child = self.find(child_id)
        refusal = self._not_idle(child)
        if child is None or refusal:
            return refusal
        self.children.remove(child)
        return "None"

    def _not_idle(self, child: Child | None) -> str:
        if child is None:
            return "ChildNotFound"
        return {RUNNING: "ChildRunning", RESTARTING: "ChildRestarting", STOPPED: ""}[child.state]
