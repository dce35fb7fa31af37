"""One table for all adapters: each with its real library, against a server that checks signature and end of the token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from adapters.api import Api, Gatekeeper
from adapters.drivers import CHUNKS, DRIVERS, WEB_DRIVERS, AsyncHttpx, Driver, Httpx, opened
from adapters.held_manager import Held
from adapters.rpc import Rpc

from oidc_actor import NoTokenError
from oidc_actor.testing import Provider

BODY = b"a body that is still at hand"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every adapter with bearer tokens; those over HTTP also with tokens that are bound to a key."""
    kinds = WEB_DRIVERS if "web" in metafunc.fixturenames else DRIVERS
    clients = [*((kind, False) for kind in kinds), *((kind, True) for kind in WEB_DRIVERS)]
    ids = [f"{kind.__name__}-{'dpop' if bound else 'bearer'}" for kind, bound in clients]
    metafunc.parametrize(("kind", "bound"), clients, ids=ids)


@pytest.fixture
def driver(kind: type[Driver], http: Api, rpc: Rpc, cold: Held) -> Iterator[Driver]:
    with opened(kind, http, rpc, cold.name) as driver:
        yield driver


@pytest.fixture
def web(driver: Driver) -> Driver:
    """One over HTTP, which has redirects, challenges, and exceptions of the caller's own."""
    return driver


def test_the_first_call_waits_for_the_first_token(driver: Driver, manager: Held, provider: Provider) -> None:
    assert driver.call() == (200, b"welcome")
    assert driver.tokens == [manager.token]
    assert provider.token_requests == 1


def test_a_refresh_during_use_is_seen_by_the_next_call(driver: Driver, settled: Held, provider: Provider) -> None:
    sent = [settled.token]
    assert driver.call() == (200, b"welcome")
    for _ in range(5):
        sent.append(settled.refresh())
        assert driver.call(body=BODY) == (200, BODY)
    assert driver.tokens == sent
    assert len(set(sent)) == provider.token_requests == 6


def test_a_401_once_is_mended_with_one_request_for_a_token(
    driver: Driver, settled: Held, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    refused = settled.token
    gatekeeper.revoke(refused)
    assert driver.call(body=BODY) == (200, BODY)
    assert driver.tokens == [refused, settled.token]
    assert settled.token != refused
    assert provider.token_requests == 2
    assert driver.call() == (200, b"welcome")
    assert provider.token_requests == 2


def test_a_401_for_ever_costs_one_request_for_a_token_and_is_handed_on(
    driver: Driver, settled: Held, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.refuses_all = True
    refused = settled.token
    for _ in range(5):
        assert driver.call(body=BODY)[0] == 401
        settled.clock.advance(5)
    assert driver.tokens == [refused, *[settled.token] * 5]
    assert provider.token_requests == 2

    gatekeeper.refuses_all = False  # once a token was accepted, a refusal is worth a new one again
    assert driver.call()[0] == 200
    gatekeeper.revoke(settled.token)
    assert driver.call()[0] == 200
    assert provider.token_requests == 3


@pytest.mark.P1
def test_a_provider_that_is_down_is_not_noticed_while_a_token_lives(
    driver: Driver, settled: Held, provider: Provider
) -> None:
    provider.down()
    settled.clock.advance(560)  # beyond the refresh point
    assert driver.call(body=BODY) == (200, BODY)
    assert driver.tokens == [settled.token]


def test_a_401_that_cannot_be_mended_is_handed_on(
    driver: Driver, settled: Held, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.revoke(settled.token)
    provider.fail_next(None, status=400, error="invalid_client")
    assert driver.call(body=BODY)[0] == 401
    assert len(driver.tokens) == 1


def test_a_streaming_body_is_sent_with_the_token(driver: Driver, settled: Held) -> None:
    assert driver.upload() == (200, b"".join(CHUNKS))
    assert driver.tokens == [settled.token]


def test_a_streaming_body_that_is_gone_is_not_sent_again_but_the_token_is_replaced(
    driver: Driver, settled: Held, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    refused = settled.token
    gatekeeper.revoke(refused)
    assert driver.upload()[0] == 401
    assert driver.tokens == [refused]
    assert settled.wait_for_token() != refused
    assert driver.upload() == (200, b"".join(CHUNKS))
    assert provider.token_requests == 2


def test_a_successor_that_is_refused_too_is_replaced_for_the_next_call(
    web: Driver, settled: Held, http: Api, gatekeeper: Gatekeeper
) -> None:
    refused = settled.token
    gatekeeper.revoke(refused)

    def replace_and_revoke() -> None:
        http.on_request = lambda: None
        gatekeeper.revoke(settled.refresh())
        settled.clock.advance(5)

    http.on_request = replace_and_revoke  # while the first request is under way
    assert web.call()[0] == 401  # nobody has rejected the second token before, which is not tried again here
    settled.wait_for_token()
    assert web.call()[0] == 200
    assert len(set(http.tokens)) == 3


def test_a_redirect_within_the_origin_keeps_the_token_and_has_a_proof_of_its_own(
    web: Driver, settled: Held, http: Api, bound: bool
) -> None:
    # httpx follows redirects by itself: there a bound token arrives without a proof first, and is sent again with one.
    refused = ["invalid_dpop_proof"] if bound and isinstance(web, Httpx | AsyncHttpx) else []
    for body in (None, BODY):
        assert web.call("/near", body) == (200, body or b"welcome")
    assert [one.refusal for one in http.seen] == [None, *refused, None] * 2
    assert {one.token for one in http.seen} == {settled.token}
    assert [one.path for one in http.seen if one.refusal is not None] == ["/echo"] * 2 * len(refused)
    assert all((one.proof is not None) is (bound and one.refusal is None) for one in http.seen)


def test_a_token_that_was_replaced_is_not_sent_again_with_a_redirect(
    web: Driver, settled: Held, http: Api, gatekeeper: Gatekeeper
) -> None:
    refused = settled.token
    gatekeeper.revoke(refused)
    assert web.call("/guarded", BODY) == (200, BODY)
    assert http.seen[0].token == refused
    assert {one.token for one in http.seen[1:]} == {settled.token}


def test_a_redirect_to_another_origin_does_not_take_the_token_along(
    web: Driver, settled: Held, provider: Provider, http: Api, other: Api
) -> None:
    for elsewhere in (f"{other.url}/echo", f"{other.url}/near", f"{other.url.replace('127.0.0.1', 'localhost')}/echo"):
        http.elsewhere = elsewhere
        assert web.call("/moved")[0] == 401  # that other origin asks for a token, and gets none
    assert http.tokens == [settled.token] * 3
    assert [(one.token, one.proof) for one in other.seen] == [(None, None)] * 4
    assert provider.token_requests == 1


@pytest.mark.parametrize(
    ("challenge", "mended"),
    [
        ("Bearer", True),
        ('Bearer realm="api"', True),
        ('Basic realm="api", Bearer error="invalid_token"', True),
        ('Bearer error="insufficient_scope", scope="write"', True),  # by a token that is allowed it
        ('Bearer error="insufficient_scope"', False),
        ('Bearer error="invalid_request"', False),
        ('Basic realm="api"', False),
        (None, False),
    ],
)
def test_only_a_401_about_the_token_has_it_replaced(
    web: Driver, settled: Held, http: Api, gatekeeper: Gatekeeper, challenge: str | None, mended: bool
) -> None:
    http.challenge = challenge
    gatekeeper.revoke(settled.token)
    assert web.call()[0] == (200 if mended else 401)
    assert len(web.tokens) == (2 if mended else 1)


def test_a_403_is_handed_on(web: Driver, settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    http.status = 403
    gatekeeper.revoke(settled.token)
    assert web.call()[0] == 403
    assert len(web.tokens) == 1


def test_without_a_token_the_caller_gets_the_reason(web: Driver, cold: Held, provider: Provider) -> None:
    provider.fail_next(None, status=400, error="invalid_client", error_description="who is that?")
    cold.gate.release()
    with pytest.raises(NoTokenError, match="who is that"):
        web.call()
    assert web.tokens == []
