"""Names: one live owner each, looked up at every send, free before anyone hears of a death."""

from typing import Any

import pytest
from actors import Boom, Pooled, Threaded, every_kind, spawn
from children import Watch
from holding import Gate
from threads import DEADLINE_S, run

from supervision import (
    AlreadyStarted,
    Ignore,
    NoProcess,
    StartError,
    call,
    cast,
    kill,
    monitor,
    register,
    stop,
    unregister,
    whereis,
)
from supervision.process import registry

every_server = pytest.mark.parametrize("cls", [Pooled, Threaded])


@every_kind
def test_a_name_leads_to_its_owner(kind: str) -> None:
    ref = spawn(kind)
    register("it", ref)
    assert whereis("it") is ref
    assert call("it", 1) == 1
    assert ref.is_alive()


@every_kind
def test_a_name_has_one_owner(kind: str) -> None:
    ref, other = spawn(kind), spawn(kind)
    register("it", ref)
    for again in (ref, other):
        with pytest.raises(AlreadyStarted) as raised:
            register("it", again)
        assert raised.value.ref is ref
    assert whereis("it") is ref


@every_kind
def test_an_actor_may_hold_several_names_and_loses_all_at_its_end(kind: str) -> None:
    ref = spawn(kind)
    for name in ("one", "two", "three"):
        register(name, ref)
    unregister("two")
    unregister("two")
    assert [whereis(name) for name in ("one", "two", "three")] == [ref, None, ref]
    watch = Watch(ref)
    stop(ref)
    watch.reason()
    assert [whereis(name) for name in ("one", "two", "three")] == [None] * 3
    assert registry._names.value.table == {}


@every_kind
@pytest.mark.parametrize("end", ["stop", "crash", "kill"])
def test_a_name_is_free_before_anyone_hears_of_the_death(kind: str, end: str) -> None:
    ref = spawn(kind)
    register("it", ref)
    successors: list[Any] = []
    monitor(ref, lambda _: successors.append(Pooled.start_link(name="it")))
    watch = Watch(ref)
    if end == "stop":
        stop(ref)
    elif end == "kill":
        kill(ref)
    else:
        cast(ref, Boom())
    watch.reason()
    assert [call("it", lambda actor: actor.actor_ref)] == successors


@every_kind
def test_the_caller_in_hand_finds_the_name_free_when_it_hears(kind: str) -> None:
    seen: list[Any] = []

    def ask() -> None:
        try:
            call("it", stuck)
        except Exception:
            seen.append(whereis("it"))

    ref = spawn(kind)
    register("it", ref)
    if kind == "raw":
        call("it", 1)
    stuck = Gate()
    with run(ask), stuck:
        assert stuck.entered.wait(DEADLINE_S)
        kill(ref)
    assert seen == [None]


@every_kind
def test_the_dead_get_no_name(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    stop(ref)
    watch.reason()
    with pytest.raises(NoProcess):
        register("it", ref)
    assert whereis("it") is None


@pytest.mark.parametrize("name", [None, 3, b"it", ("it",)])
def test_a_name_is_text(name: Any) -> None:
    with pytest.raises(TypeError, match="name"):
        register(name, Pooled.start_link())
    if name is not None:
        with pytest.raises(TypeError, match="name"):
            Pooled.start_link(name=name)


def test_a_name_is_not_empty() -> None:
    with pytest.raises(ValueError, match="name"):
        register("", Pooled.start_link())
    with pytest.raises(ValueError, match="name"):
        Pooled.start_link(name="")


def test_only_a_ref_can_be_registered() -> None:
    with pytest.raises(TypeError, match="ActorRef"):
        register("it", object())  # type: ignore[arg-type]


def test_an_unknown_name_is_no_process() -> None:
    assert whereis("nobody") is None
    unregister("nobody")
    cast("nobody", "dropped")
    kill("nobody")
    with pytest.raises(NoProcess):
        call("nobody", 1)
    with pytest.raises(NoProcess):
        stop("nobody")


@every_server
def test_a_taken_name_starts_nothing_and_leaves_its_owner_alone(cls: Any) -> None:
    ref = cls.start_link(name="it")
    ran: list[Any] = []
    with pytest.raises(AlreadyStarted) as raised:
        cls.start_link(None, ran, name="it")
    assert raised.value.ref is ref
    assert ran == []
    assert call("it", 1) == 1


@every_server
@pytest.mark.parametrize("outcome", [Boom, Ignore, SystemExit])
def test_a_name_is_free_the_moment_a_failed_start_returns(cls: Any, outcome: Any) -> None:
    for _ in range(100):
        if outcome is Ignore:
            assert cls.start_link({"on_start": Ignore()}, name="it") is None
        else:
            with pytest.raises(StartError):
                cls.start_link({"on_start": outcome()}, name="it")
        assert whereis("it") is None
    assert call(cls.start_link(name="it"), 1) == 1
