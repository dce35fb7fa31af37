"""Requests that do not come to an end: they are given up, and the manager goes on."""

import threading

import pytest
from fakes import ISSUER
from managers import Start
from threads import DEADLINE_S, eventually

from oidc_actor import OIDCConfig, TokenManager
from oidc_actor.machine.events import FetchLost, FetchStarted, Refresh, ResultReady
from oidc_actor.manager import provider_requests, token_manager
from oidc_actor.manager.issuers import Subscriber
from oidc_actor.reading.directory import locate
from supervision import cast

pytestmark = [pytest.mark.P5, pytest.mark.P10]

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")


def test_a_transport_that_never_answers_is_given_up(start: Start, transport, clock, monkeypatch) -> None:
    monkeypatch.setattr("oidc_actor.manager.provider_requests.GRACE_S", 0.0)
    with transport.held_back():
        start(name="m", timeout_seconds=0.05)
        eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
        assert "timeout" in TokenManager.health("m").last_error
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


def test_news_of_a_request_that_was_given_up_leaves_the_watch_over_the_next_one_alone(
    start: Start, transport, clock, monkeypatch
) -> None:
    monkeypatch.setattr("oidc_actor.manager.provider_requests.GRACE_S", 0.5)
    with transport.held_back():
        ref = start(timeout_seconds=0.05)
        transport.wait_for_requests(1)
        cast(ref, FetchStarted(0, 1, clock()))
        eventually(lambda: TokenManager.health(ref).consecutive_failures == 1)
        assert "long after the timeout" in TokenManager.health(ref).last_error


def test_a_refresh_takes_two_messages_and_its_watches_are_cancelled(
    start: Start, transport, clock, monkeypatch
) -> None:
    """What wakes it, and its outcome. That its request is sent is no message: it is found in the cell."""
    came, watches = [], []
    ref = start(oidc_config=CONFIG, name="m")
    assert TokenManager.get_access_token("m") == "t1"
    handle, send = token_manager.TokenManager.on_receive, provider_requests.send_after
    monkeypatch.setattr(
        token_manager.TokenManager, "on_receive", lambda *args: came.append(type(args[1]).__name__) or handle(*args)
    )
    monkeypatch.setattr(provider_requests, "send_after", lambda *args: watches.append(timer := send(*args)) or timer)
    clock.advance(2)
    with transport.held_back():
        cast(ref, Refresh())
        transport.wait_for_requests(2)
        assert TokenManager.health("m").token_requests == 2
    eventually(lambda: TokenManager.get_access_token("m") == "t2")
    eventually(lambda: came.count("ResultReady"))
    assert [one for one in came if one != "AskHealth"] == ["Refresh", "ResultReady"]
    assert [one.cancel() for one in watches] == [False, False]


def test_what_comes_at_the_last_moment_is_taken(start: Start, transport, monkeypatch) -> None:
    came = threading.Event()
    monkeypatch.setitem(token_manager._HANDLERS, ResultReady, lambda *_: came.set())
    ref = start(oidc_config=CONFIG)
    assert came.wait(DEADLINE_S)
    cast(ref, FetchLost(1, 1))
    assert TokenManager.get_access_token(ref) == "t1"
    assert len(transport.posts) == 1


def test_whoever_takes_part_in_a_discovery_that_never_ends_gives_it_up_too(
    start: Start, transport, clock, monkeypatch
) -> None:
    monkeypatch.setattr("oidc_actor.manager.provider_requests.GRACE_S", 0.0)
    with transport.held_back():
        first = start(timeout_seconds=0.3)
        transport.wait_for_requests(1)
        second = start(timeout_seconds=0.3)  # it comes when the request has been sent
        for ref in (first, second):
            eventually(lambda: TokenManager.health(ref).consecutive_failures == 1)  # noqa: B023
            assert "long after the timeout" in TokenManager.health(ref).last_error
    clock.advance(1)
    assert {TokenManager.get_access_token(ref) for ref in (first, second)} == {"t1", "t2"}


def test_giving_up_a_discovery_leaves_the_next_one_alone(start: Start) -> None:
    refs = [start(), start()]
    for ref in refs:
        TokenManager.get_token(ref)
    first, second = (locate(ref) for ref in refs)
    issuer = first.issuer
    given_up = issuer.subscribe(Subscriber(first, 9, 1))
    issuer.subscribe(Subscriber(second, 9, 1))
    issuer.give_up(first)
    following = issuer.subscribe(Subscriber(first, 10, 1))
    assert following is not given_up
    issuer.give_up(second)
    assert issuer.subscribe(Subscriber(second, 10, 1)) is following
