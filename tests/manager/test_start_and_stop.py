"""Starting and stopping."""

import time

import pytest
from fakes import UNREACHABLE
from managers import Start
from threads import eventually

from oidc_actor import NoTokenError, TokenManager
from oidc_actor.reading.cell import by_name
from supervision import AlreadyStarted, NoProcess, whereis


@pytest.mark.P7
def test_it_starts_while_the_provider_is_down(start: Start, transport) -> None:
    transport.goes_down(UNREACHABLE)
    ref = start(name="m")
    assert ref.is_alive()
    assert whereis("m") is ref


@pytest.mark.P7
def test_it_starts_without_waiting_for_the_network(start: Start, transport) -> None:
    with transport.held_back():
        assert start().is_alive()


@pytest.mark.P7
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


@pytest.mark.P10
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


@pytest.mark.P10
def test_a_reader_meets_a_manager_without_a_token_at_its_deadline(start: Start, transport) -> None:
    with transport.held_back():
        start(name="m")
        with pytest.raises(NoTokenError, match="under way"):
            TokenManager.get_token("m", timeout=0)
