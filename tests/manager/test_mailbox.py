"""The mailbox form, for actors that talk in messages."""

import dataclasses

import pykka
import pytest
from fakes import refused
from managers import Start
from threads import eventually

import supervision
from oidc_actor import ForceRefresh, GetToken, NoTokenError, TokenManager
from supervision import CallTimeout, NoProcess


def test_get_token_answers_with_the_valid_token(start: Start) -> None:
    ref = start(name="m")
    token = TokenManager.get_token("m")
    assert ref.ask(GetToken()) is token
    assert supervision.call(ref, GetToken()) is token
    assert supervision.call("m", GetToken()) is token


def test_get_token_raises_at_once_where_there_is_none_and_the_manager_lives_on(start: Start, transport) -> None:
    with transport.held_back():
        ref = start(name="m")
        transport.wait_for_requests(1)
        for ask in (lambda: ref.ask(GetToken()), lambda: supervision.call("m", GetToken())):
            with pytest.raises(NoTokenError, match="under way"):
                ask()
    assert ref.is_alive()
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P2
def test_get_token_never_answers_with_an_expired_token(start: Start, clock, transport) -> None:
    ref = start()
    TokenManager.get_token(ref)
    with transport.held_back():
        clock.advance(300)
        with pytest.raises(NoTokenError):
            ref.ask(GetToken())


def test_get_token_says_why(start: Start, transport) -> None:
    transport.default = refused("invalid_client", 401)
    ref = start()
    with pytest.raises(NoTokenError):
        TokenManager.get_token(ref)
    with pytest.raises(NoTokenError) as caught:
        ref.ask(GetToken())
    assert caught.value.cause.error == "invalid_client"
    assert caught.value.retry_in_s >= 60


def test_force_refresh_is_a_cast(start: Start, clock, transport) -> None:
    ref = start()
    TokenManager.get_token(ref)
    clock.advance(10)
    assert ref.tell(ForceRefresh()) is None
    eventually(lambda: TokenManager.get_access_token(ref) == "t2")


@pytest.mark.parametrize("message", [GetToken(), ForceRefresh()])
def test_the_messages_are_frozen_values(message) -> None:
    assert message == type(message)()
    assert dataclasses.is_dataclass(message)
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError, AttributeError)):
        message.anything = 1


def test_to_a_stopped_manager(start: Start) -> None:
    ref = start()
    TokenManager.stop(ref)
    with pytest.raises(NoProcess):
        supervision.call(ref, GetToken())
    with pytest.raises(pykka.ActorDeadError):
        ref.ask(GetToken())


def test_the_mailbox_is_never_busy_with_http(start: Start, transport) -> None:
    with transport.held_back():
        ref = start()
        transport.wait_for_requests(1)
        for _ in range(10):
            try:
                supervision.call(ref, GetToken(), timeout=5)
            except NoTokenError:
                continue
            except CallTimeout:
                pytest.fail("the mailbox waits for the provider")
