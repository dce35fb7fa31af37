"""Names: one live owner each, looked up at every send, free before anyone hears of a death."""

import contextlib
import threading
from typing import Any

import pytest
from pykka import ActorDeadError, ActorRegistry
from specimens import DEADLINE_S, Boom, Pooled, Stuck, Threaded, Watch, eventually, every_kind, run, spawn

from supervision import (
    AlreadyStarted,
    Crash,
    Ignore,
    NoProcess,
    ServerDied,
    StartError,
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
from supervision.lifecycle import names

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
    assert names._names.table == {}


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
    stuck = Stuck()
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
        assert names._names.table == {}


def test_a_successor_keeps_its_name_when_its_predecessor_is_cleaned_up_late() -> None:
    """The old owner has ended, but has not come to freeing its names yet."""
    ref = Pooled.start_link(name="it")
    reached, go = threading.Event(), threading.Event()
    release = names.release

    def late(owned: set[str], life: Any) -> None:
        if life.ref is ref:
            reached.set()
            assert go.wait(DEADLINE_S)
        release(owned, life)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "release", late)
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
    claim = names.claim

    def claim_and_kill(name: str, life: Any) -> None:
        claim(name, life)
        kill(name)

    ran: list[Any] = []
    monkeypatch.setattr(names, "claim", claim_and_kill)
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


class _Collects:
    """In the place of a lock: whoever takes it has the garbage collector run, with a finalizer that takes it, too."""

    def __init__(self, lock: Any, finalizer: Any) -> None:
        self._lock = lock
        self._finalizer = finalizer

    def __enter__(self) -> None:
        self._lock.acquire()
        finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer()

    def __exit__(self, *_raised: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("what", ["cast", "register", "monitor", "kill"])
def test_a_finalizer_inside_our_locks_does_not_deadlock(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ref, other = Pooled.start_link(), Pooled.start_link()
    handled: list[Any] = []

    def last_words() -> None:
        cast(ref, lambda _: handled.append("last words"))
        register("late", other)
        unregister("late")

    for lock in ("mailbox", "names"):
        with monkeypatch.context() as patch:
            if lock == "names":
                patch.setattr(names._names, "lock", _Collects(names._names.lock, last_words))
            else:
                ref.actor_inbox.lock = _Collects(ref.actor_inbox.lock, last_words)
            {
                "cast": lambda: cast(ref, "message"),
                "register": lambda lock=lock: register(lock, ref),
                "monitor": lambda: monitor(ref, lambda _: None),
                "kill": lambda: kill(ref),
            }[what]()
    if what != "kill":
        assert call(ref, 1) == 1
        assert handled


def test_a_finalizer_that_casts_registers_and_cancels_does_not_deadlock() -> None:
    """The garbage collector may run it at any allocation, also of ours, and on a thread that is just at work on them."""
    import gc

    ref = Pooled.start_link(name="it")
    handled: list[Any] = []

    class Garbage:
        def __init__(self) -> None:
            self.me = self
            self.timer = send_after(1_000, ref, "never")

        def __del__(self) -> None:
            cast(ref, lambda _: handled.append("last words"))
            self.timer.cancel()
            send_after(0, "it", lambda _: handled.append("last words"))
            unregister("nobody")

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(300):
            Garbage()
            cast("it", lambda _: handled.append("message"))
            send_after(1_000, ref, "never").cancel()
            register(f"{number}", ref)
            monitor(ref, lambda _: None)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    eventually(lambda: handled.count("message") == 300 and handled.count("last words") == 600)
