"""DPoP against the certified npm `oidc-provider`: its own verification, nonces and binding, at the token endpoint and at its
userinfo endpoint, which stands for a resource server.
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from integration.code_flow import refresh_token_by_login
from integration.node_provider import CLIENTS, NodeProvider, running
from joserfc.jwk import ECKey
from pki import KINDS, pem

from oidc_actor import ClientCredentials, DPoPKey, OIDCConfig, RefreshToken, TokenManager
from oidc_actor.answers.lifetime import read_claims
from oidc_actor.client import RequestsTransport
from oidc_actor.oidc import discover, get_token
from oidc_actor.proof.proofs import NONCE_FIELD, note_nonce, present
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


def test_a_manager_keeps_its_key_through_refreshes_and_presents_its_token(provider: NodeProvider) -> None:
    auth = RefreshToken(refresh_token_by_login(provider), *CLIENT, dpop=True)
    ref = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth, min_interval_seconds=0.05)
    try:
        url = f"{provider.issuer_url}/me"
        for _ in range(3):
            token = TokenManager.get_token(ref, timeout=DEADLINE_S)
            assert token.token_type == "DPoP"
            answer = ask(ref, token, url)
            assert (answer.status_code, answer.json()["sub"]) == (200, "alice"), answer.text
            TokenManager.force_refresh(ref, wait=True, timeout=DEADLINE_S)
    finally:
        TokenManager.stop(ref)


def ask(ref, token, url: str) -> requests.Response:
    """What an adapter does: present the token, and once more where a nonce is asked for."""
    for _ in range(2):
        answer = requests.get(url, headers=present(ref, token, "GET", url).headers(), timeout=10)
        if not note_nonce(ref, url, answer.headers.get(NONCE_FIELD)) or answer.status_code != 401:
            break
    return answer


def test_a_proof_of_another_key_is_refused(provider: NodeProvider) -> None:
    auth = RefreshToken(refresh_token_by_login(provider), *CLIENT, dpop=True)
    first = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth)
    other = TokenManager.start_link(issuer_url=provider.issuer_url, auth=ClientCredentials(*CLIENT, dpop=True))
    try:
        token = TokenManager.get_token(first, timeout=DEADLINE_S)
        assert ask(other, token, f"{provider.issuer_url}/me").status_code == 401
    finally:
        TokenManager.stop(first)
        TokenManager.stop(other)
