"""JWT bearer and token exchange against the certified npm `oidc-provider`.

It has neither grant itself: client authentication, resources, tokens and errors are its own code, the two grants are registered
with it by `provider.mjs`, which verifies what is traded with the provider's JOSE library.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.node_provider import CLIENTS, NodeProvider, running
from joserfc import jwt
from joserfc.jwk import ECKey

from oidc_actor import (
    ClientCredentials,
    JWTBearer,
    ManagerToken,
    OIDCConfig,
    SecretFile,
    SignedAssertion,
    TokenExchange,
    TokenManager,
    TokenRequestError,
)
from oidc_actor.oidc import discover, get_token
from oidc_actor.protocol.response_fields import read_claims

WORKLOAD = "https://workloads.example"
KEY = ECKey.generate_key("P-256", {"kid": "workload"})
RESOURCE = "https://api.example"
CLIENT = (CLIENTS["client_secret_basic"]["client_id"], CLIENTS["client_secret_basic"]["client_secret"])
DEADLINE_S = 30.0

Projected = Callable[..., str]


@pytest.fixture(scope="module")
def provider() -> Iterator[NodeProvider]:
    workload = {"issuer": WORKLOAD, "jwks": {"keys": [KEY.as_dict(private=False)]}}
    with running(workload=workload, token_lifetime_s=4) as started:
        yield started


@pytest.fixture(scope="module")
def config(provider: NodeProvider) -> OIDCConfig:
    return discover(provider.issuer_url)


@pytest.fixture(scope="module")
def projected(config: OIDCConfig) -> Projected:
    """A token as a platform projects it into a file."""

    def make(subject: str = "pod", life_s: float = 60.0) -> str:
        claims = {"iss": WORKLOAD, "sub": subject, "aud": config.issuer, "exp": int(time.time() + life_s)}
        return jwt.encode({"alg": "ES256", "kid": "workload"}, claims, KEY)

    return make


def test_jwt_bearer_with_an_assertion_of_ones_own(config: OIDCConfig) -> None:
    signed = SignedAssertion(
        KEY.as_pem(private=True).decode(), issuer=WORKLOAD, audience=str(config.issuer), subject="me"
    )
    token = get_token(config, JWTBearer(signed, *CLIENT, resource=RESOURCE))
    claims = read_claims(token.access_token)
    assert (claims["acts_as"], claims["aud"]) == ("me", RESOURCE)


def test_token_exchange_of_a_projected_file(config: OIDCConfig, projected: Projected, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(projected() + "\n")
    auth = TokenExchange(
        SecretFile(file),
        *CLIENT,
        subject_token_type="jwt",
        actor_token=lambda: projected("helper"),
        actor_token_type="jwt",
        audience=["one", "two"],
        resource=RESOURCE,
    )
    claims = read_claims(get_token(config, auth).access_token)
    assert (claims["acts_as"], claims["actor"], claims["asked"]) == ("pod", "helper", ["one", "two"])


def test_a_subject_that_has_expired_is_not_sent(
    provider: NodeProvider, config: OIDCConfig, projected: Projected
) -> None:
    before = provider.stats()
    with pytest.raises(TokenRequestError, match="subject_token: expected a token that is still valid") as caught:
        get_token(config, TokenExchange(projected(life_s=-5), *CLIENT, subject_token_type="jwt"))
    assert caught.value.retryable
    assert provider.stats() == before


def test_a_subject_that_is_refused(config: OIDCConfig) -> None:
    with pytest.raises(TokenRequestError) as caught:
        get_token(config, TokenExchange("nobody's token", *CLIENT))
    assert caught.value.error == "invalid_grant"
    assert "nobody" not in str(caught.value)


def test_a_manager_reads_the_file_at_every_request(
    provider: NodeProvider, projected: Projected, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(projected("first"))
    auth = TokenExchange(SecretFile(file), *CLIENT, subject_token_type="jwt", resource=RESOURCE)
    ref = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth, min_interval_seconds=0.05)
    try:
        assert subject_of(TokenManager.get_access_token(ref, timeout=DEADLINE_S)) == "first"
        file.write_text(projected("second"))
        TokenManager.force_refresh(ref, wait=True, timeout=DEADLINE_S)
        assert subject_of(TokenManager.get_access_token(ref)) == "second"
    finally:
        TokenManager.stop(ref)


def test_a_manager_trades_the_token_of_another(provider: NodeProvider) -> None:
    options: dict[str, Any] = {"issuer_url": provider.issuer_url, "min_interval_seconds": 0.05}
    auth = TokenExchange(ManagerToken("the first"), *CLIENT, resource=RESOURCE)
    second = TokenManager.start_link(auth=auth, **options)
    first = None
    try:
        came = threading.Event()
        TokenManager.subscribe(second, lambda _: came.set())
        with pytest.raises(Exception, match="there is no manager the first"):
            TokenManager.force_refresh(second, wait=True, timeout=DEADLINE_S)
        first = TokenManager.start_link(auth=ClientCredentials(*CLIENT), name="the first", **options)
        assert came.wait(DEADLINE_S)
        assert subject_of(TokenManager.get_access_token(second)) == CLIENT[0]
    finally:
        TokenManager.stop(second)
        if first is not None:
            TokenManager.stop(first)


def subject_of(token: str) -> object:
    return read_claims(token)["acts_as"]
