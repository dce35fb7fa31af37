"""Starting, stopping, crashing, and what a successor takes over."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import AUTH, DEADLINE_S, ISSUER, UNREACHABLE, Fixed, ScriptedTransport, eventually
from manager_tests import Start

import supervision
from oidc_actor import ClientCredentials, NoTokenError, OIDCConfig, TokenManager, machine
from oidc_actor.published import by_name
from oidc_actor.testing import ManualClock
from supervision import AlreadyStarted, ChildSpec, DynamicSupervisor, NoProcess, Supervisor, whereis


def test_it_starts_while_the_provider_is_down(start: Start, transport) -> None:
    transport.goes_down(UNREACHABLE)
    ref = start(name="m")
    assert ref.is_alive()
    assert whereis("m") is ref


def test_it_starts_without_waiting_for_the_network(start: Start, transport) -> None:
    with transport.held_back():
        assert start().is_alive()


def test_it_heals_by_itself_once_the_provider_is_up(start: Start, transport, clock) -> None:
    transport.goes_down(UNREACHABLE)
    start(name="m")
    for requests in (1, 2, 3):
        transport.wait_for_requests(requests)
        eventually(lambda: not TokenManager.health("m").refreshing)
        clock.advance(TokenManager.health("m").next_attempt_in_s)
    transport.comes_up()
    eventually(lambda: not TokenManager.health("m").refreshing)
    clock.advance(TokenManager.health("m").next_attempt_in_s)
    assert TokenManager.get_access_token("m") == "t1"
    assert TokenManager.health("m").consecutive_failures == 0


def test_a_taken_name_is_already_started_with_its_owner(start: Start) -> None:
    ref = start(name="m")
    with pytest.raises(AlreadyStarted) as caught:
        start(name="m")
    assert caught.value.ref is ref
    assert TokenManager.get_access_token("m") == "t1"


def test_stop_returns_once_all_is_gone(start: Start) -> None:
    ref = start(name="m")
    source = TokenManager.source("m")
    source()
    TokenManager.stop("m")
    assert not ref.is_alive()
    assert whereis("m") is None
    assert by_name == {}
    for read in (source, lambda: TokenManager.get_token("m"), lambda: TokenManager.get_token(ref)):
        with pytest.raises(NoProcess):
            read()


def test_stop_of_nobody_is_noprocess(start: Start) -> None:
    with pytest.raises(NoProcess):
        TokenManager.stop("nobody")
    ref = start()
    TokenManager.stop(ref)
    with pytest.raises(NoProcess):
        TokenManager.stop(ref)


def test_stop_during_a_request_does_not_wait_for_it(start: Start, transport) -> None:
    with transport.held_back():
        start(name="m")
        transport.wait_for_requests(1)
        started = time.monotonic()
        TokenManager.stop("m")
        assert time.monotonic() - started < 5
    assert by_name == {}


def test_on_an_instance_stop_is_pykkas(start: Start) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    assert ref.stop() is True
    assert by_name == {}


def test_a_stopped_manager_leaves_no_tick_behind(start: Start, clock, transport) -> None:
    start(name="m")
    TokenManager.get_token("m")
    TokenManager.stop("m")
    assert clock.next_in_s is None
    clock.advance(1000)
    assert len(transport.posts) == 1


def test_a_new_manager_of_the_name_does_not_see_what_a_stopped_one_had(start: Start, transport) -> None:
    start(name="m")
    assert TokenManager.get_access_token("m") == "t1"
    TokenManager.stop("m")
    start(name="m")
    assert TokenManager.get_access_token("m") == "t2"


# --- crashes ----------------------------------------------------------------------------------------------------------------


def test_a_crashed_managers_token_is_served_until_it_expires(start: Start, clock) -> None:
    ref = start(name="m")
    source = TokenManager.source("m")
    assert source() == "t1"
    supervision.kill(ref)
    clock.advance(299)
    assert source() == TokenManager.get_access_token("m") == TokenManager.get_access_token(ref) == "t1"
    clock.advance(1)
    for read in (source, lambda: TokenManager.get_token("m"), lambda: TokenManager.get_token(ref)):
        with pytest.raises(NoProcess):
            read()


def test_a_nameless_managers_token_is_served_by_its_ref(start: Start, clock) -> None:
    ref = start()
    assert TokenManager.get_access_token(ref) == "t1"
    supervision.kill(ref)
    assert TokenManager.get_access_token(ref) == "t1"
    clock.advance(300)
    with pytest.raises(NoProcess):
        TokenManager.get_access_token(ref)


def test_a_crashed_managers_other_functions_are_noprocess(start: Start) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    supervision.kill(ref)
    for server in ("m", ref):
        with pytest.raises(NoProcess):
            TokenManager.health(server)
        with pytest.raises(NoProcess):
            TokenManager.subscribe(server, print)
        with pytest.raises(NoProcess):
            TokenManager.force_refresh(server, wait=True)
        with pytest.raises(NoProcess):
            TokenManager.get_token(server, min_validity=1000)


def test_stopping_a_crashed_manager_withdraws_its_token(start: Start) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    supervision.kill(ref)
    with pytest.raises(NoProcess):
        TokenManager.stop("m")
    with pytest.raises(NoProcess):
        TokenManager.get_token("m")
    assert by_name == {}


def test_a_successor_adopts_the_token_and_asks_for_no_other(start: Start, transport, clock) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    supervision.kill(ref)
    clock.advance(100)
    start(name="m")
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    health = TokenManager.health("m")
    assert (health.state, health.refresh_in_s, health.token_requests) == ("fresh", 140, 1)
    clock.advance(140)
    transport.wait_for_posts(2)
    eventually(lambda: TokenManager.get_access_token("m") == "t2")


def test_equal_options_are_the_same_manager(transport) -> None:
    class Watch:
        def read(self) -> float:
            return 1000.0

    watch = Watch()
    for _ in range(2):  # a bound method is another object each time
        auth = {"type": "oidc_client_credentials", "client_id": "id", "client_secret": "secret"}
        ref = TokenManager.start_link(auth=auth, issuer_url=ISSUER, name="m", transport=transport, clock=watch.read)
        assert TokenManager.get_access_token("m") == "t1"
        supervision.kill(ref)


@pytest.mark.parametrize(
    "other",
    [
        {"auth": ClientCredentials("id", "another-client-secret")},
        {"auth": ClientCredentials("id", "a-client-secret", scopes="x")},
        {"issuer_url": None, "oidc_config": OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")},
        {"clock": ManualClock()},
    ],
    ids=["secret", "scopes", "provider", "clock"],
)
def test_a_different_manager_of_the_same_name_adopts_nothing(other, start: Start, transport) -> None:
    ref = start(name="m")
    source = TokenManager.source("m")
    assert source() == "t1"
    supervision.kill(ref)
    start(name="m", **other)
    assert TokenManager.get_access_token("m") == source() == "t2"


def test_a_successor_takes_over_the_exchange_under_way(start: Start, transport) -> None:
    with transport.held_back(), ThreadPoolExecutor(1) as pool:
        ref = start(name="m")
        transport.wait_for_requests(1)
        supervision.kill(ref)
        start(name="m")
        answer = pool.submit(TokenManager.get_access_token, "m", timeout=DEADLINE_S)
        eventually(lambda: by_name["m"].waiting)
        transport._open.set()
        assert answer.result(DEADLINE_S) == "t1"
    assert len(transport.requests) == 2


def test_a_result_that_comes_while_nobody_is_there_waits_for_the_successor(start: Start, transport) -> None:
    with transport.held_back():
        ref = start(name="m")
        transport.wait_for_requests(1)
        supervision.kill(ref)
    eventually(lambda: by_name["m"].result is not None, "the metadata in the cell")
    start(name="m")
    assert TokenManager.get_access_token("m") == "t1"
    assert len(transport.requests) == 2


def test_a_crash_does_not_shorten_the_minimum_interval(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")
    for _ in range(5):
        supervision.kill("m")
        TokenManager.force_refresh("m", rejected="t1")
        start(name="m")
    assert len(transport.posts) == 1
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t2"
    assert len(transport.posts) == 2


# --- under a supervisor -----------------------------------------------------------------------------------------------------


@pytest.fixture
def options(clock, transport):
    return {"auth": AUTH, "issuer_url": ISSUER, "name": "m", "clock": clock, "transport": transport, "rng": Fixed(0)}


def test_child_spec(options) -> None:
    spec = TokenManager.child_spec(**options)
    assert isinstance(spec, ChildSpec)
    assert (spec.id, spec.restart, spec.shutdown, spec.type) == ("m", "permanent", 5.0, "worker")
    assert TokenManager.child_spec(**(options | {"name": None})).id == "TokenManager"


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


def test_a_bug_in_a_handler_is_a_crash_and_the_token_survives_it(options, monkeypatch: pytest.MonkeyPatch) -> None:
    Supervisor.start_link([TokenManager.child_spec(**options)])
    assert TokenManager.get_access_token("m") == "t1"
    ref = whereis("m")
    bugs = [RuntimeError("a bug")]

    def step(*args: object) -> object:
        if bugs:
            raise bugs.pop()
        return machine.step(*args)

    monkeypatch.setattr("oidc_actor.keeper.step", step)
    TokenManager.force_refresh("m")
    eventually(lambda: whereis("m") not in {None, ref})
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert TokenManager.health("m").ready


def test_an_unknown_message_is_no_crash(start: Start) -> None:
    ref = start(name="m")
    ref.tell("what is this?")
    assert TokenManager.get_access_token("m") == "t1"
    assert ref.is_alive()


def test_a_reader_meets_a_manager_without_a_token_at_its_deadline(start: Start, transport) -> None:
    with transport.held_back():
        start(name="m")
        with pytest.raises(NoTokenError, match="under way"):
            TokenManager.get_token("m", timeout=0)
