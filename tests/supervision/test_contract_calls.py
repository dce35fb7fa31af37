""".github/design/supervision.md 1.12: the rows of GenServer: calls and casts. Each for every kind of actor it applies to."""

import threading
from typing import Any

import pytest
from children import KINDS, Probe, Scripted, ThreadProbe, Watch, World, die, ref_of
from pykka import ActorDeadError
from threads import DEADLINE_S, eventually

from supervision import (
    KILLED,
    CallTimeout,
    Crash,
    Exit,
    NoProcess,
    ServerDied,
    SupervisionError,
    Supervisor,
    call,
    cast,
    kill,
    stop,
)

BOOM = Scripted("boom")
SERVERS = (Probe, ThreadProbe)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def ref(request: pytest.FixtureRequest, world: World) -> Any:
    """A supervised actor that is not restarted."""
    return ref_of(Supervisor.start_link([world.spec("a", request.param, restart="temporary")]), "a")


# --- call -------------------------------------------------------------------------------------------------------------


def test_a_call_is_answered(ref: Any) -> None:
    assert call(ref, "hello") == "hello"
    assert call(ref, lambda actor: actor.child_id) == "a"
    assert call(ref, "hello", timeout=None) == "hello"


def test_a_timeout_is_the_callers_only(ref: Any, gate: Any) -> None:
    """The server is not told, does the work and stays alive; the late reply is discarded."""
    with pytest.raises(CallTimeout) as caught:
        call(ref, gate, timeout=0.01)
    assert (caught.value.timeout, caught.value.server) == (0.01, ref)
    gate.go()
    assert call(ref, "next") == "next"


def test_a_timeout_error_that_is_the_answer_is_no_call_timeout(ref: Any, world: World) -> None:
    def raises(_: Any) -> None:
        raise TimeoutError("the handler's own")

    with pytest.raises(TimeoutError, match="the handler's own"):
        call(ref, raises)


def test_a_handlers_exception_reaches_its_caller_unchanged(ref: Any) -> None:
    with pytest.raises(Scripted) as caught:
        call(ref, BOOM)
    assert caught.value is BOOM


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opted_out", [False, True])
def test_an_exception_under_call_ends_a_server_unless_it_opted_out(kind: type, opted_out: bool, world: World) -> None:
    """Pykka's actors live on, as ever."""

    class Child(kind):  # type: ignore[misc, valid-type]
        if opted_out:
            crash_on_call_error = False

    ref = ref_of(Supervisor.start_link([world.spec("a", Child, restart="temporary")]), "a")
    watch = Watch(ref)
    with pytest.raises(Scripted):
        call(ref, BOOM)
    if kind in SERVERS and not opted_out:
        assert watch.reason() == Crash(BOOM)
    else:
        assert call(ref, "alive") == "alive"
        assert watch.downs == []


def test_by_the_time_the_caller_has_the_exception_the_server_is_down(world: World) -> None:
    ref = Probe.start_link(world, "a")
    with pytest.raises(Scripted):
        call(ref, BOOM)
    with pytest.raises(NoProcess):
        call(ref, "again")


def test_a_server_that_dies_during_the_call_fails_it_at_once_with_its_reason(ref: Any, gate: Any, world: World) -> None:
    outcome: list[Any] = []

    def ask() -> None:
        try:
            call(ref, gate, timeout=None)
        except ServerDied as error:
            outcome.append(error.reason)

    asker = threading.Thread(target=ask)
    asker.start()
    assert gate.entered.wait(DEADLINE_S)
    world.gone("a")
    kill(ref)
    asker.join(DEADLINE_S)
    assert outcome == [KILLED]


def test_calls_behind_a_crash_hear_its_reason_and_asks_are_pykkas(ref: Any, gate: Any) -> None:
    outcomes: dict[str, Any] = {}

    def ask() -> None:
        try:
            call(ref, "behind")
        except ServerDied as error:
            outcomes["call"] = error.reason

    def crash_late(actor: Any) -> None:
        gate(actor)
        raise BOOM

    cast(ref, crash_late)
    assert gate.entered.wait(DEADLINE_S)
    caller = threading.Thread(target=ask)
    caller.start()
    eventually(lambda: not ref.actor_inbox.empty())
    future = ref.ask("behind", block=False)
    gate.go()
    caller.join(DEADLINE_S)
    assert outcomes == {"call": Crash(BOOM)}
    with pytest.raises(ActorDeadError):
        future.get(timeout=DEADLINE_S)


def test_a_call_to_the_dead_or_unknown(ref: Any) -> None:
    die(ref, Exit())
    for server in (ref, "nobody"):
        with pytest.raises(NoProcess) as caught:
            call(server, "?")
        assert caught.value.server == server


def test_a_call_to_oneself_is_an_error_at_once(ref: Any) -> None:
    def calls_itself(actor: Any) -> str:
        with pytest.raises(SupervisionError, match="itself"):
            call(actor.actor_ref, "?")
        return "lives"

    assert call(ref, calls_itself) == "lives"


@pytest.mark.parametrize("server", [None, 7, Probe], ids=repr)
def test_what_is_no_server(server: Any) -> None:
    for attempt in (lambda: call(server, "?"), lambda: cast(server, "?"), lambda: stop(server), lambda: kill(server)):
        with pytest.raises(TypeError, match="server: expected"):
            attempt()


# --- cast -------------------------------------------------------------------------------------------------------------


def test_a_cast_never_fails(ref: Any) -> None:
    heard: list[str] = []
    assert cast(ref, lambda _: heard.append("alive")) is None
    assert call(ref, "sync") == "sync"
    die(ref, Exit())
    assert cast(ref, lambda _: heard.append("dead")) is None
    assert cast("nobody", "?") is None
    assert heard == ["alive"]
