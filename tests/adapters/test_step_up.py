"""A resource server that takes the token and wants another one for a request: within bounds, and if the program lets it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
from adapters.api import DEADLINE_S, Api
from adapters.drivers import WEB_DRIVERS, Driver, opened
from adapters.held_manager import Held
from fakes import minted
from threads import eventually

from oidc_actor import (
    ClientCredentials,
    ConfigError,
    Custom,
    FetchContext,
    OIDCConfig,
    TokenManager,
    TokenRequestError,
    TokenResponse,
)
from oidc_actor.adapters.challenges import Remedy, Unauthorized, wanted_step_up
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.credentials.parameters import StepUp, read_claims_parameter
from oidc_actor.oidc import get_token
from oidc_actor.testing import Provider

CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
ENTRA = base64.b64encode(CLAIMS.encode()).decode()


@pytest.fixture(params=[(kind, bound) for kind in WEB_DRIVERS for bound in (False, True)], ids=str)
def case(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def bound(case: Any) -> bool:
    return bool(case[1])


@pytest.fixture
def web(case: Any, http: Api, cold: Held) -> Iterator[Driver]:
    http.scopes = {"/echo": "write"}
    with opened(case[0], http, None, cold.name) as driver:
        yield driver


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    scopes = ["read"] if "narrow" in request.fixturenames else None
    with Provider(token_lifetime_s=600, scopes=scopes) as running:
        yield running


@pytest.fixture
def narrow() -> None:
    """The provider knows no scope `write`."""


def test_a_token_with_more_scopes_is_had_with_one_request_and_serves_from_then_on(
    web: Driver, settled: Held, provider: Provider
) -> None:
    first = settled.token
    assert web.call(body=b"a body") == (200, b"a body")
    assert web.tokens == [first, settled.token]
    assert TokenManager.get_token(settled.name).scope == "write"
    assert web.call() == (200, b"welcome")
    assert provider.token_requests == 2
    settled.wait_for_token()  # it has been heard of before the next
    settled.refresh()
    assert web.call() == (200, b"welcome")
    assert provider.token_requests == 3


def test_a_provider_that_refuses_is_asked_once_and_the_answer_is_handed_on(
    web: Driver, settled: Held, provider: Provider, narrow: None
) -> None:
    first = settled.token
    for _ in range(5):
        assert web.call(body=b"a body") == (403, b"more")
        settled.clock.advance(5)
    assert provider.token_requests == 2
    assert settled.token == first
    assert TokenManager.health(settled.name).last_error is None


def test_a_body_that_cannot_be_sent_again_leaves_the_next_request_with_the_token(
    web: Driver, settled: Held, provider: Provider
) -> None:
    first = settled.token
    assert web.upload()[0] == 403
    eventually(lambda: settled.token != first)
    assert web.upload()[0] == 200
    assert provider.token_requests == 2


@pytest.mark.parametrize("answer", [False, True])
def test_a_program_sees_what_is_wanted_and_decides(answer: bool, http: Api, settled: Held, provider: Provider) -> None:
    http.scopes, asked = {"/echo": "write"}, []

    def decide(origin: str, wanted: StepUp) -> bool:
        asked.append((origin, wanted))
        return answer

    found = requests.get(f"{http.url}/echo", auth=OIDCAuth(settled.name, step_up=decide), timeout=DEADLINE_S)
    assert found.status_code == (200 if answer else 403)
    assert asked == [(http.url, StepUp(("write",)))]
    assert provider.token_requests == 1 + answer


def test_a_program_that_wants_none_of_it_is_asked_nothing(http: Api, settled: Held, provider: Provider) -> None:
    http.scopes = {"/echo": "write"}
    found = requests.get(f"{http.url}/echo", auth=OIDCAuth(settled.name, step_up=False), timeout=DEADLINE_S)
    assert (found.status_code, provider.token_requests) == (403, 1)
    with pytest.raises(ConfigError, match=r"^step_up: expected True, False or a function, got str"):
        OIDCAuth(settled.name, step_up="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("challenge", "wanted"),
    [
        ('Bearer error="insufficient_scope", scope="a b"', StepUp(("a", "b"))),
        ('Bearer realm="x", Bearer error="insufficient_scope", scope=a', StepUp(("a",))),
        ('Bearer error="insufficient_scope"', None),
        ('Bearer error="insufficient_scope", scope="caf\u00e9"', None),
        ('Basic error="insufficient_scope", scope="a"', None),
        (f'Bearer authorization_uri="https://x", error="insufficient_claims", claims="{ENTRA}"', StepUp(claims=CLAIMS)),
        (f'Bearer error="invalid_token", claims="{ENTRA.rstrip("=")}"', StepUp(claims=CLAIMS)),
        ('Bearer error="insufficient_claims", claims="e30="', None),
        ('Bearer error="insufficient_claims", claims="%%%"', None),
        ('Bearer error="insufficient_user_authentication", acr_values="loa2 loa3"', StepUp(acr_values="loa2 loa3")),
        ('Bearer error="insufficient_user_authentication", max_age="5"', StepUp(max_age=5)),
        ('Bearer error="insufficient_user_authentication", max_age="-5", acr_values=""', None),
        ('Bearer error="insufficient_scope", scope="the-token"', None),
        (f'Bearer error="insufficient_scope", scope="{"a " * 4000}"', None),
        ('Bearer error="invalid_token"', None),
    ],
)
def test_what_a_challenge_wants(challenge: str, wanted: StepUp | None) -> None:
    assert wanted_step_up([challenge], "the-token") == wanted
    sent = {"Authorization": "Bearer the-token"}
    refused = Unauthorized.read(403, "GET", "https://api.example.com", sent, [challenge], None)
    assert refused.remedy is (None if wanted is None else Remedy.STEP_UP)


def test_several_challenges_are_one_wish_and_a_bound_token_is_challenged_in_its_scheme() -> None:
    fields = ['DPoP error="insufficient_scope", scope="a"', 'Bearer error="insufficient_scope", scope="b"']
    assert wanted_step_up(fields, "the-token", "dpop") == StepUp(("a", "b"))
    assert wanted_step_up(fields, "the-token") == StepUp(("b",))


def test_the_request_asks_for_all_of_it_beside_what_the_user_chose() -> None:
    sent: list[Any] = []

    def transport(request: Any) -> Any:
        sent.append({name: one[0] for name, one in parse_qs(request.body.decode()).items()})
        return minted()

    config = OIDCConfig(token_endpoint="https://id.example/token")
    extra = {"claims": '{"access_token":{"xms_cc":{"values":["cp1"]}}}', "x": "y"}
    auth = ClientCredentials("id", client_auth="none", scopes="read", extra=extra)
    get_token(config, auth.stepped_up(StepUp(("write", "read"), CLAIMS, "loa2", 0)), transport=transport)
    assert json.loads(sent[0].pop("claims")) == {
        "access_token": {"xms_cc": {"values": ["cp1"]}, "nbf": {"essential": True, "value": "1604106651"}}
    }
    assert sent[0] == {
        "grant_type": "client_credentials", "client_id": "id", "scope": "read write", "x": "y",
        "acr_values": "loa2", "max_age": "0",
    }  # fmt: skip
    assert auth.scopes == ("read",)
    assert read_claims_parameter(CLAIMS) == CLAIMS


def test_a_function_of_the_programs_is_told_what_is_wanted_and_may_refuse(http: Api, provider: Provider) -> None:
    """`Custom`: what it cannot bring does the manager no harm."""
    http.scopes = {"/echo?1": "write", "/echo?2": "admin"}
    told: list[StepUp | None] = []

    def fetch(context: FetchContext) -> TokenResponse:
        told.append(context.step_up)
        scopes = () if context.step_up is None else context.step_up.scopes
        if "admin" in scopes:
            raise TokenRequestError("no admin here", retryable=False)
        auth = ClientCredentials(provider.client_id, provider.client_secret, scopes)
        return get_token(OIDCConfig(token_endpoint=provider.token_endpoint), auth)

    TokenManager.start_link(name="function", auth=Custom(fetch), min_interval_seconds=0.0)
    try:
        with requests.Session() as session:
            session.auth = OIDCAuth("function")
            for path, status in {"/echo": 200, "/echo?1": 200, "/echo?2": 403}.items():
                assert session.get(http.url + path, timeout=DEADLINE_S).status_code == status
            live = TokenManager.get_access_token("function", timeout=0)
            health = TokenManager.health("function")
            assert (health.blocked, health.consecutive_failures) == (False, 0)
            assert session.get(http.url + "/echo?1", timeout=DEADLINE_S).status_code == 200
        assert TokenManager.get_access_token("function", timeout=0) == live
        assert [one if one is None else set(one.scopes) for one in told] == [None, {"write"}, {"write", "admin"}]
    finally:
        TokenManager.stop("function", timeout=DEADLINE_S)
