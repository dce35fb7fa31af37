""".github/design/supervision.md 1.11: the rows of Elixir's Registry and of via names that apply to names here."""

import threading
from typing import Any

import pytest
from children import KINDS, Probe, Scripted, Watch, World, crash, die, quiet, ref_of
from threads import DEADLINE_S, eventually

from supervision import (
    AlreadyStarted,
    NoProcess,
    StartError,
    Supervisor,
    call,
    cast,
    kill,
    monitor,
    register,
    send_after,
    stop,
    unregister,
    whereis,
)

BOOM = Scripted("boom")


@pytest.mark.parametrize("kind", KINDS)
def test_one_live_owner_per_name(kind: type, world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab", kind=kind))
    first, second = ref_of(sup, "a"), ref_of(sup, "b")
    register("n", first)
    for again in (first, second):  # the same process, too
        with pytest.raises(AlreadyStarted) as caught:
            register("n", again)
        assert caught.value.ref is first
    assert whereis("n") is first


def test_an_actor_may_hold_several_names(world: World) -> None:
    ref = Probe.start_link(world, "a", name="one")
    register("two", ref)
    assert whereis("one") is whereis("two") is ref
    stop(ref)
    assert whereis("one") is whereis("two") is None


def test_a_name_is_given_to_the_living_only(world: World) -> None:
    ref = Probe.start_link(world, "a")
    stop(ref)
    with pytest.raises(NoProcess):
        register("n", ref)
    assert whereis("n") is None


def test_unregister_is_idempotent_and_silent(world: World) -> None:
    ref = Probe.start_link(world, "a", name="n")
    unregister("n")
    unregister("n")
    unregister("never there")
    assert whereis("n") is None
    assert ref.is_alive()
    register("n", ref)
    assert whereis("n") is ref


@pytest.mark.parametrize("name", [None, 7, b"n", ("n",)])
def test_a_name_is_text(name: Any, world: World) -> None:
    with pytest.raises(TypeError, match="name"):
        register(name, Probe.start_link(world, "a"))


def test_a_name_is_not_empty(world: World) -> None:
    with pytest.raises(ValueError, match="name"):
        register("", Probe.start_link(world, "a"))


@pytest.mark.parametrize("how", ["stop", "crash", "kill", "exit"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_free_before_anyone_hears_of_the_death(kind: type, how: str, world: World) -> None:
    """A watcher can register the successor at once."""
    sup = Supervisor.start_link([world.spec("a", kind, restart="temporary")])
    ref = ref_of(sup, "a")
    register("n", ref)
    successor = Probe.start_link(world, "b")
    heard: list[Any] = []
    told = threading.Event()

    def take_over(_: Any) -> None:
        heard.append(whereis("n"))
        register("n", successor)
        told.set()

    monitor(ref, take_over)
    if how == "kill":
        world.gone("a")
        kill(ref)
    elif how == "stop":
        stop(ref)
    else:
        die(ref, BOOM)
    assert told.wait(DEADLINE_S)
    assert heard == [None]
    assert whereis("n") is successor


def test_a_name_is_free_when_stop_returns(world: World) -> None:
    for _ in range(50):
        stop(Probe.start_link(world, "a", name="n"))
        assert whereis("n") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_registers_the_same_name_again(kind: type, world: World) -> None:
    """Clients that use the name go on; a ref is that incarnation's for ever."""
    sup = Supervisor.start_link([world.spec("a", kind, name="n")])
    old = whereis("n")
    assert crash(sup, "a")
    assert whereis("n") is ref_of(sup, "a") is not old
    assert call("n", "hello") == "hello"
    with pytest.raises(NoProcess):
        call(old, "hello")


def test_a_start_that_fails_gives_its_own_error_and_frees_the_name(world: World) -> None:
    """elixir PR #10326: the error was masked once."""
    failure = Scripted("the original")
    world.script("a", failure)
    with pytest.raises(StartError) as caught:
        Probe.start_link(world, "a", name="n")
    assert caught.value.cause is failure
    assert whereis("n") is None


def test_a_taken_name_starts_nothing(world: World) -> None:
    owner = Probe.start_link(world, "a", name="n")
    with pytest.raises(AlreadyStarted) as caught:
        Probe.start_link(world, "b", name="n")
    assert caught.value.ref is owner
    assert world.log() == ["start a"]


def test_what_goes_to_a_name_that_nobody_has(world: World) -> None:
    assert whereis("nobody") is None
    assert cast("nobody", "lost") is None
    assert kill("nobody") is None
    with pytest.raises(NoProcess):
        call("nobody", "?")
    with pytest.raises(NoProcess):
        stop("nobody")


def test_a_name_is_resolved_at_every_send(world: World) -> None:
    first, second = Probe.start_link(world, "a"), Probe.start_link(world, "b")
    register("n", first)
    assert call("n", lambda actor: actor.child_id) == "a"
    unregister("n")
    register("n", second)
    assert call("n", lambda actor: actor.child_id) == "b"


def test_a_timer_to_a_name_finds_its_owner_of_the_moment(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="n")])
    heard: list[Any] = []
    old = whereis("n")
    bound = send_after(0.05, old, lambda actor: heard.append("bound"))
    assert crash(sup, "a")
    send_after(0, "n", lambda actor: heard.append(actor.actor_ref))
    eventually(lambda: heard == [ref_of(sup, "a")])
    assert bound.cancel() in (True, False)
    assert "bound" not in heard


def test_twenty_threads_want_one_name(world: World) -> None:
    refs = [Probe.start_link(world, number) for number in range(20)]
    won: list[Any] = []
    ready = threading.Barrier(20)

    def want(ref: Any) -> None:
        ready.wait(DEADLINE_S)
        try:
            register("n", ref)
        except AlreadyStarted:
            return
        won.append(ref)

    threads = [threading.Thread(target=want, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert won == [whereis("n")]


def test_a_crash_loop_never_leaves_a_name_behind(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="n")], max_restarts=3)
    watch = Watch(sup)
    while quiet(sup):
        die(ref_of(sup, "a"), BOOM)
    assert watch.reason()
    assert whereis("n") is None
