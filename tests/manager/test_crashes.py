"""A manager that crashes: its token is served on, and a successor takes over what it had."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import ISSUER, Fixed
from managers import Start
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import ClientCredentials, OIDCConfig, RetryPolicy, TokenManager
from oidc_actor.machine.events import Accepted, Rejected
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.reading.cell import by_name
from oidc_actor.reading.waiting_reads import tell_soon
from oidc_actor.testing import ManualClock
from oidc_actor.values.secrets import Secret
from supervision import NoProcess

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")


@pytest.mark.P1
@pytest.mark.P2
@pytest.mark.P4
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


@pytest.mark.P4
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


def test_stopping_a_crashed_manager_takes_its_token_back(start: Start) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    supervision.kill(ref)
    with pytest.raises(NoProcess):
        TokenManager.stop("m")
    with pytest.raises(NoProcess):
        TokenManager.get_token("m")
    assert by_name == {}


@pytest.mark.P4
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


@pytest.mark.P4
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


@pytest.mark.P4
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


@pytest.mark.P3
@pytest.mark.P4
def test_a_successor_takes_over_the_request_under_way(start: Start, transport) -> None:
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


@pytest.mark.P4
def test_a_result_that_comes_while_nobody_is_there_waits_for_the_successor(start: Start, transport) -> None:
    with transport.held_back():
        ref = start(name="m")
        transport.wait_for_requests(1)
        supervision.kill(ref)
    eventually(lambda: by_name["m"].result is not None, "the metadata in the cell")
    start(name="m")
    assert TokenManager.get_access_token("m") == "t1"
    assert len(transport.requests) == 2


@pytest.mark.P6
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


def test_a_token_rejected_during_a_crash_is_replaced_at_once_also_where_the_last_attempt_had_no_thread(
    start: Start, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    options = {"name": "m", "oidc_config": CONFIG, "rng": Fixed(1), "retry": RetryPolicy(initial_s=60)}
    ref = start(**options)
    assert TokenManager.get_access_token("m") == "t1"
    with monkeypatch.context() as patched:
        patched.setattr(HTTP_WORKERS.value, "submit", no_thread)
        clock.advance(250)
        eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    clock.advance(1)
    supervision.kill(ref)
    TokenManager.force_refresh("m", rejected="t1")
    start(**options)
    assert TokenManager.get_access_token("m") == "t2"


def test_an_unknown_message_is_no_crash(start: Start) -> None:
    ref = start(name="m")
    ref.tell("what is this?")
    assert TokenManager.get_access_token("m") == "t1"
    assert ref.is_alive()


def test_the_interval_of_rejections_belongs_to_the_name(start: Start, clock, transport) -> None:
    origin = "https://api.example.com:443"

    def reject(text: str) -> None:
        for said in (Accepted(origin, Secret(text)), Rejected(origin, Secret(text))):
            tell_soon("m", said)
        TokenManager.health("m")  # answered after those

    ref = start(name="m")
    TokenManager.get_token("m")
    for number in (1, 2, 3):
        clock.advance(10)
        reject(f"t{number}")
        eventually(lambda number=number: TokenManager.get_access_token("m") == f"t{number + 1}")
    supervision.kill(ref)
    start(name="m")
    reject("t4")
    assert TokenManager.health("m").next_attempt_in_s == 4
    assert TokenManager.get_access_token("m", timeout=0) == "t4"
    clock.advance(4)
    eventually(lambda: TokenManager.get_access_token("m") == "t5")
    assert len(transport.posts) == 5
