"""Monitors: exactly one Down each, with the reason, whatever way and on whatever thread the actor ends."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from probes import ref_of
from specimens import (
    DEADLINE_S,
    SERVERS,
    Boom,
    Plain,
    Pooled,
    Stuck,
    Threaded,
    Watch,
    eventually,
    every_child,
    every_kind,
    run,
    spawn,
)

from supervision import (
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ChildSpec,
    Crash,
    Down,
    Exit,
    NoProcess,
    Server,
    ServerDied,
    Shutdown,
    Supervisor,
    call,
    cast,
    demonitor,
    kill,
    monitor,
    register,
    stop,
    unregister,
    whereis,
)
from supervision.lifecycle import names


class Watcher:
    """Collects what it is sent; on either kind of actor."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def on_receive(self, message: Any) -> Any:
        if message == "heard":
            return list(self.heard)
        if callable(message):
            return message(self)
        self.heard.append(message)
        return None


class PooledWatcher(Watcher, Server):
    pass


class PlainWatcher(Watcher, pykka.ThreadingActor):
    use_daemon_thread = True


every_watcher = pytest.mark.parametrize("watcher", [PooledWatcher, PlainWatcher])


@every_kind
@every_watcher
def test_a_watching_actor_gets_one_down_for_each_monitor(kind: str, watcher: Any) -> None:
    ref, mine = spawn(kind), watcher.start()
    first, second = monitor(ref, mine), monitor(ref, mine)
    assert first is not second
    done = Watch(ref)
    boom = Boom()
    cast(ref, boom)
    done.reason()
    assert [(down.monitor, down.ref, down.reason) for down in call(mine, "heard")] == [
        (first, ref, Crash(boom)),
        (second, ref, Crash(boom)),
    ]


@every_kind
def test_the_reason_is_the_one_that_the_end_hook_got(kind: str) -> None:
    told: list[Any] = []
    ref = spawn(kind, {"on_terminate": told.append, "on_failure": lambda error: told.append(Crash(error))})
    watch = Watch(ref)
    cast(ref, Boom())
    assert told == [watch.reason()]


@every_kind
def test_a_watch_over_the_dead_hears_noproc_at_once(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    stop(ref)
    watch.reason()
    downs: list[Down] = []
    made = monitor(ref, downs.append)
    assert [(down.monitor, down.ref, down.reason) for down in downs] == [(made, ref, NOPROC)]


def test_so_does_one_over_an_unknown_name() -> None:
    downs: list[Down] = []
    monitor("nobody", downs.append)
    assert [(down.ref, down.reason) for down in downs] == [("nobody", NOPROC)]
    mine = PooledWatcher.start_link()
    monitor("nobody", mine)
    assert [down.reason for down in call(mine, "heard")] == [NOPROC]


def test_a_watch_by_name_is_over_the_incarnation_of_that_moment() -> None:
    ref = Pooled.start_link(name="it")
    downs: list[Down] = []
    made = monitor("it", downs.append)
    assert made.ref is ref
    stop("it")
    Pooled.start_link(name="it")
    stop("it")
    assert [down.ref for down in downs] == [ref]


@every_watcher
@pytest.mark.parametrize("kind", ["pooled", "raw"])
def test_demonitor_takes_back_a_down_that_lies_in_the_mailbox(watcher: Any, kind: str) -> None:
    ref, mine = spawn(kind), watcher.start()
    in_hand = call(mine, lambda _: None) or Stuck()
    with in_hand:
        mine.tell(in_hand)
        assert in_hand.entered.wait(DEADLINE_S)
        dropped, kept = monitor(ref, mine), monitor(ref, mine)
        done = Watch(ref)
        stop(ref)
        done.reason()
        assert not mine.actor_inbox.empty()
        demonitor(dropped)
        demonitor(dropped)
    assert [down.monitor for down in call(mine, "heard")] == [kept]


@every_kind
def test_after_demonitor_nobody_is_told(kind: str) -> None:
    ref = spawn(kind)
    downs: list[Any] = []
    made = monitor(ref, downs.append)
    demonitor(made)
    watch = Watch(ref)
    stop(ref)
    watch.reason()
    demonitor(made)
    assert downs == []


@every_kind
def test_a_watcher_may_take_back_another_that_is_just_to_be_told(kind: str) -> None:
    ref = spawn(kind)
    downs: list[Any] = []
    others: list[Any] = []
    monitor(ref, lambda _: demonitor(others[0]))
    others.append(monitor(ref, downs.append))
    watch = Watch(ref)
    stop(ref)
    watch.reason()
    assert downs == []


def test_an_actor_that_demonitors_in_a_handler_hears_nothing_after_it() -> None:
    """The death happens at any moment of that handler; what counts is what comes after demonitor has returned."""
    for _ in range(200):
        mine, ref = PooledWatcher.start_link(), Pooled.start_link()
        made = monitor(ref, mine)

        def drops(watcher: Any, made: Any = made) -> None:
            demonitor(made)
            watcher.heard.clear()

        with run(lambda ref=ref: stop(ref), lambda mine=mine, drops=drops: call(mine, drops)):
            pass
        assert call(mine, "heard") == []


@every_kind
def test_a_monitor_races_the_end_and_hears_of_it_once(kind: str) -> None:
    for _ in range(20):
        ref = spawn(kind)
        downs: list[Any] = []
        barrier = threading.Barrier(5)

        def watch(ref: Any = ref, downs: Any = downs, barrier: Any = barrier) -> None:
            barrier.wait(DEADLINE_S)
            monitor(ref, downs.append)

        def end(ref: Any = ref, barrier: Any = barrier) -> None:
            barrier.wait(DEADLINE_S)
            kill(ref)

        with run(*[watch] * 4, end):
            pass
        eventually(lambda downs=downs: len(downs) == 4)
        assert {down.reason for down in downs} <= {KILLED, NOPROC}
        assert len({down.monitor for down in downs}) == 4


class _EndsItFirst:
    """In the place of a mailbox's lock: whoever takes it finds that the actor has ended at the last moment."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref
        self._lock = ref.actor_inbox.lock
        self._ended = False

    def __enter__(self) -> None:
        if not self._ended:
            self._ended = True
            kill(self._ref)
        self._lock.acquire()

    def __exit__(self, *_raised: object) -> None:
        self._lock.release()


@every_kind
def test_an_end_at_the_last_moment_before_monitor_or_register(kind: str) -> None:
    downs: list[Any] = []
    for function in (lambda ref: monitor(ref, downs.append), lambda ref: register("it", ref)):
        ref = spawn(kind)
        assert call(ref, 1) == 1
        watch = Watch(ref)
        ref.actor_inbox.lock = _EndsItFirst(ref)
        with contextlib.suppress(NoProcess):
            function(ref)
        assert watch.reason() == KILLED
    assert [down.reason for down in downs] == [NOPROC]
    assert whereis("it") is None
    assert names._names.table == {}


@pytest.mark.parametrize("error", [Boom, SystemExit, KeyboardInterrupt])
def test_a_watcher_that_raises_keeps_the_others_from_nothing(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    def raises(_: Down) -> None:
        raise error

    for cls in (Pooled, Threaded, Plain):
        ref = cls.start()
        downs: list[Any] = []
        for watcher in (raises, downs.append, raises, downs.append):
            monitor(ref, watcher)
        watch = Watch(ref)
        cast(ref, Boom())
        watch.reason()
        assert len(downs) == 2
    assert "watcher_failed" in caplog.text


def test_a_ctrl_c_in_a_watcher_while_the_main_thread_kills_comes_after_all_have_been_told() -> None:
    def interrupted(_: Down) -> None:
        raise KeyboardInterrupt

    ref = Threaded.start_link(name="it")
    thread = call(ref, lambda _: threading.current_thread())
    downs: list[Any] = []
    monitor(ref, interrupted)
    monitor(ref, downs.append)
    with pytest.raises(KeyboardInterrupt):
        kill(ref)
    assert [down.reason for down in downs] == [KILLED]
    assert whereis("it") is None
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_a_watcher_may_look_at_the_dead_and_at_everybody_else() -> None:
    ref, other = Pooled.start_link(name="it"), Pooled.start_link()
    seen: list[Any] = []

    def looks(down: Down) -> None:
        seen.append((whereis("it"), down.ref.is_alive(), call(other, "alive")))
        Pooled.start_link(name="it")

    monitor(ref, looks)
    kill(ref)
    assert seen == [(None, False, "alive")]
    assert whereis("it") is not None


@every_kind
def test_a_watcher_on_the_dead_actors_thread_may_do_all_that_others_may(kind: str) -> None:
    ref, other = spawn(kind), Pooled.start_link(name="other")
    seen: list[Any] = []

    def acts(down: Down) -> None:
        unregister("other")
        register("again", other)
        seen.append((threading.current_thread(), call("again", 1), whereis("other")))
        seen.append(Pooled.start_link(name="successor"))
        stop("again")

    assert call(ref, 1) == 1
    monitor(ref, acts)
    watch = Watch(ref)
    cast(ref, Boom())
    watch.reason()
    assert seen[0][0] is not threading.current_thread()
    assert seen[0][1:] == (1, None)
    assert whereis("successor") is seen[1]
    assert whereis("again") is None


def test_a_dead_watcher_is_refused() -> None:
    ref, mine = Pooled.start_link(), PooledWatcher.start_link()
    stop(mine)
    with pytest.raises(NoProcess):
        monitor(ref, mine)
    with pytest.raises(TypeError, match="watcher"):
        monitor(ref, "a name")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="server"):
        monitor(3, lambda _: None)  # type: ignore[arg-type]


def test_a_watcher_that_dies_first_is_no_harm() -> None:
    ref, mine = Pooled.start_link(), PooledWatcher.start_link()
    monitor(ref, mine)
    stop(mine)
    watch = Watch(ref)
    stop(ref)
    assert watch.reason() == NORMAL


@pytest.mark.parametrize("kind", SERVERS)
def test_an_actor_that_watches_itself_is_no_harm(kind: str) -> None:
    ref = spawn(kind)
    monitor(ref, ref)
    watch = Watch(ref)
    stop(ref)
    assert watch.reason() == NORMAL


def test_a_monitor_says_whom_it_watches() -> None:
    ref = Pooled.start_link()
    assert str(ref) in repr(monitor(ref, lambda _: None))


# --- a Down is a value ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detail", ["why", ["not", "hashable"]])
def test_a_down_equals_one_that_says_the_same(detail: Any) -> None:
    ref, heard = Pooled.start_link(), queue.SimpleQueue[Down]()
    made = monitor(ref, heard.put)
    cast(ref, Exit(Shutdown(detail)))
    got = heard.get(timeout=DEADLINE_S)
    same = Down(made, ref, Shutdown(detail))
    assert got == same
    assert {got} == {same}
    assert got != Down(made, ref, NORMAL)
    assert got != Down(monitor(ref, heard.put), ref, Shutdown(detail))


# --- a callable that blocks -------------------------------------------------------------------------------------------


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    with Stuck() as made:
        yield made


@every_kind
@every_watcher
@pytest.mark.parametrize("how", ["crash", "kill", "stop"])
def test_those_who_block_are_told_after_everybody_else(how: str, kind: str, watcher: Any, stuck: Stuck) -> None:
    """A watching actor hears, names are free, callers have their answers, and a stop returns."""
    ref, mine = spawn(kind), watcher.start()
    register("it", ref)
    monitor(ref, stuck)
    monitor(ref, mine)
    with run(lambda: kill(ref) if how == "kill" else None):
        if how == "crash":
            cast(ref, Boom())
        elif how == "stop":
            stop("it", timeout=DEADLINE_S)
        assert stuck.entered.wait(DEADLINE_S)
        assert whereis("it") is None
        assert len(call(mine, "heard")) == 1
        with pytest.raises(NoProcess):
            call(ref, 1)
        stuck.go()


@every_child
@pytest.mark.parametrize("how", ["asked", "killed"])
def test_a_supervisor_does_not_wait_for_those_who_block(how: str, cls: Any, stuck: Stuck) -> None:
    """Neither for the thread that they run on, nor on its own."""
    sup = Supervisor.start_link([ChildSpec("x", cls, shutdown="brutal_kill" if how == "killed" else 0.1)])
    monitor(ref_of(sup, "x"), stuck)
    with run(lambda: Supervisor.terminate_child(sup, "x")):
        assert stuck.entered.wait(DEADLINE_S)
    assert not stuck.left.is_set()
    assert [row.state for row in Supervisor.which_children(sup)] == ["stopped"]


@every_child
def test_a_crashed_child_is_restarted_while_they_block(cls: Any, stuck: Stuck) -> None:
    sup = Supervisor.start_link([ChildSpec("x", cls)])
    first = ref_of(sup, "x")
    monitor(first, stuck)
    cast(first, SystemExit())
    assert stuck.entered.wait(DEADLINE_S)
    assert ref_of(sup, "x") is not first
    assert not stuck.left.is_set()


@every_child
def test_a_killed_supervisors_children_are_cut_loose_while_they_block(cls: Any, stuck: Stuck) -> None:
    """The children that are killed at once do not keep the others from being asked to leave."""
    spec = ChildSpec("a", cls, shutdown="brutal_kill")
    sup = Supervisor.start_link([spec, ChildSpec("b", cls, shutdown="infinity")])
    last = Watch(ref_of(sup, "b"))
    monitor(ref_of(sup, "a"), stuck)
    kill(sup)
    assert last.reason() == SHUTDOWN
    assert stuck.entered.wait(DEADLINE_S)
    assert not stuck.left.is_set()


@every_kind
def test_an_asker_whose_call_ends_the_actor_does_not_wait_for_those_who_block(kind: str, stuck: Stuck) -> None:
    ref = spawn(kind)
    monitor(ref, stuck)
    with pytest.raises(ServerDied):
        call(ref, Exit(), timeout=DEADLINE_S)
    assert not stuck.left.is_set()


@every_kind
def test_callables_keep_their_order(kind: str) -> None:
    ref, heard, last = spawn(kind), [], threading.Event()
    for number in range(5):
        monitor(ref, lambda down, number=number: heard.append((number, down.reason)))  # type: ignore[misc]
    monitor(ref, lambda _: last.set())
    stop(ref)
    assert last.wait(DEADLINE_S)
    assert heard == [(number, NORMAL) for number in range(5)]
