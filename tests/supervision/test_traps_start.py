"""Pykka's traps at the start of an actor."""

import queue
import threading
from typing import Any

import pytest
from actors import CHILDREN, Boom, Plain, Pooled, Threaded, end_hooks, every_base, every_child, spawn
from children import Watch, World, quiet, ref_of
from pykka import ActorRegistry
from threads import DEADLINE_S, run

from supervision import SHUTDOWN, ChildSpec, Exit, StartError, Supervisor, call, cast, send_after, whereis
from supervision.runtime import dispatcher
from supervision.runtime.dispatcher import OwnThread


@pytest.fixture
def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From here on no thread can be started; the pool has none yet."""
    monkeypatch.setattr(dispatcher._pool, "value", dispatcher._Pool())

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def begin() -> None:
        monkeypatch.setattr(threading.Thread, "start", refuse)

    yield begin
    monkeypatch.undo()


# --- P3, P4: a start that fails is heard of ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pooled", "threaded", "managed"])
def test_p3_a_start_returns_only_after_on_start(kind: str) -> None:
    entered, go, back = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert go.wait(DEADLINE_S)

    def start() -> None:
        spawn(kind, {"on_start": slow})
        back.set()

    with run(start):
        assert entered.wait(DEADLINE_S)
        assert not back.is_set()
        go.set()
        assert back.wait(DEADLINE_S)


@pytest.mark.parametrize(
    "start", [Plain, Plain.start, lambda *args: Plain.start(*args)], ids=["class", "start", "callable"]
)
def test_p3_a_supervised_start_waits_for_on_start_and_gives_its_error(start: Any) -> None:
    go, boom = threading.Event(), Boom()

    def slow() -> None:
        assert go.wait(DEADLINE_S)
        raise boom

    threading.Timer(0.05, go.set).start()
    with pytest.raises(StartError) as raised:
        Supervisor.start_link([ChildSpec("it", start, ({"on_start": slow},), name="it")])
    assert raised.value.child_id == "it"
    assert raised.value.cause is boom
    assert whereis("it") is None
    assert ActorRegistry.get_all() == []


@pytest.mark.parametrize("cls", [Pooled, Threaded])
@pytest.mark.parametrize("hook", ["__init__", "on_start"])
@pytest.mark.parametrize("base", [Boom, SystemExit, Exit], ids=lambda base: base.__name__)
def test_p4_whatever_a_start_raises_is_a_start_error(cls: Any, hook: str, error: BaseException) -> None:
    with pytest.raises(StartError) as raised:
        cls.start_link({hook: error}, name="it")
    assert raised.value.cause is error
    assert whereis("it") is None
    assert ActorRegistry.get_all() == []


@every_child
@pytest.mark.parametrize("hook", ["__init__", "on_start"])
@every_base
def test_p4_p7_a_base_exception_in_a_childs_start_fails_that_start_only(
    cls: Any, hook: str, error: BaseException, onlooker: Any
) -> None:
    sup = Supervisor.start_link([])
    with pytest.raises(StartError) as raised:
        Supervisor.start_child(sup, ChildSpec("it", cls, ({hook: error},)))
    assert raised.value.cause is error
    assert Supervisor.which_children(sup) == []
    assert call(onlooker, 1) == 1
    assert len(ActorRegistry.get_all()) == 2


def test_p4_a_ctrl_c_in_init_on_the_main_thread_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt):
        Pooled.start_link({"__init__": KeyboardInterrupt()})


@pytest.mark.parametrize("cls", [Pooled, Threaded])
def test_p4_a_keyboard_interrupt_that_on_start_raised_is_none(cls: Any) -> None:
    error = KeyboardInterrupt()
    with pytest.raises(StartError) as raised:
        cls.start_link({"on_start": error})
    assert raised.value.cause is error


# --- P7: a BaseException in on_start ----------------------------------------------------------------------------------


@every_base
def test_p7_a_supervisor_hears_what_a_start_callable_died_of(error: BaseException, onlooker: Any) -> None:
    ran: list[Any] = []
    with pytest.raises(StartError) as raised:
        Supervisor.start_link([ChildSpec("it", lambda: Plain.start({"on_start": error}, ran))])
    assert raised.value.cause is error
    assert ActorRegistry.get_all() == [onlooker]
    assert end_hooks(ran) == []


# --- P9: no thread to be had ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Pooled, Threaded])
@pytest.mark.parametrize("how", ["start_link", "start"])
def test_p9_a_start_without_a_thread_fails_and_leaves_nothing(cls: Any, how: str, no_more_threads: Any) -> None:
    no_more_threads()
    if how == "start_link":
        with pytest.raises(StartError) as raised:
            cls.start_link(name="it")
        assert isinstance(raised.value.cause, RuntimeError)
    else:
        with pytest.raises(RuntimeError):
            cls.start()
    assert ActorRegistry.get_all() == []
    assert whereis("it") is None


def test_p9_a_restart_without_a_thread_counts_as_a_failed_one(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    from children import PlainProbe, die

    sup = Supervisor.start_link([world.spec("it", PlainProbe)], max_restarts=2)
    ref = ref_of(sup, "it")
    watch = Watch(sup)
    monkeypatch.setattr(threading.Thread, "start", _refuse)
    die(ref, Boom())
    assert watch.reason() == SHUTDOWN
    monkeypatch.undo()
    assert ActorRegistry.get_all() == []


def _refuse(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_p9_so_does_a_start_in_a_callable(monkeypatch: pytest.MonkeyPatch) -> None:
    sup = Supervisor.start_link([])
    monkeypatch.setattr(threading.Thread, "start", _refuse)
    with pytest.raises(StartError) as raised:
        Supervisor.start_child(sup, ChildSpec("it", lambda: Plain.start()))
    assert isinstance(raised.value.cause, RuntimeError)
    assert ActorRegistry.get_all() == [sup]


def test_p9_the_pool_goes_on_once_there_are_threads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ref, timers_run = Pooled.start_link(), threading.Event()
    send_after(0, ref, lambda _: timers_run.set())
    assert timers_run.wait(DEADLINE_S)
    with monkeypatch.context() as patch:
        patch.setattr(dispatcher._pool, "value", dispatcher._Pool())
        with patch.context() as starved:
            starved.setattr(threading.Thread, "start", _refuse)
            asked = ref.ask("patience", block=False)
        assert asked.get(timeout=DEADLINE_S) == "patience"


def test_p9_a_timer_without_a_thread_fails_and_the_next_one_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from supervision.runtime import timer_thread

    ref = Pooled.start_link()
    monkeypatch.setattr(timer_thread._timer_thread, "value", timer_thread._TimerThread(timer_thread.now))
    with monkeypatch.context() as starved:
        starved.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError):
            send_after(0, ref, "never")
    fired = threading.Event()
    send_after(0, ref, lambda _: fired.set())
    assert fired.wait(DEADLINE_S)


# --- P10: the next incarnation waits for the last one's hooks and thread -----------------------------------------------


@every_child
def test_p10_a_restart_waits_for_the_end_hook_and_the_thread(cls: Any) -> None:
    in_hook, go = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []
    overlaps: list[Any] = []
    up: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def starts() -> None:
        if cls is not Pooled:
            overlaps.extend(thread for thread in threads if thread.is_alive())
        threads.append(threading.current_thread())
        up.put(None)

    def ends(_: Any) -> None:
        in_hook.set()
        assert go.wait(DEADLINE_S)

    does = {"on_start": starts, "on_terminate": ends, "on_failure": ends}
    sup = Supervisor.start_link([ChildSpec("it", cls, (does,))])
    up.get(timeout=DEADLINE_S)
    cast(ref_of(sup, "it"), Boom())
    assert in_hook.wait(DEADLINE_S)
    assert Supervisor.count_children(sup).specs == 1  # it answers, so it has handled all that it was sent before
    assert up.empty()
    does.pop("on_terminate"), does.pop("on_failure")
    go.set()
    up.get(timeout=DEADLINE_S)
    assert not overlaps
    assert quiet(sup)


@pytest.mark.parametrize("cls", [cls for kind, cls in CHILDREN.items() if kind != "pooled"], ids=[*CHILDREN][1:])
def test_p10_a_restart_waits_until_the_old_thread_is_gone(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it has its last hook behind it, and lingers."""
    lingers, go = threading.Event(), threading.Event()
    up: queue.SimpleQueue[Any] = queue.SimpleQueue()
    run_out = OwnThread.run

    def run_and_linger(self: Any, process: Any) -> None:
        run_out(self, process)
        if process.ref.actor_class is not Supervisor:
            lingers.set()
            assert go.wait(DEADLINE_S)

    monkeypatch.setattr(OwnThread, "run", run_and_linger)
    sup = Supervisor.start_link([ChildSpec("it", cls, ({"on_start": lambda: up.put(None)},))])
    up.get(timeout=DEADLINE_S)
    cast(ref_of(sup, "it"), Boom())
    assert lingers.wait(DEADLINE_S)
    # The supervisor waits for that thread and answers nothing meanwhile, so no event tells that the wait has begun.
    with pytest.raises(queue.Empty):
        up.get(timeout=0.05)
    go.set()
    up.get(timeout=DEADLINE_S)
    assert quiet(sup)
