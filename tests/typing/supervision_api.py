"""Checked by mypy and pyright, never run: a program that uses every public name of ``supervision``."""

from typing import Any, assert_type

import pykka

import supervision
from supervision import (
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    AlreadyPresent,
    AlreadyStarted,
    Backoff,
    CallTimeout,
    ChildCounts,
    ChildInfo,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    Crash,
    Down,
    DynamicSupervisor,
    Exit,
    Ignore,
    MaxChildren,
    Monitor,
    NoProcess,
    Server,
    ServerDied,
    ServerRestarting,
    Shutdown,
    StartError,
    SupervisionError,
    Supervisor,
    Timer,
    acall,
    call,
    cast,
    demonitor,
    kill,
    monitor,
    named,
    register,
    send_after,
    stop,
    unregister,
    whereis,
)
from supervision.exits import Reason


class Counter(Server):
    """A server with a typed constructor."""

    runtime = "thread"
    crash_on_call_error = False

    def __init__(self, start: int) -> None:
        super().__init__()
        self.value = start

    def on_receive(self, message: object) -> int:
        if message == "end":
            raise Exit(NORMAL)
        return self.value


class Plain(pykka.ThreadingActor):
    """An unmodified Pykka actor."""


ref = Counter.start_link(1, name="counter", start_timeout=2.0)
assert_type(ref, pykka.ActorRef[Counter])
call("counter", "get", timeout=1.0)
call("counter", "get", await_restart=True)
call("counter", "get", None, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
cast(ref, "get")
register("alias", ref)
unregister("alias")
assert_type(send_after(1.0, ref, "get"), Timer)
assert_type(send_after(1.0, "counter", "get").cancel(), bool)


def on_down(down: Down) -> None:
    print(down.reason)


watch = monitor(ref, on_down)
assert_type(watch, Monitor)
monitor(ref, ref)
demonitor(watch)


class Billing(Supervisor):
    """A supervisor of a program's own, whose ``start_link`` takes what its ``init`` does."""

    @classmethod
    def init(cls, count: int, *, prefix: str = "w") -> tuple[list[ChildSpec], dict[str, object]]:
        return [Counter.child_spec(i, name=f"{prefix}{i}") for i in range(count)], {"strategy": "one_for_all"}


class Workers(DynamicSupervisor):
    """A dynamic one."""

    @classmethod
    def init(cls, most: int) -> dict[str, object]:
        return {"max_children": most}


class Plainly(Supervisor):
    """Without an ``init`` it takes its children, as ever."""


assert_type(Billing.start_link(2, name="billing", prefix="x"), pykka.ActorRef[Billing])
assert_type(Billing.child_spec(2, name="billing", restart="transient"), ChildSpec[Billing])
assert_type(Workers.start_link(2, name="workers"), pykka.ActorRef[Workers])
assert_type(Workers.child_spec(2, id="workers"), ChildSpec[Workers])
assert_type(Billing.count_children("billing"), ChildCounts)
assert_type(Plainly.start_link([], strategy="one_for_all"), pykka.ActorRef[Plainly])
assert_type(Plainly.child_spec([], id="plainly"), ChildSpec[Plainly])
Supervisor.start_link(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Supervisor.start_link([], stratgy="one_for_all")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Plainly.start_link(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

sup = Supervisor.start_link(
    [
        ChildSpec("counter", Counter, (1,), restart="transient", shutdown=1.0, backoff=Backoff(initial=0.2)),
        ChildSpec("plain", Plain, shutdown="brutal_kill", name="plain"),
        ChildSpec("made", lambda: Counter.start_link(2), start_timeout=2.0),
        Counter.child_spec(1, name="own", restart="transient", shutdown="infinity", start_timeout=2.0),
        Supervisor.child_spec([], id="below", strategy="one_for_all", start_timeout=5),
        Billing.child_spec(1, name="inner", backoff=Backoff(), start_timeout=2.0),
    ],
    strategy="rest_for_one",
    max_restarts=5,
    max_seconds=30,
    auto_shutdown="never",
    name="sup",
)
assert_type(Supervisor.which_children("sup"), list[ChildInfo])
assert_type(Supervisor.count_children(sup), ChildCounts)
assert_type(Supervisor.tree(sup).to_dict(), dict[str, Any])
assert_type([branch.mailbox for branch in Supervisor.tree("sup").children], list[int | None])
assert_type(Supervisor.get_childspec(sup, "plain"), ChildSpec)
Supervisor.terminate_child(sup, "plain")
Supervisor.stop(sup, timeout=5.0)


def described(name: str) -> ChildSpec:
    """A specification whose actor class the annotation leaves open."""
    return ChildSpec(name, Counter if name else Plain)


known: list[ChildSpec] = [described("a"), ChildSpec("b", Counter), ChildSpec("c", Plain)]
assert_type(Supervisor.start_link(known), pykka.ActorRef[Supervisor])
pool = DynamicSupervisor.start_link(max_children=3, extra_args=(1,))
child = DynamicSupervisor.start_child(pool, ChildSpec("c", Counter))
assert_type(child, pykka.ActorRef[Counter])
assert_type(child.proxy().value.get(), Any)
assert_type(DynamicSupervisor.start_child(pool, ChildSpec("c", lambda: Counter.start_link(2))), pykka.ActorRef[Counter])
assert_type(DynamicSupervisor.start_child(pool, ChildSpec("c", Counter.start_link, (2,))), pykka.ActorRef[Counter])
assert_type(Supervisor.start_child("sup", ChildSpec("p", Plain)), pykka.ActorRef[Plain])
assert_type(Counter.child_spec(1), ChildSpec[Counter])
assert_type(Supervisor.start_child("sup", Counter.child_spec(1)), pykka.ActorRef[Counter])
assert_type(Supervisor.start_child("sup", described("q")), pykka.ActorRef[Any])
assert_type(Supervisor.start_child("sup", DynamicSupervisor.child_spec(id="d")), pykka.ActorRef[DynamicSupervisor])
assert_type(DynamicSupervisor.which_children(pool), list[ChildInfo])
DynamicSupervisor.start_child(pool, Counter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
DynamicSupervisor.terminate_child(pool, child)
DynamicSupervisor.stop(pool)
stop(ref, timeout=1.0)
kill("counter")

assert_type(supervision.__version__, str)
supervision.Supervizor  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
assert_type(whereis("counter"), pykka.ActorRef[Any] | None)
assert_type(named("counter"), pykka.ActorRef[Any])
assert_type(named("counter", await_restart=True).proxy(), pykka.ActorProxy[Any])
call(named("counter"), "get")
Supervisor.which_children(named("sup"))


async def asked() -> None:
    """A task's call."""
    assert_type(await acall("counter", "get", timeout=None, await_restart=True), Any)


class Optional(Server):
    """A server that may have nothing to do."""

    def on_start(self) -> None:
        raise Ignore

    def on_terminate(self, reason: Reason) -> None:
        if reason in (NORMAL, SHUTDOWN, KILLED, NOPROC):
            return
        if isinstance(reason, Crash):
            assert_type(reason.exception, BaseException)
        elif isinstance(reason, Shutdown):
            print(reason.detail)


def explain(error: SupervisionError) -> object:
    if isinstance(error, StartError):
        assert_type(error.cause, BaseException)
        return error.child_id
    if isinstance(error, AlreadyPresent | ChildNotFound | ChildRunning | ChildRestarting):
        return error.child_id
    if isinstance(error, AlreadyStarted):
        return error.ref
    if isinstance(error, MaxChildren):
        assert_type(error.max_children, int)
    if isinstance(error, ServerDied):
        return error.reason
    if isinstance(error, ServerRestarting):
        assert_type(error.timeout, float | None)
    return isinstance(error, NoProcess | CallTimeout)


class Patient(Server):
    """Sets when its warnings come."""

    handler_warning = 600.0
    mailbox_warning = None


class Impatient(pykka.ThreadingActor):
    """An unmodified actor sets them likewise."""

    handler_warning = 1.0
    mailbox_warning = 10
