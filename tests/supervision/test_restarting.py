"""While a supervisor restarts a name, it is restarting and not gone: `ServerRestarting`, and waiting for the successor."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest
from children import KINDS, PlainProbe, Probe, Watch, World, die, quiet, ref_of
from threads import DEADLINE_S, eventually, in_background, run

from supervision import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Exit,
    NoProcess,
    Server,
    ServerDied,
    ServerRestarting,
    Shutdown,
    StartError,
    SupervisionError,
    Supervisor,
    call,
    cast,
    kill,
    register,
    stop,
    unregister,
    whereis,
)
from supervision.process import registry

LATER = Backoff(initial=30, jitter=0)
SOON = Backoff(initial=0.05, jitter=0)

every_kind = pytest.mark.parametrize("kind", KINDS)


def state(name: str) -> str:
    """What a caller hears of a name at this moment."""
    try:
        call(name, "hello", timeout=DEADLINE_S)
    except ServerRestarting:
        return "restarting"
    except NoProcess:
        return "gone"
    return "up"


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Lets go of those that block."""
    made = threading.Event()
    yield made
    made.set()


def killed(ref: Any, world: World) -> None:
    world.gone("a")
    kill(ref)


# --- which names are being restarted ----------------------------------------------------------------------------------


def test_names_below_a_supervisor_stay_awaited_where_its_successor_has_ended_before_it_was_seen(
    held: threading.Event,
) -> None:
    starts = itertools.count(1)
    third = threading.Event()

    def start() -> Any:
        number = next(starts)
        if number == 3:
            third.set()
            assert held.wait(DEADLINE_S)
        inner = Supervisor.start_link([ChildSpec("a", Server, name="a")])
        if number == 2:
            below = Watch(whereis("a"))
            kill(inner)
            below.reason()
        return inner

    spec = ChildSpec("inner", start, type="supervisor")
    sup = Supervisor.start_link([spec], max_restarts=10)
    kill(ref_of(sup, "inner"))
    assert third.wait(DEADLINE_S)
    assert state("a") == "restarting"
    held.set()
    eventually(lambda: state("a") == "up")
    Supervisor.terminate_child(sup, "inner")
    assert state("a") == "gone"


@every_kind
def test_a_name_is_restarting_during_the_delay_of_a_backoff(kind: Any, world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", kind, name="a", backoff=LATER)])
    die(ref_of(sup, "a"), ValueError())
    assert state("a") == "restarting"
    Supervisor.count_children(sup)
    assert state("a") == "restarting"


@every_kind
@pytest.mark.parametrize("ends", [killed, stop, lambda ref: die(ref, ValueError())], ids=["kill", "stop", "crash"])
def test_it_is_from_the_moment_of_the_end_before_the_supervisor_has_looked(
    kind: Any, ends: Any, world: World, held: threading.Event
) -> None:
    spec = world.spec("slow", restart="temporary")
    sup = Supervisor.start_link([world.spec("a", kind, name="a")])
    ref = ref_of(sup, "a")
    world.script("slow", lambda: held.wait(DEADLINE_S))
    with run(lambda: Supervisor.start_child(sup, spec)):
        world.wait_for("start slow")  # the supervisor is busy until it has started
        ends(ref) if ends is not killed else killed(ref, world)
        assert state("a") == "restarting"
        held.set()
    assert quiet(sup)
    assert state("a") == "up"


@every_kind
def test_it_is_in_the_end_hook_of_one_that_takes_no_more_messages(
    kind: Any, world: World, held: threading.Event
) -> None:
    """A plain Pykka actor is dead to others before its hook runs."""
    spec = world.spec("a", kind, name="a")
    sup = Supervisor.start_link([spec])
    entered, ended_as_ever = threading.Event(), world.ended

    def ended(child_id: Any, reason: Any) -> None:
        entered.set()
        ended_as_ever(child_id, reason)
        held.wait(DEADLINE_S)

    world.ended = ended  # type: ignore[method-assign]
    cast("a", ValueError())
    assert entered.wait(DEADLINE_S)
    answers: list[Any] = []
    with run(lambda: answers.append(raised_by(lambda: call("a", "hello", await_restart=True)))):
        if kind is PlainProbe:
            assert state("a") == "restarting"
        held.set()
    assert answers[0] in (["hello"] if kind is PlainProbe else ["hello", "ServerDied"])
    assert quiet(sup)


def raised_by(function: Any) -> Any:
    try:
        return function()
    except SupervisionError as error:
        return type(error).__name__


@every_kind
def test_it_is_through_failed_attempts(kind: Any, world: World) -> None:
    Supervisor.start_link([world.spec("a", kind, name="a", backoff=Backoff(0.01, 0.01))], max_restarts=9)
    world.script("a", *["fail"] * 5)
    seen: list[str] = []
    killed(whereis("a"), world)
    while "up" not in seen:
        seen.append(raised_by(lambda: call("a", "up")))
    assert {*seen} <= {"ServerRestarting", "ServerDied", "up"}  # a call that a start that failed has got is answered


def test_a_sibling_that_a_delayed_group_restart_brings_back_is_restarting(world: World) -> None:
    specs = [world.spec("a", name="a"), world.spec("b", name="b", backoff=LATER), world.spec("c", name="c")]
    sup = Supervisor.start_link([*specs, world.spec("t", name="t", restart="temporary")], strategy="one_for_all")
    kill(ref_of(sup, "b"))
    Supervisor.count_children(sup)
    assert [state(name) for name in "abct"] == ["restarting", "restarting", "restarting", "gone"]
    Supervisor.terminate_child(sup, "b")
    assert [state(name) for name in "abct"] == ["gone", "gone", "gone", "gone"]  # no attempt is due any more


def test_a_child_that_is_not_restarted_is_gone(world: World, held: threading.Event) -> None:
    """Its type and reason say so at once: the supervisor need not have looked."""
    specs = [
        world.spec("temporary", name="temporary", restart="temporary"),
        world.spec("transient", name="transient", restart="transient"),
        world.spec("crashed", name="crashed", restart="transient"),
    ]
    sup = Supervisor.start_link(specs)
    refs = [ref_of(sup, spec.id) for spec in specs]
    world.script("slow", lambda: held.wait(DEADLINE_S))
    with run(lambda: Supervisor.start_child(sup, world.spec("slow"))):
        world.wait_for("start slow")
        die(refs[0], ValueError())
        die(refs[1], Exit())
        die(refs[2], ValueError())
        assert [state(spec.id) for spec in specs] == ["gone", "gone", "restarting"]
        held.set()


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
@pytest.mark.parametrize("is_restarting", [False, True])
def test_a_terminated_child_is_gone(kind: Any, is_restarting: bool, world: World) -> None:
    sup = kind.start_link(**({"children": []} if kind is Supervisor else {}))
    ref = kind.start_child(sup, world.spec("a", name="a", backoff=LATER))
    if is_restarting:
        die(ref, ValueError())
        kind.count_children(sup)
        assert state("a") == "restarting"
    kind.terminate_child(sup, "a" if kind is Supervisor else ref)
    assert state("a") == "gone"


def test_a_child_whose_first_start_failed_is_gone(world: World) -> None:
    world.script("a", "fail", "fail")
    with pytest.raises(StartError):
        Supervisor.start_link([world.spec("a", name="a")])
    assert state("a") == "gone"
    sup = DynamicSupervisor.start_link()
    with pytest.raises(StartError):
        DynamicSupervisor.start_child(sup, world.spec("a", name="a"))
    assert state("a") == "gone"


def test_a_child_that_ignores_its_restart_is_gone(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="a")])
    world.script("a", "ignore")
    die(ref_of(sup, "a"), ValueError())
    assert quiet(sup)
    assert state("a") == "gone"


@every_kind
def test_the_names_of_a_dynamic_supervisors_child_are_restarting(kind: Any, world: World) -> None:
    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, world.spec("a", kind, name="a", backoff=SOON))
    die(ref, ValueError())
    assert state("a") == "restarting"
    assert call("a", "hello", await_restart=True) == "hello"


def test_a_start_callables_name_is_restarting(world: World) -> None:
    """Whether the specification names it, or the callable does."""
    sup = Supervisor.start_link(
        [
            ChildSpec("a", lambda: Probe.start_link(world, "a", name="a"), backoff=SOON),
            ChildSpec("b", lambda: PlainProbe.start(world, "b"), name="b", backoff=SOON),
        ]
    )
    for name in "ab":
        die(ref_of(sup, name), ValueError())
        assert state(name) == "restarting"
        assert call(name, "hello", await_restart=True) == "hello"


def test_a_name_that_register_gave_is_awaited_until_the_successor_is_up_without_it(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="a", backoff=SOON)])
    register("alias", ref_of(sup, "a"))
    register("kept", ref_of(sup, "a"))
    world.script("a", lambda: register("kept", whereis("a")))  # type: ignore[arg-type]
    die(ref_of(sup, "a"), ValueError())
    assert state("alias") == "restarting"
    assert call("kept", "hello", await_restart=True) == "hello"
    with pytest.raises(NoProcess) as raised:
        call("alias", "hello", await_restart=True)
    assert type(raised.value) is NoProcess


def test_a_name_that_was_unregistered_comes_back_with_its_specification(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="a", backoff=SOON)])
    ref = ref_of(sup, "a")
    unregister("a")
    assert state("a") == "gone"
    die(ref, ValueError())
    assert state("a") == "restarting"
    assert call("a", "hello", await_restart=True) == "hello"


def test_the_ref_of_a_dead_incarnation_is_never_restarting(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="a", backoff=SOON)])
    ref = ref_of(sup, "a")
    die(ref, ValueError())
    for await_restart in (False, True):
        with pytest.raises(NoProcess) as raised:
            call(ref, "hello", await_restart=await_restart)
        assert type(raised.value) is NoProcess


def test_an_actor_that_is_no_child_is_gone(world: World) -> None:
    """One that a supervisor's child, or a start callable, has started beside."""
    beside: list[Any] = []

    def start() -> Any:
        beside.append(Probe.start_link(world, f"beside {len(beside)}", name=f"beside {len(beside)}"))
        return Probe.start_link(world, "a", name="a")

    Supervisor.start_link([ChildSpec("a", start, name="a")])
    die(beside[0], ValueError())
    assert state("beside 0") == "gone"


def test_every_function_that_takes_a_name_says_so(world: World) -> None:
    inner = Supervisor.child_spec([], id="inner", name="inner", backoff=LATER)
    Supervisor.start_link([inner, world.spec("a", name="a", backoff=LATER)])
    die(whereis("a"), ValueError())
    killed_and_down("inner")
    for ask in (
        lambda: stop("a"),
        lambda: Supervisor.stop("inner"),
        lambda: Supervisor.which_children("inner"),
        lambda: Supervisor.tree("inner"),
        lambda: Supervisor.start_child("inner", world.spec("b")),
    ):
        with pytest.raises(ServerRestarting) as raised:
            ask()
        assert raised.value.server in {"a", "inner"}


def killed_and_down(name: str) -> None:
    ref = whereis(name)
    assert ref is not None
    watch = Watch(ref)
    kill(ref)
    watch.reason()


def test_the_error_can_be_pickled() -> None:
    for error in (ServerRestarting("a"), ServerRestarting("a", 2.5)):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.timeout) == (ServerRestarting, str(error), error.timeout)


# --- supervisors below supervisors ------------------------------------------------------------------------------------


class Own(Supervisor):
    """It says its children itself."""

    @classmethod
    def init(cls, children: Any, **options: Any) -> Any:
        return children, options


@pytest.fixture(params=[Supervisor, Own])
def nested(request: pytest.FixtureRequest, world: World) -> Callable[..., Any]:
    def start(restart: Any = "permanent", backoff: Any = LATER) -> Any:
        inner = request.param.child_spec(
            [world.spec("a", name="a"), world.spec("t", name="t", restart="temporary")],
            id="inner",
            name="inner",
            restart=restart,
            backoff=backoff,
            max_restarts=0,
        )
        return Supervisor.start_link([inner], name="outer")

    return start


def gives_up(name: str) -> None:
    """The first crash below it is one too many."""
    watch = Watch(whereis(name))
    die(whereis("a"), ValueError())
    watch.reason()


ENDS: dict[str, Any] = {
    "killed": lambda: killed_and_down("inner"),
    "stopped": lambda: Supervisor.stop("inner"),
    "gave up": lambda: gives_up("inner"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_the_children_of_a_supervisor_that_is_restarted_are_restarting(end: Any, world: World, nested: Any) -> None:
    outer = nested()
    Supervisor.start_child("inner", world.spec("added", name="added"))
    end()
    Supervisor.count_children(outer)
    eventually(lambda: world.live() == [], "the end of the children")
    assert state("inner") == "restarting"
    assert [state("a"), state("t")] == ["restarting", "restarting"]
    assert state("added") == "gone"  # a supervisor starts with the children that it was specified with
    Supervisor.terminate_child(outer, "inner")
    assert [state(name) for name in ("inner", "a", "t")] == ["gone", "gone", "gone"]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_they_are_up_when_it_is(end: Any, world: World, nested: Any) -> None:
    nested(backoff=SOON)
    end()
    for name in ("a", "t"):
        # One that is still to be ended may get the message; but no name is ever gone.
        answers = iter(
            lambda name=name: raised_by(lambda: call(name, "hello", DEADLINE_S, await_restart=True)), "hello"
        )
        assert {*answers} <= {"ServerDied"}


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_the_children_of_a_supervisor_that_is_not_restarted_are_gone(restart: Any, world: World, nested: Any) -> None:
    nested(restart=restart)
    ENDS["gave up"]()
    assert [state(name) for name in ("inner", "a", "t")] == ["gone", "gone", "gone"]


@pytest.mark.parametrize("end", [kill, Supervisor.stop], ids=["kill", "stop"])
def test_the_children_of_the_topmost_supervisor_are_gone_with_it(end: Any, world: World, nested: Any) -> None:
    outer = nested()
    killed_and_down("inner")
    Supervisor.count_children(outer)
    eventually(lambda: world.live() == [], "the end of the children")
    assert state("a") == "restarting"
    end(outer)
    assert [state(name) for name in ("outer", "inner", "a", "t")] == ["gone"] * 4


def test_a_dynamic_supervisor_comes_back_without_its_children(world: World) -> None:
    Supervisor.start_link([DynamicSupervisor.child_spec(id="pool", name="pool", backoff=LATER)])
    DynamicSupervisor.start_child("pool", world.spec("a", name="a", backoff=LATER))
    die(whereis("a"), ValueError())
    assert state("a") == "restarting"
    killed_and_down("pool")
    assert [state("pool"), state("a")] == ["restarting", "gone"]


# --- waiting ----------------------------------------------------------------------------------------------------------


def waiting(name: str, timeout: float | None = None) -> Any:
    """A caller on a thread of its own, that waits already; its answers come into the list."""
    answers: list[Any] = []
    thread = in_background(lambda: answers.append(raised_by(lambda: call(name, "hello", timeout, await_restart=True))))
    eventually(lambda: any(one.waiters for one in registry._names.value.awaited[name]), "the wait")
    return thread, answers


def test_the_deadline_is_one_for_the_wait_and_the_answer(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="a", backoff=LATER)])
    die(ref_of(sup, "a"), ValueError())
    with pytest.raises(ServerRestarting, match=r"not up within 0.05 s; the message was not sent") as raised:
        call("a", "hello", 0.05, await_restart=True)
    assert raised.value.timeout == 0.05
    with pytest.raises(ServerRestarting):
        call("a", "hello", 0, await_restart=True)


GIVES_UP: dict[str, Any] = {
    "terminate_child": lambda outer: Supervisor.terminate_child("inner", "a"),
    "the supervisor is stopped": lambda outer: Supervisor.terminate_child(outer, "inner"),
    "the topmost is stopped": Supervisor.stop,
    "the topmost is killed": kill,
}


@pytest.mark.parametrize("give_up", GIVES_UP.values(), ids=GIVES_UP.keys())
def test_those_that_wait_hear_at_once_that_there_will_be_no_successor(give_up: Any, world: World) -> None:
    inner = Supervisor.child_spec([world.spec("a", name="a", backoff=LATER)], id="inner", name="inner")
    outer = Supervisor.start_link([inner])
    die(whereis("a"), ValueError())
    thread, answers = waiting("a")
    give_up(outer)
    thread.join(DEADLINE_S)
    assert answers == ["NoProcess"]


def test_those_that_wait_hear_at_once_that_the_supervisor_gives_up(world: World) -> None:
    sup = Supervisor.start_link(
        [world.spec("a", name="a", backoff=LATER), world.spec("b")], max_restarts=1, strategy="one_for_one"
    )
    die(ref_of(sup, "a"), ValueError())
    b = ref_of(sup, "b")
    thread, answers = waiting("a")
    die(b, ValueError())  # which is the second attempt; and this the third
    assert quiet_or_down(sup)
    thread.join(DEADLINE_S)
    assert answers == ["NoProcess"]


def quiet_or_down(sup: Any) -> bool:
    """One more crash of b, if its supervisor is up."""
    watch = Watch(sup)

    def crashes_or_is_down() -> bool:
        with contextlib.suppress(NoProcess, ServerDied):  # it goes down while it is asked
            return any(kill(row.ref) for row in Supervisor.which_children(sup) if row.ref)
        return True

    eventually(crashes_or_is_down)
    return watch.reason() is not None


def test_another_actor_that_takes_the_name_meanwhile_gets_the_message(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", name="a", backoff=LATER)])
    die(ref_of(sup, "a"), ValueError())
    thread, answers = waiting("a")
    Probe.start_link(world, "other", name="a")
    thread.join(DEADLINE_S)
    assert answers == ["hello"]


def test_a_message_is_sent_once(world: World) -> None:
    """A server that ends after it has the message is not asked again."""
    ran: list[Any] = []

    def crash_(_: Any) -> None:
        ran.append(1)
        raise Exit(Shutdown("enough"))

    Supervisor.start_link([world.spec("a", name="a")])
    with pytest.raises(ServerDied):
        call("a", crash_, await_restart=True)
    assert call("a", "hello", await_restart=True) == "hello"
    assert ran == [1]


def test_a_start_that_fails_has_got_no_message(world: World, held: threading.Event) -> None:
    """A call that waits for the successor is not lost in an attempt that fails: it is sent to one that is up."""
    world.script("a", "ok", lambda: held.wait(DEADLINE_S) and fail(world), "ok")
    sup = Supervisor.start_link([world.spec("a", name="a")])
    ref = ref_of(sup, "a")
    in_background(lambda: die(ref, ValueError()))
    eventually(lambda: len(world.starts["a"]) == 2, "the first attempt")
    thread, answers = waiting("a")
    held.set()
    thread.join(DEADLINE_S)
    assert answers == ["hello"]


def fail(world: World) -> None:
    world.gone("a")
    raise ValueError


def test_a_successor_that_comes_up_between_two_looks_is_not_missed(world: World, monkeypatch: Any) -> None:
    """A caller finds no owner of the name; the restart ends; the caller finds that the name is not awaited."""
    sup = Supervisor.start_link([world.spec("a", name="a", backoff=SOON)])
    names = registry._names.value
    looks = itertools.count(1)

    class Table(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            found = super().get(name, default)
            if (
                name == "a"
                and found is None
                and threading.current_thread() is threading.main_thread()
                and next(looks) == 2
            ):
                eventually(lambda: dict.get(self, "a") is not None and not names.awaited, "the successor")
            return found

    die(ref_of(sup, "a"), ValueError())
    monkeypatch.setattr(names, "table", Table(names.table))
    assert call("a", "hello") == "hello"
    assert next(looks) > 2


# --- calls that could only deadlock -----------------------------------------------------------------------------------


def test_a_sibling_that_the_restart_starts_is_refused(world: World) -> None:
    specs = [world.spec("a", name="a"), world.spec("b", name="b")]
    sup = Supervisor.start_link(specs, strategy="one_for_all")
    found: list[Any] = []
    world.script("a", lambda: found.append(raised_by(lambda: call("b", "hello", None, await_restart=True))))
    die(ref_of(sup, "b"), ValueError())
    assert quiet(sup)
    assert found == ["SupervisionError"]


@every_kind
def test_a_sibling_that_the_restart_ends_is_refused_in_its_end_hook(kind: Any, world: World) -> None:
    specs = [world.spec("a", kind, name="a"), world.spec("b", name="b")]
    sup = Supervisor.start_link(specs, strategy="one_for_all")
    found, ended = [], world.ended

    def ask(child_id: Any, reason: Any) -> None:
        if child_id == "a":
            found.append(raised_by(lambda: call("b", "hello", None, await_restart=True)))
        ended(child_id, reason)

    world.ended = ask  # type: ignore[method-assign]
    die(ref_of(sup, "b"), ValueError())
    assert quiet(sup)
    assert found == ["SupervisionError"]


@every_kind
def test_a_handler_that_nothing_waits_for_may_wait(kind: Any, world: World) -> None:
    specs = [world.spec("a", kind, name="a"), world.spec("b", name="b", backoff=SOON), world.spec("c", name="c")]
    sup = Supervisor.start_link(specs, strategy="rest_for_one")
    die(ref_of(sup, "b"), ValueError())
    Supervisor.count_children(sup)
    assert call("a", lambda _: call("c", "hello", None, await_restart=True)) == "hello"


@every_kind
@pytest.mark.parametrize("backoff", [None, SOON])
def test_a_handler_that_waits_is_refused_when_the_restart_comes_to_wait_for_it(
    kind: Any, backoff: Any, world: World
) -> None:
    """It waits for b; then b's group is restarted, and the supervisor waits for it to end."""
    specs = [world.spec("a", kind, name="a", shutdown="infinity"), world.spec("b", name="b", backoff=backoff)]
    sup = Supervisor.start_link(specs, strategy="one_for_all")
    ref, found = ref_of(sup, "b"), []

    def wait(_: Any) -> None:
        die(ref, ValueError())
        found.append(raised_by(lambda: call("b", "hello", None, await_restart=True)))

    cast("a", wait)
    eventually(lambda: len(world.starts["b"]) == 2, "the restart")
    assert found == ["SupervisionError"]
    assert quiet(sup)


@every_kind
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("first", ["it waits", "the kill"])
def test_a_handler_below_a_killed_supervisor_is_refused(first: str, depth: int, kind: Any, world: World) -> None:
    """It waits for b; the supervisor above both is to start b, and waits for all below the killed one to leave."""
    children = [world.spec("a", kind, name="a", shutdown="infinity")]
    if depth:
        children = [Supervisor.child_spec(children, id="deep")]
    inner = Supervisor.child_spec(children, id="inner", name="inner")
    outer = Supervisor.start_link([inner, world.spec("b", name="b", backoff=LATER)])
    die(whereis("b"), ValueError())
    assert Supervisor.count_children(outer).active == 1
    found: list[Any] = []
    entered, killed = threading.Event(), threading.Event()

    def wait(_: Any) -> None:
        entered.set()
        if first == "the kill":
            assert killed.wait(DEADLINE_S)
        found.append(raised_by(lambda: call("b", "hello", None, await_restart=True)))

    cast("a", wait)
    assert entered.wait(DEADLINE_S)
    if first == "it waits":
        waits = registry.lookup("a")
        assert waits is not None
        eventually(lambda: bool(waits.waits_for_successors), "its wait")
    kill(whereis("inner"))
    killed.set()
    eventually(lambda: len(world.starts["a"]) == 2, "the restart")
    assert found == ["SupervisionError"]


def test_a_handler_of_the_supervisor_itself_is_refused(world: World) -> None:
    class Asking(Supervisor):
        def on_receive(self, message: Any) -> Any:
            return message() if callable(message) else super().on_receive(message)

    sup = Asking.start_link([world.spec("a", name="a", backoff=LATER)])
    die(whereis("a"), ValueError())
    assert call(sup, lambda: raised_by(lambda: call("a", "hello", None, await_restart=True))) == "SupervisionError"


# --- under load -------------------------------------------------------------------------------------------------------


@every_kind
def test_every_call_is_answered_or_hears_of_the_end_while_the_server_crashes(kind: Any, world: World) -> None:
    """Eight threads call, and the server is crashed 300 times."""
    Supervisor.start_link([ChildSpec("a", CRASHING[kind], name="a")], max_restarts=10_000, max_seconds=1.0)
    is_over = threading.Event()
    outcomes: Counter[str] = Counter()

    def callers() -> None:
        while not is_over.is_set():
            outcomes[raised_by(lambda: call("a", "answered", DEADLINE_S, await_restart=True))] += 1

    def crashes() -> None:
        try:
            for number in range(300):
                ref = registry.Succession("a", DEADLINE_S).await_owner().ref
                kill(ref) if number % 2 else cast(ref, ValueError())
                eventually(lambda ref=ref: not ref.is_alive())
        finally:
            is_over.set()

    with run(crashes, *[callers] * 8):
        pass
    assert {*outcomes} <= {"answered", "ServerDied"}, outcomes
    assert outcomes["answered"] > 300


class _Crashing:
    def on_receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message.with_traceback(None)
        return message


class Crashing(_Crashing, Server):
    pass


class ThreadCrashing(Crashing):
    runtime = "thread"


class PlainCrashing(_Crashing, pykka.ThreadingActor):
    use_daemon_thread = True


CRASHING = dict(zip(KINDS, (Crashing, ThreadCrashing, PlainCrashing), strict=True))


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_no_name_that_comes_back_is_ever_gone(strategy: Any) -> None:
    """Callers look all the time, while crashes take groups along, attempts fail, and supervisors give up below others."""
    names = ("a", "b", "c")
    starts = itertools.count()

    class Failing(Crashing):
        def on_start(self) -> None:
            if next(starts) % 7 == 6:
                raise ValueError

    specs = [
        ChildSpec(name, Failing, name=name, backoff=Backoff(0.001, 0.002) if name == "b" else None) for name in names
    ]
    inner = Supervisor.child_spec(
        specs, id="inner", strategy=strategy, max_restarts=4, max_seconds=60, backoff=Backoff(0.0, 0.0, 0.0)
    )
    Supervisor.start_link([inner], max_restarts=100_000, max_seconds=1.0)
    is_over = threading.Event()
    outcomes: Counter[str] = Counter()

    def callers() -> None:
        for name in itertools.cycle(names):
            if is_over.is_set():
                return
            outcomes[raised_by(lambda name=name: call(name, "answered", DEADLINE_S))] += 1

    def crashes() -> None:
        try:
            for name in names * 20:
                ref = registry.Succession(name, DEADLINE_S).await_owner().ref
                kill(ref)
        finally:
            is_over.set()

    with run(crashes, *[callers] * 3):
        pass
    assert {*outcomes} <= {"answered", "ServerDied", "ServerRestarting"}, outcomes
