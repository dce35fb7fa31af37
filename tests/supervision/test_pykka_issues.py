"""What Pykka's users have asked for in its tracker, as they have asked for it: the table in supervision/EXISTING.md."""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from pages import section

from supervision import (
    ChildSpec,
    Crash,
    DynamicSupervisor,
    Supervisor,
    monitor,
    named,
    send_after,
    stop,
    whereis,
)

DEADLINE_S = 10.0


@pytest.fixture(autouse=True)
def no_actor_is_left() -> Iterator[None]:
    yield
    pykka.ActorRegistry.stop_all(timeout=DEADLINE_S)


class Child(pykka.ThreadingActor):
    """The actor of those issues: it raises when it is told to."""

    def on_receive(self, message: Any) -> Any:
        if message.get("command") == "throw me an exception!":
            raise ValueError("thrown")
        return message

    def throw_exc(self) -> None:
        raise ValueError("thrown")


@pytest.fixture
def downs() -> queue.SimpleQueue[Any]:
    return queue.SimpleQueue()


def test_42_the_failure_of_a_tell_is_detected_and_the_actor_is_restarted(downs: queue.SimpleQueue[Any]) -> None:
    Supervisor.start_link([ChildSpec("child", Child, name="child")], name="sup")
    first = whereis("child")
    monitor(first, downs.put)
    named("child").tell({"command": "throw me an exception!"})
    assert isinstance(downs.get(timeout=DEADLINE_S).reason, Crash)
    assert named("child", await_restart=True).ask({"command": "hey"}, timeout=DEADLINE_S) == {"command": "hey"}
    assert whereis("child") is not first


def test_46_a_stop_has_a_deadline_or_drops_the_backlog() -> None:
    began, go = threading.Event(), threading.Event()
    handled = []

    class Slow(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> None:
            began.set()
            assert go.wait(DEADLINE_S)
            handled.append(message)

    Supervisor.start_link([ChildSpec("slow", Slow, name="slow", shutdown="brutal_kill")], name="sup")
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    monitor(whereis("slow"), ended.put)
    for number in range(100):
        named("slow").tell(number)
    assert began.wait(DEADLINE_S)
    Supervisor.terminate_child("sup", "slow")
    ended.get(timeout=DEADLINE_S)
    go.set()
    Supervisor.stop("sup")
    assert len(handled) <= 1


def test_47_stopping_one_stops_all_below_it() -> None:
    Supervisor.start_link(
        [
            DynamicSupervisor.child_spec(id="children", name="children"),
            ChildSpec("parent", Child, name="parent"),
        ],
        name="sup",
    )
    refs = [DynamicSupervisor.start_child("children", ChildSpec("child", Child)) for _ in range(10)]
    Supervisor.stop("sup")
    assert not any(ref.is_alive() for ref in refs)
    assert whereis("parent") is None


def test_53_a_message_can_be_sent_later() -> None:
    received = threading.Event()

    class Waits(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> None:
            received.set()

    Supervisor.start_link([ChildSpec("waits", Waits, name="waits")], name="sup")
    send_after(0.01, "waits", "now")
    assert received.wait(DEADLINE_S)


def test_70_a_function_is_called_when_an_actor_dies(downs: queue.SimpleQueue[Any]) -> None:
    Supervisor.start_link([ChildSpec("child", Child, name="child", restart="temporary")], name="sup")
    monitor(whereis("child"), downs.put)
    named("child").proxy().throw_exc.defer()
    reason = downs.get(timeout=DEADLINE_S).reason
    assert str(reason.exception) == "thrown"


def test_187_no_actor_dies_unseen(caplog: pytest.LogCaptureFixture, downs: queue.SimpleQueue[Any]) -> None:
    caplog.set_level(logging.INFO, "supervision")
    Supervisor.start_link([ChildSpec("child", Child, name="child", restart="temporary")], name="sup")
    monitor(whereis("child"), downs.put)
    named("child").tell({"command": "throw me an exception!"})
    downs.get(timeout=DEADLINE_S)
    assert Supervisor.count_children("sup").active == 0
    assert "child_ended" in caplog.text
    assert "Crash(ValueError)" in caplog.text


def test_231_stop_returns_when_on_stop_is_done() -> None:
    stopping, done = threading.Event(), []

    class Tidy(pykka.ThreadingActor):
        def on_stop(self) -> None:
            stopping.set()
            done.append(threading.Event().wait(0.05))

    Supervisor.start_link([ChildSpec("tidy", Tidy, name="tidy", restart="transient")], name="sup")
    stop("tidy")
    assert stopping.is_set()
    assert done


def test_the_table_names_these_issues() -> None:
    rows = set(re.findall(r"issues/(\d+)\)", section("supervision/EXISTING.md", "What Pykka's users have asked for")))
    played = {one.split("_")[1] for one in globals() if re.match(r"test_\d+_", one)}
    assert rows == played
