"""Checked by mypy, never run: the pinned interface of ``oidc_actor`` with its types."""

from typing import assert_type

import pykka

from oidc_actor import (
    ClientCredentials,
    ForceRefresh,
    GetToken,
    Health,
    NoTokenError,
    OIDCConfig,
    RetryPolicy,
    SecretFile,
    TokenManager,
    TokenResponse,
    TokenSource,
)
from supervision import ChildSpec

ref = TokenManager.start_link(
    auth=ClientCredentials("id", SecretFile("/run/secrets/client"), scopes=["a"]),
    issuer_url="https://auth.example.com",
    name="m",
    refresh_buffer_seconds=30,
    retry=RetryPolicy(initial_s=1),
)
assert_type(ref, pykka.ActorRef[TokenManager])
assert_type(
    TokenManager.child_spec(
        auth={"type": "oidc_client_credentials", "client_id": "id"}, oidc_config=OIDCConfig(token_endpoint="https://x")
    ),
    ChildSpec[TokenManager],
)
assert_type(TokenManager.get_token(ref, timeout=1.0, min_validity=5.0), TokenResponse)
assert_type(TokenManager.get_access_token("m"), str)
assert_type(TokenManager.health("m"), Health)
assert_type(TokenManager.source("m"), TokenSource)
assert_type(TokenManager.source("m").access_token(timeout=1.0), str)
assert_type(TokenManager.source("m")(), str)
assert_type(TokenManager.source("m").token(), TokenResponse)
TokenManager.force_refresh("m", wait=True, timeout=1.0, rejected="text")
TokenManager.subscribe("m", lambda token: print(token.expires_at)).cancel()
TokenManager.stop("m", timeout=1.0)
ref.tell(ForceRefresh())
ref.ask(GetToken())

TokenManager.start_link(auth=ClientCredentials("id"), issuer="x")  # type: ignore[call-arg]
TokenManager.start_link(issuer_url="https://x")  # type: ignore[call-arg]


async def read() -> None:
    assert_type(await TokenManager.aget_token("m", timeout=1.0), TokenResponse)
    assert_type(await TokenManager.aget_access_token(ref), str)


def explain(error: NoTokenError) -> None:
    assert_type(error.cause, BaseException | None)
    assert_type(error.retry_in_s, float | None)
