"""Checked by mypy and pyright, never run: a program that uses every public name of ``oidc_actor``."""

from typing import Any, assert_type

import pykka

import oidc_actor
from oidc_actor import (
    AzureMetadataToken,
    ClientCertificate,
    ClientCredentials,
    ConfigError,
    Custom,
    DiscoveryError,
    DPoPKey,
    FetchContext,
    ForceRefresh,
    GetToken,
    GitHubActionsToken,
    GoogleMetadataToken,
    Health,
    IdentityAssertion,
    IdentityProviderError,
    JWTBearer,
    ManagerNotRunning,
    ManagerToken,
    NoTokenError,
    OIDCActorError,
    OIDCConfig,
    Overlap,
    Password,
    PoolFull,
    PrivateKey,
    RefreshToken,
    RetryPolicy,
    SecretFile,
    SignedAssertion,
    SpiffeJWT,
    TokenExchange,
    TokenManager,
    TokenPool,
    TokenRequestError,
    TokenResponse,
    TokenSource,
    UnknownKey,
    WorkloadIdentity,
    after_restore,
)
from oidc_actor.transport import Request
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
TokenManager.replace("m", timeout=1.0, auth=ClientCredentials("id"), issuer_url="https://x")
TokenManager.stop("m", timeout=1.0)


def options_of(tenant: str) -> dict[str, object]:
    return {"auth": ClientCredentials(tenant)}


pool = TokenPool.start_link(options_of, name="tenants", max_size=10, idle_seconds=60.0, issuer_url="https://x")
assert_type(TokenPool.get_token(pool, "a", timeout=1.0), TokenResponse)
assert_type(TokenPool.source("tenants", ("a", 1))(), str)
assert_type(TokenPool.health("tenants"), dict[Any, Health])
TokenPool.put(pool, "b", auth=ClientCredentials("b"))
TokenPool.remove(pool, "b")
pool_errors: tuple[type[OIDCActorError], ...] = (PoolFull, UnknownKey)
ref.tell(ForceRefresh())
ref.ask(GetToken())

TokenManager.start_link(auth=ClientCredentials("id"), issuer="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
TokenManager.start_link(issuer_url="https://x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def read() -> None:
    assert_type(await TokenManager.aget_token("m", timeout=1.0), TokenResponse)
    assert_type(await TokenManager.aget_access_token(ref), str)
    await TokenManager.aforce_refresh("m", timeout=1.0, rejected="text")
    assert_type(await TokenManager.source("m").atoken(timeout=1.0), TokenResponse)
    assert_type(await TokenManager.source("m").aaccess_token(timeout=1.0), str)


def explain(error: NoTokenError) -> None:
    assert_type(error.cause, BaseException | None)
    assert_type(error.retry_in_s, float | None)


assert_type(oidc_actor.__version__, str)
oidc_actor.TokenManger  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

key = PrivateKey(SecretFile("/run/secrets/key.pem"), kid="1")
grants = [
    ClientCredentials("id", lambda: "secret", "a b", audience="api", resource=["https://a"], extra={"tenant": "1"}),
    ClientCredentials("id", private_key=key, assertion_audience="token_endpoint", dpop=True),
    ClientCredentials("id", client_assertion=GitHubActionsToken("api"), client_auth="private_key_jwt"),
    ClientCredentials("id", client_assertion=WorkloadIdentity.detect("api")),
    ClientCredentials("id", client_assertion=SpiffeJWT("api", spiffe_id="spiffe://x/y", assertion_type="jwt-bearer")),
    ClientCredentials("id", client_assertion=AzureMetadataToken(client_id="x")),
    TokenExchange(GoogleMetadataToken("api"), "id"),
    ClientCredentials("id", client_certificate=ClientCertificate("/run/tls.crt", "/run/tls.key")),
    ClientCredentials("id", Overlap(SecretFile("/run/new"), lambda: "old")),
    ClientCredentials(
        "id", body="json", request_headers={"X": SecretFile("/x"), "Y": "7"}, accept_token_types=("JWT",)
    ),
    Password("user", "password", "id", "secret", ["a"], dpop=DPoPKey(key)),
    RefreshToken(SecretFile("/run/secrets/login"), "id"),
    JWTBearer(SignedAssertion(key, issuer="me@x", audience="https://x/token", claims={"scope": "a"})),
    IdentityAssertion(
        ManagerToken("login", "id_token"),
        "id",
        "s",
        ["read"],
        identity_provider="https://idp",
        identity_client="idp-id",
    ),
    TokenExchange(ManagerToken("m", "id_token"), "id", subject_token_type="id_token", requested_token_type="jwt"),
]


def fetch(context: FetchContext) -> TokenResponse:
    assert_type(context.previous, TokenResponse | None)
    raise context.refusal(
        context.transport(Request("GET", "https://x", {}, b"", context.timeout_s)), ["secret"], retryable=True
    )


TokenManager.start_link(auth=Custom(fetch, identity="app"), name="custom")
Custom(lambda: "token")  # type: ignore[arg-type, misc]  # pyright: ignore[reportArgumentType]
for auth in grants:
    TokenManager.start_link(
        auth=auth, issuer_url="https://auth.example.com", revoke_on_stop=True, ca_bundle="/etc/ca.pem"
    )
ClientCredentials("id", body="xml")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
TokenResponse.new("text", expires_in=60.0, extra={"a": [1]}).extra["a"]
ClientCredentials("id", audiance="api")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ClientCredentials("id", "secret", (), "api")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
TokenManager.start_link(auth=grants[0], retry=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
after_restore()


def branch(error: OIDCActorError) -> float | None:
    if isinstance(error, ConfigError):
        assert_type(error.option, tuple[str, ...])
    if isinstance(error, ManagerNotRunning):
        return None
    assert not isinstance(error, IdentityProviderError)
    if isinstance(error, DiscoveryError | TokenRequestError):
        assert_type(error.status, int | None)
        assert_type(error.retryable, bool)
        return error.retry_after_s
    return None


def show(health: Health, token: TokenResponse, source: TokenSource) -> str:
    assert_type(health.expires_in_s, float | None)
    return f"{health.state} {health.last_error} {token.expires_at} {token.expired()} {source}"
