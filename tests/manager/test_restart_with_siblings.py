"""A manager that its supervisor ends for a sibling's sake goes on where it was: its token, its readers, its refresh token."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport, minted
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import NoTokenError, Password, TokenManager
from oidc_actor.reading.cell import by_name
from oidc_actor.testing import ManualClock
from supervision import Backoff, ChildSpec, NoProcess, Server, StartError, Supervisor, whereis

pytestmark = pytest.mark.P4

GROUPS = pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])


class Sibling(Server):
    """Crashes when told to; its start can be held."""

    may_start = threading.Event()

    def on_start(self) -> None:
        assert Sibling.may_start.wait(DEADLINE_S)

    def on_receive(self, message: Any) -> None:
        raise RuntimeError("a sibling's crash")


@pytest.fixture(autouse=True)
def _siblings_start() -> None:
    Sibling.may_start.set()


@pytest.fixture
def manager(transport: ScriptedTransport, clock: ManualClock) -> ChildSpec:
    return TokenManager.child_spec(name="m", auth=AUTH, issuer_url=ISSUER, transport=transport, clock=clock)


def crash_sibling() -> None:
    before = whereis("m")
    supervision.cast("sibling", "crash")
    eventually(lambda: whereis("m") not in (None, before), "the restart of the manager")


def held_down(manager: ChildSpec, **options: Any) -> None:
    """A manager that is down, until the sibling before it may start again."""
    Supervisor.start_link([ChildSpec("s", Sibling, name="sibling"), manager], **options)
    TokenManager.get_token("m")
    Sibling.may_start.clear()
    supervision.cast("sibling", "crash")
    eventually(lambda: whereis("m") is None, "the end of the manager")


@GROUPS
def test_it_keeps_its_token_and_asks_for_no_other(manager: ChildSpec, transport, strategy) -> None:
    Supervisor.start_link([ChildSpec("s", Sibling, name="sibling"), manager], strategy=strategy, max_restarts=99)
    ref = whereis("m")
    assert TokenManager.get_access_token("m") == "t1"
    for _ in range(5):
        crash_sibling()
        assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert len(transport.posts) == 1
    assert TokenManager.health("m").token_requests == 1
    assert ref is not whereis("m")


@pytest.mark.P1
@GROUPS
def test_a_reader_is_served_while_it_is_down(manager: ChildSpec, strategy) -> None:
    held_down(manager, strategy=strategy)
    source = TokenManager.source("m")
    assert TokenManager.get_access_token("m", timeout=0) == source(timeout=0) == "t1"
    Sibling.may_start.set()


@GROUPS
def test_a_reader_that_needs_a_new_token_waits_for_it(manager: ChildSpec, clock, strategy) -> None:
    held_down(manager, strategy=strategy)
    clock.advance(301)
    with pytest.raises(NoTokenError):
        TokenManager.get_access_token("m", timeout=0)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(TokenManager.get_access_token, "m", timeout=DEADLINE_S)
        eventually(lambda: by_name["m"].waiting, "the reader")
        Sibling.may_start.set()
        assert reader.result(DEADLINE_S) == "t2"


def test_readers_that_wait_already_are_not_sent_away(manager: ChildSpec, transport) -> None:
    with ThreadPoolExecutor(1) as pool:
        with transport.held_back():
            children = [ChildSpec("s", Sibling, name="sibling"), manager]
            Supervisor.start_link(children, strategy="one_for_all", max_restarts=99)
            reader = pool.submit(TokenManager.get_access_token, "m", timeout=DEADLINE_S)
            eventually(lambda: "m" in by_name and by_name["m"].waiting, "the reader")
            crash_sibling()
            assert not reader.done()
        assert reader.result(DEADLINE_S) == "t1"
    assert len(transport.posts) == 1


@pytest.mark.P8
def test_it_redeems_its_refresh_token_on(transport, clock) -> None:
    transport.then(minted("a", refresh_token="r1"), minted("b", refresh_token="r2"))
    auth = Password("u", "p", "id", "secret")
    spec = TokenManager.child_spec(name="m", auth=auth, issuer_url=ISSUER, transport=transport, clock=clock)
    Supervisor.start_link([ChildSpec("s", Sibling, name="sibling"), spec], strategy="one_for_all")
    TokenManager.get_token("m")
    crash_sibling()
    clock.advance(250)
    eventually(lambda: TokenManager.get_access_token("m") == "b", "the refresh")
    assert [form["grant_type"] for form in transport.forms] == ["password", "refresh_token"]


def test_its_listeners_hear_on(manager: ChildSpec, clock) -> None:
    Supervisor.start_link([ChildSpec("s", Sibling, name="sibling"), manager], strategy="one_for_all")
    TokenManager.get_token("m")
    heard: list[str] = []
    TokenManager.subscribe("m", lambda token: heard.append(token.access_token))
    crash_sibling()
    clock.advance(250)
    eventually(lambda: heard == ["t2"], "the news")


def test_it_does_not_revoke_its_token(transport, clock) -> None:
    spec = TokenManager.child_spec(
        name="m", auth=AUTH, issuer_url=ISSUER, transport=transport, clock=clock, revoke_on_stop=True
    )
    Supervisor.start_link([ChildSpec("s", Sibling, name="sibling"), spec], strategy="one_for_all")
    TokenManager.get_token("m")
    crash_sibling()
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert len(transport.posts) == 1


def test_a_delayed_restart_of_the_sibling_is_waited_for(manager: ChildSpec) -> None:
    slow = ChildSpec("s", Sibling, name="sibling", backoff=Backoff(initial=30, jitter=0))
    Supervisor.start_link([slow, manager], strategy="one_for_all")
    TokenManager.get_token("m")
    supervision.cast("sibling", "crash")
    eventually(lambda: whereis("m") is None, "the end of the manager")
    assert TokenManager.get_access_token("m", timeout=0) == "t1"


def kill(supervisor: Any) -> None:
    supervision.kill(supervisor)


def give_up(_: Any) -> None:
    supervision.cast("sibling", "crash")


@pytest.mark.parametrize("end", [kill, give_up])
def test_a_supervisor_that_fails_costs_no_live_token(manager: ChildSpec, transport, end: Callable[[Any], None]) -> None:
    inner = Supervisor.child_spec(
        [ChildSpec("s", Sibling, name="sibling"), manager], id="inner", name="inner", max_restarts=0
    )
    Supervisor.start_link([inner], max_restarts=99)
    assert TokenManager.get_access_token("m") == "t1"
    before = whereis("m")
    end("inner")
    eventually(lambda: whereis("m") not in (None, before), "the restart of all")
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert len(transport.posts) == 1


def test_a_whole_group_below_a_sibling_that_is_restarted_goes_on(manager: ChildSpec, clock, transport) -> None:
    inner = Supervisor.child_spec([manager], id="inner", name="inner")
    Supervisor.start_link([ChildSpec("s", Sibling, name="sibling"), inner], strategy="one_for_all")
    TokenManager.get_token("m")
    Sibling.may_start.clear()
    supervision.cast("sibling", "crash")
    eventually(lambda: whereis("inner") is None, "the end of the supervisor")
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    clock.advance(301)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(TokenManager.get_access_token, "m", timeout=DEADLINE_S)
        eventually(lambda: by_name["m"].waiting, "the reader")
        Sibling.may_start.set()
        assert reader.result(DEADLINE_S) == "t2"
    assert len(transport.posts) == 2


class Flaky(Server):
    """Its next starts fail as often as it is told."""

    starts = 0
    failing = 0

    def on_start(self) -> None:
        Flaky.starts += 1
        if Flaky.failing:
            Flaky.failing -= 1
            raise RuntimeError("not yet")


@pytest.fixture
def _flaky(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flaky, "starts", 0)
    monkeypatch.setattr(Flaky, "failing", 0)


@pytest.mark.usefixtures("_flaky")
@pytest.mark.parametrize("levels", [1, 2])
def test_a_restart_of_the_group_that_fails_costs_no_live_token(manager: ChildSpec, transport, levels: int) -> None:
    inner = Supervisor.child_spec([manager, ChildSpec("f", Flaky)], id="inner", name="inner")
    if levels == 2:
        inner = Supervisor.child_spec([inner], id="middle", name="middle", max_restarts=0)
    Supervisor.start_link([inner], max_restarts=99)
    assert TokenManager.get_access_token("m") == "t1"
    transport.goes_down()
    Flaky.failing = 3
    supervision.kill("inner" if levels == 1 else "middle")
    eventually(lambda: Flaky.starts == 5 and whereis("inner") is not None, "the restart that succeeds")
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert len(transport.posts) == 1


@pytest.mark.usefixtures("_flaky")
def test_a_start_of_the_group_that_is_not_repeated_is_an_end_for_good(manager: ChildSpec) -> None:
    Flaky.failing = 1
    with pytest.raises(StartError):
        Supervisor.start_link([manager, ChildSpec("f", Flaky)])
    assert "m" not in by_name


@pytest.mark.parametrize(
    "end",
    [
        lambda supervisor: Supervisor.stop(supervisor),
        lambda supervisor: Supervisor.terminate_child(supervisor, "m"),
        lambda supervisor: supervision.stop(supervisor),
    ],
)
def test_what_is_stopped_for_good_serves_nobody(manager: ChildSpec, end: Callable[[Any], None]) -> None:
    supervisor = Supervisor.start_link([ChildSpec("s", Sibling, name="sibling"), manager], strategy="one_for_all")
    TokenManager.get_token("m")
    end(supervisor)
    with pytest.raises(NoProcess):
        TokenManager.get_access_token("m", timeout=0)
    assert "m" not in by_name
