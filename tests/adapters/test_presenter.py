"""What the adapters have in common."""

from __future__ import annotations

import asyncio
import json

import pytest
from adapters.held_manager import Held

from oidc_actor import ConfigError, NoTokenError, OIDCConfig, TokenExchange, TokenManager
from oidc_actor.adapters.headers import headers
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.testing import Provider
from oidc_actor.transport import Response
from supervision import NoProcess

API = "https://api.example.com:443"
REFUSES = ["Bearer"]


def test_bad_arguments_are_told_before_anything_is_sent() -> None:
    with pytest.raises(TypeError, match="server: expected the ref or the name"):
        Presenter(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="timeout: expected finite seconds"):
        Presenter("name", timeout=-1)
    with pytest.raises(ConfigError, match="origins: expected"):
        Presenter("name", origins="https://a.example")
    assert repr(Presenter("name")) == "Presenter(name)"


def test_the_manager_may_come_later_and_is_asked_by_ref_or_by_name(settled: Held) -> None:
    for server in (settled.name, settled.ref):
        assert Presenter(server).bearer() == f"Bearer {settled.token}"
    nobody = Presenter("nobody")
    assert nobody.present() is None
    with pytest.raises(NoProcess):
        nobody.bearer()


def test_a_token_that_was_replaced_already_is_worth_a_retry_and_no_request(settled: Held, provider: Provider) -> None:
    presenter = Presenter(settled.name)
    first = presenter.bearer()
    assert presenter.successor(API, first) == f"Bearer {settled.wait_for_token()}"
    second = presenter.bearer()
    settled.clock.advance(5)
    settled.refresh()
    # The origin has accepted none since the first, but this one is not what it would be sent now.
    assert presenter.successor(API, second) == f"Bearer {settled.token}"
    assert provider.token_requests == 3


@pytest.mark.parametrize(
    ("status", "counts"), [(200, True), (204, True), (302, False), (403, False), (404, False), (500, False)]
)
def test_only_a_success_shows_that_the_token_was_accepted(settled: Held, status: int, counts: bool) -> None:
    presenter = Presenter(settled.name)
    assert presenter.is_refused(API, 401, REFUSES, presenter.bearer())
    assert presenter.successor(API, presenter.bearer()) is not None
    settled.clock.advance(5)
    assert not presenter.is_refused(API, status, [], presenter.bearer())
    assert (presenter.successor(API, presenter.bearer()) is not None) is counts


def test_no_caller_rejects_what_is_no_bearers(settled: Held, provider: Provider) -> None:
    presenter = Presenter(settled.name)
    for sent in (None, b"Bearer x", "Basic abc", ""):
        presenter.reject(API, sent)
        assert presenter.successor(API, sent) is None
        assert asyncio.run(presenter.asuccessor(API, sent)) is None
    assert TokenManager.health(settled.name).ready
    assert provider.token_requests == 1


def test_a_refusal_that_cannot_be_mended_in_time_is_the_callers_answer(settled: Held) -> None:
    presenter = Presenter(settled.name)
    sent = presenter.bearer()
    settled.gate.shut()
    assert presenter.successor(API, sent, 0.05) is None
    assert asyncio.run(presenter.asuccessor(API, sent, 0.05)) is None
    with pytest.raises(NoTokenError):
        presenter.bearer(0)


def test_what_is_no_access_token_goes_to_no_server() -> None:
    """RFC 8693 section 2.2.1: the type of, say, a refresh token that was asked for."""
    answer = {"access_token": "t", "token_type": "N_A", "expires_in": 60}
    ref = TokenManager.start_link(
        auth=TokenExchange("s", "id", requested_token_type="refresh_token"),
        oidc_config=OIDCConfig(token_endpoint="https://auth.example.com/token"),
        transport=lambda _: Response(200, {}, json.dumps(answer).encode()),
    )
    presenter = Presenter(ref)
    try:
        for ask in (presenter.bearer, lambda: presenter.fields("GET", API), lambda: headers(ref)):
            with pytest.raises(ConfigError, match="expected an access token"):
                ask()
        assert presenter.present() is None
    finally:
        TokenManager.stop(ref)
