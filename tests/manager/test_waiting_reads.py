"""get_token and its kin: what a reader gets, how long it waits, and why it is refused."""

import asyncio
import time
from functools import partial

import pytest
import trio
from fakes import AUTH, Fixed, ScriptedTransport, Stopwatch, failing, minted, refused
from managers import Start
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import ConfigError, NoTokenError, TokenManager, TokenRequestError
from supervision import NoProcess, Server


def in_trio(find):
    """A read by a task of trio; what it finds may raise as the read does."""
    return lambda server, **wait: trio.run(partial(find(server), **wait))


READS = [
    pytest.param(lambda server, **wait: TokenManager.get_token(server, **wait).access_token, id="get_token"),
    pytest.param(TokenManager.get_access_token, id="get_access_token"),
    pytest.param(
        lambda server, **wait: asyncio.run(TokenManager.aget_token(server, **wait)).access_token, id="aget_token"
    ),
    pytest.param(
        lambda server, **wait: asyncio.run(TokenManager.aget_access_token(server, **wait)), id="aget_access_token"
    ),
    pytest.param(lambda server, **wait: TokenManager.source(server).access_token(**wait), id="source.access_token"),
    pytest.param(lambda server, **wait: TokenManager.source(server).token(**wait).access_token, id="source.token"),
    pytest.param(lambda server, **wait: TokenManager.source(server)(**wait), id="source()"),
    pytest.param(in_trio(lambda server: partial(TokenManager.aget_access_token, server)), id="aget_access_token, trio"),
    pytest.param(in_trio(lambda server: TokenManager.source(server).aaccess_token), id="source.aaccess_token, trio"),
    pytest.param(
        lambda server, **wait: asyncio.run(TokenManager.source(server).atoken(**wait)).access_token, id="source.atoken"
    ),
]
every_read = pytest.mark.parametrize("read", READS)


class Other(Server):
    """An actor that is no manager."""


@every_read
@pytest.mark.parametrize("by", ["name", "ref"])
def test_every_read_waits_for_the_first_token_and_then_gives_it_at_once(read, by: str, start: Start, transport) -> None:
    ref = start(name="m")
    server = "m" if by == "name" else ref
    assert read(server) == "t1"
    with transport.held_back():
        assert read(server, timeout=0) == "t1"
    assert len(transport.posts) == 1


@pytest.mark.P1
@every_read
def test_no_read_waits_while_a_token_lives_whatever_the_provider_does(read, start: Start, transport, clock) -> None:
    start(name="m")
    assert read("m") == "t1"
    with transport.held_back():
        clock.advance(299)
        transport.wait_for_posts(2)
        assert read("m", timeout=0) == "t1"


@pytest.mark.P2
@every_read
def test_no_read_gives_an_expired_token(read, start: Start, transport, clock) -> None:
    start(name="m")
    assert read("m") == "t1"
    with transport.held_back():
        clock.advance(300)
        with pytest.raises(NoTokenError):
            read("m", timeout=0)
        with pytest.raises(NoTokenError):
            read("m", timeout=0.05)
    assert read("m") == "t2"


@every_read
def test_every_read_of_an_unknown_server_is_noprocess(read) -> None:
    with pytest.raises(NoProcess):
        read("nobody", timeout=0)


@every_read
def test_every_read_of_another_actor_says_what_it_is_by_name_and_by_ref(read) -> None:
    ref = Other.start_link(name="m")
    try:
        for server in ("m", ref):
            with pytest.raises(TypeError, match=r"name of a TokenManager, got that of Other$"):
                read(server, timeout=0)
    finally:
        supervision.stop(ref)


@every_read
def test_every_read_of_a_stopped_server_is_noprocess(read, start: Start) -> None:
    ref = start(name="m")
    assert read("m") == "t1"
    TokenManager.stop("m")
    for server in ("m", ref):
        with pytest.raises(NoProcess):
            read(server)


def test_a_reader_waits_for_the_retry_that_comes_before_its_deadline(transport: ScriptedTransport) -> None:
    transport.then(failing(503), minted("after"))
    ref = TokenManager.start_link(
        auth=AUTH, issuer_url=transport.issuer, transport=transport, min_interval_seconds=0.05, rng=Fixed(0)
    )
    assert TokenManager.get_access_token(ref, timeout=DEADLINE_S) == "after"


@pytest.mark.P10
def test_a_reader_is_refused_at_once_where_the_next_attempt_comes_too_late(start: Start, transport) -> None:
    transport.default = failing(503, Retry_After="30")
    ref = start()
    started = time.monotonic()
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token(ref, timeout=20)
    assert time.monotonic() - started < 10
    assert caught.value.retry_in_s == 30
    assert isinstance(caught.value.cause, TokenRequestError)
    assert caught.value.cause.status == 503


def test_a_reader_is_refused_at_once_by_a_permanent_error(start: Start, transport) -> None:
    transport.default = refused("invalid_client", 401)
    ref = start()
    for _ in range(2):
        with pytest.raises(NoTokenError) as caught:
            TokenManager.get_token(ref, timeout=DEADLINE_S)
        assert isinstance(caught.value.cause, TokenRequestError)
        assert caught.value.cause.error == "invalid_client"
    assert len(transport.posts) == 1


@pytest.mark.P10
@every_read
def test_a_reader_is_woken_at_its_own_deadline(read, start: Start, transport) -> None:
    with transport.held_back():
        ref = start()
        started = time.monotonic()
        with pytest.raises(NoTokenError) as caught:
            read(ref, timeout=0.1)
        assert 0.1 <= time.monotonic() - started < 5
        assert caught.value.cause is None
        assert caught.value.retry_in_s is None


def test_each_reader_gets_an_error_of_its_own(start: Start, transport) -> None:
    transport.default = refused("invalid_client", 401)
    ref = start()

    def error() -> NoTokenError:
        with pytest.raises(NoTokenError) as caught:
            TokenManager.get_token(ref)
        return caught.value

    first, second = error(), error()
    assert first is not second
    assert first.cause is second.cause


def test_a_read_that_does_not_wait_still_wakes_the_manager() -> None:
    clock, transport = Stopwatch(), ScriptedTransport()
    ref = TokenManager.start_link(auth=AUTH, issuer_url=transport.issuer, transport=transport, clock=clock)
    TokenManager.get_token(ref)
    clock.advance(300)
    with pytest.raises(NoTokenError):
        TokenManager.get_token(ref, timeout=0)
    transport.wait_for_posts(2)
    eventually(lambda: TokenManager.health(ref).ready)


# --- min_validity ---------------------------------------------------------------------------------------------------------


@pytest.mark.P2
def test_min_validity_raises_the_bar_for_one_call(start: Start, transport, clock) -> None:
    ref = start()
    TokenManager.get_token(ref)
    clock.advance(100)
    assert TokenManager.get_access_token(ref, min_validity=199) == "t1"
    assert TokenManager.get_access_token(ref, min_validity=200) == "t2"
    assert TokenManager.get_access_token(ref) == "t2"


@pytest.mark.P2
def test_a_result_that_falls_short_too_is_a_refusal(start: Start, transport, clock) -> None:
    ref = start()
    TokenManager.get_token(ref)
    clock.advance(100)
    with pytest.raises(NoTokenError, match="min_validity"):
        TokenManager.get_token(ref, min_validity=301)
    assert len(transport.posts) == 1


@pytest.mark.P6
def test_min_validity_keeps_the_minimum_interval(start: Start, transport, clock) -> None:
    ref = start()
    TokenManager.get_token(ref)
    clock.advance(0.25)
    with pytest.raises(NoTokenError):
        TokenManager.get_token(ref, min_validity=299.9, timeout=0.5)
    assert len(transport.posts) == 1
    clock.advance(0.75)
    transport.wait_for_posts(2)


@pytest.mark.parametrize("wait", [{"timeout": -1}, {"timeout": float("nan")}, {"timeout": None}, {"timeout": "1"}])
def test_a_timeout_that_is_none_is_a_config_error(wait, start: Start, transport) -> None:
    with transport.held_back():
        ref = start()
        with pytest.raises(ConfigError, match="timeout"):
            TokenManager.get_token(ref, **wait)


@pytest.mark.P2
@pytest.mark.parametrize("min_validity", [-1, float("nan"), float("inf"), 10**400, None, True])
def test_a_negative_min_validity_lets_no_expired_token_out(min_validity, start: Start, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")
    for read in (TokenManager.get_token, TokenManager.get_access_token):
        if min_validity is None:
            continue
        with pytest.raises(ConfigError, match="min_validity"):
            read("m", min_validity=min_validity)


# --- servers ----------------------------------------------------------------------------------------------------------------


def test_a_second_name_serves_too(start: Start) -> None:
    ref = start(name="m")
    supervision.register("alias", ref)
    assert TokenManager.get_access_token("alias") == "t1"
    assert TokenManager.health("alias").ready


@pytest.mark.parametrize("server", [None, 5, object()])
def test_what_is_no_server_is_a_type_error(server) -> None:
    with pytest.raises(TypeError, match="server"):
        TokenManager.get_token(server)
    with pytest.raises(TypeError, match="server"):
        asyncio.run(TokenManager.aget_token(server))


def test_another_actors_ref_is_a_type_error() -> None:
    class Other(supervision.Server):
        pass

    with pytest.raises(TypeError, match="Other"):
        TokenManager.get_token(Other.start_link())


@pytest.mark.P1
def test_reads_take_no_lock_while_a_token_lives(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start(name="m")
    source = TokenManager.source("m")
    source()
    from oidc_actor.reading.cell import by_name

    class Forbidden:
        def __enter__(self):
            raise AssertionError("a read took a lock")

        acquire = __enter__

    cell = by_name["m"]
    lock = cell._lock
    cell._lock = Forbidden()
    monkeypatch.setattr("oidc_actor.reading.waiting_reads.locate", Forbidden.acquire)
    try:
        assert source() == source.access_token() == source.token().access_token == "t1"
        assert TokenManager.get_access_token("m") == TokenManager.get_token("m").access_token == "t1"
    finally:
        cell._lock = lock
