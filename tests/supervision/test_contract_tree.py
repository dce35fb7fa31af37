"""``Supervisor.tree``: the whole system as a value, and as text that a person reads."""

import re
from typing import Any

import pytest
from children import Clock, Probe, Scripted, Watch, World, crash, die, ref_of
from holding import held

from supervision import (
    NORMAL,
    SHUTDOWN,
    Backoff,
    Crash,
    DynamicSupervisor,
    Exit,
    NoProcess,
    Supervisor,
    kill,
)

BOOM = Scripted("hunter2")
FOR_EVER = Backoff(initial=3_600, maximum=3_600, jitter=0)


@pytest.fixture
def sup(world: World, clock: Clock) -> Any:
    children = [
        world.spec("db", name="database"),
        Supervisor.child_spec(
            [world.spec("one", restart="transient"), world.spec("two", backoff=FOR_EVER)], id="workers", name="workers"
        ),
        DynamicSupervisor.child_spec(id="sessions", name="sessions"),
        world.spec("last"),
    ]
    return Supervisor.start_link(children, max_restarts=10)


def test_it_is_a_value_with_everything_in_it(sup: Any, clock: Clock, world: World) -> None:
    clock.at += 2
    assert crash(sup, "db")
    clock.at += 3
    die(ref_of("workers", "one"), Exit())
    die(ref_of("workers", "two"), BOOM)
    session = DynamicSupervisor.start_child("sessions", world.spec("s"))
    clock.at += 1
    tree = Supervisor.tree(sup)
    assert tree.ref is sup
    db, workers, sessions, last = tree.children
    assert (db.id, db.name, db.state, db.restarts, db.last_exit, db.age_s) == (
        *("db", "database", "running", 1),
        *(Crash(db.last_exit.exception), 4.0),  # type: ignore[union-attr]
    )
    assert db.ref is ref_of(sup, "db")
    assert (workers.name, workers.state, workers.restarts, workers.last_exit, workers.age_s) == (
        *("workers", "running", 0, None, 6.0),
    )
    one, two = workers.children
    assert (one.state, one.ref, one.restarts, one.last_exit, one.age_s) == ("stopped", None, 0, NORMAL, None)
    assert (two.state, two.ref, two.restarts, str(two.last_exit), two.age_s) == (
        *("restarting", None, 0, "Crash(Scripted)", None),
    )
    assert [(child.id, child.ref, child.age_s) for child in sessions.children] == [("s", session, 1.0)]
    assert last.children == ()
    with pytest.raises(AttributeError):
        db.state = "stopped"  # type: ignore[misc]


def test_its_text_is_for_a_person(sup: Any, clock: Clock, world: World) -> None:
    clock.at += 2
    assert crash(sup, "db", BOOM)
    die(ref_of("workers", "one"), Exit())
    die(ref_of("workers", "two"), BOOM)
    DynamicSupervisor.start_child("sessions", world.spec("s"))
    Supervisor.which_children("workers")  # it has handled the deaths
    clock.at += 1.25
    assert str(Supervisor.tree(sup)).splitlines() == [
        "Supervisor",
        "├─ db (database)  running     up 1.2 s, 1 restart, last exit Crash(Scripted)",
        "├─ workers        running     up 3.2 s",
        "│  ├─ one         stopped     last exit NORMAL",
        "│  └─ two         restarting  last exit Crash(Scripted), next attempt in 3598.8 s",
        "├─ sessions       running     up 3.2 s",
        "│  └─ s           running     up 1.2 s",
        "└─ last           running     up 3.2 s",
    ]


def test_no_exceptions_text_is_in_it(sup: Any) -> None:
    assert crash(sup, "db", BOOM)
    assert "hunter2" not in str(Supervisor.tree(sup))


def test_of_a_name_and_of_a_dynamic_supervisor(sup: Any) -> None:
    assert [child.id for child in Supervisor.tree("workers").children] == ["one", "two"]
    assert str(Supervisor.tree("sessions")) == "DynamicSupervisor (sessions)"


def test_of_nobody_and_of_a_worker(sup: Any) -> None:
    with pytest.raises(NoProcess):
        Supervisor.tree("nobody")
    with pytest.raises(TypeError):
        Supervisor.tree("database")


def test_a_subtree_that_ends_while_it_is_asked_for_is_left_out(sup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervision import tree

    ask, inner = tree.ask, ref_of(sup, "workers")

    def ask_and_lose(ref: Any, *args: Any, **options: Any) -> Any:
        if ref is inner:
            kill(inner)
        return ask(ref, *args, **options)

    monkeypatch.setattr(tree, "ask", ask_and_lose)
    workers = Supervisor.tree(sup).children[1]
    assert (workers.id, workers.children) == ("workers", ())


def test_a_child_that_was_terminated_shows_its_last_exit(world: World) -> None:
    sup = Supervisor.start_link(world.specs("ab"))
    Supervisor.terminate_child(sup, "a")
    assert [child.last_exit for child in Supervisor.tree(sup).children] == [SHUTDOWN, None]


def test_restarts_count_what_succeeded_siblings_included(world: World) -> None:
    sup = Supervisor.start_link(world.specs("abc"), strategy="rest_for_one", max_restarts=10)
    world.script("b", "fail")
    assert crash(sup, "b")
    assert crash(sup, "a")
    Supervisor.terminate_child(sup, "c")
    Supervisor.restart_child(sup, "c")
    assert [child.restarts for child in Supervisor.tree(sup).children] == [1, 2, 2]


def test_a_restarted_supervisor_counts_anew(world: World) -> None:
    top = Supervisor.start_link([Supervisor.child_spec(world.specs("x"), id="inner", name="inner", max_restarts=1)])
    assert crash("inner", "x")
    old = Watch("inner")
    die(ref_of("inner", "x"), BOOM)
    assert old.reason() == SHUTDOWN
    inner = Supervisor.tree(top).children[0]
    assert (inner.restarts, inner.children[0].restarts, inner.children[0].last_exit) == (1, 0, None)


def test_odd_ids_are_drawn_too(world: World) -> None:
    sup = Supervisor.start_link([world.spec(("pair", 1)), world.spec(None), world.spec("a", name="a")])
    drawn = re.sub(r"up [\d.]+ s", "up", str(Supervisor.tree(sup)))
    assert drawn.splitlines()[1:] == [
        "├─ ('pair', 1)  running  up",
        "├─ None         running  up",
        "└─ a            running  up",
    ]


def test_it_waits_its_turn(world: World) -> None:
    """A supervisor that is busy answers later; the tree is of one moment per supervisor."""
    sup = Supervisor.start_link(world.specs("a"))
    with held(sup) as post:
        answer = post.send("tree")
    assert [child.spec.id for child in answer()] == ["a"]
    assert Probe.__name__ in str(ref_of(sup, "a"))
