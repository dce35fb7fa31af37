"""Pykka's registry, with the dictionary that stands in the place of its list; `stop_all` and trees."""

import gc
import random
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import pykka
import pytest
from actors import CHILDREN, Boom, Plain, Pooled, Threaded, every_child
from children import Watch
from holding import Gate
from pykka import ActorDeadError, ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import Backoff, ChildSpec, DynamicSupervisor, Server, Supervisor, call, cast, named, whereis
from supervision.process.pykka_internals import _IndexedRefs

pytestmark = pytest.mark.P12


def test_stopping_many_pooled_actors_is_linear_and_the_registry_stays_truthful() -> None:
    def stop_all(count: int) -> float:
        refs = [Pooled.start() for _ in range(count)]
        for ref in refs:
            assert ref.actor_inbox.closed is False
        assert len(ActorRegistry.get_all()) == count
        victims = refs[::2]
        began = time.process_time()
        for ref in victims:
            ref.stop(block=True)
        middle = time.process_time()
        assert set(ActorRegistry.get_all()) == set(refs[1::2])
        again = time.process_time()
        ActorRegistry.stop_all()
        took_s = time.process_time() - again + middle - began
        assert ActorRegistry.get_all() == []
        return took_s

    stop_all(500)
    gc.collect()
    gc.disable()  # what else the process holds is not to count
    try:
        few, many = stop_all(2_000), stop_all(20_000)
    finally:
        gc.enable()
    # Ten times as many take ten times as long. A list that is searched at each stop takes a hundred times as long.
    assert many < 40 * few, f"{few:.2f} s for 2,000 and {many:.2f} s for 20,000"


def test_the_registry_answers_as_pykkas_list_did() -> None:
    refs = [Pooled.start_link(), Plain.start(), Threaded.start_link()]
    assert ActorRegistry.get_all() == refs
    assert ActorRegistry.get_by_class(pykka.ThreadingActor) == [refs[1]]
    assert ActorRegistry.get_by_class(Server) == [refs[0], refs[2]]
    assert ActorRegistry.get_by_class_name("Threaded") == [refs[2]]
    assert ActorRegistry.get_by_urn(refs[0].actor_urn) is refs[0]
    assert ActorRegistry.get_by_urn("urn:nobody") is None
    handled: list[str] = []
    ActorRegistry.broadcast(lambda actor: handled.append(type(actor).__name__), target_class=Server)
    assert [ref.ask(1) for ref in refs] == [1, 1, 1]
    assert sorted(handled) == ["Pooled", "Threaded"]
    ActorRegistry.unregister(refs[0])
    ActorRegistry.unregister(refs[0])
    assert ActorRegistry.get_all() == refs[1:]
    ActorRegistry.register(refs[0])


def test_a_server_that_pykka_started_leaves_in_constant_time_too() -> None:
    ActorRegistry._actor_refs = []  # as Pykka has it
    ref = Pooled.start()
    assert not isinstance(ActorRegistry._actor_refs, list)
    assert ActorRegistry.get_all() == [ref]


# --- the same answers as with a list ----------------------------------------------------------------------------------


class Stub:
    """A ref, as far as the registry looks at one; what it is told goes into one log."""

    classes = (Pooled, Threaded, Plain)

    def __init__(self, number: int, log: list[Any]) -> None:
        self.actor_class: Any = self.classes[number % 3]
        self.actor_urn = f"urn:{number}"
        self.is_dead = number % 7 == 6
        self._log = log

    def __repr__(self) -> str:
        return self.actor_urn

    def tell(self, message: Any) -> None:
        if self.is_dead:
            raise ActorDeadError(self.actor_urn)
        self._log.append((self, message))

    def stop(self, *, block: bool, timeout: float | None) -> Any:
        self._log.append((self, block, timeout))
        return (self, block)


Step = tuple[str, tuple[Any, ...], dict[str, Any]]
"""A call of the registry: a method, its arguments."""

LOOKS: list[Callable[[random.Random], Step]] = [
    lambda chosen: ("get_all", (), {}),
    lambda chosen: ("get_by_class", (chosen.choice([*Stub.classes, Server, pykka.ThreadingActor, pykka.Actor]),), {}),
    lambda chosen: ("get_by_class_name", (chosen.choice(["Pooled", "Threaded", "Plain", "Server", ""]),), {}),
    lambda chosen: ("get_by_urn", (f"urn:{chosen.randrange(33)}",), {}),
    lambda chosen: ("broadcast", ("hello", chosen.choice([None, Server, Plain, "Threaded", "Nothing"])), {}),
    lambda chosen: ("stop_all", (), {"block": chosen.random() < 0.5, "timeout": chosen.choice([None, 0.5])}),
]


def steps(refs: list[Stub], chosen: random.Random) -> Iterator[Step]:
    """Each ref comes and goes, and is looked for in every way meanwhile."""
    absent = set(refs)
    while True:
        ref = chosen.choice(refs)
        if ref in absent and chosen.random() < 0.7:
            absent.discard(ref)
            yield "register", (ref,), {}
        else:
            absent.add(ref)
            yield "unregister", (ref,), {}
        yield chosen.choice(LOOKS)(chosen)


def answer_of(registry: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return getattr(registry, method)(*args, **kwargs)
    except ActorDeadError as error:
        return repr(error)


@pytest.mark.parametrize("seed", range(20))
def test_random_calls_have_the_same_answers_and_effects_as_with_pykkas_list(seed: int) -> None:
    chosen, log = random.Random(seed), []  # type: ignore[var-annotated]
    refs = [Stub(number, log) for number in range(30)]
    both = [
        type("Own", (ActorRegistry,), {"_actor_refs": refs_in([]), "_actor_refs_lock": threading.RLock()})
        for refs_in in (list, _IndexedRefs)
    ]
    for step in islice(steps(refs, chosen), 400):
        answers = []
        for registry in both:
            log.clear()
            answers.append((answer_of(registry, *step), list(log)))
        assert answers[0] == answers[1], step


# --- stop_all and trees -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["one_for_one", "one_for_all", "rest_for_one"])
def strategy(request: pytest.FixtureRequest) -> Any:
    return request.param


class Tree:
    """A tree of every kind of child, which counts how often each has started."""

    def __init__(self, strategy: Any, backoff: Backoff | None = None) -> None:
        self._started = count()
        self.starts = 0
        always: dict[str, Any] = {"max_restarts": 1_000_000}
        leaves = [self._leaf(kind, f"leaf.{kind}", backoff) for kind in CHILDREN]
        nested = [self._leaf(kind, f"nested.{kind}", backoff) for kind in CHILDREN]
        inner = Supervisor.child_spec(nested, id="inner", name="inner", strategy=strategy, **always)
        pool = DynamicSupervisor.child_spec(id="pool", name="pool", **always)
        self.ref = Supervisor.start_link([inner, *leaves, pool], strategy=strategy, name="outer", **always)
        self.names = [spec.name for spec in (*leaves, *nested)] + [f"pool.{kind}" for kind in CHILDREN]
        for kind in CHILDREN:
            DynamicSupervisor.start_child("pool", self._leaf(kind, f"pool.{kind}", backoff))

    def _leaf(self, kind: str, name: str, backoff: Backoff | None) -> ChildSpec:
        return ChildSpec(name, CHILDREN[kind], ({"on_start": self._counts},), name=name, backoff=backoff)

    def _counts(self) -> None:
        self.starts = next(self._started) + 1


HOW: dict[str, Callable[[], object]] = {
    "block": lambda: ActorRegistry.stop_all(timeout=DEADLINE_S),
    "no block": lambda: pykka.get_all(ActorRegistry.stop_all(block=False), timeout=DEADLINE_S),
}


@pytest.mark.parametrize("stop_all", HOW.values(), ids=HOW.keys())
def test_what_restarts_while_stop_all_runs_does_not_come_back(strategy: Any, stop_all: Callable[[], object]) -> None:
    for seed in range(4):
        tree = Tree(strategy)
        crashing, over = threading.Barrier(3), threading.Event()

        def crash(seed: int, tree: Tree = tree, crashing: Any = crashing, over: Any = over) -> None:
            chosen = random.Random(seed)
            crashing.wait(DEADLINE_S)
            while not over.is_set():
                cast(chosen.choice(tree.names), Boom())
                over.wait(0.001)

        watch = Watch(tree.ref)
        with run(lambda: crash(2 * seed), lambda: crash(2 * seed + 1)):  # noqa: B023 - they end in this round
            crashing.wait(DEADLINE_S)
            eventually(lambda: tree.starts > 3 * len(tree.names), "restarts")  # noqa: B023
            stop_all()
            watch.reason()
            started = tree.starts
            over.set()
        assert ActorRegistry.get_all() == []
        assert [name for name in (*tree.names, "inner", "pool", "outer") if whereis(name) is not None] == []
        assert tree.starts == started


@every_child
@pytest.mark.parametrize("stop_all", HOW.values(), ids=HOW.keys())
def test_stop_all_amid_the_start_of_a_restart_ends_the_one_that_comes_up(
    cls: Any, stop_all: Callable[[], object]
) -> None:
    gates = [Gate(), Gate()]
    gates[0].go()
    starts = iter(gates)
    sup = Supervisor.start_link([ChildSpec("it", cls, ({"on_start": lambda: next(starts)()},), name="it")])
    watch = Watch(sup)
    cast("it", Boom())
    gates[1].await_entry()
    with run(stop_all):
        eventually(lambda: sup.actor_inbox.qsize() > 0, "the request to stop")
        gates[1].go()
    watch.reason()
    assert ActorRegistry.get_all() == []
    assert whereis("it") is None


@every_child
@pytest.mark.parametrize("stop_all", HOW.values(), ids=HOW.keys())
def test_stop_all_in_the_delay_of_a_backoff_ends_the_restart(cls: Any, stop_all: Callable[[], object]) -> None:
    started = count()
    backoff = Backoff(initial=0.05, jitter=0.0)
    sup = Supervisor.start_link(
        [ChildSpec("it", cls, ({"on_start": lambda: next(started)},), name="it", backoff=backoff)]
    )
    child, watch = Watch(whereis("it")), Watch(sup)
    cast("it", Boom())
    child.reason()
    assert [info.state for info in Supervisor.which_children(sup)] == ["restarting"]
    stop_all()
    watch.reason()
    threading.Event().wait(0.1)
    assert next(started) == 1
    assert ActorRegistry.get_all() == []


@every_child
def test_a_stop_all_that_has_not_waited_for_a_stuck_child_goes_on_by_itself(cls: Any) -> None:
    gate = Gate()
    sup = Supervisor.start_link([ChildSpec("it", cls, name="it")])
    watch = Watch(sup)
    gate.grip(whereis("it"))
    with pytest.raises(pykka.Timeout):
        ActorRegistry.stop_all(timeout=0.01)
    gate.go()
    watch.reason()
    assert ActorRegistry.get_all() == []


def test_a_broadcast_reaches_supervised_actors_and_restarted_ones_once() -> None:
    heard: list[Any] = []
    sup = Supervisor.start_link([ChildSpec(kind, CHILDREN[kind], name=kind) for kind in CHILDREN], max_restarts=9)
    for kind in CHILDREN:
        child = Watch(whereis(kind))
        cast(kind, Boom())
        child.reason()
    Supervisor.count_children(sup)
    ActorRegistry.broadcast(lambda actor: heard.append(actor.actor_ref), target_class=Plain)
    ActorRegistry.broadcast(lambda actor: heard.append(actor.actor_ref), target_class="Pooled")
    for kind in CHILDREN:
        call(kind, 1)
    reached = [whereis(kind) for kind in ("pooled", "managed", "raw")]
    assert len(heard) == 3
    assert set(heard) == set(reached)


@every_child
def test_a_ref_that_is_a_name_stands_for_the_actor_that_has_it_and_is_never_kept_itself(cls: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("it", cls, name="it")])
    ref, by_name = whereis("it"), named("it")
    assert ref is not None
    ActorRegistry.unregister(by_name)
    assert ActorRegistry.get_all() == [sup]
    ActorRegistry.unregister(by_name)
    ActorRegistry.register(by_name)
    assert ActorRegistry.get_all() == [sup, ref]
    assert ActorRegistry.get_by_urn(by_name.actor_urn) is ref
    Supervisor.stop(sup)
    ActorRegistry.unregister(by_name)
    with pytest.raises(ActorDeadError, match="'it' not found"):
        ActorRegistry.register(by_name)
    assert ActorRegistry.get_by_class(Server) == ActorRegistry.get_all() == []
