"""A manager under a supervisor: readers wait for its restart, and crashes cost no request."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import AUTH, ISSUER, Fixed, ScriptedTransport
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import NoTokenError, TokenManager
from oidc_actor.machine import transitions as machine
from oidc_actor.reading.cell import by_name
from supervision import ChildSpec, DynamicSupervisor, NoProcess, Supervisor, whereis


@pytest.fixture
def options(clock, transport):
    return {"auth": AUTH, "issuer_url": ISSUER, "name": "m", "clock": clock, "transport": transport, "rng": Fixed(0)}


def test_child_spec(options) -> None:
    spec = TokenManager.child_spec(**options)
    assert isinstance(spec, ChildSpec)
    assert (spec.id, spec.restart, spec.shutdown, spec.type) == ("m", "permanent", 5.0, "worker")
    assert TokenManager.child_spec(**(options | {"name": None})).id == "TokenManager"


@pytest.mark.P9
def test_a_child_spec_shows_no_secret(options) -> None:
    auth = {"type": "oidc_client_credentials", "client_id": "id", "client_secret": "a-raw-secret"}
    spec = TokenManager.child_spec(**(options | {"auth": auth}))
    assert "a-raw-secret" not in repr(spec) + repr(spec.kwargs)


def test_a_supervised_manager_is_found_by_its_name(options) -> None:
    Supervisor.start_link([TokenManager.child_spec(**options)])
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_reader_waits_for_the_restart_within_its_own_timeout(options, asynchronous: bool, transport, clock) -> None:
    import asyncio

    spec = TokenManager.child_spec(**options)
    slow = ChildSpec("m", spec.start, kwargs=spec.kwargs, backoff=supervision.Backoff(initial=0.3, jitter=0))
    Supervisor.start_link([slow])
    assert TokenManager.get_access_token("m") == "t1"
    supervision.kill("m")
    clock.advance(300)
    if asynchronous:
        assert asyncio.run(TokenManager.aget_access_token("m", timeout=DEADLINE_S)) == "t2"
    else:
        assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t2"


@pytest.mark.P10
def test_a_reader_waits_for_a_restart_up_to_its_deadline(options, clock) -> None:
    spec = TokenManager.child_spec(**options)
    slow = ChildSpec("m", spec.start, kwargs=spec.kwargs, backoff=supervision.Backoff(initial=20, jitter=0))
    Supervisor.start_link([slow])
    assert TokenManager.get_access_token("m") == "t1"
    supervision.kill("m")
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    clock.advance(300)
    for timeout in (0, 0.05):
        with pytest.raises(NoTokenError, match="being restarted"):
            TokenManager.get_access_token("m", timeout=timeout)


@pytest.mark.P10
def test_readers_hear_at_once_when_the_supervisor_gives_up(options, transport, clock) -> None:
    spec = TokenManager.child_spec(**options)
    slow = ChildSpec("m", spec.start, kwargs=spec.kwargs, backoff=supervision.Backoff(initial=20, jitter=0))
    sup = Supervisor.start_link([slow])
    TokenManager.get_token("m")
    supervision.kill("m")
    clock.advance(300)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(TokenManager.get_token, "m", timeout=DEADLINE_S)
        eventually(lambda: by_name["m"].waiting)
        Supervisor.stop(sup)
        with pytest.raises(NoProcess):
            answer.result(DEADLINE_S / 2)
    with pytest.raises(NoProcess):
        TokenManager.get_token("m", timeout=DEADLINE_S)


def test_the_end_of_the_supervisor_empties_the_cell(options) -> None:
    sup = Supervisor.start_link([TokenManager.child_spec(**options)])
    TokenManager.get_token("m")
    Supervisor.stop(sup)
    with pytest.raises(NoProcess):
        TokenManager.get_token("m")
    assert by_name == {}


def test_a_dynamic_supervisors_managers_are_restarted_too(options, transport) -> None:
    sup = DynamicSupervisor.start_link()
    refs = [DynamicSupervisor.start_child(sup, TokenManager.child_spec(**(options | {"name": name}))) for name in "abc"]
    tokens = [TokenManager.get_access_token(name) for name in "abc"]
    supervision.kill(refs[1])
    assert [TokenManager.get_access_token(name) for name in "abc"] == tokens
    eventually(lambda: whereis("b") not in {None, refs[1]})
    assert len(transport.posts) == 3


@pytest.mark.P4
def test_fifty_crashes_fail_no_read_and_cost_at_most_one_request() -> None:
    transport = ScriptedTransport()
    spec = TokenManager.child_spec(auth=AUTH, issuer_url=ISSUER, name="m", transport=transport)
    Supervisor.start_link([spec], max_restarts=1000, max_seconds=1)
    source = TokenManager.source("m")
    assert source() == "t1"
    stop, failures = threading.Event(), []

    def read() -> int:
        reads = 0
        while not stop.is_set():
            try:
                assert source(timeout=0) == TokenManager.get_access_token("m", timeout=0)
                reads += 1
            except Exception as error:
                failures.append(error)
        return reads

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for _ in range(50):
            ref = whereis("m")
            supervision.kill(ref)
            eventually(lambda: whereis("m") not in {None, ref})  # noqa: B023
        stop.set()
        assert sum(reader.result(DEADLINE_S) for reader in readers) > 50
    assert failures == []
    assert len(transport.posts) <= 2


@pytest.mark.P3
def test_crashes_in_every_phase_of_a_cold_start_cost_one_request(transport) -> None:
    spec = TokenManager.child_spec(auth=AUTH, issuer_url=ISSUER, name="m", transport=transport)
    with ThreadPoolExecutor(8) as pool:
        Supervisor.start_link([spec], max_restarts=1000, max_seconds=1)
        readers = [pool.submit(TokenManager.get_access_token, "m", timeout=DEADLINE_S) for _ in range(8)]
        for _ in range(30):
            ref = whereis("m")
            if ref is not None:
                supervision.kill(ref)
        assert {reader.result(DEADLINE_S) for reader in readers} <= {"t1", "t2"}
    assert len(transport.posts) <= 2
    assert transport.most_at_once == 1


@pytest.mark.P4
def test_a_bug_in_a_handler_is_a_crash_and_the_token_survives_it(options, monkeypatch: pytest.MonkeyPatch) -> None:
    Supervisor.start_link([TokenManager.child_spec(**options)])
    assert TokenManager.get_access_token("m") == "t1"
    ref = whereis("m")
    bugs = [RuntimeError("a bug")]

    def step(*args: object) -> object:
        if bugs:
            raise bugs.pop()
        return machine.step(*args)

    monkeypatch.setattr("oidc_actor.manager.token_manager.step", step)
    TokenManager.force_refresh("m")
    eventually(lambda: whereis("m") not in {None, ref})
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert TokenManager.health("m").ready
