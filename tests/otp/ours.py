"""Plays scenarios on our supervisors, and writes the trace that player.exs writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pykka
from children import Scripted, Watch
from holding import Post
from threads import in_background

from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    ChildCounts,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    Exit,
    Ignore,
    MaxChildren,
    NoProcess,
    Server,
    ServerDied,
    Shutdown,
    StartError,
    SupervisionError,
    Supervisor,
    call,
    cast,
    kill,
    monitor,
    stop,
)
from supervision.exits import SHUTDOWN, Reason
from supervision.process.mailbox import ExitSignal
from supervision.process.registry import process_of
from supervision.supervising import Operation

DEADLINE_S = 30.0
Trace = list[list[Any]]

DEATHS: dict[str, Callable[[], BaseException]] = {
    "normal": Exit,
    "shutdown": lambda: Exit(SHUTDOWN),
    "moved": lambda: Exit(Shutdown("moved")),
    "crash": lambda: Scripted("crash"),
}

ERRORS = {
    AlreadyPresent: "already present",
    ChildNotFound: "not found",
    ChildRestarting: "restarting",
    ChildRunning: "running",
    MaxChildren: "max children",
    StartError: "start error",
}


class Stuck(Exception):
    """Something that should come about did not."""


def play(scenario: dict[str, Any], within_s: float = DEADLINE_S) -> Trace:
    """The trace of one scenario, which is "stuck" where something does not come about in that many seconds."""
    return _Player(scenario, within_s).play()


# --- words ------------------------------------------------------------------------------------------------------------


def _reason(reason: Reason) -> str:
    if isinstance(reason, Crash):
        return "crash"
    return f"shutdown {reason.detail}" if isinstance(reason, Shutdown) else str(reason).lower()


def _cause(error: BaseException) -> str:
    """Why a start failed; of a supervisor's, which child it was."""
    if isinstance(error, StartError):
        return f"{error.child_id}: {_cause(error.cause)}"
    return _reason(error.reason) if isinstance(error, Exit) else "crash"


def _words(value: Any) -> Any:
    match value:
        case None:
            return "ok"
        case list():
            return [[row.id, row.state, row.type] for row in value]
        case ChildCounts():
            return [value.specs, value.active, value.supervisors, value.workers]
        case ChildSpec():
            shutdown = (
                value.shutdown if isinstance(value.shutdown, str) else str(round(float(value.shutdown or 0) * 1000))
            )
            return ["specification", value.id, value.restart, shutdown, value.type, str(value.significant).lower()]
        case _:
            return "ref"


def _error(error: BaseException) -> str:
    if isinstance(error, NoProcess | ServerDied | pykka.ActorDeadError):
        return "dead"
    return ERRORS.get(type(error)) or repr(error)


# --- the recorder, and what it records --------------------------------------------------------------------------------


class Recorder(Server):
    """One scenario's trace, which starts do what, and who lives.

    It watches each child from the child's ``on_start`` on, and so before the supervisor does: the Downs stand in its mailbox
    in the order of the ends.
    """

    def __init__(self, scripts: dict[str, list[str]], changed: threading.Event) -> None:
        super().__init__()
        self._scripts, self._changed = scripts, changed
        self._starts: dict[str, int] = {}
        self._live: dict[Any, tuple[str, int]] = {}
        self._newest: dict[str, Any] = {}
        self._ids: dict[Any, str] = {}
        self._lines: Trace = []

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, tuple):
            return getattr(self, message[0])(*message[1:])
        child_id, number = self._live.pop(message.ref)  # a Down
        self._line("end", child_id, number, _reason(message.reason))
        return None

    def starting(self, child_id: str, extra: list[str], ref: Any) -> str:
        number = self._starts[child_id] = self._starts.get(child_id, 0) + 1
        script = self._scripts.get(child_id, [])
        outcome = script[number - 1] if number <= len(script) else "ok"
        if outcome == "ok":
            self._line("start", child_id, number, extra)
            if ref is not None:
                self.up(child_id, ref)
        else:
            self._line("ignore" if outcome == "ignore" else "fail", child_id, number)
        return outcome

    def up(self, child_id: str, ref: Any) -> None:
        self._live[ref] = child_id, self._starts[child_id]
        self._newest[child_id], self._ids[ref] = ref, child_id
        monitor(ref, self.actor_ref)

    def failed(self, child_id: str) -> None:
        self._line("failed", child_id, self._starts[child_id])

    def hook(self, child_id: str, ref: Any, reason: Reason) -> None:
        number = self._live[ref][1] if ref in self._live else "that has ended"
        self._line("hook", child_id, number, _reason(reason))

    def live(self, child_id: str) -> Any:
        ref = self._newest.get(child_id)
        return ref if ref in self._live else None

    def newest(self, child_id: str) -> Any:
        return self._newest.get(child_id)

    def whose(self, ref: Any) -> str | None:
        return self._ids.get(ref)

    def all_live(self) -> dict[Any, str]:
        return {ref: child_id for ref, (child_id, _) in self._live.items()}

    def take(self) -> Trace:
        lines, self._lines = self._lines, []
        return lines

    def _line(self, *line: Any) -> None:
        self._lines.append(list(line))
        self._changed.set()


class _Child:
    """What all workers do: play the script, obey, write down."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        *extra, self.player, self.child = args
        self.extra: list[str] = extra
        self.dying = False

    def on_start(self) -> None:
        _raise_ordered(self.player.record("starting", self.child["id"], self.extra, self.actor_ref))  # type: ignore[attr-defined]

    def on_receive(self, message: Any) -> None:
        self.dying = True
        if message is not None:
            raise DEATHS[message]()


def _raise_ordered(outcome: str) -> None:
    if outcome == "ignore":
        raise Ignore
    if outcome == "exit":
        raise Exit(SHUTDOWN)
    if outcome == "fail":
        raise Scripted


class _Pooled(_Child, Server):
    def on_terminate(self, reason: Reason) -> None:
        self.player.record("hook", self.child["id"], self.actor_ref, reason)
        match self.child["stop"]:
            case "takes":
                self.player.never.wait(0.005)
            case "hangs" if not self.dying:
                self.player.over.wait(DEADLINE_S)
            case ["takes along", child_id]:
                target = self.player.record("live", child_id)
                if target is not None:
                    watch = Watch(target)
                    cast(target, "crash")
                    watch.reason()


class _Threaded(_Pooled):
    runtime = "thread"


class _Plain(_Child, pykka.ThreadingActor):
    pass


KINDS = {"pooled": _Pooled, "thread": _Threaded, "plain": _Plain}


# --- the player -------------------------------------------------------------------------------------------------------


class _Player:
    """Plays one scenario on the calling thread."""

    def __init__(self, scenario: dict[str, Any], within_s: float) -> None:
        self._scenario = scenario
        self._dynamic: dict[str, bool] = scenario["dynamic"]
        self._until = time.monotonic() + within_s
        self.never = threading.Event()
        self.over = threading.Event()  # lets go of the hooks that hang

    def play(self) -> Trace:
        self._changed = threading.Event()
        self._recorder = recorder = Recorder.start_link(self._scenario["scripts"], self._changed)
        try:
            trace = self._first_start()
            for step in self._scenario["steps"]:
                trace += self._step(step)
        except Stuck as what:
            trace = [["stuck", str(what)], *self.record("take")]
            top = self.record("live", "top")
            if top is not None:
                kill(top)  # and its children with it
        finally:
            self.over.set()
        stop(recorder)
        return trace

    def _first_start(self) -> Trace:
        try:
            self._start(self._scenario["top"])
            started = "ref"
        except Ignore:
            started = "ignored"
        except BaseException as error:
            started = _cause(error)
        return [["started", started], *self._observe()]

    def record(self, what: str, *arguments: Any) -> Any:
        """Have the recorder do something."""
        return call(self._recorder, (what, *arguments), timeout=DEADLINE_S)

    # --- the tree -----------------------------------------------------------------------------------------------------

    def spec(self, child: dict[str, Any]) -> ChildSpec[Any]:
        shutdown = child["shutdown"]
        return ChildSpec(
            child["id"],
            self._start if "supervisor" in child else KINDS[child["kind"]],
            (child,) if "supervisor" in child else (self, child),
            restart=child["restart"],
            shutdown=shutdown if isinstance(shutdown, str) else shutdown / 1000,
            type="supervisor" if "supervisor" in child else "worker",
            significant=child["significant"],
            name=f"{id(self)}.{child['name']}" if child.get("name") else None,
        )

    def _start(self, *args: Any) -> Any:
        """Start a supervisor; on the thread of the one above it."""
        *extra, child = args
        _raise_ordered(self.record("starting", child["id"], extra, None))
        sup, flags = child["supervisor"], {}
        flags = {name: sup[name] for name in ("max_restarts", "max_seconds")}
        try:
            if sup["dynamic"]:
                ref = DynamicSupervisor.start_link(
                    max_children=sup["max_children"], extra_args=tuple(sup["extra"]), **flags
                )
            else:
                flags |= {name: sup[name] for name in ("strategy", "auto_shutdown")}
                ref = Supervisor.start_link([self.spec(one) for one in sup["children"]], **flags)
        except StartError:
            self.record("failed", child["id"])
            raise
        self.record("up", child["id"], ref)
        return ref

    # --- a step -------------------------------------------------------------------------------------------------------

    def _step(self, step: dict[str, Any]) -> Trace:
        at = step["at"]
        sup = self.record("live", at)
        if sup is None:
            return [["step", at, "gone"], *(self._first_start() if at == "top" else [])]
        with _Held(sup, step["age"]):
            asked = [(action, self._act(at, sup, action)) for action in step["actions"]]
        answers = []
        for (operation, *arguments), answer in asked:
            what = [argument["id"] if isinstance(argument, dict) else argument for argument in arguments]
            word = answer if isinstance(answer, str) else self._outcome(answer, *what)
            if word == "ok" and operation in ("start_child", "restart_child"):
                word = "ignored"  # there is no ref
            answers.append(["answer", operation, *what, word])
        return [["step", at, "live"], *answers, *self._observe()]

    def _act(self, at: str, sup: Any, action: list[Any]) -> Any:
        match action:
            case ["die", child_id, how]:
                ref = self.record("live", child_id)
                if ref is None:
                    return "nobody"
                self._die(child_id, ref, how)
                return "ok"
            case ["stop"]:
                process_of(sup).mailbox.offer(ExitSignal(SHUTDOWN))
                return "ok"
            case ["start_child", child]:
                return Post(sup).send("start_child", self.spec(child))
            case ["end from above"]:
                return self._end_from_above(at, sup)
            case ["terminate_child", child_id] if self._dynamic[at]:
                return Post(sup).send("terminate_child", self.record("newest", child_id) or self._recorder)
            case [operation, *arguments]:
                return Post(sup).send(operation, *arguments)

    def _end_from_above(self, at: str, sup: Any) -> Any:
        """Its own supervisor asks it to exit, behind all that it has in its mailbox."""
        above = self._scenario["above"][at]
        mailbox = process_of(sup).mailbox
        there = mailbox.qsize()
        answer = Post(self.record("live", above)).send("terminate_child", sup if self._dynamic[above] else at)
        while mailbox.qsize() == there:
            if time.monotonic() > self._until:
                raise Stuck("the exit signal")
            self.never.wait(0.001)
        return answer

    def _outcome(self, answer: Callable[[], Any], child_id: str = "") -> Any:
        try:
            return _words(answer())
        except AlreadyStarted as error:
            return "already started" if self.record("whose", error.ref) == child_id else "name taken"
        except (SupervisionError, pykka.ActorDeadError) as error:
            return _error(error)

    def _die(self, child_id: str, ref: Any, how: str) -> None:
        """All below a killed supervisor end, too; each end is awaited."""
        watches = [Watch(ref)]
        if how == "kill":
            watches += [Watch(one) for one in self._below(ref)]
            kill(ref)
        elif how == "stop" and child_id in self._dynamic:
            Supervisor.stop(ref, timeout=DEADLINE_S)
        elif how in ("stop", "call"):
            call(ref, None)
            if how == "stop":
                stop(ref, timeout=DEADLINE_S)
            else:
                in_background(lambda: self._crash_by_call(ref))
        else:
            cast(ref, how)
        for watch in watches:
            watch.reason()

    def _crash_by_call(self, ref: Any) -> None:
        try:
            call(ref, "crash")
        except (Scripted, SupervisionError):
            return

    def _below(self, ref: Any) -> Iterator[Any]:
        if issubclass(ref.actor_class, Supervisor | DynamicSupervisor):
            for row in ref.actor_class.which_children(ref):
                if row.ref is not None:
                    yield row.ref
                    yield from self._below(row.ref)

    # --- what there is after a step, once all is quiet ----------------------------------------------------------------

    def _observe(self) -> Trace:
        found = self._quiet()
        lines: Trace = self.record("take")
        ids = self.record("all_live")
        for sup, rows, counts in sorted(found, key=lambda one: ids[one[0]]):
            lines += [["children", ids[sup], _words(rows)], ["counts", ids[sup], _words(counts)]]
        return lines

    def _quiet(self) -> list[Any]:
        """Quiet: each supervisor answers, none is between two attempts, and the live ones are those that they list."""
        while True:
            self._changed.clear()
            top = self.record("live", "top")
            try:
                found = [] if top is None else list(self._walk(top))
            except (NoProcess, ServerDied):
                found = None
            live = set(self.record("all_live"))
            if found is not None:
                listed = {row.ref for _, rows, _ in found for row in rows if row.ref is not None}
                if live == listed | ({top} if top else set()):
                    return found
            if time.monotonic() > self._until:
                raise Stuck(f"quiet: {self.record('all_live')} {found}")
            self._changed.wait(0.02)

    def _walk(self, sup: Any) -> Iterator[Any]:
        kind = sup.actor_class
        rows, counts = kind.which_children(sup), kind.count_children(sup)
        if any(row.state == "restarting" or (row.ref is not None and not row.ref.is_alive()) for row in rows):
            raise NoProcess(sup)
        yield sup, rows, counts
        for row in rows:
            if row.type == "supervisor" and row.ref is not None:
                yield from self._walk(row.ref)


class _Held:
    """A supervisor that handles a message for as long as ``with`` lasts; time has passed for it before that."""

    def __init__(self, sup: Any, age: int) -> None:
        self._entered, self._leave = threading.Event(), threading.Event()
        self._failed: BaseException | None = None
        sup.tell(Operation(self._hold, (age,)))

    def _hold(self, sup: Any, age: int) -> None:
        try:
            attempts = sup._intensity.attempts
            attempts.extend([attempts.popleft() - age for _ in range(len(attempts))])
        except BaseException as error:  # a supervisor answers what its caller has done wrong
            self._failed = error
        self._entered.set()
        self._leave.wait(DEADLINE_S)

    def __enter__(self) -> None:
        if not self._entered.wait(DEADLINE_S):
            raise Stuck("hold")
        if self._failed is not None:
            raise self._failed

    def __exit__(self, *_raised: object) -> None:
        self._leave.set()
