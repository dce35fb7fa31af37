"""DPoP against the certified npm `oidc-provider`: its own verification, nonces and binding, at the token endpoint and at its
userinfo endpoint, which stands for a resource server.
"""  # fmt: skip

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
from integration.code_flow import refresh_token_by_login
from integration.node_provider import CLIENTS, NodeProvider, running
from joserfc.jwk import ECKey
from pki import KINDS, pem

import oidc_actor.adapters.httpx
import oidc_actor.adapters.requests
from oidc_actor import ClientCredentials, DPoPKey, OIDCConfig, RefreshToken, TokenManager
from oidc_actor.adapters.authorization import key_of, present
from oidc_actor.http.client import RequestsTransport, shared_transport
from oidc_actor.oidc import discover, get_token
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.transport import Request, Response

RESOURCE = "https://api.example"
CLIENT = (CLIENTS["client_secret_basic"]["client_id"], CLIENTS["client_secret_basic"]["client_secret"])
SIGNING = ECKey.generate_key("P-256")
DEADLINE_S = 30.0


@pytest.fixture(scope="module", params=[True, False], ids=["nonces", "no nonces"])
def provider(request: pytest.FixtureRequest) -> Iterator[NodeProvider]:
    bound = {
        "client_id": "bound",
        "token_endpoint_auth_method": "private_key_jwt",
        "dpop_bound_access_tokens": True,
        "jwks": {"keys": [SIGNING.as_dict(private=False)]},
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
    }
    with running(nonces=request.param, clients=[bound], token_lifetime_s=4) as started:
        yield started


@pytest.fixture
def config(provider: NodeProvider) -> OIDCConfig:
    return discover(provider.issuer_url)


class Counting:
    """HTTP, and the status of each answer."""

    def __init__(self) -> None:
        self.transport = RequestsTransport()
        self.statuses: list[int] = []

    def __call__(self, request: Request) -> Response:
        response = self.transport(request)
        self.statuses.append(response.status)
        return response


@pytest.fixture
def counting() -> Iterator[Counting]:
    counting = Counting()
    yield counting
    counting.transport.close()


@pytest.mark.parametrize("kind", [None, "EC", "OKP"])  # this provider takes no RSA here
def test_a_token_is_bound_to_the_key(config: OIDCConfig, kind: str | None) -> None:
    key = DPoPKey() if kind is None else DPoPKey(pem(KINDS[kind]()))
    token = get_token(config, ClientCredentials(*CLIENT, resource=RESOURCE, dpop=key))
    assert token.token_type == "DPoP"
    assert dict(read_claims(token.access_token)["cnf"]) == {"jkt": key.thumbprint()}


def test_a_nonce_costs_one_more_request_once_and_the_assertion_is_signed_anew(
    provider: NodeProvider, config: OIDCConfig, counting: Counting
) -> None:
    auth = ClientCredentials("bound", private_key=SIGNING.as_pem(private=True).decode(), dpop=DPoPKey())
    for _ in range(3):
        assert get_token(config, auth, transport=counting).token_type == "DPoP"
    assert counting.statuses == ([400, 200, 200, 200] if provider.nonces else [200, 200, 200])


class Client:
    """A client library with its adapter, and the statuses that its requests got on the wire."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.statuses: list[int] = []

    def get(self, manager: Any, url: str) -> Any:
        if self.library == "requests":
            auth = oidc_actor.adapters.requests.OIDCAuth(manager)
            with requests.Session() as session:
                answer = session.get(url, auth=auth, timeout=DEADLINE_S)
        else:
            answer = (
                asyncio.run(self._httpx(manager, url)) if self.library == "httpx async" else self._sync(manager, url)
            )
        self.statuses += [one.status_code for one in (*answer.history, answer)]
        return answer

    def _sync(self, manager: Any, url: str) -> httpx.Response:
        with httpx.Client(auth=oidc_actor.adapters.httpx.OIDCAuth(manager), timeout=DEADLINE_S) as client:
            return client.get(url)

    async def _httpx(self, manager: Any, url: str) -> httpx.Response:
        async with httpx.AsyncClient(auth=oidc_actor.adapters.httpx.OIDCAuth(manager), timeout=DEADLINE_S) as client:
            return await client.get(url)


@pytest.mark.parametrize("library", ["requests", "httpx", "httpx async"])
def test_a_manager_keeps_its_key_through_refreshes_and_its_adapters_present_its_token(
    provider: NodeProvider, library: str
) -> None:
    client = Client(library)
    auth = RefreshToken(refresh_token_by_login(provider), *CLIENT, dpop=True)
    ref = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth, min_interval_seconds=0.05)
    try:
        url = f"{provider.issuer_url}/me?claims=all"
        for _ in range(3):
            assert TokenManager.get_token(ref, timeout=DEADLINE_S).token_type == "DPoP"
            answer = client.get(ref, url)
            assert (answer.status_code, answer.json()["sub"]) == (200, "alice"), answer.text
            TokenManager.force_refresh(ref, wait=True, timeout=DEADLINE_S)
        # The token endpoint's nonces are of the same origin: no request was refused for want of one.
        assert client.statuses == [200] * 3
    finally:
        TokenManager.stop(ref)


@pytest.mark.parametrize("library", ["requests", "httpx", "httpx async"])
def test_a_nonce_that_the_resource_wants_is_brought_with_the_same_token(provider: NodeProvider, library: str) -> None:
    client = Client(library)
    auth = RefreshToken(refresh_token_by_login(provider), *CLIENT, dpop=True)
    ref = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth)
    try:
        token = TokenManager.get_access_token(ref, timeout=DEADLINE_S)
        key = key_of(ref, TokenManager.get_token(ref))
        assert key is not None
        url = f"{provider.issuer_url}/me"
        if provider.nonces:
            key.note_nonce(url, "outdated")
        assert client.get(ref, url).status_code == 200
        assert client.statuses == ([401, 200] if provider.nonces else [200])
        assert TokenManager.get_access_token(ref) == token
    finally:
        TokenManager.stop(ref)


class Garbling:
    """HTTP whose first token is not what the provider gave."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self, request: Request) -> Response:
        response = shared_transport()(request)
        members = json.loads(response.body)
        if "access_token" in members:
            self.given.append(members["access_token"])
        if len(self.given) != 1 or "access_token" not in members:
            return response
        garbled = {**members, "access_token": self.given[0][::-1]}
        return Response(response.status, response.headers, json.dumps(garbled))


@pytest.mark.parametrize("library", ["requests", "httpx", "httpx async"])
def test_a_token_that_the_resource_does_not_know_is_replaced(provider: NodeProvider, library: str) -> None:
    client, transport = Client(library), Garbling()
    auth = RefreshToken(refresh_token_by_login(provider), *CLIENT, dpop=True)
    options = {"transport": transport, "min_interval_seconds": 0.05}
    ref = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth, **options)
    try:
        assert client.get(ref, f"{provider.issuer_url}/me").status_code == 200
        assert client.statuses == [401, 200]
        assert TokenManager.get_access_token(ref) == transport.given[1]
    finally:
        TokenManager.stop(ref)


def test_a_proof_of_another_key_is_refused(provider: NodeProvider) -> None:
    auth = RefreshToken(refresh_token_by_login(provider), *CLIENT, dpop=True)
    first = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth)
    other = TokenManager.start_link(issuer_url=provider.issuer_url, auth=ClientCredentials(*CLIENT, dpop=True))
    try:
        token = TokenManager.get_token(first, timeout=DEADLINE_S)
        TokenManager.get_token(other, timeout=DEADLINE_S)  # with which its key has learnt the nonce
        url = f"{provider.issuer_url}/me"
        statuses = [
            requests.get(url, headers=present(manager, token, "GET", url), timeout=DEADLINE_S).status_code
            for manager in (other, first)
        ]
        assert statuses == [401, 200]
    finally:
        TokenManager.stop(first)
        TokenManager.stop(other)
