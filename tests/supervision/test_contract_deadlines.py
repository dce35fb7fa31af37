"""Each child leaves within its own deadline, whatever the others take: dynamic ones at the same time, static ones in turn."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from actors import CHILDREN, Plain, Threaded
from children import Watch
from threads import DEADLINE_S, eventually

from supervision import KILLED, SHUTDOWN, ChildSpec, DynamicSupervisor, Supervisor, kill, monitor
from supervision.process.process import abandoned_count

SHORT_S = 0.02

SETTINGS: dict[str, Any] = {"infinite": "infinity", "long": DEADLINE_S, "short": SHORT_S, "brutal": "brutal_kill"}
ORDERS = list(itertools.permutations(SETTINGS))


def stop(top: Any, sup: Any) -> None:
    DynamicSupervisor.stop(sup, timeout=DEADLINE_S)


def terminate(top: Any, sup: Any) -> None:
    Supervisor.terminate_child(top, "below")


def stop_above(top: Any, sup: Any) -> None:
    Supervisor.stop(top, timeout=DEADLINE_S)


def kill_it(top: Any, sup: Any) -> None:
    kill(sup)


every_way = pytest.mark.parametrize("end", [stop, terminate, stop_above, kill_it])


class Leaving:
    """Children whose end hooks wait: the patient ones for the short one's end, and that one for the end of the test."""

    def __init__(self) -> None:
        self.short_is_gone, self.test_is_over = threading.Event(), threading.Event()
        self.in_time: list[bool] = []

    def hook(self, name: str) -> Callable[..., None]:
        def leave(*_: Any) -> None:
            if name == "short":
                self.test_is_over.wait(DEADLINE_S)
            else:
                self.in_time.append(self.short_is_gone.wait(DEADLINE_S / 2))

        return leave


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@every_way
def test_each_childs_own_deadline_holds(end: Any, order: tuple[str, ...]) -> None:
    top = Supervisor.start_link([DynamicSupervisor.child_spec(id="below", restart="temporary")])
    sup = Supervisor.which_children(top)[0].ref
    leaving, watches = Leaving(), {}
    for name in order:
        spec = ChildSpec(name, Threaded, ({"on_terminate": leaving.hook(name)},), shutdown=SETTINGS[name])
        watches[name] = Watch(DynamicSupervisor.start_child(sup, spec))
    monitor(watches["short"].monitor.ref, lambda _: leaving.short_is_gone.set())
    end(top, sup)
    reasons = {name: watch.reason() for name, watch in watches.items()}
    leaving.test_is_over.set()
    eventually(lambda: abandoned_count() == 0)
    assert reasons == {"infinite": SHUTDOWN, "long": SHUTDOWN, "short": KILLED, "brutal": KILLED}
    assert leaving.in_time == [True, True]


@pytest.mark.parametrize("cls", [CHILDREN["threaded"], Plain])
def test_a_sibling_that_takes_long_after_its_end_holds_nobody_up(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread may go on when it has ended, and is waited for then; deadlines are seen to before."""
    dead_by_then: list[bool] = []
    test_is_over = threading.Event()
    hook = {"on_terminate": lambda _: test_is_over.wait(DEADLINE_S), "on_stop": lambda: test_is_over.wait(DEADLINE_S)}
    sup = DynamicSupervisor.start_link()
    DynamicSupervisor.start_child(sup, ChildSpec("quick", cls, shutdown=DEADLINE_S))
    short = DynamicSupervisor.start_child(sup, ChildSpec("short", cls, (hook,), shutdown=SHORT_S))
    last = DynamicSupervisor.start_child(sup, ChildSpec("last", cls, (hook,), shutdown=2 * SHORT_S))
    monkeypatch.setattr("supervision.child_process.join", lambda _: dead_by_then.append(not last.is_alive()))
    watch = Watch(short)
    DynamicSupervisor.stop(sup, timeout=DEADLINE_S)
    test_is_over.set()
    eventually(lambda: abandoned_count() == 0)
    assert watch.reason() == KILLED
    assert dead_by_then == [True, True, True]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_a_static_supervisors_children_are_asked_in_turn_and_have_each_its_own_time(order: tuple[str, ...]) -> None:
    test_is_over = threading.Event()
    hooks = {name: lambda *_: threading.Event().wait(3 * SHORT_S) for name in ("infinite", "long")}
    hooks |= {name: lambda *_: test_is_over.wait(DEADLINE_S) for name in ("short", "brutal")}
    sup = Supervisor.start_link(
        [ChildSpec(name, Threaded, ({"on_terminate": hooks[name]},), shutdown=SETTINGS[name]) for name in order]
    )
    watches = {row.id: Watch(row.ref) for row in Supervisor.which_children(sup)}
    Supervisor.stop(sup, timeout=DEADLINE_S)
    reasons = {name: watch.reason() for name, watch in watches.items()}
    test_is_over.set()
    eventually(lambda: abandoned_count() == 0)
    assert reasons == {"infinite": SHUTDOWN, "long": SHUTDOWN, "short": KILLED, "brutal": KILLED}
