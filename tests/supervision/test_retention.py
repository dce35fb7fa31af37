"""What has ended is let go: no thread of ours keeps the last thing it did in hand while it waits for the next."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest

from supervision import ChildSpec, Server, Supervisor, call, cast, kill, send_after, stop, whereis

DEADLINE_S = 10.0


class Echo(Server):
    """Answers with what it is asked."""

    def on_receive(self, message: Any) -> Any:
        return message


def is_gone(actor: weakref.ref[Any]) -> bool:
    """Whether it is collected before the deadline."""
    never, deadline = threading.Event(), time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        gc.collect()
        if actor() is None:
            return True
        never.wait(0.01)
    return False


@pytest.mark.parametrize("runtime", ["pool", "thread"])
def test_an_actor_that_has_ended_is_collected(runtime: str) -> None:
    kind = type("Ended", (Echo,), {"runtime": runtime})
    ref = kind.start_link()
    actor = weakref.ref(ref)
    assert call(ref, "hello") == "hello"
    cast(ref, "bye")
    stop(ref)
    del ref
    assert is_gone(actor)


def test_an_actor_that_had_a_timer_is_collected() -> None:
    heard = threading.Event()

    class Alarmed(Server):
        def on_receive(self, message: Any) -> None:
            heard.set()

    ref = Alarmed.start_link()
    actor = weakref.ref(ref)
    send_after(0.01, ref, "ring")
    assert heard.wait(DEADLINE_S)
    stop(ref)
    del ref
    assert is_gone(actor)


def test_a_killed_supervisor_is_collected_with_its_children() -> None:
    child = ChildSpec("child", Echo, name="child", shutdown=0.05)  # for so long a timer is to abandon it
    inner = Supervisor.child_spec([child], id="inner", name="inner")
    outer = Supervisor.start_link([inner])
    ended = [weakref.ref(whereis("inner")), weakref.ref(whereis("child"))]
    kill("inner")
    Supervisor.count_children(outer)
    assert call("child", "hello", DEADLINE_S, await_restart=True) == "hello"
    assert all(is_gone(actor) for actor in ended)
    Supervisor.stop(outer)


def test_what_has_ended_and_come_back_is_collected() -> None:
    """Nothing is kept of an incarnation whose successor is up: neither of a child nor of a supervisor that gave up."""
    inner = Supervisor.child_spec([ChildSpec("child", Echo, name="child")], id="inner", name="inner", max_restarts=0)
    outer = Supervisor.start_link([inner, ChildSpec("other", Echo, name="other")], max_restarts=10)
    ended = [weakref.ref(whereis(name)) for name in ("inner", "child", "other")]
    kill("child")  # which ends inner
    kill("other")
    Supervisor.count_children(outer)
    for name in ("child", "other"):
        assert call(name, "hello", DEADLINE_S, await_restart=True) == "hello"
    assert all(is_gone(actor) for actor in ended)
    Supervisor.stop(outer)
