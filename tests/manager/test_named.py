"""A ref that is a name (`supervision.named`), wherever a manager's ref or name is taken."""

from collections.abc import Callable
from typing import Any

import pytest
from managers import Start

from oidc_actor import GetToken, NoTokenError, TokenManager
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.reading.directory import ManagerNotRunning
from oidc_actor.secret_sources.manager_token import ManagerToken
from supervision import Server, call, kill, named, register

READS: dict[str, Callable[[Any], Any]] = {
    "get_access_token": TokenManager.get_access_token,
    "get_token": lambda server: TokenManager.get_token(server).access_token,
    "source": lambda server: TokenManager.source(server)(),
    "health": TokenManager.health,
    "force_refresh": lambda server: TokenManager.force_refresh(server, wait=True),
    "subscribe": lambda server: TokenManager.subscribe(server, print),
    "call": lambda server: call(server, GetToken()).access_token,
    "ask": lambda server: server.ask(GetToken(), timeout=5.0).access_token,
}


@pytest.mark.parametrize("name", ["m", "alias"], ids=["its name", "a second name"])
def test_it_is_the_manager_that_has_the_name(start: Start, name: str) -> None:
    server = named(name)
    for number in (1, 2):
        ref = start(name="m")
        register("alias", ref)
        for read in ("get_token", "source", "health", "subscribe", "call", "ask"):
            assert READS[read](server) is not None
        assert TokenManager.get_access_token(server) == f"t{number}"
        source = TokenManager.source(server)
        TokenManager.stop(server)
        assert not ref.is_alive()
        with pytest.raises(ManagerNotRunning):
            source()


@pytest.mark.parametrize("read", [read for read in READS if read not in ("call", "ask")])
def test_without_one_it_says_so(read: str) -> None:
    with pytest.raises(ManagerNotRunning, match=r"^no TokenManager behind 'm'") as caught:
        READS[read](named("m"))
    assert caught.value.server == "m"


def test_a_refresh_by_it(start: Start, clock: Any) -> None:
    start(name="m")
    assert TokenManager.get_access_token(named("m")) == "t1"
    clock.advance(5)
    TokenManager.force_refresh(named("m"), wait=True)
    assert TokenManager.get_access_token(named("m")) == "t2"


def test_a_crashed_managers_token_is_served_by_it(start: Start) -> None:
    start(name="m")
    assert TokenManager.get_access_token(named("m")) == "t1"
    kill(named("m"))
    assert TokenManager.get_access_token(named("m")) == "t1"


def test_an_actor_that_is_no_manager_is_refused() -> None:
    register("other", Server.start_link())
    with pytest.raises(TypeError, match="expected the ref or the name of a TokenManager, got that of Server"):
        TokenManager.get_token(named("other"))


def test_adapters_and_secret_sources_take_it_before_there_is_a_manager(start: Start) -> None:
    presenter, token = Presenter(named("m")), ManagerToken(named("m"))
    assert "no manager 'm'" in str(token.fetch())
    assert token == ManagerToken(named("m"))
    assert repr(presenter) == "Presenter('m')"
    start(name="m")
    with pytest.raises(NoTokenError):
        TokenManager.get_token(named("m"), timeout=0, min_validity=1e6)
    assert TokenManager.get_access_token(named("m")) == "t1"
    assert token.fetch() is not None
