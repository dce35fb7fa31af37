"""Two secrets of a client, of which the provider takes one: both in one attempt, then the one that worked first."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fakes import ISSUER, ScriptedTransport, failing, form_of, minted, refused
from threads import DEADLINE_S, eventually

from oidc_actor import (
    ClientCredentials,
    ConfigError,
    NoTokenError,
    OIDCConfig,
    Overlap,
    Password,
    PrivateKey,
    RefreshToken,
    SecretFile,
    TokenManager,
    TokenRequestError,
    oidc,
)
from oidc_actor.endpoints.other_endpoints import request_device_authorization
from oidc_actor.protocol.response_fields import jwt_part
from oidc_actor.transport import Request, Response
from oidc_actor.values.secrets import Secret

NEW, OLD = "the-new-secret", "the-old-secret"
CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")


class Provider(ScriptedTransport):
    """Takes the secrets in `taken`, and notes which were sent."""

    def __init__(self, *taken: str, refusal: Response | None = None) -> None:
        super().__init__()
        self.taken = set(taken)
        self.sent: list[str] = []
        self.refusal = refusal or refused("invalid_client", 401)

    def _answer(self, request: Request) -> Any:
        if request.method == "GET":
            return self.discovery
        self.sent.append(secret_of(request))
        return super()._answer(request) if self.sent[-1] in self.taken else self.refusal


def secret_of(request: Request) -> str:
    basic = request.headers.get("Authorization", "").removeprefix("Basic ")
    return unquote(base64.b64decode(basic).decode()).partition(":")[2] if basic else form_of(request)["client_secret"]


def got(auth: Any, provider: Callable[[Request], Response]) -> str:
    return oidc.get_token(CONFIG, auth, transport=provider).access_token


@pytest.mark.parametrize("client_auth", [None, "client_secret_post"])
@pytest.mark.parametrize("refusal", [refused("invalid_client", 401), refused("unauthorized_client", 401)])
def test_the_other_is_tried_in_the_same_attempt_and_asked_first_from_then_on(client_auth: Any, refusal: Any) -> None:
    auth = ClientCredentials("id", Overlap(NEW, OLD), client_auth=client_auth)
    provider = Provider(OLD, refusal=refusal)
    assert [got(auth, provider), got(auth, provider)] == ["t1", "t2"]
    assert provider.sent == [NEW, OLD, OLD]
    provider.taken = {NEW}
    assert [got(auth, provider), got(auth, provider)] == ["t3", "t4"]
    assert provider.sent[3:] == [OLD, NEW, NEW]


@pytest.mark.parametrize(
    "refusal",
    [refused("unauthorized_client", 400), refused("invalid_scope"), refused("invalid_grant"), failing(401), failing()],
)
def test_what_is_not_about_the_clients_secret_is_sent_once(refusal: Response) -> None:
    provider = Provider(refusal=refusal)
    with pytest.raises(TokenRequestError):
        got(ClientCredentials("id", Overlap(NEW, OLD)), provider)
    assert provider.sent == [NEW]


def test_a_refresh_token_is_redeemed_with_either() -> None:
    provider = Provider(OLD)
    auth = RefreshToken("login", "id", Overlap(NEW, OLD))
    assert got(auth, provider) == "t1"
    assert [form["refresh_token"] for form in provider.forms] == ["login", "login"]


def test_what_is_signed_with_the_secret_is_signed_with_the_other() -> None:
    headers: list[dict[str, Any]] = []

    def provider(request: Request) -> Response:
        assertion = form_of(request)["client_assertion"]
        headers.append(json.loads(jwt_part(assertion, 0)))
        seen.add(assertion.rpartition(".")[2])
        return refused("invalid_client", 401) if len(headers) == 1 else minted("t")

    seen: set[str] = set()
    auth = ClientCredentials("id", Overlap(NEW * 3, OLD * 3), client_auth="client_secret_jwt")
    assert got(auth, provider) == "t"
    assert len(seen) == len(headers) == 2


def test_one_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    new, old = SecretFile(tmp_path / "new"), SecretFile(tmp_path / "old")
    auth = ClientCredentials("id", Overlap(new, old))
    with pytest.raises(TokenRequestError, match=r"client_secret cannot be read: .*new': No such file"):
        got(auth, Provider())
    old.path.write_text(OLD)
    provider = Provider(OLD)
    assert got(auth, provider) == "t1"
    assert provider.sent == [OLD]
    provider.taken.clear()
    with pytest.raises(TokenRequestError, match="invalid_client"):  # and not that the new one cannot be read
        got(auth, provider)
    assert provider.sent == [OLD, OLD]
    new.path.write_text(NEW)
    provider.taken = {NEW}
    assert got(auth, provider) == "t2"
    assert auth.sources[0].files == (new, old)  # a manager watches both


def test_a_source_is_asked_once_for_each_request() -> None:
    calls: list[str] = []

    def source(name: str) -> Callable[[], str]:
        return lambda: calls.append(name) or name  # type: ignore[func-returns-value]

    got(ClientCredentials("id", Overlap(source(NEW), source(OLD))), Provider(OLD))
    assert calls == [NEW, OLD]


@pytest.mark.P9
def test_neither_is_shown() -> None:
    auth = ClientCredentials("id", Overlap(NEW, lambda: OLD))
    assert repr(auth) == "ClientCredentials(client_id='id', client_secret=Overlap(***, ***))"
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(auth.client_secret)
    provider = Provider(refusal=refused("invalid_client", 401, f"no {NEW} and no {OLD}"))
    with pytest.raises(TokenRequestError, match=r"no \*\*\* and no \*\*\*"):
        got(auth, provider)
    assert provider.sent == [NEW, OLD]


def test_it_is_compared_by_its_sources_and_is_for_a_clients_secret_only() -> None:
    assert Overlap(NEW, OLD) == Overlap(Secret(NEW), OLD)
    assert hash(Overlap(NEW, OLD)) == hash(Overlap(NEW, OLD))
    assert Overlap(NEW, OLD) != Overlap(OLD, NEW)
    for make in (
        lambda: Password("user", Overlap(NEW, OLD)),
        lambda: RefreshToken(Overlap(NEW, OLD), "id"),
        lambda: PrivateKey(Overlap(NEW, OLD)),
        lambda: ClientCredentials("id", client_assertion=Overlap(NEW, OLD)),
        lambda: ClientCredentials("id", request_headers={"X": Overlap(NEW, OLD)}),
        lambda: Overlap(Overlap(NEW, OLD), OLD),
    ):
        with pytest.raises(ConfigError, match="Overlap is for client_secret only; give one secret here"):
            make()
    with pytest.raises(ConfigError, match="second: expected a non-empty text"):
        Overlap(NEW, "")


# --- a manager ----------------------------------------------------------------------------------------------------------


@pytest.mark.P6
def test_the_minimum_interval_does_not_apply_between_the_two(start: Any, clock: Any) -> None:
    provider = Provider(OLD)
    start(name="m", auth=ClientCredentials("id", Overlap(NEW, OLD)), transport=provider, oidc_config=CONFIG)
    assert TokenManager.get_access_token("m") == "t1"
    health = TokenManager.health("m")
    assert (health.token_requests, health.refreshes, health.consecutive_failures) == (2, 1, 0)
    clock.advance(240)
    eventually(lambda: TokenManager.get_access_token("m") == "t2")
    assert provider.sent == [NEW, OLD, OLD]


@pytest.mark.P5
def test_a_slow_probe_tries_one_in_turn_and_a_forced_refresh_both(start: Any, clock: Any) -> None:
    provider = Provider()
    start(name="m", auth=ClientCredentials("id", Overlap(NEW, OLD)), transport=provider, oidc_config=CONFIG)
    with pytest.raises(NoTokenError, match="invalid_client"):
        TokenManager.get_token("m", timeout=DEADLINE_S)
    assert provider.sent == [NEW, OLD]
    for probes in (1, 2, 3):
        clock.advance(TokenManager.health("m").next_attempt_in_s)
        eventually(lambda probes=probes: TokenManager.health("m").consecutive_failures == 1 + probes)
    assert provider.sent[2:] == [NEW, OLD, NEW]
    clock.advance(2)
    with pytest.raises(NoTokenError, match="invalid_client"):
        TokenManager.force_refresh("m", wait=True)
    assert provider.sent[5:] == [OLD, NEW]
    provider.taken = {NEW}
    clock.advance(2)
    TokenManager.force_refresh("m", wait=True)
    assert provider.sent[7:] == [OLD, NEW]
    assert not TokenManager.health("m").blocked


@pytest.mark.P4
def test_a_token_that_lives_is_served_while_both_are_refused(start: Any, clock: Any) -> None:
    provider = Provider(NEW)
    start(name="m", auth=ClientCredentials("id", Overlap(NEW, OLD)), transport=provider, oidc_config=CONFIG)
    assert TokenManager.get_access_token("m") == "t1"
    provider.taken.clear()
    clock.advance(240)
    eventually(lambda: TokenManager.health("m").blocked)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"


REVOKING = OIDCConfig(
    issuer=ISSUER,
    token_endpoint=f"{ISSUER}/token",
    revocation_endpoint=f"{ISSUER}/revoke",
    device_authorization_endpoint=f"{ISSUER}/device",
)


def revoke(auth: Any, provider: Any) -> None:
    oidc.revoke_token(REVOKING, "the-token", auth, transport=provider)


def begin_login(auth: Any, provider: Any) -> None:
    answer = {"device_code": "d", "user_code": "u", "verification_uri": "https://id.example/d", "expires_in": 60}
    provider.default = Response(200, {}, json.dumps(answer))
    assert request_device_authorization(provider, REVOKING, auth, timeout_s=DEADLINE_S).user_code == "u"


@pytest.mark.parametrize("ask", [revoke, begin_login])
@pytest.mark.parametrize("refusal", [refused("invalid_client", 401), refused("unauthorized_client", 401)])
def test_the_other_is_tried_at_the_other_endpoints_too(ask: Any, refusal: Response) -> None:
    auth = ClientCredentials("id", Overlap(NEW, OLD))
    provider = Provider(OLD, refusal=refusal)
    for _ in range(2):
        ask(auth, provider)
    assert provider.sent == [NEW, OLD, OLD]


@pytest.mark.parametrize("ask", [revoke, begin_login])
def test_there_too_what_both_get_is_told_and_neither_secret_shown(ask: Any, tmp_path: Path) -> None:
    provider = Provider(refusal=refused("invalid_client", 401, description=f"no {NEW}, no {OLD}, no the-token"))
    with pytest.raises(TokenRequestError, match="invalid_client") as caught:
        ask(ClientCredentials("id", Overlap(NEW, OLD)), provider)
    assert provider.sent == [NEW, OLD]
    assert not {NEW, OLD} & set(str(caught.value).replace(",", " ").split())
    provider.sent.clear()
    with pytest.raises(TokenRequestError, match="invalid_client"):  # the other one is not there
        ask(ClientCredentials("id", Overlap(NEW, SecretFile(tmp_path / "old"))), provider)
    assert provider.sent == [NEW]


@pytest.mark.parametrize("ask", [revoke, begin_login])
def test_there_too_what_is_not_about_the_secret_is_sent_once(ask: Any) -> None:
    provider = Provider(refusal=failing())
    with pytest.raises(TokenRequestError):
        ask(ClientCredentials("id", Overlap(NEW, OLD)), provider)
    assert provider.sent == [NEW]
