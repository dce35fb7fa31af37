"""Requests that do not come to an end: they are given up, and the manager goes on."""

import threading
from types import SimpleNamespace

import pytest
from fakes import AUTH, ISSUER
from managers import Start
from threads import DEADLINE_S, eventually

from oidc_actor import OIDCConfig, TokenManager
from oidc_actor.machine.events import FetchLost, FetchStarted, Refresh, ResultReady
from oidc_actor.manager import provider_requests, token_manager
from oidc_actor.manager.issuers import Subscriber
from oidc_actor.reading.cell import Cell
from oidc_actor.reading.directory import locate
from supervision import cast
from supervision.runtime import timer_thread

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


def test_a_refresh_takes_two_messages_and_one_watch_that_is_cancelled(
    start: Start, transport, clock, monkeypatch
) -> None:
    """What wakes it, and its outcome. That its request is sent is no message: it is found in the cell."""
    came, watches = [], []
    ref = start(oidc_config=CONFIG, name="m")
    assert TokenManager.get_access_token("m") == "t1"
    handle, call_later = token_manager.TokenManager.on_receive, timer_thread.call_later
    monkeypatch.setattr(
        token_manager.TokenManager, "on_receive", lambda *args: came.append(type(args[1]).__name__) or handle(*args)
    )

    def note(delay_s, callback):
        timer = call_later(delay_s, callback)
        watches.extend([timer] if delay_s >= 10.0 else [])
        return timer

    monkeypatch.setattr(timer_thread, "call_later", note)
    clock.advance(2)
    with transport.held_back():
        cast(ref, Refresh())
        transport.wait_for_requests(2)
        assert TokenManager.health("m").token_requests == 2
    eventually(lambda: TokenManager.get_access_token("m") == "t2")
    eventually(lambda: came.count("ResultReady"))
    assert [one for one in came if one != "AskHealth"] == ["Refresh", "ResultReady"]
    assert [one._is_pending for one in watches] == [False]


def test_a_watch_looks_at_the_moment_that_counts_by_then(start: Start, transport, monkeypatch) -> None:
    """A secret may be long in coming; from the moment that the request is sent its own patience counts."""
    set_, now = [], [100.0]
    monkeypatch.setattr(timer_thread, "now", lambda: now[0])
    monkeypatch.setattr(
        timer_thread, "call_later", lambda *args: set_.append(args) or timer_thread.TimerHandle(args[1])
    )
    told = []
    monkeypatch.setattr(provider_requests, "cast", lambda _, message: told.append(message))
    cell, options = SimpleNamespace(addressed=lambda one: one), SimpleNamespace(timeout_seconds=10.0, auth=AUTH)
    manager = SimpleNamespace(ref=None, cell=cell, options=options, identity_provider=None)
    watch = provider_requests._Watch(manager, SimpleNamespace(attempt=3, request=2))

    def looks_at(at: float) -> list[float]:
        now[0], before = at, len(set_)
        set_[-1][1]()
        return [delay_s for delay_s, _ in set_[before:]]

    assert [delay_s for delay_s, _ in set_] == [15.0]
    assert looks_at(115.0) == [30.0]  # nothing is sent yet: seconds for the secrets, and for the request behind them
    now[0] = 140.0
    watch.begin()
    assert looks_at(145.0) == [10.0]
    assert told == []
    assert looks_at(155.0) == []
    assert told == [FetchLost(3, 2)]
    watch.end()
    assert looks_at(170.0) == []
    assert len(told) == 1


def test_what_comes_at_the_last_moment_is_taken(start: Start, transport, monkeypatch) -> None:
    came = threading.Event()
    monkeypatch.setitem(token_manager._HANDLERS, ResultReady, lambda *_: came.set())
    ref = start(oidc_config=CONFIG)
    assert came.wait(DEADLINE_S)
    cast(ref, FetchLost(1, 1))
    assert TokenManager.get_access_token(ref) == "t1"
    assert len(transport.posts) == 1


def test_a_request_that_is_sent_and_answered_while_the_manager_looks_is_counted(start: Start, monkeypatch) -> None:
    may_go, note_sent, take_result = threading.Event(), Cell.note_sent, Cell.take_result

    def take_when_it_is_there(cell, ref):
        if cell.expected is not None:
            may_go.set()
            eventually(lambda: cell.result is not None)
        return take_result(cell, ref)

    monkeypatch.setattr(Cell, "note_sent", lambda *args: may_go.wait(DEADLINE_S) and note_sent(*args))
    monkeypatch.setattr(Cell, "take_result", take_when_it_is_there)
    ref = start(oidc_config=CONFIG)
    cast(ref, ResultReady())  # of an earlier request, for example
    assert TokenManager.get_access_token(ref) == "t1"
    assert TokenManager.health(ref).token_requests == 1


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
