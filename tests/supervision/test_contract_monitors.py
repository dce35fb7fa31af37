""".github/design/supervision.md 1.13, row by row; the races are in ``test_monitors_races.py``."""

from typing import Any

import pytest
from children import KINDS, Probe, Scripted, Watch, World, die, quiet, ref_of
from holding import held
from threads import eventually

from supervision import (
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    Crash,
    Down,
    Exit,
    NoProcess,
    Server,
    Shutdown,
    Supervisor,
    call,
    demonitor,
    kill,
    monitor,
)

BOOM = Scripted("boom")


class Watcher(Server):
    """Keeps the Downs it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.downs: list[Down] = []

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Down):
            self.downs.append(message)
            return None
        if isinstance(message, BaseException):
            raise message
        return message(self) if callable(message) else list(self.downs)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def ref(request: pytest.FixtureRequest, world: World) -> Any:
    return ref_of(Supervisor.start_link([world.spec("a", request.param, restart="temporary")]), "a")


def test_exactly_one_down_for_each_monitor(ref: Any) -> None:
    watcher = Watcher.start_link()
    first, second = monitor(ref, watcher), monitor(ref, watcher)
    die(ref, Exit())
    downs = call(watcher, "downs")
    assert [down.monitor for down in downs] == [first, second]
    assert {down.ref for down in downs} == {ref}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (Exit(), NORMAL),
        (Exit(SHUTDOWN), SHUTDOWN),
        (Exit(Shutdown({"a": 1})), Shutdown({"a": 1})),
        (BOOM, Crash(BOOM)),
        (None, KILLED),
    ],
)
def test_a_down_carries_the_reason(ref: Any, how: BaseException | None, reason: Any) -> None:
    watcher = Watcher.start_link()
    monitor(ref, watcher)
    assert die(ref, how) == reason
    assert [down.reason for down in call(watcher, "downs")] == [reason]


def test_the_dead_give_a_down_at_once(ref: Any) -> None:
    die(ref, Exit())
    watcher = Watcher.start_link()
    monitor(ref, watcher)
    assert [down.reason for down in call(watcher, "downs")] == [NOPROC]
    assert Watch("nobody").reason() == NOPROC


def test_a_crash_keeps_the_original_exception(ref: Any) -> None:
    reason = die(ref, BOOM)
    assert isinstance(reason, Crash)
    assert reason.exception is BOOM


def test_demonitor_is_idempotent_and_takes_back_what_was_not_handled(ref: Any) -> None:
    watcher = Watcher.start_link()

    def watch_and_withdraw(actor: Any) -> None:
        watch = monitor(ref, actor.actor_ref)
        die(ref, Exit())  # the Down is in this actor's mailbox now
        demonitor(watch)
        demonitor(watch)

    call(watcher, watch_and_withdraw)
    assert call(watcher, "downs") == []


def test_a_watcher_is_not_harmed_by_what_it_watches_nor_the_other_way_round(ref: Any) -> None:
    """Monitors are one-way: no link."""
    watcher = Watcher.start_link()
    monitor(ref, watcher)
    die(watcher, BOOM)
    assert call(ref, "alive") == "alive"
    other = Watcher.start_link()
    monitor(ref, other)
    die(ref, BOOM)
    assert len(call(other, "downs")) == 1


def test_the_dead_cannot_watch(ref: Any) -> None:
    watcher = Watcher.start_link()
    die(watcher, Exit())
    with pytest.raises(NoProcess):
        monitor(ref, watcher)


@pytest.mark.parametrize("watcher", [None, "name", 7])
def test_a_watcher_is_an_actor_or_a_callable(ref: Any, watcher: Any) -> None:
    with pytest.raises(TypeError, match="watcher: expected"):
        monitor(ref, watcher)


def test_a_monitor_is_of_one_incarnation(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="n")], max_restarts=10)
    watch = Watch("n")
    assert watch.monitor.ref is ref_of(sup, "a")
    for _ in range(3):
        die(ref_of(sup, "a"), BOOM)
        assert quiet(sup)
    assert len(watch.downs) == 1


def test_a_supervisors_own_monitors_are_its_own_business(world: World) -> None:
    """A Down that a stranger's monitor sends to a supervisor changes nothing, and neither does a forged one."""
    sup = Supervisor.start_link(world.specs("a"), max_restarts=0)
    stranger = Probe.start_link(world, "s")
    monitor(stranger, sup)
    kill(stranger)
    world.gone("s")
    assert quiet(sup)


def test_a_supervisor_that_is_busy_hears_of_every_death_once(world: World) -> None:
    sup = Supervisor.start_link([world.spec(child, restart="temporary") for child in "abcde"])
    refs = [row.ref for row in Supervisor.which_children(sup)]
    with held(sup):
        for ref in refs:
            die(ref, BOOM)
    eventually(lambda: Supervisor.which_children(sup) == [])
