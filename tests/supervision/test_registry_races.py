"""Names at the start and the end of their owner: at whatever moment, one owner, and nobody waits in vain."""

import contextlib
import threading
from typing import Any

import pytest
from actors import Boom, Pooled, Threaded
from pykka import ActorDeadError, ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import (
    AlreadyStarted,
    Crash,
    NoProcess,
    ServerDied,
    StartError,
    call,
    cast,
    kill,
    register,
    stop,
    whereis,
)
from supervision.process import registry

every_server = pytest.mark.parametrize("cls", [Pooled, Threaded])


@every_server
def test_a_name_leads_to_an_actor_that_still_starts_and_messages_wait(cls: Any) -> None:
    entered, go = threading.Event(), threading.Event()
    handled: list[Any] = []

    def slow() -> None:
        entered.set()
        assert go.wait(DEADLINE_S)

    with run(lambda: cls.start_link({"on_start": slow}, name="it")):
        assert entered.wait(DEADLINE_S)
        cast("it", lambda _: handled.append("early"))
        go.set()
    call("it", lambda _: handled.append("late"))
    assert handled == ["early", "late"]


@every_server
def test_what_waits_for_an_actor_whose_start_fails_is_answered(cls: Any) -> None:
    entered, go = threading.Event(), threading.Event()
    boom = Boom()
    reasons: list[Any] = []

    def slow() -> None:
        entered.set()
        assert go.wait(DEADLINE_S)
        raise boom

    def start() -> None:
        with pytest.raises(StartError):
            cls.start_link({"on_start": slow}, name="it")

    def ask() -> None:
        with pytest.raises(ServerDied) as raised:
            call("it", 1)
        reasons.append(raised.value.reason)

    with run(start):
        assert entered.wait(DEADLINE_S)
        ref = whereis("it")
        assert ref is not None
        asked, stopped = ref.ask(1, block=False), ref.stop(block=False)
        with run(ask):
            eventually(lambda: ref.actor_inbox.qsize() == 3)  # type: ignore[attr-defined]
            go.set()
    assert reasons == [Crash(boom)]
    assert stopped.get(timeout=0) is True
    with pytest.raises(ActorDeadError):
        asked.get(timeout=0)


def test_many_who_want_one_name_get_one_owner() -> None:
    for _ in range(20):
        refs: list[Any] = []
        barrier = threading.Barrier(8)

        def start(refs: Any = refs, barrier: Any = barrier) -> None:
            barrier.wait(DEADLINE_S)
            with contextlib.suppress(AlreadyStarted):
                refs.append(Pooled.start_link(name="it"))

        with run(*[start] * 8):
            pass
        assert len(refs) == 1
        assert whereis("it") is refs[0]
        stop("it")


def test_a_name_given_at_the_moment_of_the_end_is_not_left_behind() -> None:
    for number in range(200):
        ref = Pooled.start_link()
        barrier = threading.Barrier(2)

        def name(ref: Any = ref, barrier: Any = barrier, number: int = number) -> None:
            barrier.wait(DEADLINE_S)
            for turn in range(5):
                try:
                    register(f"{number}.{turn}", ref)
                except NoProcess:
                    return

        def end(ref: Any = ref, barrier: Any = barrier) -> None:
            barrier.wait(DEADLINE_S)
            kill(ref)

        with run(name, end):
            pass
        assert registry._names.value.table == {}


def test_a_successor_keeps_its_name_when_its_predecessor_is_cleaned_up_late() -> None:
    """The old owner has ended, but has not come to freeing its names yet."""
    ref = Pooled.start_link(name="it")
    reached, go = threading.Event(), threading.Event()
    release = registry.release

    def late(owned: set[str], process: Any) -> None:
        if process.ref is ref:
            reached.set()
            assert go.wait(DEADLINE_S)
        release(owned, process)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "release", late)
        with run(lambda: kill(ref)):
            assert reached.wait(DEADLINE_S)
            assert whereis("it") is None
            successor = Pooled.start_link(name="it")
            go.set()
    assert whereis("it") is successor


@every_server
def test_one_killed_by_its_name_before_its_first_turn_fails_its_start(
    cls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = registry.claim

    def claim_and_kill(name: str, process: Any) -> None:
        claim(name, process)
        kill(name)

    ran: list[Any] = []
    monkeypatch.setattr(registry, "claim", claim_and_kill)
    with pytest.raises(StartError):
        cls.start_link(None, ran, name="it")
    assert ran == ["__init__"]
    assert whereis("it") is None
    assert ActorRegistry.get_all() == []


@every_server
def test_one_whose_name_is_taken_at_the_last_moment_is_dead(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refs: list[Any] = []
    owner = cls.start_link(name="it")
    monkeypatch.setattr("supervision.server.whereis", lambda _: None)
    with pytest.raises(AlreadyStarted) as raised:
        cls.start_link({"__init__": lambda: refs.extend(ActorRegistry.get_all())}, name="it")
    assert raised.value.ref is owner
    assert ActorRegistry.get_all() == [owner]


@every_server
def test_one_killed_in_its_own_init_fails_its_start(cls: Any) -> None:
    class Doomed(cls):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            kill(self.actor_ref)

    for name in ("it", None):
        with pytest.raises(StartError):
            Doomed.start_link(name=name)
    assert whereis("it") is None
    assert not Doomed.start().is_alive()
    assert ActorRegistry.get_all() == []
