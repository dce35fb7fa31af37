"""While a supervisor restarts a name, it is restarting and not gone: `ServerRestarting`, and waiting for the successor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from children import KINDS, PlainProbe, World, die, quiet, ref_of
from threads import DEADLINE_S, eventually, run

from supervision import (
    Backoff,
    NoProcess,
    ServerRestarting,
    SupervisionError,
    Supervisor,
    call,
    cast,
    kill,
    stop,
    whereis,
)
from supervision.process import registry
from supervision.supervising import is_supervisor

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


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    """What is noted of names goes when it is decided what becomes of them, at the latest with the supervisors."""
    yield
    for ref in pykka.ActorRegistry.get_all():
        if is_supervisor(ref):
            kill(ref)
    eventually(lambda: not registry._names.value.awaited)


def killed(ref: Any, world: World) -> None:
    world.gone("a")
    kill(ref)


# --- which names are being restarted ----------------------------------------------------------------------------------


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
