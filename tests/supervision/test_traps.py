"""Pykka's traps (what its actors do that a supervisor must not let happen), one test or more for each."""

import asyncio
import contextlib
import inspect
import queue
import threading
from typing import Any

import pykka
import pytest
from probes import World, quiet, ref_of
from pykka import ActorDeadError, ActorRegistry
from pykka._envelope import Envelope
from specimens import (
    DEADLINE_S,
    KINDS,
    PLAIN,
    SERVERS,
    Plain,
    Pooled,
    Stuck,
    Threaded,
    Watch,
    elsewhere,
    end_hooks,
    eventually,
    run,
    spawn,
)

from supervision import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    CallTimeout,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    Exit,
    NoProcess,
    Server,
    ServerDied,
    Shutdown,
    StartError,
    SupervisionError,
    Supervisor,
    call,
    cast,
    dispatch,
    kill,
    monitor,
    register,
    send_after,
    stop,
    unregister,
    whereis,
)
from supervision.lifecycle import OwnThread, abandoned_count, life_of

Boom = type("Boom", (Exception,), {})
BASES = [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_server = pytest.mark.parametrize("kind", SERVERS)
every_plain = pytest.mark.parametrize("kind", PLAIN)
CHILDREN = {"pooled": Pooled, "threaded": Threaded, "managed": Plain, "raw": lambda *args: Plain.start(*args)}
GUESTS = {**CHILDREN, "taken over": lambda *args: elsewhere(Plain.start, *args)}
every_child = pytest.mark.parametrize("cls", CHILDREN.values(), ids=CHILDREN.keys())
every_guest = pytest.mark.parametrize("cls", GUESTS.values(), ids=GUESTS.keys())
every_base = pytest.mark.parametrize("error", BASES, indirect=True, ids=lambda base: base.__name__)
a_thread_may_die = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def error(request: pytest.FixtureRequest) -> BaseException:
    """A new one for each test: an exception remembers where it has been."""
    made: BaseException = request.param()
    return made


@pytest.fixture
def bystander() -> Any:
    """An actor that has nothing to do with it, and must never notice."""
    return Pooled.start_link()


def no_raw_thread() -> bool:
    """Whether every thread of a plain actor has come to its end, and whatever it dies of been reported."""
    return not any(thread.name.startswith("Plain") for thread in threading.enumerate())


@pytest.fixture
def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From here on no thread can be started; the pool has none yet."""
    monkeypatch.setattr(dispatch, "_pool", dispatch._Pool())

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def begin() -> None:
        monkeypatch.setattr(threading.Thread, "start", refuse)

    yield begin
    monkeypatch.undo()


# --- P1: an error under ask, and one under tell -----------------------------------------------------------------------


@every_plain
def test_p1_an_error_under_ask_is_the_callers_and_a_pykka_actor_lives_on(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    with pytest.raises(Boom):
        ref.ask(Boom(), timeout=DEADLINE_S)
    with pytest.raises(Boom):
        call(ref, Boom())
    assert call(ref, "still here") == "still here"
    assert end_hooks(ran) == []


@every_server
def test_p1_an_error_under_call_is_the_callers_and_a_server_crashes(kind: str) -> None:
    boom = Boom()
    ref = spawn(kind)
    watch = Watch(ref)
    with pytest.raises(Boom) as raised:
        call(ref, boom)
    assert raised.value is boom
    assert watch.reason() == Crash(boom)


@every_server
def test_p1_a_server_may_opt_out_of_that(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pooled, "crash_on_call_error", False)
    ref = spawn(kind)
    with pytest.raises(Boom):
        call(ref, Boom())
    assert call(ref, "still here") == "still here"


@every_kind
def test_p1_an_error_under_tell_is_a_crash(kind: str) -> None:
    boom, ran = Boom(), []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    ref.tell(boom)
    assert watch.reason() == Crash(boom)
    assert end_hooks(ran) == (["on_terminate"] if kind in SERVERS else ["on_failure"])


# --- P2: one end hook, once -------------------------------------------------------------------------------------------

ENDS: dict[str, Any] = {
    "stop": lambda ref: stop(ref),
    "Pykka's stop": lambda ref: ref.stop(timeout=DEADLINE_S),
    "Pykka's stop, told": lambda ref: ref.tell(lambda actor: actor.stop()),
    "Exit": lambda ref: cast(ref, Exit()),
    "Exit under call": lambda ref: _call_to_death(ref, Exit()),
    "crash": lambda ref: cast(ref, Boom()),
    "SystemExit": lambda ref: cast(ref, SystemExit()),
    "stop_all": lambda ref: ActorRegistry.stop_all(timeout=DEADLINE_S),
}


def _call_to_death(ref: Any, message: Any) -> None:
    with pytest.raises(ServerDied):
        call(ref, message)


@every_kind
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_p2_exactly_one_end_hook_runs_at_every_end(kind: str, end: Any) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    end(ref)
    failed = isinstance(watch.reason(), Crash)
    expected = "on_terminate" if kind in SERVERS else "on_failure" if failed else "on_stop"
    assert end_hooks(ran) == [expected]
    assert len(watch.downs) == 1


@every_kind
@a_thread_may_die
@pytest.mark.parametrize("error", [Boom, Exit, SystemExit], indirect=True, ids=lambda kind: kind.__name__)
def test_p2_no_end_hook_runs_where_the_start_failed(kind: str, error: BaseException) -> None:
    ran: list[Any] = []
    if kind == "raw":
        ref = spawn(kind, {"on_start": error}, ran)
        monitor(ref, lambda _: None)
        eventually(lambda: not ref.is_alive())
        eventually(no_raw_thread)
    else:
        with pytest.raises(StartError) as raised:
            spawn(kind, {"on_start": error}, ran)
        assert raised.value.cause is error
    assert end_hooks(ran) == []


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
@pytest.mark.parametrize("error", [Boom, SystemExit, Exit], indirect=True, ids=lambda kind: kind.__name__)
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
    cls: Any, hook: str, error: BaseException, bystander: Any
) -> None:
    sup = Supervisor.start_link([])
    with pytest.raises(StartError) as raised:
        Supervisor.start_child(sup, ChildSpec("it", cls, ({hook: error},)))
    assert raised.value.cause is error
    assert Supervisor.which_children(sup) == []
    assert call(bystander, 1) == 1
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


# --- P5: no message is lost between the last look and the end ---------------------------------------------------------


@every_kind
def test_p5_what_waits_in_the_mailbox_at_the_end_is_answered(kind: str) -> None:
    ref = spawn(kind)
    boom = Boom()
    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            call(ref, 1)
        except ServerDied as error:
            outcomes.put(error.reason)

    with Stuck() as stuck:
        stuck.then = lambda _: (_ for _ in ()).throw(boom)
        stuck.grip(ref)
        watch = Watch(ref)
        asked, stopped = ref.ask(1, block=False), ref.stop(block=False)
        with run(ask, ask):
            eventually(lambda: len(life_of(ref).mailbox._arrived) >= 4)  # type: ignore[union-attr]
            stuck.go()
    assert outcomes.get(timeout=DEADLINE_S) == outcomes.get(timeout=DEADLINE_S) == watch.reason() == Crash(boom)
    with pytest.raises(ActorDeadError):
        asked.get(timeout=DEADLINE_S)
    assert stopped.get(timeout=DEADLINE_S) is True


@every_kind
def test_p5_what_comes_after_the_end_is_answered_too(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    inbox = ref.actor_inbox  # of somebody who has seen it alive a moment ago
    ref.stop(timeout=DEADLINE_S)
    watch.reason()
    asked = pykka.ThreadingFuture[Any]()
    inbox.put(Envelope(1, asked))
    with pytest.raises(ActorDeadError):
        asked.get(timeout=0)
    with pytest.raises(ActorDeadError):
        inbox.put(Envelope(1))
    with pytest.raises(ActorDeadError):
        ref.ask(1, timeout=DEADLINE_S)
    with pytest.raises(NoProcess):
        call(ref, 1)
    assert ref.stop(timeout=DEADLINE_S) is False


# --- P6: a BaseException in a handler ---------------------------------------------------------------------------------


@every_kind
@every_base
@pytest.mark.parametrize("how", ["tell", "ask", "call"])
def test_p6_a_base_exception_in_a_handler_ends_that_actor_only(
    kind: str, error: BaseException, how: str, bystander: Any
) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    if how == "tell":
        ref.tell(error)
    elif how == "ask":
        with pytest.raises(ActorDeadError):
            ref.ask(error, timeout=DEADLINE_S)
    else:
        with pytest.raises(ServerDied) as raised:
            call(ref, error)
        assert raised.value.reason == Crash(error)
    assert watch.reason() == Crash(error)
    assert len(end_hooks(ran)) == 1
    assert call(bystander, 1) == 1
    assert ref not in ActorRegistry.get_all()


@every_base
@pytest.mark.parametrize("asks", [True, False], ids=["ask", "tell"])
def test_p6_a_base_exception_in_the_message_in_hand_at_the_take_over(
    error: BaseException, asks: bool, bystander: Any
) -> None:
    ran: list[Any] = []
    ref = Plain.start(None, ran)
    with Stuck() as stuck:
        stuck.then = lambda _: (_ for _ in ()).throw(error)
        asked = ref.ask(stuck, block=False) if asks else ref.tell(stuck)
        assert stuck.entered.wait(DEADLINE_S)
        watch = Watch(ref)
        after = ref.ask("queued", block=False)
        stuck.go()
        assert watch.reason() == Crash(error)
    for future in filter(None, [asked, after]):
        with pytest.raises(ActorDeadError):
            future.get(timeout=DEADLINE_S)
    assert end_hooks(ran) == ["on_failure"]
    assert call(bystander, 1) == 1
    assert len(watch.downs) == 1


@every_server
@every_base
def test_p6_a_base_exception_in_on_continue_is_a_crash(kind: str, error: BaseException, bystander: Any) -> None:
    ran: list[Any] = []
    ref = spawn(kind, {"on_continue": error}, ran)
    eventually(lambda: not ref.is_alive())
    assert end_hooks(ran) == ["on_terminate"]
    assert call(bystander, 1) == 1


# --- P7: a BaseException in on_start ----------------------------------------------------------------------------------


@every_base
@a_thread_may_die
@pytest.mark.parametrize("when", ["before it is watched", "while it is watched"])
def test_p7_a_base_exception_in_a_raw_actors_on_start_leaves_no_zombie(error: BaseException, when: str) -> None:
    go = threading.Event()

    def fail() -> None:
        assert go.wait(DEADLINE_S)
        raise error

    ref = Plain.start({"on_start": fail})
    if when == "before it is watched":
        go.set()
        eventually(no_raw_thread)
    asked = ref.ask("to a zombie", block=False)
    watch = Watch(ref)
    go.set()
    assert isinstance(watch.reason(), Crash)
    with pytest.raises(ActorDeadError):
        asked.get(timeout=DEADLINE_S)
    assert ref.stop(timeout=DEADLINE_S) is False
    assert ActorRegistry.get_all() == []
    eventually(no_raw_thread)


@every_base
def test_p7_a_supervisor_hears_what_a_start_callable_died_of(error: BaseException, bystander: Any) -> None:
    ran: list[Any] = []
    with pytest.raises(StartError) as raised:
        Supervisor.start_link([ChildSpec("it", lambda: Plain.start({"on_start": error}, ran))])
    assert raised.value.cause is error
    assert ActorRegistry.get_all() == [bystander]
    assert end_hooks(ran) == []


# --- P8, P26: what the end hooks raise --------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("error", [Boom, *BASES], indirect=True, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("crashes", [True, False], ids=["crash", "stop"])
def test_p8_what_an_end_hook_raises_changes_nothing(
    kind: str, error: BaseException, crashes: bool, bystander: Any
) -> None:
    ran: list[Any] = []
    boom = Boom()
    ref = spawn(kind, dict.fromkeys(("on_terminate", "on_stop", "on_failure"), error), ran)
    with Stuck() as stuck:
        stuck.then = lambda actor: (_ for _ in ()).throw(boom) if crashes else actor.stop()
        stuck.grip(ref)
        watch = Watch(ref)
        stopped = ref.stop(block=False)
        asked = ref.ask(1, block=False)
        stuck.go()
    assert watch.reason() == (Crash(boom) if crashes else NORMAL)
    assert stopped.get(timeout=DEADLINE_S) is True
    with pytest.raises(ActorDeadError):
        asked.get(timeout=DEADLINE_S)
    assert len(end_hooks(ran)) == 1
    assert len(watch.downs) == 1
    assert call(bystander, 1) == 1


@every_plain
def test_p26_the_death_is_told_without_any_help_from_on_failure(kind: str) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def tells_itself(_: Any) -> None:
        holder[0].tell("from on_failure, where it counts as dead")

    ref = spawn(kind, {"on_failure": tells_itself})
    holder = [ref]
    monitor(ref, told.put)
    ref.tell(Boom())
    assert isinstance(told.get(timeout=DEADLINE_S).reason, Crash)


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
    from probes import PlainProbe, die

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
    ref = Pooled.start_link()
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "_pool", dispatch._Pool())
        with patch.context() as starved:
            starved.setattr(threading.Thread, "start", _refuse)
            asked = ref.ask("patience", block=False)
        assert asked.get(timeout=DEADLINE_S) == "patience"


def test_p9_a_timer_without_a_thread_fails_and_the_next_one_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from supervision import alarm

    ref = Pooled.start_link()
    monkeypatch.setattr(alarm, "_clockwork", alarm._Clockwork(alarm.now))
    with monkeypatch.context() as starved:
        starved.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError):
            send_after(0, ref, "never")
    fired = threading.Event()
    send_after(0, ref, lambda _: fired.set())
    assert fired.wait(DEADLINE_S)


# --- P10: the next incarnation waits for the last one's hooks and thread -----------------------------------------------


@every_guest
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
    with pytest.raises(queue.Empty):
        up.get(timeout=0.05)
    does.pop("on_terminate"), does.pop("on_failure")
    go.set()
    up.get(timeout=DEADLINE_S)
    assert not overlaps
    assert quiet(sup)


@pytest.mark.parametrize("cls", [cls for kind, cls in GUESTS.items() if kind != "pooled"], ids=[*GUESTS][1:])
def test_p10_a_restart_waits_until_the_old_thread_is_gone(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it has its last hook behind it, and lingers."""
    lingers, go = threading.Event(), threading.Event()
    up: queue.SimpleQueue[Any] = queue.SimpleQueue()
    run_out = OwnThread.run

    def run_and_linger(self: Any, life: Any) -> None:
        run_out(self, life)
        if life.ref.actor_class is not Supervisor:
            lingers.set()
            assert go.wait(DEADLINE_S)

    monkeypatch.setattr(OwnThread, "run", run_and_linger)
    sup = Supervisor.start_link([ChildSpec("it", cls, ({"on_start": lambda: up.put(None)},))])
    up.get(timeout=DEADLINE_S)
    cast(ref_of(sup, "it"), Boom())
    assert lingers.wait(DEADLINE_S)
    with pytest.raises(queue.Empty):
        up.get(timeout=0.05)
    go.set()
    up.get(timeout=DEADLINE_S)
    assert quiet(sup)


# --- P11, P12: a stop waits for its turn, and may come late -----------------------------------------------------------


@every_kind
def test_p11_a_stop_is_handled_in_its_turn(kind: str) -> None:
    handled: list[int] = []
    ref = spawn(kind)
    watch = Watch(ref)
    with Stuck() as stuck:
        stuck.grip(ref)
        for number in range(3):
            ref.tell(lambda _, number=number: handled.append(number))
        stopped = ref.stop(block=False)
        for number in range(3, 6):
            ref.tell(lambda _, number=number: handled.append(number))
        stuck.go()
    assert stopped.get(timeout=DEADLINE_S) is True
    assert watch.reason() == NORMAL
    assert handled == [0, 1, 2]


@every_guest
def test_p11_a_backlog_longer_than_the_shutdown_time_is_abandoned(cls: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("it", cls, shutdown=0.05)])
    ref = ref_of(sup, "it")
    with Stuck() as stuck:
        stuck.grip(ref)
        asked = ref.ask("in the backlog", block=False)
        watch = Watch(ref)
        Supervisor.stop(sup, timeout=DEADLINE_S)
        assert watch.reason() == KILLED
        with pytest.raises(ActorDeadError):
            asked.get(timeout=0)


@every_kind
def test_p12_a_stop_that_timed_out_goes_on(kind: str) -> None:
    ref = spawn(kind)
    with Stuck() as stuck:
        stuck.grip(ref)
        watch = Watch(ref)
        with pytest.raises(CallTimeout):
            stop(ref, timeout=0.01)
        assert ref.is_alive()
        stuck.go()
    assert watch.reason() == NORMAL
    assert len(watch.downs) == 1


# --- P13: the stopped flag --------------------------------------------------------------------------------------------


@every_kind
def test_p13_setting_the_stopped_flag_by_hand_makes_no_zombie(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    assert call(ref, 1) == 1
    ref.actor_stopped.set()
    assert call(ref, 2) == 2
    assert ref in ActorRegistry.get_all()
    ref.stop(timeout=DEADLINE_S)
    assert watch.reason() == NORMAL
    assert len(end_hooks(ran)) == 1


@pytest.mark.parametrize("kind", ["managed", "raw"])
def test_p13_a_pykka_actors_own_helper_thread_sees_the_flag_before_on_stop_is_done(kind: str) -> None:
    def joins(*_: Any) -> None:
        actor[0].helper.join(DEADLINE_S)
        joined.append(not actor[0].helper.is_alive())

    def starts_helper(self: Any) -> None:
        actor.append(self)
        self.helper = threading.Thread(target=self.actor_stopped.wait, args=(DEADLINE_S * 2,), daemon=True)
        self.helper.start()

    actor: list[Any] = []
    joined: list[bool] = []
    ref = spawn(kind, {"on_stop": joins})
    watch = Watch(ref)
    call(ref, starts_helper)
    ref.tell(lambda self: self.stop())
    watch.reason()
    assert joined == [True]


def test_p13_waiting_for_the_flag_leaves_nothing_behind() -> None:
    ref = Pooled.start_link()
    for _ in range(100):
        assert ref.actor_stopped.wait(0) is False
    assert not ref.actor_inbox._bells
    ref.stop(timeout=DEADLINE_S)
    assert ref.actor_stopped.wait(0) is True


# --- P14, P24: abandon instead of kill --------------------------------------------------------------------------------


@every_kind
def test_p14_killing_a_stuck_actor_abandons_its_thread(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    register("it", ref)
    watch = Watch(ref)
    names_at_death: list[Any] = []
    monitor(ref, lambda _: names_at_death.append((whereis("it"), ref in ActorRegistry.get_all())))
    with Stuck() as stuck:
        in_hand = ref.ask(stuck, block=False)
        assert stuck.entered.wait(DEADLINE_S)
        queued, stopped = ref.ask(1, block=False), ref.stop(block=False)
        before = abandoned_count()
        kill(ref)
        assert watch.downs[0].reason == KILLED  # told before kill() returned
        assert names_at_death == [(None, False)]
        assert abandoned_count() == before + 1
        for future in (in_hand, queued):
            with pytest.raises(ActorDeadError):
                future.get(timeout=0)
        assert stopped.get(timeout=0) is True
        with pytest.raises(NoProcess):
            call(ref, 1)
        kill(ref)
        assert abandoned_count() == before + 1
    eventually(lambda: abandoned_count() == before)
    assert end_hooks(ran) == []
    assert len(watch.downs) == 1


@every_kind
def test_p14_nothing_that_an_abandoned_handler_does_with_its_actor_has_an_effect(kind: str) -> None:
    def late(actor: Any) -> str:
        outcomes["own name"] = _raised(register, "late", actor.actor_ref)
        unregister("it")
        outcomes["timer"] = send_after(0, actor.actor_ref, "late").cancel()
        outcomes["tell"] = _raised(actor.actor_ref.tell, "late")
        outcomes["monitor"] = _raised(monitor, successor, actor.actor_ref)
        raise Boom

    outcomes: dict[str, Any] = {}
    ref = spawn(kind)
    life = life_of(ref)
    if kind == "raw":
        call(ref, 1)
    register("it", ref)
    watch = Watch(ref)
    with Stuck() as stuck:
        stuck.then = late
        stuck.grip(ref)
        kill(ref)
        successor = Pooled.start_link(name="it")
    assert outcomes == {"own name": NoProcess, "timer": False, "tell": ActorDeadError, "monitor": NoProcess}
    assert whereis("late") is None
    assert whereis("it") is successor
    assert [down.reason for down in watch.downs] == [KILLED]
    assert life is not None
    assert life.reason == KILLED


def _raised(function: Any, *args: Any) -> Any:
    try:
        function(*args)
    except BaseException as error:
        return type(error)
    return None


@pytest.mark.parametrize("cls", [Pooled, Threaded])
def test_p14_a_stuck_on_start_is_abandoned_too(cls: Any) -> None:
    ran: list[Any] = []
    with Stuck() as stuck:
        with pytest.raises(StartError) as raised:
            cls.start_link({"on_start": lambda: stuck(None)}, ran, name="it", start_timeout=0.05)
        assert isinstance(raised.value.cause, TimeoutError)
        assert whereis("it") is None
        assert abandoned_count() == 1
    eventually(lambda: abandoned_count() == 0)
    assert ran == ["__init__", "on_start"]


@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_p14_so_is_one_that_somebody_else_kills(cls: Any) -> None:
    def start() -> None:
        with pytest.raises(StartError):
            DynamicSupervisor.start_child(sup, ChildSpec("it", cls, ({"on_start": lambda: stuck(None)}, ran)))

    ran: list[Any] = []
    sup = DynamicSupervisor.start_link()
    with Stuck() as stuck, run(start):
        assert stuck.entered.wait(DEADLINE_S)
        kill(next(ref for ref in ActorRegistry.get_all() if ref.actor_class is cls))
    assert ran == ["__init__", "on_start"]
    assert DynamicSupervisor.which_children(sup) == []


@every_kind
def test_p14_killing_an_idle_actor_abandons_nothing(kind: str) -> None:
    ref = spawn(kind)
    assert call(ref, 1) == 1
    watch = Watch(ref)
    eventually(lambda: life_of(ref).busy is None)  # type: ignore[union-attr]
    kill(ref)
    assert watch.downs[0].reason == KILLED
    assert abandoned_count() == 0
    assert not life_of(ref).abandoned  # type: ignore[union-attr]


@every_kind
def test_p14_two_who_kill_at_once_count_once(kind: str) -> None:
    ref = spawn(kind)
    with Stuck() as stuck:
        stuck.grip(ref)
        watch = Watch(ref)
        barrier = threading.Barrier(8)

        def killer() -> None:
            barrier.wait(DEADLINE_S)
            kill(ref)

        with run(*[killer] * 8):
            pass
        assert abandoned_count() == 1
        assert len(watch.downs) == 1
    eventually(lambda: abandoned_count() == 0)


@every_kind
def test_p14_an_actor_may_kill_itself(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    with pytest.raises(ServerDied) as raised:
        call(ref, lambda actor: kill(actor.actor_ref))
    assert raised.value.reason == watch.reason() == KILLED
    assert abandoned_count() == 0


@pytest.mark.parametrize("start", [Threaded, Plain, lambda: Plain.start()], ids=["threaded", "managed", "raw"])
def test_p14_the_threads_of_supervised_actors_are_daemons(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "use_daemon_thread", False)
    sup = Supervisor.start_link([ChildSpec("it", start)])
    assert call(ref_of(sup, "it"), lambda _: threading.current_thread().daemon) is True


# --- P15: two kinds of no answer --------------------------------------------------------------------------------------


@every_kind
def test_p15_a_timeout_is_the_callers_only_and_the_work_is_done(kind: str) -> None:
    ref = spawn(kind)
    done = threading.Event()
    with Stuck() as stuck:
        stuck.grip(ref)
        with pytest.raises(CallTimeout):
            call(ref, lambda _: done.set(), timeout=0.01)
        with pytest.raises(pykka.Timeout):
            ref.ask(1, timeout=0.01)
        stuck.go()
    assert done.wait(DEADLINE_S)
    assert call(ref, 1) == 1
    ref.stop(timeout=DEADLINE_S)
    eventually(lambda: not ref.is_alive())
    with pytest.raises(NoProcess):
        call(ref, 1)


def test_p15_a_call_has_a_deadline_by_default() -> None:
    assert inspect.signature(call).parameters["timeout"].default == 5.0


# --- P16, P17, P18: stop_all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@every_guest
def test_p16_stop_all_ends_supervisors_too(strategy: Any, cls: Any) -> None:
    inner = Supervisor.child_spec([ChildSpec(number, cls) for number in range(3)], id="inner", strategy=strategy)
    sup = Supervisor.start_link([ChildSpec("first", cls), inner, ChildSpec("last", cls)], strategy=strategy)
    dynamic = DynamicSupervisor.start_link()
    for number in range(3):
        DynamicSupervisor.start_child(dynamic, ChildSpec(number, cls))
    watches = [Watch(sup), Watch(dynamic)]
    ActorRegistry.stop_all(timeout=DEADLINE_S)
    for watch in watches:
        watch.reason()
    assert ActorRegistry.get_all() == []


def test_p17_a_supervisor_keeps_its_own_start_order(world: World) -> None:
    sup = Supervisor.start_link(world.specs("xy"))
    watch = Watch(ref_of(sup, "x"))
    cast(ref_of(sup, "x"), Boom())
    watch.reason()
    assert quiet(sup)
    assert ActorRegistry.get_all()[-1] is ref_of(sup, "x")  # Pykka has it last now
    world.log()
    Supervisor.stop(sup, timeout=DEADLINE_S)
    assert world.log() == ["stop y", "stop x"]


@every_kind
@pytest.mark.parametrize("hook", ["handler", "end hook"])
def test_p18_stop_all_inside_an_actor_does_not_wait_for_itself(kind: str, hook: str, bystander: Any) -> None:
    ran: list[Any] = []
    done = threading.Event()

    def stops_all(*_: Any) -> None:
        ActorRegistry.stop_all(timeout=DEADLINE_S)
        done.set()

    ref = spawn(kind, dict.fromkeys(("on_terminate", "on_stop"), stops_all) if hook == "end hook" else None, ran)
    watches = [Watch(ref), Watch(bystander)]
    ref.tell(stops_all if hook == "handler" else (lambda actor: actor.stop()))
    assert done.wait(DEADLINE_S)
    assert [watch.reason() for watch in watches] == [NORMAL, NORMAL]
    assert len(end_hooks(ran)) == 1


@pytest.mark.parametrize("kind", ["pooled", "threaded", "raw"])
def test_p18_two_whose_end_hooks_stop_all_do_not_wait_for_each_other(kind: str) -> None:
    both = threading.Barrier(2)

    def stops_all(*_: Any) -> None:
        both.wait(DEADLINE_S)
        ActorRegistry.stop_all(timeout=DEADLINE_S)

    refs = [spawn(kind, dict.fromkeys(("on_terminate", "on_stop"), stops_all)) for _ in range(2)]
    watches = [Watch(ref) for ref in refs]
    for ref in refs:
        ref.tell(lambda actor: actor.stop())
    assert [watch.reason() for watch in watches] == [NORMAL, NORMAL]


@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_p18_a_stop_of_itself_in_on_start_does_not_deadlock(cls: Any) -> None:
    sup = Supervisor.start_link([])

    class Stopper(cls):  # type: ignore[misc]
        def on_start(self) -> None:
            self.actor_ref.stop(block=True, timeout=DEADLINE_S)

    ref = Supervisor.start_child(sup, ChildSpec("it", Stopper, restart="temporary"))
    eventually(lambda: not ref.is_alive())


@every_child
@pytest.mark.parametrize("hook", ["on_start", "end hook"])
def test_p18_stopping_the_supervisor_that_waits_does_not_deadlock(cls: Any, hook: str) -> None:
    def stops_it(*_: Any) -> None:
        whereis("sup").stop(block=True, timeout=DEADLINE_S)  # type: ignore[union-attr]

    does = {"on_start": stops_it} if hook == "on_start" else {"on_stop": stops_it, "on_terminate": stops_it}
    sup = Supervisor.start_link([], name="sup")
    watch = Watch(sup)
    with contextlib.suppress(ServerDied, NoProcess):
        Supervisor.start_child(sup, ChildSpec("it", cls, (does,), shutdown="infinity"))
        Supervisor.stop(sup, timeout=DEADLINE_S)
    assert watch.reason() in (NORMAL, SHUTDOWN)


@every_child
@pytest.mark.parametrize("hook", ["on_start", "end hook"])
def test_p18_a_call_that_could_only_deadlock_is_an_error_at_once(cls: Any, hook: str) -> None:
    outcomes: list[Any] = []

    def asks(*_: Any) -> None:
        outcomes.append(_raised(Supervisor.which_children, "sup"))
        outcomes.append(_raised(stop, "sup"))

    does = {"on_start": asks} if hook == "on_start" else {"on_stop": asks, "on_terminate": asks}
    sup = Supervisor.start_link([ChildSpec("it", cls, (does,))], name="sup")
    Supervisor.stop(sup, timeout=DEADLINE_S)
    assert outcomes == [SupervisionError, SupervisionError]


@every_guest
def test_p18_a_child_cannot_wait_for_the_end_of_the_supervisors_above_it(cls: Any) -> None:
    inner = Supervisor.child_spec([ChildSpec("it", cls, shutdown="infinity", name="it")], id="inner", name="inner")
    sup = Supervisor.start_link([inner], name="outer")
    outcomes = call("it", lambda _: [_raised(stop, "inner"), _raised(Supervisor.stop, "outer"), _raised(stop, "it")])
    assert outcomes == [SupervisionError] * 3
    watch = Watch(sup)
    cast("it", lambda _: whereis("outer").stop(block=True, timeout=DEADLINE_S))  # type: ignore[union-attr]
    assert watch.reason() == NORMAL


# --- P19, P25, P27: refs, unknown messages, reasons -------------------------------------------------------------------


@every_guest
def test_p19_a_name_outlives_incarnations_and_a_ref_does_not(cls: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("it", cls, name="it")])
    first = whereis("it")
    watch = Watch(first)
    cast("it", Boom())
    watch.reason()
    assert quiet(sup)
    assert whereis("it") is ref_of(sup, "it") is not first
    assert call("it", 1) == 1
    with pytest.raises(NoProcess):
        call(first, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", ["pool", "thread"])
def test_p25_an_unknown_message_is_reported_by_its_type_and_survived(
    runtime: str, caplog: pytest.LogCaptureFixture
) -> None:
    quiet_one = type("Quiet", (Server,), {"runtime": runtime})
    ref = quiet_one.start_link()
    assert call(ref, {"password": "hunter2"}) is None
    cast(ref, {"password": "hunter2"})
    assert call(ref, 1) is None
    assert "unexpected_message" in caplog.text
    assert "hunter2" not in caplog.text


REASONS: dict[str, Any] = {
    "Exit()": (Exit(), NORMAL),
    "Exit(SHUTDOWN)": (Exit(SHUTDOWN), SHUTDOWN),
    "Exit(Shutdown)": (Exit(Shutdown("for lunch")), Shutdown("for lunch")),
    "Exit(KILLED)": (Exit(KILLED), KILLED),
}


@every_kind
@pytest.mark.parametrize(("message", "reason"), REASONS.values(), ids=REASONS.keys())
@pytest.mark.parametrize("how", ["cast", "call"])
def test_p27_exit_ends_any_actor_with_its_reason(kind: str, message: Any, reason: Any, how: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    if how == "cast":
        cast(ref, message)
    else:
        with pytest.raises(ServerDied) as raised:
            call(ref, message)
        assert raised.value.reason == reason
    assert watch.reason() == reason
    orderly = "on_failure" if reason == KILLED else "on_stop"
    assert end_hooks(ran) == [orderly if kind in PLAIN else "on_terminate"]


@every_kind
def test_p27_an_unknown_exit_reason_is_abnormal(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    odd = Exit("because")
    cast(ref, odd)
    assert watch.reason() == Crash(odd)
