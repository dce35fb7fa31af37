""".github/design/supervision.md 3: the sentences that no other contract test is about."""

import copy
import inspect
import logging
import pickle
import threading
from typing import Any

import pytest
from children import KINDS, Probe, Scripted, ThreadProbe, Watch, World, crash, die, quiet, ref_of, states
from threads import DEADLINE_S, eventually

from supervision import (
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    AlreadyPresent,
    AlreadyStarted,
    CallTimeout,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    Exit,
    MaxChildren,
    NoProcess,
    Server,
    ServerDied,
    Shutdown,
    StartError,
    SupervisionError,
    Supervisor,
    acall,
    call,
    cast,
    kill,
    monitor,
    send_after,
    stop,
)

BOOM = Scripted("boom")


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


# --- the interface ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_child_spec_takes_all_options_of_start_link_and_those_of_a_child(kind: Any) -> None:
    extra = {"id", "restart", "shutdown", "significant", "backoff", "start_timeout"}
    assert parameters(kind.child_spec) == parameters(kind.start_link) | extra


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (ChildSpec, "id start args kwargs restart shutdown type significant name backoff start_timeout"),
        (Supervisor.start_link, "children strategy max_restarts max_seconds auto_shutdown name"),
        (DynamicSupervisor.start_link, "max_children max_restarts max_seconds extra_args name"),
        (Supervisor.start_child, "sup spec"),
        (Supervisor.terminate_child, "sup id"),
        (Supervisor.restart_child, "sup id"),
        (Supervisor.delete_child, "sup id"),
        (Supervisor.get_childspec, "sup id"),
        (Supervisor.which_children, "sup"),
        (Supervisor.count_children, "sup"),
        (Supervisor.stop, "sup timeout"),
        (Supervisor.tree, "sup"),
        (DynamicSupervisor.start_child, "sup spec"),
        (DynamicSupervisor.terminate_child, "sup ref"),
        (Server.start_link, "args name start_timeout kwargs"),
        (Server.child_spec, "args id name restart shutdown significant start_timeout backoff kwargs"),
        (call, "server message timeout await_restart"),
        (acall, "server message timeout await_restart"),
        (cast, "server message"),
        (stop, "server timeout"),
        (kill, "server"),
        (send_after, "delay_s server message"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_the_pinned_arguments(function: Any, names: str) -> None:
    assert [*inspect.signature(function).parameters] == names.split()


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_is_a_ref_or_a_name_everywhere(kind: type, by_name: bool, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, name="n", restart="temporary")])
    server = "n" if by_name else ref_of(sup, "a")
    heard: list[str] = []
    cast(server, lambda _: heard.append("cast"))
    assert call(server, "sync") == "sync"
    send_after(0, server, lambda _: heard.append("timer"))
    eventually(lambda: heard == ["cast", "timer"])
    told = threading.Event()
    monitor(server, lambda _: told.set())
    stop(server)
    assert told.is_set()


# --- reasons ----------------------------------------------------------------------------------------------------------


def test_reasons_are_compared_by_value() -> None:
    assert len({NORMAL, SHUTDOWN, KILLED, NOPROC, Shutdown(1), Shutdown(2)}) == 6
    assert Shutdown({"a": 1}) == Shutdown({"a": 1})
    for reason in (NORMAL, SHUTDOWN, KILLED, NOPROC, Shutdown("x")):
        assert pickle.loads(pickle.dumps(reason)) == copy.deepcopy(reason) == reason
    assert Crash(BOOM) == Crash(BOOM) != Crash(Scripted("boom"))


def test_reasons_read_well_and_do_not_tell_an_exceptions_text() -> None:
    assert [str(reason) for reason in (NORMAL, SHUTDOWN, KILLED, NOPROC)] == ["NORMAL", "SHUTDOWN", "KILLED", "NOPROC"]
    assert str(Crash(ValueError("hunter2"))) == "Crash(ValueError)"


@pytest.mark.parametrize("hook", ["on_receive", "on_continue", "timer", "call"])
@pytest.mark.parametrize("kind", KINDS)
def test_exit_in_any_handler_of_any_supervised_actor(kind: type, hook: str, world: World) -> None:
    if hook == "on_continue" and not issubclass(kind, Server):
        return  # Pykka has no such hook

    class Leaves(kind):  # type: ignore[misc, valid-type]
        def on_continue(self) -> None:
            if hook == "on_continue":
                assert go.wait(DEADLINE_S)
                raise Exit(Shutdown("enough"))

    go = threading.Event()
    ref = ref_of(Supervisor.start_link([world.spec("a", Leaves, restart="transient")]), "a")
    watch = Watch(ref)
    go.set()
    if hook == "on_receive":
        cast(ref, Exit(Shutdown("enough")))
    elif hook == "timer":
        send_after(0, ref, Exit(Shutdown("enough")))
    elif hook == "call":
        with pytest.raises(ServerDied):
            call(ref, Exit(Shutdown("enough")))
    assert watch.reason() == Shutdown("enough")


# --- errors -----------------------------------------------------------------------------------------------------------


def errors(ref: Any) -> list[SupervisionError]:
    return [
        SupervisionError("text"),
        StartError("a", ValueError("why")),
        AlreadyStarted("a", ref),
        AlreadyPresent("a"),
        ChildNotFound(("a", 1)),
        ChildRunning("a"),
        ChildRestarting("a"),
        MaxChildren(3),
        NoProcess("n"),
        NoProcess(ref),
        CallTimeout(ref, 1.5),
        ServerDied(ref, Crash(ValueError("why"))),
    ]


def test_every_error_has_one_root_and_survives_pickling_and_copying(world: World) -> None:
    """A process pool that cannot unpickle an exception hangs. A ref has no meaning elsewhere: its text travels."""
    ref = Probe.start_link(world, "a")
    for error in errors(ref):
        assert isinstance(error, SupervisionError)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
        for name, value in vars(error).items():
            travelled = getattr(again, name)
            if value is ref:
                assert travelled == str(ref)
            elif isinstance(value, Exception | Crash):
                assert type(travelled) is type(value)
            else:
                assert travelled == value
        assert vars(copy.copy(error)).keys() == vars(error).keys()


def test_an_error_says_what_to_do(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a")])
    for attempt, fix in (
        (lambda: Supervisor.restart_child(sup, "a"), "terminate_child"),
        (lambda: Supervisor.terminate_child(sup, "zzz"), "which_children"),
        (lambda: Supervisor.start_child(sup, world.spec("a")), "use that actor"),
    ):
        with pytest.raises(SupervisionError, match=fix):
            attempt()


# --- reports ----------------------------------------------------------------------------------------------------------


def test_one_report_for_each_end_restart_and_abandoned_thread(world: World, caplog: pytest.LogCaptureFixture) -> None:
    sup = Supervisor.start_link([world.spec("a", name="the-a"), world.spec("b", ThreadProbe, shutdown=0)])
    go = threading.Event()
    with caplog.at_level(logging.DEBUG, "supervision"):
        assert crash(sup, "a", ValueError("hunter2"))
        die_busy = ref_of(sup, "b")
        entered = threading.Event()
        cast(die_busy, lambda _: (entered.set(), go.wait(DEADLINE_S)))
        assert entered.wait(DEADLINE_S)
        Supervisor.terminate_child(sup, "b")
        world.gone("b")
        Supervisor.terminate_child(sup, "a")
        go.set()
    events = [(record.event, record.fields.get("child")) for record in caplog.records]
    assert events.count(("child_ended", "a")) == 2
    assert events.count(("child_restarted", "a")) == 1
    assert events.count(("child_ended", "b")) == 1
    assert [event for event, _ in events].count("thread_abandoned") == 1
    fields = {"supervisor", "child", "name", "restarts", "reason", "restart"}
    assert {frozenset(record.fields) for record in caplog.records if record.event == "child_ended"} == {
        frozenset(fields)
    }


def test_nothing_is_said_by_default(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Silent, as a library should be, unless the application configures logging."""
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("supervision").handlers)
    sup = Supervisor.start_link(world.specs("a"))
    die(ref_of(sup, "a"), BOOM)
    assert quiet(sup)
    assert capsys.readouterr().err == ""


# --- supervisors of a user's own --------------------------------------------------------------------------------------


def test_a_supervisor_subclass_that_forgets_its_children_does_not_leak_them(world: World) -> None:
    """An end hook that does not call ``super()``: the link still asks the children to exit."""

    class Careless(Supervisor):
        def on_terminate(self, reason: Any) -> None:
            """No super().on_terminate(reason)."""

    sup = Careless.start_link(world.specs("abc"))
    watches = [Watch(row.ref) for row in Supervisor.which_children(sup)]
    Supervisor.stop(sup)
    assert [watch.reason() for watch in watches] == [SHUTDOWN] * 3


def test_a_supervisor_of_a_users_own(world: World) -> None:
    """The module-based supervisor of Elixir: a class with its children in it."""

    class App(Supervisor):
        @classmethod
        def start_link(cls, **options: Any) -> Any:  # type: ignore[override]
            return super().start_link(world.specs("xy"), strategy="one_for_all", **options)

    top = Supervisor.start_link([ChildSpec("app", App, type="supervisor", name="app")])
    assert states("app") == {"x": "running", "y": "running"}
    world.log()
    assert crash("app", "y")
    assert world.log() == ["end y", "stop x", "start x", "start y"]
    Supervisor.stop(top)
    assert world.live() == []
