"""A manager that is down, and that its supervisor does not start again after all: its readers are told, and not kept waiting."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import TokenManager
from oidc_actor.reading.cell import by_name
from oidc_actor.testing import ManualClock
from supervision import Backoff, ChildSpec, DynamicSupervisor, NoProcess, Server, Supervisor, whereis

LATER = Backoff(initial=30, jitter=0)


class Sibling(Server):
    """Crashes when told to."""

    def on_receive(self, message: Any) -> None:
        raise RuntimeError("a sibling's crash")


@pytest.fixture
def manager(transport: ScriptedTransport, clock: ManualClock) -> ChildSpec:
    return TokenManager.child_spec(name="m", auth=AUTH, issuer_url=ISSUER, transport=transport, clock=clock)


def is_down() -> None:
    eventually(lambda: whereis("m") is None and by_name["m"].is_down, "the end of the manager")


def crashed(manager: ChildSpec) -> Any:
    """It has crashed, and its supervisor waits before it starts it again."""
    supervisor = Supervisor.start_link([replace(manager, backoff=LATER)])
    TokenManager.get_token("m")
    supervision.kill(whereis("m"))
    return supervisor


def cleared_away(manager: ChildSpec) -> Any:
    """It was ended for a sibling's sake, whose restart its supervisor puts off."""
    sibling = ChildSpec("s", Sibling, name="sibling", backoff=LATER)
    supervisor = Supervisor.start_link([sibling, manager], strategy="one_for_all")
    TokenManager.get_token("m")
    supervision.cast("sibling", "crash")
    return supervisor


DOWN = pytest.mark.parametrize("down", [crashed, cleared_away])
ENDS = pytest.mark.parametrize(
    "end", [Supervisor.stop, lambda supervisor: Supervisor.terminate_child(supervisor, "m")], ids=["stop", "terminate"]
)


@DOWN
@ENDS
def test_what_is_stopped_while_it_is_down_serves_nobody(manager, down, end: Callable[[Any], None]) -> None:
    supervisor = down(manager)
    is_down()
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    end(supervisor)
    with pytest.raises(NoProcess):
        TokenManager.get_access_token("m", timeout=0)
    assert "m" not in by_name


@DOWN
@ENDS
def test_whoever_waits_for_it_hears_at_once(manager, clock, down, end: Callable[[Any], None]) -> None:
    supervisor = down(manager)
    is_down()
    clock.advance(301)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(TokenManager.get_access_token, "m", timeout=0.3 * DEADLINE_S)
        eventually(lambda: by_name["m"].waiting, "the reader")
        end(supervisor)
        assert isinstance(reader.exception(DEADLINE_S), NoProcess)


def test_one_that_is_terminated_by_its_last_ref_serves_nobody(manager) -> None:
    supervisor = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(supervisor, replace(manager, backoff=LATER))
    TokenManager.get_token("m")
    supervision.kill(ref)
    is_down()
    DynamicSupervisor.terminate_child(supervisor, ref)
    assert "m" not in by_name


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_one_that_is_never_restarted_serves_its_token_and_then_nobody_waits(manager, clock, kind) -> None:
    once = replace(manager, restart="temporary")
    supervisor = kind.start_link(*([[]] if kind is Supervisor else []))
    kind.start_child(supervisor, once)
    TokenManager.get_token("m")
    supervision.kill(whereis("m"))
    is_down()
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    clock.advance(301)
    with pytest.raises(NoProcess):
        TokenManager.get_access_token("m", timeout=0.3 * DEADLINE_S)


def below(manager: ChildSpec, **options: Any) -> Any:
    """A whole group that was ended for a sibling's sake, whose restart is put off."""
    inner = Supervisor.child_spec([manager], id="inner", name="inner")
    sibling = ChildSpec("s", Sibling, name="sibling", backoff=LATER)
    supervisor = Supervisor.start_link([sibling, inner], strategy="one_for_all")
    TokenManager.get_token("m")
    supervision.cast("sibling", "crash")
    is_down()
    return supervisor


@pytest.mark.parametrize(
    "end",
    [Supervisor.stop, supervision.kill, lambda supervisor: Supervisor.terminate_child(supervisor, "inner")],
    ids=["stop", "kill", "terminate"],
)
def test_nobody_waits_for_a_group_whose_supervisor_has_ended(manager, clock, end: Callable[[Any], None]) -> None:
    supervisor = below(manager)
    end(supervisor)
    clock.advance(301)
    with pytest.raises(NoProcess):
        TokenManager.get_access_token("m", timeout=0.3 * DEADLINE_S)


def test_a_reader_waits_for_a_group_that_is_started_again_after_its_supervisor_failed(manager, clock) -> None:
    inner = Supervisor.child_spec([manager], id="inner", name="inner", backoff=Backoff(initial=0.2, jitter=0))
    Supervisor.start_link([inner])
    TokenManager.get_token("m")
    supervision.kill("inner")
    is_down()
    clock.advance(301)
    assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t2"


def test_one_who_waited_before_it_was_down_hears_too_when_its_supervisor_is_killed(manager, transport) -> None:
    with ThreadPoolExecutor(1) as pool, transport.held_back():
        supervisor = Supervisor.start_link([replace(manager, backoff=LATER)])
        reader = pool.submit(TokenManager.get_access_token, "m", timeout=0.9 * DEADLINE_S)
        eventually(lambda: by_name["m"].waiting, "the reader")
        supervision.kill(whereis("m"))
        is_down()
        supervision.kill(supervisor)
        assert isinstance(reader.exception(0.5 * DEADLINE_S), NoProcess)


def test_nobody_waits_for_the_successor_of_a_manager_without_a_name(manager, clock, transport) -> None:
    supervisor = Supervisor.start_link([TokenManager.child_spec(**{**manager.kwargs, "name": None})])
    ref = Supervisor.which_children(supervisor)[0].ref
    assert TokenManager.get_access_token(ref) == "t1"
    supervision.kill(ref)
    eventually(lambda: Supervisor.which_children(supervisor)[0].ref not in (ref, None), "the restart")
    assert TokenManager.get_access_token(ref) == "t1"
    clock.advance(301)
    with pytest.raises(NoProcess):
        TokenManager.get_access_token(ref, timeout=DEADLINE_S)
    with pytest.raises(NoProcess):
        TokenManager.force_refresh(ref, wait=True, timeout=DEADLINE_S)
