""".github/design/supervision.md 1.7: how a child is ended, and what is said of it; what cannot be ended is abandoned."""

import logging
from typing import Any

import pytest
from children import KINDS, Probe, Scripted, Watch, World, ref_of, states
from holding import Gate
from threads import DEADLINE_S, eventually, in_background

from supervision import (
    KILLED,
    SHUTDOWN,
    Exit,
    Shutdown,
    Supervisor,
    cast,
)
from supervision.process.process import abandoned_count

BOOM = Scripted("boom")


def endings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Every child's end that was reported: its id, the level, the reason."""
    rows = [(record.fields, record.levelname) for record in caplog.records if record.event == "child_ended"]
    return [(fields["child"], level, fields["reason"]) for fields, level in rows]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shutdown", "reason", "log"),
    [
        (5.0, SHUTDOWN, ["start a", "stop a"]),
        ("infinity", SHUTDOWN, ["start a", "stop a"]),
        ("brutal_kill", KILLED, ["start a"]),
    ],
)
def test_an_idle_child(
    shutdown: Any, reason: Any, log: list[str], kind: type, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, shutdown=shutdown)])
    watch = Watch(ref_of(sup, "a"))
    with caplog.at_level(logging.INFO, "supervision"):
        assert Supervisor.terminate_child(sup, "a") is None
    assert watch.reason() == reason
    assert world.log() == log
    assert endings(caplog) == [("a", "INFO", str(reason))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shutdown", [0.05, 0, "brutal_kill"])
def test_a_stuck_handler_is_abandoned(
    shutdown: Any, kind: type, world: World, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, shutdown=shutdown)])
    ref = ref_of(sup, "a")
    watch = Watch(ref)
    cast(ref, gate)
    gate.await_entry()
    with caplog.at_level(logging.INFO, "supervision"):
        assert Supervisor.terminate_child(sup, "a") is None  # always succeeds for the caller
    assert watch.reason() == KILLED
    assert states(sup) == {"a": "stopped"}
    assert abandoned_count() == 1
    assert [record.event for record in caplog.records].count("thread_abandoned") == 1
    assert endings(caplog) == [("a", "INFO" if shutdown == "brutal_kill" else "WARNING", "KILLED")]
    gate.go()
    eventually(lambda: abandoned_count() == 0)
    assert world.log() == ["start a"]  # no end hook, not even late
    assert len(watch.downs) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shutdown", [DEADLINE_S, "infinity"])
def test_a_busy_child_is_waited_for(shutdown: Any, kind: type, world: World, gate: Gate) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, shutdown=shutdown)])
    watch = Watch(ref_of(sup, "a"))
    cast(ref_of(sup, "a"), gate)
    gate.await_entry()
    terminator = in_background(lambda: Supervisor.terminate_child(sup, "a"))
    terminator.join(0.05)
    assert terminator.is_alive()
    gate.go()
    assert watch.reason() == SHUTDOWN
    terminator.join(DEADLINE_S)
    assert world.log() == ["start a", "stop a"]


def test_what_is_in_the_mailbox_is_handled_first(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    handled: list[int] = []
    for number in range(100):
        cast(ref_of(sup, "a"), lambda _, number=number: handled.append(number))
    Supervisor.terminate_child(sup, "a")
    assert handled == list(range(100))


def test_a_stuck_end_hook_is_abandoned_too(world: World, gate: Gate) -> None:
    class Lingering(Probe):
        def on_terminate(self, reason: Any) -> None:
            gate()

    sup = Supervisor.start_link([world.spec("a", Lingering, shutdown=0.05)])
    watch = Watch(ref_of(sup, "a"))
    Supervisor.terminate_child(sup, "a")
    assert watch.reason() == KILLED
    world.gone("a")


@pytest.mark.parametrize("restart", ["permanent", "transient"])
@pytest.mark.parametrize("how", [Exit(), Exit(Shutdown("moved")), BOOM], ids=repr)
def test_a_child_that_ends_its_own_way_while_asked_to(
    how: BaseException, restart: Any, world: World, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Its reason is reported, as odd where OTP finds it odd; the caller hears nothing of it, and no child is restarted."""

    def leave(actor: Any) -> None:
        gate()
        raise how

    sup = Supervisor.start_link([world.spec("a", restart=restart)])
    ref = ref_of(sup, "a")
    cast(ref, leave)
    gate.await_entry()
    with caplog.at_level(logging.INFO, "supervision"):
        terminator = in_background(lambda: Supervisor.terminate_child(sup, "a"))
        eventually(lambda: not ref.actor_inbox.empty())  # the request to leave is there
        gate.go()
        terminator.join(DEADLINE_S)
        assert states(sup) == {"a": "stopped"}
    odd = restart == "permanent" or how is BOOM
    assert [(child, level) for child, level, _ in endings(caplog)] == [("a", "WARNING" if odd else "INFO")]
    assert world.log().count("start a") == 1
