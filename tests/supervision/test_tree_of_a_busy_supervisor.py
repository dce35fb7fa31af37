"""``Supervisor.tree`` while a supervisor is stuck, which is when a person looks; and the tree as JSON."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from actors import Boom, Plain, Pooled, Threaded
from children import Scripted, Watch, World, die, ref_of
from holding import Gate
from threads import DEADLINE_S, eventually

from supervision import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    Server,
    StartError,
    SupervisionError,
    Supervisor,
    cast,
    kill,
    whereis,
)
from supervision.tree import LOOK_S, Branch, Tree

AT_MOST_S = LOOK_S + 2.0  # with what a busy machine needs


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as made:
        yield made


def in_background(function: Any, *args: Any, **kwargs: Any) -> threading.Thread:
    def run() -> None:
        try:
            function(*args, **kwargs)
        except (StartError, NoProcess):
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def tree_of(sup: Any) -> Tree:
    """The tree, which must not be long in coming."""
    began = time.monotonic()
    tree = Supervisor.tree(sup)
    assert time.monotonic() - began < AT_MOST_S
    return tree


def hanging(gate: Gate, child_id: str = "slow", cls: Any = Pooled) -> ChildSpec:
    return ChildSpec(child_id, cls, ({"on_start": gate},))


def branch(tree: Tree | Branch, child_id: Any) -> Branch:
    return next(child for child in tree.children if child.id == child_id)


@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_a_child_that_hangs_in_its_start_is_what_it_waits_for(kind: Any, cls: Any, gate: Gate, world: World) -> None:
    sup = kind.start_link([]) if kind is Supervisor else kind.start_link()
    kind.start_child(sup, ChildSpec("fine", Pooled, name="its name"))
    starting = in_background(kind.start_child, sup, hanging(gate, cls=cls))
    gate.await_entry()
    tree = tree_of(sup)
    assert tree.waits_for is not None
    assert tree.waits_for.startswith("starting slow (")
    assert [(child.id, child.state, child.class_name) for child in tree.children] == [
        ("fine", "running", "Pooled"),
        ("slow", "stopped", cls.__name__),
    ]
    assert (branch(tree, "fine").name, branch(tree, "slow").mailbox) == ("its name", 0)
    gate.go()
    starting.join(DEADLINE_S)
    assert tree_of(sup).waits_for is None
    assert branch(tree_of(sup), "slow").state == "running"


def test_a_tree_that_is_still_starting_is_shown_down_to_the_child_that_hangs(gate: Gate, world: World) -> None:
    innermost = Supervisor.child_spec([world.spec("a"), hanging(gate), world.spec("z")], id="inner", name="inner")
    outer = Supervisor.child_spec([innermost], id="outer", name="outer")
    starting = in_background(Supervisor.start_link, [world.spec("first"), outer, world.spec("last")], name="top")
    gate.await_entry()
    tree = tree_of("top")
    outer_branch = branch(tree, "outer")
    inner_branch = branch(outer_branch, "inner")
    assert [(child.id, child.state) for child in inner_branch.children] == [
        ("a", "running"),
        ("slow", "stopped"),
        ("z", "stopped"),
    ]
    for shown, waits_for in ((tree, "outer"), (outer_branch, "inner"), (inner_branch, "slow")):
        assert shown.waits_for is not None
        assert shown.waits_for.startswith(f"starting {waits_for} (")
    assert (inner_branch.name, inner_branch.class_name, inner_branch.type) == ("inner", "Supervisor", "supervisor")
    gate.go()
    starting.join(DEADLINE_S)
    assert branch(branch(tree_of("top"), "outer"), "inner").waits_for is None


def test_a_supervisor_of_ones_own_in_its_init(gate: Gate) -> None:
    class Billing(Supervisor):
        @classmethod
        def init(cls) -> Any:
            gate()
            return []

    starting = in_background(Supervisor.start_link, [Billing.child_spec(id="billing", name="billing")], name="top")
    gate.await_entry()
    assert str(tree_of("top").waits_for).startswith("starting billing (")
    assert branch(tree_of("top"), "billing").waits_for == tree_of("billing").waits_for == "in its init"
    gate.go()
    starting.join(DEADLINE_S)


def test_a_start_with_a_timeout_says_how_long_it_may_take(gate: Gate) -> None:
    sup = Supervisor.start_link([])
    spec = ChildSpec("slow", Pooled, ({"on_start": gate},), start_timeout=60.0)
    starting = in_background(Supervisor.start_child, sup, spec)
    gate.await_entry()
    assert str(tree_of(sup).waits_for).endswith(" s of 60 s)")
    gate.go()
    starting.join(DEADLINE_S)


def test_a_restart_that_hangs(gate: Gate, world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab"))
    world.script("a", gate)
    world.gone("a")
    die(ref_of(sup, "a"))
    gate.await_entry()
    tree = tree_of(sup)
    assert tree.waits_for is not None
    assert tree.waits_for.startswith("starting a (")
    assert [(child.state, str(child.last_exit)) for child in tree.children] == [
        ("restarting", "KILLED"),
        ("running", "None"),
    ]


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
@pytest.mark.parametrize(("shutdown", "limit"), [(60.0, " of 60 s)"), ("infinity", " s)")])
def test_a_child_that_does_not_end(kind: Any, shutdown: Any, limit: str, gate: Gate, world: World) -> None:
    sup = kind.start_link([]) if kind is Supervisor else kind.start_link()
    slow = kind.start_child(sup, ChildSpec("slow", Pooled, ({"on_terminate": lambda _: gate()},), shutdown=shutdown))
    kind.start_child(sup, world.spec("other"))
    stopping = in_background(kind.stop, sup)
    gate.await_entry()
    eventually(lambda: kind is DynamicSupervisor or not world.live())
    tree = tree_of(sup)
    assert tree.waits_for is not None
    assert tree.waits_for.startswith("waiting for slow to end (")
    assert tree.waits_for.endswith(limit)
    assert branch(tree, "slow").ref is slow
    gate.go()
    stopping.join(DEADLINE_S)
    with pytest.raises(NoProcess):
        Supervisor.tree(sup)


def test_what_a_delayed_restart_waits_for(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a", backoff=Backoff(initial=60, maximum=60, jitter=0))])
    die(ref_of(sup, "a"), Scripted("why"))
    (shown,) = tree_of(sup).children
    assert shown.waits_for in {"next attempt in 60.0 s", *(f"next attempt in 59.{tenth} s" for tenth in range(10))}
    assert shown.to_dict()["last_failure"] == "Scripted: why"


def test_many_that_hang_take_no_longer_than_one(gate: Gate) -> None:
    names = [f"sup {number}" for number in range(20)]
    specs = [DynamicSupervisor.child_spec(id=name, name=name) for name in names]
    sup = Supervisor.start_link(specs)
    gates = [Gate() for _ in names]
    starting = [
        in_background(DynamicSupervisor.start_child, name, hanging(one)) for name, one in zip(names, gates, strict=True)
    ]
    for one in gates:
        one.await_entry()
    began = time.monotonic()
    tree = Supervisor.tree(sup)
    took_s = time.monotonic() - began
    for one in gates:
        one.go()
    for thread in starting:
        thread.join(DEADLINE_S)
    assert took_s < AT_MOST_S
    assert len(tree.children) == len(names)
    assert all(str(child.waits_for).startswith("starting slow") for child in tree.children)


def test_looking_again_and_again_leaves_no_heap_of_questions(gate: Gate) -> None:
    sup = DynamicSupervisor.start_link()
    starting = in_background(DynamicSupervisor.start_child, sup, hanging(gate))
    gate.await_entry()
    for _ in range(50):
        tree = tree_of(sup)
    assert len(sup.actor_inbox.process.actor._looks) <= 2  # type: ignore[union-attr]
    assert tree.mailbox == 0, "its own questions do not count"
    gate.go()
    starting.join(DEADLINE_S)
    assert tree_of(sup).waits_for is None


def test_one_that_is_stuck_in_something_else(gate: Gate) -> None:
    """A log handler, say, on the supervisor's thread."""
    sup = DynamicSupervisor.start_link()
    DynamicSupervisor.start_child(sup, ChildSpec("fine", Pooled))
    gate.grip_operation(sup)
    for _ in range(5):
        tree = tree_of(sup)
        assert tree.waits_for == "busy, gives no answer"
    assert [child.id for child in tree.children] == ["fine"]
    assert tree.mailbox == 0


@pytest.mark.parametrize("is_asked", [True, False])
@pytest.mark.parametrize("error", [SupervisionError("it waits for the caller"), KeyboardInterrupt()])
def test_a_question_that_breaks_off_leaves_no_note(
    is_asked: bool, error: BaseException, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """Before it was asked, or while it waited: the next look is answered again, and the supervisor lives."""
    from supervision import tree as module

    sup, ask = Supervisor.start_link(world.specs("a")), module.ask

    def breaks_off(*args: Any, **options: Any) -> Any:
        if is_asked:
            ask(*args, **options)
        raise error

    monkeypatch.setattr(module, "ask", breaks_off)
    if isinstance(error, SupervisionError):
        assert Supervisor.tree(sup).waits_for == "busy, gives no answer"
    else:
        with pytest.raises(KeyboardInterrupt):
            Supervisor.tree(sup)
    monkeypatch.undo()
    assert not sup.actor_inbox.process.actor._looks  # type: ignore[attr-defined]
    assert Supervisor.tree(sup).waits_for is None


def test_an_answer_whose_note_was_taken_back_does_no_harm(world: World) -> None:
    from supervision.supervising import AnySupervisor, ask
    from supervision.tree import _answer

    sup = Supervisor.start_link(world.specs("a"))
    assert [child.spec.id for child in ask(sup, AnySupervisor, _answer)] == ["a"]
    assert Supervisor.tree(sup).waits_for is None


@pytest.mark.parametrize("hook", ["on_start", "on_terminate"])
@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_a_child_may_look_at_the_tree_that_waits_for_it(cls: Any, hook: str) -> None:
    seen: list[Tree] = []
    hook = "on_stop" if (cls, hook) == (Plain, "on_terminate") else hook
    spec = ChildSpec("curious", cls, ({hook: lambda *_: seen.append(Supervisor.tree("top"))},))
    began = time.monotonic()
    sup = Supervisor.start_link([ChildSpec("other", Pooled), spec], name="top")
    Supervisor.stop(sup)
    assert time.monotonic() - began < LOOK_S / 2, "no wait for an answer that cannot come"
    (tree,) = seen
    assert str(tree.waits_for).startswith("starting curious" if hook == "on_start" else "waiting for curious to end")


def test_a_start_callable_may_look_too() -> None:
    seen: list[Tree] = []

    def start() -> Any:
        seen.append(Supervisor.tree("top"))
        return Pooled.start_link()

    Supervisor.start_link([ChildSpec("it", start)], name="top")
    assert str(seen[0].waits_for).startswith("starting it (")


def test_of_two_that_look_at_the_same_time_both_see_it(world: World) -> None:
    sup = Supervisor.start_link(world.specs("abc"))
    begin, seen = threading.Barrier(8), []

    def look() -> None:
        begin.wait(DEADLINE_S)
        seen.extend([len(Supervisor.tree(sup).children) for _ in range(50)])

    threads = [threading.Thread(target=look, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert seen == [3] * 400


def test_looks_from_outside_while_children_come_and_go(gate: Gate) -> None:
    """The table is read by one thread while another changes it."""
    from supervision import tree as module

    sup = DynamicSupervisor.start_link(max_restarts=1_000_000)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            ref = DynamicSupervisor.start_child(sup, ChildSpec("x", Pooled, name="x"))
            kill(ref)
            DynamicSupervisor.which_children(sup)
            DynamicSupervisor.terminate_child(sup, "x")

    thread = threading.Thread(target=churn, daemon=True)
    thread.start()
    process = sup.actor_inbox.process
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        for row, _ in module.rows_from_outside(process.actor):
            assert (row.ref is None) is (row.state != "running")
            json.dumps(row.to_dict())
    stop.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


# --- JSON -------------------------------------------------------------------------------------------------------------


class Heavy(Server):
    def on_receive(self, message: Any) -> Any:
        return message()


def test_as_json(gate: Gate) -> None:
    children = [
        Supervisor.child_spec([ChildSpec("deep", Heavy, name="deep's name")], id="inner", name="inner"),
        ChildSpec("plain", Plain, restart="transient", name="plain"),
        ChildSpec("made", lambda: Threaded.start_link(name="made's name"), restart="temporary"),
    ]
    sup = Supervisor.start_link(children, name="top")
    whereis("deep's name").tell(gate)  # type: ignore[union-attr]
    gate.await_entry()
    for _ in range(3):
        cast("deep's name", gate)
    watch = Watch("plain")
    cast("plain", Boom("the reason"))
    watch.reason()
    eventually(lambda: whereis("plain") is not None)
    shown = json.loads(json.dumps(Supervisor.tree(sup).to_dict(), allow_nan=False))
    inner, plain, made = shown.pop("children")
    assert shown == {
        "id": None,
        "name": "top",
        "class": "Supervisor",
        "type": "supervisor",
        "state": "running",
        "urn": sup.actor_urn,
        "mailbox": 0,
        "restart": None,
        "restarts": 0,
        "last_exit": None,
        "last_failure": None,
        "age_s": None,
        "waits_for": None,
    }
    (deep,) = inner.pop("children")
    assert set(inner) == set(deep) - {"children"} == set(shown)
    assert (inner["name"], inner["type"], inner["restart"], inner["class"]) == (
        "inner",
        "supervisor",
        "permanent",
        "Supervisor",
    )
    assert (deep["name"], deep["mailbox"], deep["class"], deep["urn"]) == (
        "deep's name",
        3,
        "Heavy",
        ref_of("inner", "deep").actor_urn,
    )
    assert (plain["restarts"], plain["last_exit"], plain["last_failure"], plain["restart"]) == (
        1,
        "Crash(Boom)",
        "Boom: the reason",
        "transient",
    )
    assert 0 <= plain["age_s"] < DEADLINE_S
    assert (made["name"], made["class"], made["restart"], made["last_exit"]) == (
        "made's name",
        "Threaded",
        "temporary",
        None,
    )


def test_the_same_members_everywhere(world: World) -> None:
    sup = Supervisor.start_link([world.spec("a"), DynamicSupervisor.child_spec(id="d")])
    Supervisor.terminate_child(sup, "a")
    shown = Supervisor.tree(sup).to_dict()
    assert [set(child) == set(shown) for child in shown["children"]] == [True, True]
    assert [child["class"] for child in shown["children"]] == ["Probe", "DynamicSupervisor"]


@pytest.mark.parametrize(
    ("child_id", "shown"),
    [
        (None, None),
        (7, 7),
        (1.5, 1.5),
        (float("inf"), "inf"),
        ("text", "text"),
        (("pair", 1), "('pair', 1)"),
        (b"bytes", "b'bytes'"),
        (Boom, "<class 'actors.Boom'>"),
    ],
)
def test_an_id_as_json_has_it_or_as_text(child_id: Any, shown: Any) -> None:
    sup = Supervisor.start_link([ChildSpec(child_id, Pooled)])
    assert json.loads(json.dumps(Supervisor.tree(sup).to_dict()))["children"][0]["id"] == shown


def test_no_argument_of_a_child_is_in_it() -> None:
    class Child(Server):
        def __init__(self, password: str, key: str) -> None:
            super().__init__()

    sup = Supervisor.start_link([ChildSpec("it", Child, ("hunter2",), {"key": "hunter3"})])
    tree = Supervisor.tree(sup)
    assert "hunter" not in f"{tree} {tree!r} {tree.to_dict()}"


def test_many_levels() -> None:
    spec = Supervisor.child_spec([ChildSpec("worker", Pooled)], id=0)
    for level in range(1, 150):
        spec = Supervisor.child_spec([spec], id=level)
    tree = Supervisor.tree(Supervisor.start_link([spec], name="top"))
    assert len(str(tree).splitlines()) == 152
    assert json.dumps(tree.to_dict()).count('"Supervisor"') == 151


def test_a_tree_that_was_kept_keeps_no_dead_actor_alive() -> None:
    made: list[weakref.ref[Any]] = []

    class Child(Pooled):
        def on_start(self) -> None:
            made.append(weakref.ref(self))
            if len(made) == 2:
                raise OSError("taken")

    sup = Supervisor.start_link([ChildSpec("it", Child, name="it", backoff=Backoff(0.01, 3_600, jitter=0))])
    kill("it")
    eventually(lambda: Supervisor.tree(sup).children[0].last_failure is not None)
    kept = Supervisor.tree(sup)
    Supervisor.stop(sup)

    def all_gone() -> bool:
        gc.collect()
        return not any(ref() for ref in made)

    eventually(all_gone, "the tree keeps one alive")
    assert kept.children
