"""Beyond OTP: a delay before each restart, .github/design/supervision.md 4. Timers fire when the test says so."""

import pytest
from children import Clock, Scripted, Watch, World, die, ref_of, states
from holding import Timers, exactly, fall
from hypothesis import given, settings
from hypothesis import strategies as st

from supervision import (
    SHUTDOWN,
    AlreadyPresent,
    Backoff,
    ChildCounts,
    ChildRestarting,
    DynamicSupervisor,
    Exit,
    Supervisor,
    kill,
)

BOOM = Scripted("boom")


# --- the pure delay ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Backoff(0.1, 30.0, 0), [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]),
        (Backoff(1.0, 8.0, 0), [1, 2, 4, 8, 8]),
        (Backoff(0, 0, 0), [0, 0, 0]),
        (Backoff(5, 5, 0), [5, 5]),
    ],
)
def test_the_delay_doubles_up_to_the_maximum(backoff: Backoff, delays: list[float]) -> None:
    assert [backoff.delay(n, lambda low, high: (low + high) / 2) for n in range(len(delays))] == pytest.approx(delays)


@settings(deadline=None)
@given(
    st.floats(0, 1e6),
    st.floats(1, 1e6),
    st.floats(0, 1),
    st.integers(0, 10**9),
    st.floats(0, 1),
)
def test_a_delay_stays_within_its_jitter_and_its_maximum(
    initial: float, factor: float, jitter: float, attempts: int, draw: float
) -> None:
    backoff = Backoff(initial, initial * factor, jitter)
    delay = backoff.delay(attempts, lambda low, high: low + (high - low) * draw)
    exact = min(initial * 2.0 ** min(attempts, 1000), backoff.maximum)
    assert 0 <= delay <= backoff.maximum
    assert exact * (1 - jitter) <= delay * (1 + 1e-9) + 1e-12
    assert delay <= exact * (1 + jitter) * (1 + 1e-9)


def test_the_default_is_off_and_a_default_backoff_is_modest(world: World) -> None:
    assert world.spec("a").backoff is None
    backoff = Backoff()
    assert (backoff.initial, backoff.maximum, backoff.jitter, backoff.reset_after) == (0.1, 30.0, 0.5, None)


@pytest.mark.parametrize(("reset_after", "limit"), [(None, 8.0), (2.5, 2.5), (0, 0.0)])
def test_a_stable_run_is_the_maximum_unless_said(reset_after: float | None, limit: float) -> None:
    backoff = exactly(reset_after=reset_after)
    assert backoff.starts_over(limit)
    assert not backoff.starts_over(limit - 0.001)


# --- a supervisor -----------------------------------------------------------------------------------------------------


def test_the_first_restart_waits_too_and_each_crash_doubles(timers: Timers, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly())], max_restarts=100)
    for _ in range(6):
        fall(sup, "a", timers)
        timers[-1].fire()
        assert states(sup) == {"a": "running"}
    assert timers.delays == [1, 2, 4, 8, 8, 8]


def test_a_failed_attempt_waits_longer_than_the_one_before(timers: Timers, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly())], max_restarts=100)
    world.script("a", *["fail"] * 3)
    fall(sup, "a", timers)
    for _ in range(3):
        timers[-1].fire()
        assert states(sup) == {"a": "restarting"}
    timers[-1].fire()
    assert states(sup) == {"a": "running"}
    assert timers.delays == [1, 2, 4, 8]


@pytest.mark.parametrize(("ran_s", "second"), [(7.999, 2), (8.0, 1), (60.0, 1)])
def test_the_delay_starts_over_after_a_stable_run(
    ran_s: float, second: float, timers: Timers, clock: Clock, world: World
) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly())], max_restarts=100)
    fall(sup, "a", timers)
    timers[-1].fire()
    assert states(sup) == {"a": "running"}
    clock.at += ran_s
    fall(sup, "a", timers)
    assert timers.delays == [1, second]


def test_the_time_spent_waiting_is_no_stable_run(timers: Timers, clock: Clock, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly(reset_after=3))], max_restarts=100)
    clock.at += 1
    fall(sup, "a", timers)
    clock.at += 100  # in the delay
    timers[-1].fire()
    assert states(sup) == {"a": "running"}
    clock.at += 2.9
    fall(sup, "a", timers)
    assert timers.delays == [1, 2]


def test_in_its_delay_a_child_is_restarting(timers: Timers, world: World) -> None:
    """supervisor3 and rabbitmq-common: a child not marked so had its retry ignored, and stayed down for ever."""
    sup = Supervisor.start_link([world.spec("a", backoff=exactly()), world.spec("b")])
    fall(sup, "a", timers)
    assert states(sup) == {"a": "restarting", "b": "running"}
    assert ref_of(sup, "a") is None
    assert Supervisor.count_children(sup) == ChildCounts(2, 1, 0, 2)
    for operation, error in (("restart_child", ChildRestarting), ("delete_child", ChildRestarting)):
        with pytest.raises(error):
            getattr(Supervisor, operation)(sup, "a")
    with pytest.raises(AlreadyPresent):
        Supervisor.start_child(sup, world.spec("a"))
    timers[-1].fire()
    assert states(sup) == {"a": "running", "b": "running"}


def test_the_supervisor_serves_and_restarts_others_meanwhile(timers: Timers, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly()), world.spec("b")])
    fall(sup, "a", timers)
    die(ref_of(sup, "b"), BOOM)
    assert states(sup) == {"a": "restarting", "b": "running"}
    assert Supervisor.start_child(sup, world.spec("c")).is_alive()


def test_terminate_cancels_the_delay_and_delete_works_after_it(timers: Timers, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly())])
    fall(sup, "a", timers)
    Supervisor.terminate_child(sup, "a")
    assert timers[0].cancelled
    assert states(sup) == {"a": "stopped"}
    timers[0].fire()  # a late one all the same
    assert states(sup) == {"a": "stopped"}
    Supervisor.delete_child(sup, "a")
    timers[0].fire()
    assert states(sup) == {}


def test_a_late_timer_does_nothing_to_a_child_of_the_same_id(timers: Timers, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly())])
    fall(sup, "a", timers)
    Supervisor.terminate_child(sup, "a")
    new = Supervisor.restart_child(sup, "a")
    timers[0].fire()
    assert ref_of(sup, "a") is new
    fall(sup, "a", timers)
    timers[0].fire()  # the first delay's timer is not the second's
    assert states(sup) == {"a": "restarting"}
    timers[1].fire()
    assert states(sup) == {"a": "running"}


def test_stopping_the_supervisor_cancels_the_delay(timers: Timers, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly()), world.spec("b")])
    fall(sup, "a", timers)
    world.log()
    Supervisor.stop(sup)
    assert timers[0].cancelled
    timers[0].fire()
    assert world.log() == ["stop b"]


def test_every_attempt_counts_in_the_window(timers: Timers, clock: Clock, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=exactly())], max_restarts=2, max_seconds=10.0)
    watch = Watch(sup)
    world.script("a", *["fail"] * 3)
    fall(sup, "a", timers)
    for _ in range(2):
        timers[-1].fire()
        assert states(sup) == {"a": "restarting"}
    assert world.log() == ["start a", "end a", "fail a", "fail a"]
    timers[-1].fire()
    assert watch.reason() == SHUTDOWN
    assert world.log() == []


def test_a_delay_longer_than_the_window_never_gives_up(timers: Timers, clock: Clock, world: World) -> None:
    """Documented: attempts that far apart never fill the window."""
    sup = Supervisor.start_link([world.spec("a", backoff=exactly(initial=6))], max_restarts=1, max_seconds=5.0)
    for _ in range(5):
        fall(sup, "a", timers)
        clock.at += timers[-1].delay_s
        timers[-1].fire()
        assert states(sup) == {"a": "running"}


def test_an_orderly_end_of_a_transient_child_waits_for_nothing(timers: Timers, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", restart="transient", backoff=exactly())])
    die(ref_of(sup, "a"), Exit())
    assert states(sup) == {"a": "stopped"}
    assert timers == []


def test_jitter_spreads_the_delays(timers: Timers, world: World) -> None:
    specs = [world.spec(number, backoff=Backoff(10, 100, 0.5)) for number in range(20)]
    sup = Supervisor.start_link(specs, max_restarts=100)
    for number in range(20):
        fall(sup, number, timers)
    assert all(5 <= delay <= 15 for delay in timers.delays)
    assert len(set(timers.delays)) > 10


# --- dynamic ----------------------------------------------------------------------------------------------------------


def test_a_dynamic_child_waits_too(timers: Timers, world: World) -> None:
    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, world.spec("a", backoff=exactly()))
    die(ref, BOOM)
    assert [row.state for row in DynamicSupervisor.which_children(sup)] == ["restarting"]
    timers[0].fire()
    assert [row.state for row in DynamicSupervisor.which_children(sup)] == ["running"]
    second = DynamicSupervisor.which_children(sup)[0].ref
    die(second, BOOM)
    assert DynamicSupervisor.count_children(sup).active == 0
    assert timers.delays == [1, 2]
    DynamicSupervisor.terminate_child(sup, second)
    assert timers[1].cancelled
    timers[1].fire()
    assert DynamicSupervisor.which_children(sup) == []


def test_a_nested_supervisor_may_have_one(timers: Timers, world: World) -> None:
    inner = Supervisor.child_spec(world.specs("x"), id="inner", backoff=exactly())
    sup = Supervisor.start_link([inner])
    kill(ref_of(sup, "inner"))
    assert states(sup) == {"inner": "restarting"}
    assert timers.delays == [1]


def test_real_timers_bring_a_child_back(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=Backoff(0.01, 0.02, 0.5))])
    world.log()
    die(ref_of(sup, "a"), BOOM)
    world.wait_for("start a")
    assert states(sup) == {"a": "running"}
