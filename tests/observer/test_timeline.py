"""The last hundred events: what is kept of them, and what one noisy kind may do to the others."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest

from supervision import ChildSpec, DynamicSupervisor, Server, Supervisor, kill
from supervision.exits import Shutdown
from supervision.observer import timeline
from supervision.observer.timeline import Timeline
from supervision.runtime.reports import is_told, report


@pytest.fixture
def kept() -> Any:
    one = Timeline()
    yield one
    one.close()


def told(kept: Timeline) -> list[tuple[str, str, str]]:
    return [(one.event, one.who, one.what) for one in kept.entries()]


def test_it_hears_what_nobody_logs_and_changes_nothing_of_the_log(
    kept: Timeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    Supervisor.start_link([ChildSpec("till", Server, name="till")], name="shop")
    kill("till")
    Supervisor.terminate_child("shop", "till")
    Supervisor.restart_child("shop", "till")
    assert told(kept) == [
        ("child_started", "till", "under shop"),
        ("child_ended", "till", "KILLED, starts again"),
        ("child_restarted", "till", "restart 1"),
        ("child_ended", "till", "SHUTDOWN"),
        ("child_started", "till", "under shop"),
    ]
    assert "child_restarted" not in caplog.text


def test_nothing_hears_when_an_observer_is_forgotten() -> None:
    one = Timeline()
    assert is_told()
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    assert not is_told()


def test_a_noisy_kind_leaves_room_for_the_others(kept: Timeline) -> None:
    report("error", "child_ended", child="first", reason="KILLED", restart=True)
    DynamicSupervisor.start_link(name="pool")
    for _ in range(500):
        DynamicSupervisor.start_child("pool", ChildSpec("one", Server))
    entries = kept.entries()
    assert len(entries) == 1 + timeline.ALONE
    assert [one.more for one in entries] == [0, 0, 0, 497]
    assert entries[0].who == "first"
    assert kept.entries(entries[-1].version) == []


def test_there_are_never_more_than_a_hundred(kept: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "SPAN_S", 0.0)
    for number in range(250):
        report("info", "child_restarted", child=f"c{number}", restarts=number)
    assert [one.who for one in kept.entries()] == [f"c{number}" for number in range(150, 250)]


def test_what_a_program_put_into_a_reason_or_a_text_is_left_out(kept: Timeline) -> None:
    secret = "hunter2 https://me:hunter2@db"
    report("info", "child_ended", child="a", reason=str(Shutdown(secret)), restart=False)
    report("error", "child_restart_failed", child="b", error=f"OSError: {secret}", exception=secret)
    report("error", "supervisor_gave_up", child="c", error=str(Shutdown(secret)), max_restarts=3, max_seconds=5.0)
    report("error", "supervisor_gave_up", child="c", error=f"OSError: {secret}", max_restarts=3, max_seconds=5.0)
    report("warning", "long_handler", actor="d", seconds=3.0, stack=secret, others=2)
    report("error", "server_crashed", actor="e", reason=secret)
    assert "hunter2" not in repr(told(kept))
    assert ("long_handler", "d", "seconds 3, others 2") in told(kept)
    assert ("child_ended", "a", "Shutdown") in told(kept)
    assert ("supervisor_gave_up", "c", "more than 3 restarts in 5.0 s: OSError") in told(kept)
    with_texts = Timeline(with_texts=True)
    report("error", "child_restart_failed", child="b", error="OSError: no disk")
    assert told(with_texts)[-1] == ("child_restart_failed", "b", "OSError: no disk, is tried again")
    with_texts.close()


def test_a_hearer_that_raises_harms_neither_the_report_nor_its_actor(
    kept: Timeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_told: Any) -> None:
        raise RuntimeError("a hearer's fault")

    monkeypatch.setattr(kept, "heard", broken)
    Supervisor.start_link([ChildSpec("till", Server, name="till")], name="shop")
    kill("till")
    assert Supervisor.count_children("shop").active == 1
    assert "a hearer's fault" in capsys.readouterr().err
