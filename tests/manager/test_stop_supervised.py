"""A supervised manager that is stopped ends at its supervisor: it stays away, costs no intensity, and touches no sibling."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from fakes import AUTH, ISSUER
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import TokenManager
from oidc_actor.manager import token_manager
from oidc_actor.reading.directory import locate
from supervision import (
    Backoff,
    CallTimeout,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    Server,
    StartError,
    SupervisionError,
    Supervisor,
    whereis,
)
from supervision.calls import stop_for_good

NEVER_AGAIN = {"max_restarts": 0, "max_seconds": 60.0}  # the first restart would end the tree


@pytest.fixture
def spec(transport, clock):
    def make(name: str | None = "m", **changes) -> ChildSpec:
        options = {"auth": AUTH, "issuer_url": ISSUER, "transport": transport, "clock": clock, "name": name}
        return replace(TokenManager.child_spec(**options), **changes)

    return make


class Sibling(Server):
    """Whatever else a tree holds."""


def is_gone(server: object) -> None:
    with pytest.raises(NoProcess):
        TokenManager.get_token(server, timeout=0)
    assert not isinstance(server, str) or whereis(server) is None


@pytest.mark.parametrize("by", ["name", "ref"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_in_a_static_tree(strategy, restart, by, spec) -> None:
    before, after = ChildSpec("before", Sibling), ChildSpec("after", Sibling)
    sup = Supervisor.start_link([before, spec(restart=restart), after], strategy=strategy, **NEVER_AGAIN)
    siblings = [row.ref for row in Supervisor.which_children(sup) if row.id != "m"]
    ref = whereis("m")
    TokenManager.get_token("m")
    TokenManager.stop(ref if by == "ref" else "m")
    is_gone("m")
    is_gone(ref)
    rows = {row.id: row for row in Supervisor.which_children(sup)}
    assert [rows["before"].ref, rows["after"].ref] == siblings
    assert all(one.is_alive() for one in siblings)
    if restart == "temporary":
        assert "m" not in rows
        return
    assert rows["m"].state == "stopped"
    assert Supervisor.restart_child(sup, "m").is_alive()  # the specification has stayed, as in OTP
    assert TokenManager.get_access_token("m") == "t2"


@pytest.mark.parametrize("named", [True, False])
def test_below_a_dynamic_supervisor(named, spec) -> None:
    sup = DynamicSupervisor.start_link(**NEVER_AGAIN)
    refs = [DynamicSupervisor.start_child(sup, spec(f"m{number}" if named else None)) for number in range(10)]
    for number, ref in enumerate(refs[:5]):
        TokenManager.stop(f"m{number}" if named else ref)
        is_gone(ref)
    assert [row.ref for row in DynamicSupervisor.which_children(sup)] == refs[5:]
    assert all(ref.is_alive() for ref in refs[5:])


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_in_its_backoff_its_restart_is_cancelled(kind, named, spec) -> None:
    child = spec("m" if named else None, backoff=Backoff(initial=60, maximum=60, jitter=0))
    sup = Supervisor.start_link([child]) if kind is Supervisor else DynamicSupervisor.start_link()
    ref = Supervisor.which_children(sup)[0].ref if kind is Supervisor else DynamicSupervisor.start_child(sup, child)
    server = "m" if named else ref
    TokenManager.get_token(server)
    supervision.kill(ref)
    eventually(lambda: [row.state for row in kind.which_children(sup)] == ["restarting"], "the backoff")
    TokenManager.stop(server)
    is_gone(server)
    assert [row.state for row in kind.which_children(sup)] in ([], ["stopped"])


def test_one_that_has_been_restarted_is_stopped_by_the_ref_of_its_last_incarnation_too(spec) -> None:
    sup = Supervisor.start_link([spec(None)])
    ref = Supervisor.which_children(sup)[0].ref
    supervision.kill(ref)
    eventually(lambda: Supervisor.which_children(sup)[0].ref not in (None, ref), "the restart")
    TokenManager.stop(Supervisor.which_children(sup)[0].ref)
    assert Supervisor.which_children(sup)[0].state == "stopped"


def test_while_restarts_go_on_all_the_time_a_stop_is_one_for_good(spec) -> None:
    """A stop that reaches the supervisor behind the news of a crash finds another incarnation there."""
    sup = Supervisor.start_link([spec()], max_restarts=1_000_000)
    over = threading.Event()

    def crash() -> None:
        while not over.is_set():
            supervision.kill("m")

    crasher = threading.Thread(target=crash, daemon=True)
    crasher.start()
    try:
        for _ in range(20):
            TokenManager.stop("m", timeout=DEADLINE_S)
            assert Supervisor.which_children(sup)[0].state == "stopped"
            is_gone("m")
            eventually(lambda: starts(sup), "a start that is not killed")
    finally:
        over.set()
        crasher.join(DEADLINE_S)


def starts(sup: object) -> bool:
    try:
        Supervisor.restart_child(sup, "m")
    except StartError:
        return False
    return True


def test_on_its_supervisors_own_thread_it_is_an_error_at_once(spec) -> None:
    caught: list[BaseException] = []

    def start() -> object:
        try:
            TokenManager.stop("m")
        except SupervisionError as error:
            caught.append(error)
        return Sibling.start_link()

    Supervisor.start_link([spec(), ChildSpec("x", start)])
    assert [type(error) for error in caught] == [SupervisionError]
    assert whereis("m") is not None


def test_a_sibling_may_stop_it(spec) -> None:
    class Stopping(Server):
        def on_receive(self, message: object) -> None:
            TokenManager.stop("m")

    sup = Supervisor.start_link([spec(), ChildSpec("x", Stopping, name="x")], **NEVER_AGAIN)
    supervision.call("x", "stop it")
    assert [row.state for row in Supervisor.which_children(sup)] == ["stopped", "running"]


def test_its_deadline_is_kept_while_the_supervisor_is_busy_and_the_stop_goes_on(spec) -> None:
    entered, gate = threading.Event(), threading.Event()

    class Slow(Server):
        def on_start(self) -> None:
            entered.set()
            gate.wait(DEADLINE_S)

    sup = Supervisor.start_link([spec()], name="sup")
    starting = threading.Thread(target=lambda: Supervisor.start_child("sup", ChildSpec("x", Slow)), daemon=True)
    starting.start()
    assert entered.wait(DEADLINE_S)
    with pytest.raises(CallTimeout, match="its stop goes on") as raised:
        TokenManager.stop("m", timeout=0.01)
    assert raised.value.timeout <= 0.01
    gate.set()
    starting.join(DEADLINE_S)
    eventually(lambda: whereis("m") is None, "the end")
    assert Supervisor.which_children(sup)[0].state == "stopped"


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5"])
def test_a_timeout_that_is_none_is_refused_before_anything_happens(timeout, spec) -> None:
    Supervisor.start_link([spec()])
    with pytest.raises((ValueError, TypeError), match="timeout"):
        TokenManager.stop("m", timeout=timeout)
    assert whereis("m") is not None


def test_below_a_supervisor_that_is_stopping_it_has_ended_when_stop_returns(
    spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, gate, asked = threading.Event(), threading.Event(), threading.Event()

    def found(*args: Any, **options: Any) -> None:
        asked.set()
        stop_for_good(*args, **options)

    monkeypatch.setattr(token_manager, "stop_for_good", found)

    class Slow(Server):
        def on_terminate(self, reason: object) -> None:
            entered.set()
            gate.wait(DEADLINE_S)

    sup = Supervisor.start_link([spec(), ChildSpec("x", Slow)])
    stopping = threading.Thread(target=lambda: Supervisor.stop(sup), daemon=True)
    stopping.start()
    assert entered.wait(DEADLINE_S)
    done: list[object] = []
    stops = threading.Thread(target=lambda: done.append(TokenManager.stop("m", timeout=DEADLINE_S)), daemon=True)
    stops.start()
    assert asked.wait(DEADLINE_S)
    gate.set()
    for thread in (stopping, stops):
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert done == [None]
    is_gone("m")


def test_below_a_supervisor_that_has_crashed_the_one_that_comes_back_is_stopped(spec) -> None:
    below = Supervisor.child_spec([spec()], id="below", name="below", backoff=Backoff(initial=0.05, jitter=0))
    Supervisor.start_link([below])
    TokenManager.get_token("m")
    supervision.kill("below")
    eventually(lambda: locate("m").is_down or locate("m").ref.is_alive())
    TokenManager.stop("m", timeout=DEADLINE_S)
    is_gone("m")
    assert [row.state for row in Supervisor.which_children("below")] == ["stopped"]


def test_one_that_does_not_end_in_time_serves_nobody_either(spec, monkeypatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(TokenManager, "on_terminate", lambda self, reason: gate.wait(DEADLINE_S))
    Supervisor.start_link([spec(shutdown=0.05)])
    TokenManager.get_token("m")
    TokenManager.stop("m")
    is_gone("m")
    gate.set()


def test_one_that_a_start_callable_started_beside_its_child_is_stopped_as_ever(spec) -> None:
    options = spec("beside").kwargs

    def start() -> object:
        TokenManager.start_link(**options)
        return Sibling.start_link()

    sup = Supervisor.start_link([ChildSpec("x", start)], **NEVER_AGAIN)
    TokenManager.stop("beside")
    is_gone("beside")
    assert Supervisor.which_children(sup)[0].state == "running"
