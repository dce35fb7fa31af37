"""``ChildSpec(start_timeout=)``: a child that hangs in a start is cancelled, with all that this start has begun."""

import contextlib
import dataclasses
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest
from children import PlainProbe, Probe, Scripted, ThreadProbe, Watch, World, die, quiet, ref_of, states
from holding import Gate
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually, in_background, run

from oidc_actor import ClientCredentials, TokenManager
from supervision import (
    KILLED,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    Server,
    StartError,
    SupervisionError,
    Supervisor,
    call,
    kill,
    register,
    unregister,
    whereis,
)
from supervision.process import registry
from supervision.process.process import abandoned_count

SOON_S = 0.3
BOUND_S = 5.0


class Script:
    """What the starts of one child do: hang those whose number is given, until the end of the test."""

    def __init__(self, gate: Gate, *hanging: int) -> None:
        self._gate, self._hanging = gate, hanging
        self.starts = 0

    def __call__(self, *_: Any) -> None:
        self.starts += 1
        if self.starts in self._hanging:
            self._gate()


class Pooled(Server):
    def __init__(self, script: Callable[..., None]) -> None:
        super().__init__()
        self.script = script

    def on_start(self) -> None:
        self.script()


class Threaded(Pooled):
    runtime = "thread"


class Plain(pykka.ThreadingActor):
    def __init__(self, script: Callable[..., None]) -> None:
        super().__init__()
        self.script = script

    def on_start(self) -> None:
        self.script()


class InConstructor(Server):
    def __init__(self, script: Callable[..., None]) -> None:
        super().__init__()
        script()


class PlainInConstructor(pykka.ThreadingActor):
    def __init__(self, script: Callable[..., None]) -> None:
        super().__init__()
        script()


class InInit(Supervisor):
    @classmethod
    def init(cls, script: Callable[..., None]) -> Any:
        script()
        return []


class Dynamic(DynamicSupervisor):
    @classmethod
    def init(cls, script: Callable[..., None]) -> Any:
        script()
        return {}


def starts_a_server(script: Callable[..., None]) -> Any:
    return Pooled.start_link(script, name="child")


def starts_with_pykka(script: Callable[..., None]) -> Any:
    return Plain.start(script)


def starts_two(script: Callable[..., None]) -> Any:
    Pooled.start_link(lambda: None, name="helper")
    ref = Threaded.start_link(script)
    whereis("helper").stop(block=True)  # type: ignore[union-attr]
    return ref


def hangs_itself(script: Callable[..., None]) -> Any:
    script()
    return Pooled.start_link(lambda: None)


def starts_a_tree(script: Callable[..., None]) -> Any:
    inner = Supervisor.child_spec([ChildSpec("deep", Plain, (script,), name="deep")], id="inner", name="inner")
    return Supervisor.start_link([Pooled.child_spec(lambda: None, name="first"), inner])


KINDS: dict[str, tuple[Any, str]] = {
    "pooled": (Pooled, "on_start of Pooled"),
    "threaded": (Threaded, "on_start of Threaded"),
    "plain": (Plain, "on_start of Plain"),
    "a constructor": (InConstructor, "__init__ or the start callable"),
    "a plain constructor": (PlainInConstructor, "__init__ or the start callable"),
    "init": (InInit, "init of InInit"),
    "a dynamic one's init": (Dynamic, "init of Dynamic"),
    "a callable's server": (starts_a_server, "on_start of Pooled"),
    "a callable's plain actor": (starts_with_pykka, "on_start of Plain"),
    "a callable's second": (starts_two, "on_start of Threaded"),
    "a callable": (hangs_itself, "__init__ or the start callable"),
    "a tree": (starts_a_tree, "on_start of Plain"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _all_threads_come_back(gate: Gate) -> Iterator[None]:
    yield
    gate.go()
    eventually(lambda: abandoned_count() == 0)


def spec(kind: str, script: Script, **options: Any) -> ChildSpec:
    return ChildSpec("child", KINDS[kind][0], (script,), name="child", start_timeout=SOON_S, **options)


def timed_out(error: StartError, kind: str, script: Script) -> bool:
    """Whether it says who has hung, and for how long; on a busy machine it may not have come as far as that."""
    who = KINDS[kind][1] if script.starts else ".*"
    text = rf"{who} took longer than start_timeout={SOON_S} s"
    return isinstance(error.cause, TimeoutError) and re.fullmatch(text, str(error.cause)) is not None


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """What a call returns or raises."""
    try:
        return function(*args)
    except Exception as error:
        return error


def nothing_is_left() -> bool:
    names = ("child", "helper", "first", "inner", "deep")
    return all(whereis(name) is None for name in names)


# --- the first start --------------------------------------------------------------------------------------------------


@every_kind
def test_a_first_start_that_hangs_is_a_start_error(kind: str, gate: Gate, world: World) -> None:
    began, script = time.monotonic(), Script(gate, 1)
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([world.spec("a"), spec(kind, script), world.spec("c")], name="sup")
    assert time.monotonic() - began < BOUND_S
    assert caught.value.child_id == "child"
    assert timed_out(caught.value, kind, script)
    assert world.log() == ["start a", "stop a"]
    assert nothing_is_left()
    assert whereis("sup") is None


@every_kind
def test_start_child_says_so_and_the_supervisor_lives(kind: str, gate: Gate) -> None:
    sup, pool = Supervisor.start_link([]), DynamicSupervisor.start_link()
    for start_child, owner in ((Supervisor.start_child, sup), (DynamicSupervisor.start_child, pool)):
        script = Script(gate, 1)
        with pytest.raises(StartError) as caught:
            start_child(owner, spec(kind, script))
        assert timed_out(caught.value, kind, script)
        assert nothing_is_left()
    assert (Supervisor.which_children(sup), DynamicSupervisor.which_children(pool)) == ([], [])
    assert Supervisor.start_child(sup, dataclasses.replace(spec(kind, Script(gate)), start_timeout=60)).is_alive()


@every_kind
def test_a_start_in_time_is_a_start(kind: str, gate: Gate) -> None:
    sup = Supervisor.start_link([dataclasses.replace(spec(kind, Script(gate)), start_timeout=60)])
    assert states(sup) == {"child": "running"}
    assert whereis("child") is ref_of(sup, "child")


# --- restarts ---------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("static", [True, False])
def test_a_hang_in_a_restart_is_a_failed_attempt(kind: str, static: bool, gate: Gate) -> None:
    script = Script(gate, 2, 3)
    if static:
        sibling = Probe.child_spec(World(), "sibling", id="sibling")
        sup = Supervisor.start_link([spec(kind, script), sibling], max_restarts=50)
    else:
        sup = DynamicSupervisor.start_link(max_restarts=50)
        DynamicSupervisor.start_child(sup, spec(kind, script))
    first = whereis("child")
    assert first is not None
    die(first)
    assert quiet(sup, Supervisor if static else DynamicSupervisor)
    assert script.starts >= 4  # more on a machine that is busy
    assert whereis("child") not in (None, first)
    if static:
        assert states(sup) == {"child": "running", "sibling": "running"}


def test_each_attempt_counts_in_the_window(gate: Gate) -> None:
    script = Script(gate, *range(2, 20))
    sup = Supervisor.start_link([spec("pooled", script)], max_restarts=2)
    watch = Watch(sup)
    die(whereis("child"))
    watch.reason()
    assert script.starts == 3


def test_requests_are_served_between_the_attempts(gate: Gate, world: World) -> None:
    sup = Supervisor.start_link([spec("threaded", Script(gate, *range(2, 99))), world.spec("b")], max_restarts=50)
    die(whereis("child"))
    assert states(sup) == {"child": "restarting", "b": "running"}
    Supervisor.terminate_child(sup, "child")
    assert states(sup) == {"child": "stopped", "b": "running"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_siblings_come_up_with_the_attempt_that_succeeds(strategy: Any, gate: Gate, world: World) -> None:
    children = [world.spec("a"), spec("pooled", Script(gate, 2)), world.spec("c")]
    sup = Supervisor.start_link(children, strategy=strategy)
    die(whereis("child"))
    assert quiet(sup)
    assert set(states(sup).values()) == {"running"}


# --- what hangs below -------------------------------------------------------------------------------------------------


def test_a_supervisor_is_ended_with_what_is_up_and_what_hangs(gate: Gate, world: World) -> None:
    """Those that are up have their shutdown time; the next attempt begins when all are gone."""
    inner = Supervisor.child_spec(
        [
            world.spec("up", name="up"),
            Supervisor.child_spec(
                [world.spec("low", name="low"), ChildSpec("hangs", Threaded, (Script(gate, 2),), name="hangs")],
                id="middle",
                name="middle",
            ),
        ],
        id="inner",
        name="inner",
        start_timeout=SOON_S,
    )
    sup = Supervisor.start_link([inner])
    world.log()
    kill("inner")
    assert quiet(sup)
    assert all(whereis(name) for name in ("inner", "up", "middle", "low", "hangs"))
    log = world.log()
    assert sorted(log) == ["start low"] * 2 + ["start up"] * 2 + ["stop low"] * 2 + ["stop up"] * 2
    assert sorted(log[2:6]) == ["start low", "start up", "stop low", "stop up"]  # no incarnation beside another one


def test_the_shorter_of_two_timeouts_ends_the_start(gate: Gate) -> None:
    slow = ChildSpec("slow", Pooled, (Script(gate, 1, 2),), name="slow", start_timeout=60)
    with pytest.raises(StartError, match=r"on_start of Pooled took longer than start_timeout=0\.3 s"):
        Supervisor.start_link([Supervisor.child_spec([slow], id="inner", start_timeout=SOON_S)])
    quick = dataclasses.replace(slow, start_timeout=SOON_S)
    with pytest.raises(StartError, match=r"on_start of Pooled took longer than start_timeout=0\.3 s"):
        Supervisor.start_link([Supervisor.child_spec([quick], id="inner", start_timeout=60)])
    assert whereis("slow") is None


@pytest.mark.parametrize(("kind", "where"), [(InConstructor, "InConstructor.__init__"), (Threaded, "Pooled.on_start")])
def test_it_says_where_a_start_below_is(kind: Any, where: str, gate: Gate) -> None:
    inner = Supervisor.child_spec([ChildSpec("deep", kind, (Script(gate, 1),))], id="inner", start_timeout=SOON_S)
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([inner])
    (note,) = caught.value.cause.__notes__
    assert where in note


def test_a_supervisor_killed_in_such_a_start_starts_nothing_more(gate: Gate) -> None:
    """The start has a thread of its own, which outlives the supervisor's interest in it."""
    for kind in KINDS.keys() - {"a tree"}:  # whose actors leave one level after the other, each at its deadline
        script = Script(gate, 1)
        sup = Supervisor.start_link([], name="sup")
        late = dataclasses.replace(spec(kind, script, shutdown=0.0), start_timeout=60)
        asker = in_background(lambda sup=sup, late=late: outcome(Supervisor.start_child, sup, late))
        eventually(lambda script=script: script.starts == 1)
        kill(sup)
        asker.join(DEADLINE_S)
        eventually(nothing_is_left)
    gate.go()
    eventually(lambda: abandoned_count() == 0)
    eventually(lambda: not ActorRegistry.get_all())


# --- late effects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a constructor", "a plain constructor", "a callable"])
def test_what_hangs_before_on_start_has_no_late_effect(kind: str, gate: Gate) -> None:
    script = Script(gate, 1)
    with pytest.raises(StartError):
        Supervisor.start_link([spec(kind, script)])
    assert abandoned_count() == 1
    other = Pooled.start_link(lambda: None, name="child")
    gate.go()
    eventually(lambda: abandoned_count() == 0)
    assert whereis("child") is other
    assert ActorRegistry.get_all() == [other]


def test_a_late_callable_neither_starts_nor_names_nor_frees_anything(gate: Gate) -> None:
    heard: list[str] = []

    def late() -> Any:
        up = Pooled.start_link(lambda: None, name="up")
        gate()
        unregister("kept")
        for attempt in (
            lambda: Pooled.start_link(lambda: None, name="late"),
            lambda: Plain.start(lambda: None),
            lambda: register("late", up),
            lambda: Supervisor.start_link([], name="late"),
        ):
            try:
                ref = attempt()
                heard.append(f"alive: {ref.is_alive()}")  # type: ignore[attr-defined]
            except SupervisionError as error:
                heard.append(type(error).__name__)
        return up

    with pytest.raises(StartError):
        Supervisor.start_link([ChildSpec("late", late, start_timeout=SOON_S)])
    kept = Pooled.start_link(lambda: None, name="kept")
    gate.go()
    eventually(lambda: abandoned_count() == 0)
    assert heard == ["StartError", "alive: False", "NoProcess", "StartError"]
    assert whereis("kept") is kept
    assert (whereis("late"), whereis("up")) == (None, None)
    assert ActorRegistry.get_all() == [kept]


def test_an_actor_that_hangs_has_ended_for_all_others(gate: Gate) -> None:
    refs: list[Any] = []

    class Tells(Server):
        def on_start(self) -> None:
            refs.append(self.actor_ref)
            watch.append(Watch(self.actor_ref))
            gate()
            register("late", self.actor_ref)

    watch: list[Watch] = []
    with pytest.raises(StartError):
        Supervisor.start_link([Tells.child_spec(start_timeout=SOON_S)])
    assert watch[0].reason() == KILLED
    with pytest.raises(NoProcess):
        call(refs[0], "?")
    gate.go()
    eventually(lambda: abandoned_count() == 0)
    assert whereis("late") is None


def test_a_thread_that_does_not_come_back_is_reported(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    for kind, actor in (("pooled", "Pooled"), ("a constructor", "start of child")):
        caplog.clear()
        with pytest.raises(StartError):
            Supervisor.start_link([spec(kind, Script(gate, 1))])
        (event,) = [one for one in caplog.records if "thread_abandoned" in one.getMessage()]
        assert actor in event.getMessage()


# --- all the rest -----------------------------------------------------------------------------------------------------


def test_a_token_manager_takes_one_too(gate: Gate) -> None:
    class Hangs(TokenManager):
        def on_start(self) -> None:
            gate()

    auth = ClientCredentials("id", "s3cret")
    made = Hangs.child_spec(auth=auth, issuer_url="https://auth.example.com", name="token")
    with pytest.raises(StartError, match=r"on_start of Hangs took longer"):
        Supervisor.start_link([dataclasses.replace(made, start_timeout=SOON_S)])
    assert whereis("token") is None


def test_ignore_failures_and_answers_are_as_without_one(world: World) -> None:
    for kind in (Probe, ThreadProbe, PlainProbe):
        world.script("ignored", "ignore")
        world.script("fails", boom := OSError("no disk"))
        sup = Supervisor.start_link([world.spec("ignored", kind, start_timeout=60)])
        assert states(sup) == {"ignored": "stopped"}
        with pytest.raises(StartError) as caught:
            Supervisor.start_child(sup, world.spec("fails", kind, start_timeout=60))
        assert caught.value.cause is boom


def test_a_start_on_a_thread_of_its_own_works_for_its_supervisor() -> None:
    """A call to the supervisor from there could only deadlock, and is refused, as on the supervisor's own thread."""
    heard: list[Any] = []

    def asks() -> Any:
        heard.append(threading.current_thread().name)
        with pytest.raises(SupervisionError, match="itself"):
            Supervisor.which_children("sup")
        return Pooled.start_link(lambda: None)

    sup = Supervisor.start_link([ChildSpec("asks", asks, start_timeout=60)], name="sup")
    assert heard == ["start of asks"]
    assert states(sup) == {"asks": "running"}


def test_it_is_shown_and_kept() -> None:
    made = Pooled.child_spec(lambda: None, start_timeout=1.5)
    sup = Supervisor.start_link([made])
    assert Supervisor.get_childspec(sup, "Pooled").start_timeout == 1.5
    assert "start_timeout=1.5" in repr(made)
    for other in (
        Supervisor.child_spec([], id="s", start_timeout=2),
        DynamicSupervisor.child_spec(id="d", start_timeout=2),
        InInit.child_spec(lambda: None, start_timeout=2),
    ):
        assert other.start_timeout == 2


@pytest.mark.parametrize("kind", ["pooled", "plain", "a callable's server", "a tree", "a constructor"])
def test_an_end_of_the_start_and_its_timeout_at_the_same_moment(kind: str, switch_often: None) -> None:
    """Either the child is up and supervised, or it is gone and its name is free."""

    def one(number: int) -> None:
        name, timer = f"child {number}", threading.Event()
        timer.clear()
        made = ChildSpec(
            "child", KINDS[kind][0], (lambda: timer.wait(0.02),), name=name, start_timeout=0.02 + number % 5 / 2000
        )
        sup = DynamicSupervisor.start_link()
        answer = outcome(DynamicSupervisor.start_child, sup, made)
        if isinstance(answer, StartError):
            assert isinstance(answer.cause, TimeoutError), answer.cause
            answer = None
        assert whereis(name) is answer
        assert [row.ref for row in DynamicSupervisor.which_children(sup)] == ([] if answer is None else [answer])
        DynamicSupervisor.stop(sup)

    names_clash = kind in ("a callable's server", "a tree")
    for number in range(8 if names_clash else 24):
        if names_clash:
            one(number)
        else:
            with run(lambda number=number: one(number), lambda number=number: one(number + 1000)):
                pass


# --- all at once ------------------------------------------------------------------------------------------------------


class Storm:
    """Starts that fail, hang and succeed by a seed, until it is over."""

    def __init__(self, seed: int) -> None:
        self._random, self.over = random.Random(seed), threading.Event()
        self.go = threading.Event()

    def __call__(self, *_: Any) -> None:
        if self.over.is_set():
            return
        chance = self._random.random()
        if chance < 0.1:
            raise Scripted("by chance")
        if chance < 0.25:
            self.go.wait(DEADLINE_S)
        elif chance < 0.5:
            self.go.wait(0.03)


class Below(Supervisor):
    @classmethod
    def init(cls, storm: Storm, depth: int) -> Any:
        storm()
        kinds = ("pooled", "threaded", "plain", "a constructor", "a callable", "a callable's plain actor")
        children = [
            ChildSpec(kind, KINDS[kind][0], (storm,), name=f"{kind} {depth}", start_timeout=0.05, shutdown=0.1)
            for kind in kinds
        ]
        below = [cls.child_spec(storm, depth - 1, name=f"below {depth - 1}", start_timeout=0.4)] if depth else []
        return [*children, *below], {"max_restarts": 20, "max_seconds": 0.5, "strategy": "rest_for_one"}


def refs_of(sup: Any) -> set[Any]:
    """All that is in a tree."""
    rows = Supervisor.which_children(sup)
    below = [refs_of(row.ref) for row in rows if row.type == "supervisor" and row.ref is not None]
    return {sup, *(row.ref for row in rows if row.ref is not None)}.union(*below)


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_kills_and_hanging_starts_leaves_one_whole_tree(seed: int, switch_often: None) -> None:
    """Every actor that lives is in the tree, under its name, one incarnation of each."""
    storm, chance = Storm(seed), random.Random(seed)
    storm.over.set()
    top: Any = StartError("top", TimeoutError())
    while isinstance(top, StartError):  # on a busy machine 0.05 s may be too short for a first start
        top = outcome(lambda: Supervisor.start_link([Below.child_spec(storm, 2, name="below 2")], max_restarts=10**6))
    names = list(registry._names.value.table)
    storm.over.clear()
    ends_at = time.monotonic() + 2

    def kill_some(chance: random.Random) -> None:
        while time.monotonic() < ends_at:
            ref = whereis(chance.choice(names))
            if ref is not None:
                with contextlib.suppress(NoProcess):
                    kill(ref)
            storm.go.wait(0.005)

    with run(*[lambda one=one: kill_some(random.Random(one)) for one in (chance.random(), chance.random())]):
        pass
    storm.over.set()
    storm.go.set()
    eventually(lambda: abandoned_count() == 0)
    assert quiet(top)

    def is_whole() -> bool:
        found = refs_of(top)
        return found == set(ActorRegistry.get_all()) and {whereis(name) for name in names} == found - {top}

    eventually(is_whole, "a whole tree")
