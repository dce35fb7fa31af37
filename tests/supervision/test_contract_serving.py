""".github/design/supervision.md 1.9: what a supervisor survives, and that it serves one at a time."""

import contextlib
import logging
import threading
from typing import Any

import pykka
import pytest
from children import Probe, Scripted, Watch, World, die, quiet, ref_of, states
from holding import held
from threads import DEADLINE_S

from supervision import (
    ChildRestarting,
    ChildRunning,
    DynamicSupervisor,
    Supervisor,
    call,
    cast,
    kill,
    whereis,
)

BOOM = Scripted("boom")


# --- a supervisor survives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_an_unexpected_message_is_reported_and_ignored(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    sup = kind.start_link([]) if kind is Supervisor else kind.start_link()
    with caplog.at_level(logging.WARNING, "supervision"):
        cast(sup, {"password": "hunter2"})
        assert call(sup, "what?") is None
        assert kind.count_children(sup).specs == 0
    assert [record.fields["message_type"] for record in caplog.records] == ["dict", "str"]
    assert "hunter2" not in caplog.text


def test_a_down_of_a_stranger_is_ignored(world: World) -> None:
    from supervision import Down, monitor

    sup = Supervisor.start_link(world.specs("a"), max_restarts=0)
    stranger = Probe.start_link(world, "stranger")
    monitor(stranger, sup)
    die(stranger, BOOM)
    cast(sup, Down(None, ref_of(sup, "a"), BOOM))  # type: ignore[arg-type]
    assert states(sup) == {"a": "running"}


def test_refusals_leave_the_supervisor_alive(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"), max_restarts=0)
    for _ in range(10):
        for operation in ("restart_child", "delete_child"):
            with pytest.raises(ChildRunning):
                getattr(Supervisor, operation)(sup, "a")
    assert states(sup) == {"a": "running"}


# --- one at a time --------------------------------------------------------------------------------------------------------


def test_requests_are_served_in_the_order_they_came(world: World) -> None:
    sup = Supervisor.start_link([])
    with held(sup) as post:
        answers = [post.send("start_child", world.spec(number)) for number in range(5)]
        answers += [post.send("terminate_child", 2), post.send("delete_child", 2), post.send("which_children")]
    assert [row.id for row in answers[-1]()] == [0, 1, 3, 4]
    assert world.log() == [*(f"start {number}" for number in range(5)), "stop 2"]


def test_many_threads_on_one_supervisor_while_children_crash(world: World) -> None:
    """Never two live incarnations of one id (the fixture looks), and every call has an answer."""
    sup = Supervisor.start_link(world.specs("abc"), strategy="one_for_all", max_restarts=1_000_000)
    unexpected: list[BaseException] = []
    refs = {child: ref_of(sup, child) for child in "abc"}

    def work(number: int) -> None:
        child = "abc"[number % 3]
        try:
            for turn in range(30):
                operation = (Supervisor.terminate_child, Supervisor.restart_child, Supervisor.count_children)[turn % 3]
                args = () if turn % 3 == 2 else (child,)
                with contextlib.suppress(ChildRunning, ChildRestarting):
                    operation(sup, *args)  # type: ignore[operator]
                row = next(row for row in Supervisor.which_children(sup) if row.id == child)
                if row.ref is not None:
                    cast(row.ref, BOOM)
        except BaseException as error:
            unexpected.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S * 3)
        assert not thread.is_alive()
    assert unexpected == []
    assert quiet(sup)
    assert set(states(sup)) == {"a", "b", "c"}
    assert all(ref is not ref_of(sup, child) for child, ref in refs.items())


def test_the_answers_are_values(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    rows = Supervisor.which_children(sup)
    assert isinstance(rows[0].ref, pykka.ActorRef)
    with pytest.raises(AttributeError):
        rows[0].state = "stopped"  # type: ignore[misc]
    rows.clear()
    assert len(Supervisor.which_children(sup)) == 1


def test_the_supervisors_name_follows_its_incarnations(world: World) -> None:
    inner = Supervisor.child_spec(world.specs("x"), id="inner", max_restarts=0, name="inner")
    top = Supervisor.start_link([inner])
    old = whereis("inner")
    watch = Watch(old)
    die(ref_of("inner", "x"), BOOM)
    assert watch.reason()
    assert quiet(top)
    assert states("inner") == {"x": "running"}
    kill("inner")
    assert quiet(top)
    assert whereis("inner") is ref_of(top, "inner") is not old
