"""Monitors: exactly one Down each, with the reason, whatever way and on whatever thread the actor ends."""

import queue
import threading
from typing import Any

import pytest
from actors import SERVERS, Boom, Plain, Pooled, PooledWatcher, Threaded, begin, every_kind, every_watcher, spawn
from children import Watch
from threads import DEADLINE_S

from supervision import (
    KILLED,
    NOPROC,
    NORMAL,
    Crash,
    Down,
    Exit,
    NoProcess,
    Shutdown,
    call,
    cast,
    kill,
    monitor,
    register,
    stop,
    unregister,
    whereis,
)


@every_kind
@every_watcher
def test_a_watching_actor_gets_one_down_for_each_monitor(kind: str, watcher: Any) -> None:
    ref, mine = spawn(kind), begin(watcher)
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


@pytest.mark.parametrize("error", [Boom, SystemExit, KeyboardInterrupt])
def test_a_watcher_that_raises_keeps_the_others_from_nothing(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    def raises(_: Down) -> None:
        raise error

    for cls in (Pooled, Threaded, Plain):
        ref = begin(cls)
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
