"""Checked by mypy, never run: what a typed program may write with ``supervision``."""

from typing import assert_type

import pykka

from supervision import (
    NORMAL,
    Backoff,
    ChildCounts,
    ChildInfo,
    ChildSpec,
    Down,
    DynamicSupervisor,
    Exit,
    Monitor,
    Server,
    Supervisor,
    Timer,
    call,
    cast,
    demonitor,
    kill,
    monitor,
    register,
    send_after,
    stop,
    unregister,
)


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

sup = Supervisor.start_link(
    [
        ChildSpec("counter", Counter, (1,), restart="transient", shutdown=1.0, backoff=Backoff(initial=0.2)),
        ChildSpec("plain", Plain, shutdown="brutal_kill", name="plain"),
        ChildSpec("made", lambda: Counter.start_link(2)),
        Supervisor.child_spec([], id="below", strategy="one_for_all"),
    ],
    strategy="rest_for_one",
    max_restarts=5,
    max_seconds=30,
    auto_shutdown="never",
    name="sup",
)
assert_type(Supervisor.which_children("sup"), list[ChildInfo])
assert_type(Supervisor.count_children(sup), ChildCounts)
assert_type(Supervisor.get_childspec(sup, "plain"), ChildSpec)
Supervisor.terminate_child(sup, "plain")
Supervisor.stop(sup, timeout=5.0)

pool = DynamicSupervisor.start_link(max_children=3, extra_args=(1,))
child = DynamicSupervisor.start_child(pool, ChildSpec("c", Counter))
DynamicSupervisor.terminate_child(pool, child)
DynamicSupervisor.stop(pool)
stop(ref, timeout=1.0)
kill("counter")
