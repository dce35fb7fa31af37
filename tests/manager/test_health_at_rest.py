"""The health of a manager at rest is read from its cell, without a message; any other manager is asked."""

import gc
from typing import Any

import pytest
from fakes import ScriptedTransport
from managers import Start

import supervision
from oidc_actor import TokenManager
from oidc_actor.metrics import ready
from oidc_actor.reading.directory import all_cells, locate
from oidc_actor.testing import ManualClock


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages that were sent with `supervision.call`."""
    messages: list[Any] = []
    call = supervision.call

    def counted(server: Any, message: Any, *args: Any, **options: Any) -> Any:
        messages.append(message)
        return call(server, message, *args, **options)

    monkeypatch.setattr(supervision, "call", counted)
    return messages


def with_token(start: Start, name: str = "a") -> None:
    start(name=name)
    TokenManager.get_token(name)
    TokenManager.health(name)  # the first may meet the turn in which the token came, and waits for it


def test_at_rest_it_is_not_asked(start: Start, asked: list[Any]) -> None:
    with_token(start)
    asked.clear()
    health = TokenManager.health("a")
    assert (health.state, health.ready, health.refreshes, health.token_requests) == ("fresh", True, 1, 1)
    assert asked == []


def test_what_was_sent_before_has_been_handled(
    start: Start, transport: ScriptedTransport, clock: ManualClock, asked: list[Any]
) -> None:
    with_token(start)
    clock.advance(2)  # past the least interval
    for number in range(2, 30):
        with transport.held_back():
            TokenManager.force_refresh("a")
            assert TokenManager.health("a").refreshing
        TokenManager.force_refresh("a", wait=True)
        assert TokenManager.health("a").refreshes >= number
        clock.advance(2)


def test_where_its_tick_is_due_it_is_asked(
    start: Start, transport: ScriptedTransport, clock: ManualClock, asked: list[Any]
) -> None:
    with_token(start)
    asked.clear()
    with transport.held_back():
        clock.advance(250)  # of 300 s, 60 of which are the buffer
        assert (TokenManager.health("a").state, TokenManager.health("a").refreshing) == ("stale", True)


def test_without_a_token_it_is_asked(start: Start, transport: ScriptedTransport, asked: list[Any]) -> None:
    transport.goes_down()
    start(name="a")
    assert TokenManager.health("a").state == "empty"
    assert len(asked) == 1


def test_of_all_managers_those_without_a_name_are_some(start: Start) -> None:
    with_token(start, "first")
    nameless = start()
    TokenManager.get_token(nameless)
    with_token(start, "last")
    assert [cell.name for cell in all_cells()] == ["first", None, "last"]
    assert ready()
    locate(nameless).snapshot.reject()
    assert not ready()
    TokenManager.stop(nameless)
    del nameless
    gc.collect()
    assert [cell.name for cell in all_cells()] == ["first", "last"]
    assert ready()
