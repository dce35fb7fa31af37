"""What the embedded provider does with signed statements, seen by this project's own clients and by hand-made requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from oidc_actor import (
    ClientCredentials,
    JWTBearer,
    OIDCConfig,
    PrivateKey,
    SignedAssertion,
    TokenExchange,
    TokenRequestError,
)
from oidc_actor.oidc import discover, get_token
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.testing import Provider

KEY, OTHER = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
PEM = KEY.as_pem(private=True).decode()
PUBLIC: dict[str, Any] = dict(KEY.as_dict(private=False))
TYPE = "urn:ietf:params:oauth:token-type:"
JAG, ID_TOKEN = f"{TYPE}id-jag", f"{TYPE}id_token"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
CLIENT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONG = "a-client-secret-of-32-characters"


@pytest.fixture
def other() -> Iterator[Provider]:
    """The authorization server of another domain."""
    with Provider() as running:
        yield running


def signed(key: Any = KEY, typ: str = "JWT", alg: str = "ES256", **claims: Any) -> str:
    now = time.time()
    given = {"iat": now, "exp": now + 60, "jti": str(now), **claims}
    return jwt.encode({"alg": alg, "typ": typ}, {name: one for name, one in given.items() if one is not None}, key)


def as_client(provider: Provider) -> tuple[str, str]:
    return provider.client_id, provider.client_secret


def ask(provider: Provider, grant: str, auth: tuple[str, str] | None = None, **form: Any) -> requests.Response:
    return requests.post(provider.token_endpoint, data={"grant_type": grant, **form}, auth=auth, timeout=10)


def login(provider: Provider) -> dict[str, str]:
    person = {"username": provider.username, "password": provider.password}
    answer: dict[str, str] = ask(provider, "password", as_client(provider), scope="openid", **person).json()
    return answer


def refusal(answer: requests.Response) -> tuple[int, str]:
    assert answer.status_code in {400, 401}, answer.text
    return answer.status_code, answer.json()["error"]


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, RSAKey.generate_key(2048)], ids=["EC", "RSA"])
@pytest.mark.parametrize("audience", ["issuer", "token_endpoint"])
def test_a_client_authenticates_with_its_key(provider: Provider, key: Any, audience: str) -> None:
    provider.add_client("svc", None, public_key=key.as_pem(private=False))
    config = discover(provider.issuer_url)
    assert "private_key_jwt" in (config.token_endpoint_auth_methods_supported or ())
    auth = ClientCredentials("svc", private_key=key.as_pem(private=True).decode(), assertion_audience=audience)
    assert read_claims(get_token(config, auth).access_token)["client_id"] == "svc"


def test_a_client_authenticates_with_a_statement_that_its_secret_signs(provider: Provider) -> None:
    provider.add_client("svc", LONG, ("client_secret_jwt",))
    config = discover(provider.issuer_url)
    assert get_token(config, ClientCredentials("svc", LONG, client_auth="client_secret_jwt")).access_token
    with pytest.raises(TokenRequestError) as caught:
        get_token(config, ClientCredentials("svc", LONG[::-1], client_auth="client_secret_jwt"))
    assert (caught.value.error, caught.value.status) == ("invalid_client", 401)
    with pytest.raises(TokenRequestError, match="invalid_client"):
        get_token(config, ClientCredentials("svc", LONG, client_auth="client_secret_post"))


@pytest.mark.parametrize(
    ("key", "alg", "changes"),
    [
        (OTHER, "ES256", {}),
        (KEY, "ES256", {"aud": "https://elsewhere.example"}),
        (KEY, "ES256", {"aud": None}),
        (KEY, "ES256", {"exp": time.time() - 1}),
        (KEY, "ES256", {"exp": None}),
        (KEY, "ES256", {"nbf": time.time() + 3600}),
        (KEY, "ES256", {"iss": "another"}),
        (KEY, "ES256", {"sub": "test-client"}),
        (KEY, "ES256", {"jti": None}),
        (OctKey.import_key(LONG), "HS256", {}),
    ],
)
def test_a_client_s_statement_that_is_wrong_is_refused(
    provider: Provider, key: Any, alg: str, changes: dict[str, Any]
) -> None:
    provider.add_client("svc", None, public_key=PUBLIC)
    claims = {"iss": "svc", "sub": "svc", "aud": provider.issuer_url} | changes
    form = {"client_assertion_type": CLIENT, "client_assertion": signed(key, alg=alg, **claims)}
    assert refusal(ask(provider, "client_credentials", **form))[1] == "invalid_client"
    assert provider.tokens_issued == 0


def test_a_client_s_statement_is_taken_once(provider: Provider) -> None:
    provider.add_client("svc", None, public_key={"keys": [PUBLIC]})
    statement = signed(iss="svc", sub="svc", aud=[provider.token_endpoint])
    form = {"client_assertion_type": CLIENT, "client_assertion": statement}
    assert ask(provider, "client_credentials", **form).status_code == 200
    again = ask(provider, "client_credentials", **form)
    assert refusal(again) == (401, "invalid_client")
    assert "taken before" in again.json()["error_description"]


# --- assertions -------------------------------------------------------------------------------------------------------


def test_an_assertion_of_a_trusted_issuer_is_a_grant(provider: Provider) -> None:
    provider.trust("robot", PEM)
    signer = SignedAssertion(PrivateKey(PEM), issuer="robot", audience=provider.issuer_url, subject="alice")
    token = get_token(discover(provider.issuer_url), JWTBearer(signer, scopes="read"))
    claims = read_claims(token.access_token)
    assert (claims["sub"], claims["scope"]) == ("alice", "read")
    assert token.refresh_token is None
    assert requests.get(provider.resource_url, headers={"Authorization": f"Bearer {token.access_token}"}, timeout=10).ok


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (OTHER, {}),
        (KEY, {"iss": "stranger"}),
        (KEY, {"aud": "https://x.example"}),
        (KEY, {"exp": 1.0}),
        (KEY, {"sub": None}),
    ],
)
def test_any_other_assertion_is_refused(provider: Provider, key: Any, changes: dict[str, Any]) -> None:
    provider.trust("robot", PUBLIC)
    statement = signed(key, **{"iss": "robot", "sub": "alice", "aud": provider.issuer_url} | changes)
    assert refusal(ask(provider, BEARER, assertion=statement)) == (400, "invalid_grant")
    assert refusal(ask(provider, BEARER, assertion="x")) == (400, "invalid_grant")


# --- token exchange ---------------------------------------------------------------------------------------------------


def test_a_token_is_exchanged_for_one_of_another_audience_and_no_wider_scope(provider: Provider) -> None:
    config, client = discover(provider.issuer_url), as_client(provider)
    subject = get_token(config, ClientCredentials(*client, "read write")).access_token
    actor = {"actor_token": provider.sign({"sub": "agent", "aud": "x"}), "actor_token_type": "jwt"}
    token = get_token(config, TokenExchange(subject, *client, "read", audience="https://api.example", **actor))
    claims = read_claims(token.access_token)
    assert (claims["aud"], claims["scope"], dict(claims["act"])) == (["https://api.example"], "read", {"sub": "agent"})
    with pytest.raises(TokenRequestError, match="invalid_scope"):
        get_token(config, TokenExchange(subject, *client, "admin"))


@pytest.mark.parametrize(
    "form",
    [
        {"subject_token": "x"},
        {"subject_token_type": f"{TYPE}saml2"},
        {"subject_token_type": ""},
        {"requested_token_type": f"{TYPE}saml2"},
        {"requested_token_type": JAG},
        {"requested_token_type": JAG, "audience": ["https://a", "https://b"]},
        {"actor_token": "x", "actor_token_type": ID_TOKEN},
    ],
)
def test_an_exchange_of_what_is_not_taken_is_refused(provider: Provider, form: dict[str, Any]) -> None:
    subject = provider.sign({"sub": "alice", "aud": provider.client_id})
    good = {"subject_token": subject, "subject_token_type": ID_TOKEN}
    assert ask(provider, EXCHANGE, as_client(provider), **good).status_code == 200
    assert refusal(ask(provider, EXCHANGE, as_client(provider), **good | form)) == (400, "invalid_request")


def test_a_subject_s_token_is_checked(provider: Provider, other: Provider) -> None:
    def exchanged(token: str, kind: str = "jwt") -> requests.Response:
        return ask(provider, EXCHANGE, as_client(provider), subject_token=token, subject_token_type=f"{TYPE}{kind}")

    wrong = (400, "invalid_request")
    foreign = other.sign({"sub": "alice", "aud": "anybody"})
    assert refusal(exchanged(foreign)) == wrong
    provider.trust(other)
    assert exchanged(foreign).status_code == 200
    assert refusal(exchanged(provider.sign({"sub": "alice", "exp": 1.0}))) == wrong
    assert refusal(exchanged(provider.sign({"sub": "alice", "aud": "not-me"}), "id_token")) == wrong
    tokens = login(provider)
    assert exchanged(tokens["refresh_token"], "refresh_token").status_code == 200
    assert refusal(exchanged("x", "refresh_token")) == wrong
    assert exchanged(tokens["access_token"], "access_token").status_code == 200
    revoked = {"token": tokens["access_token"]}
    assert requests.post(f"{provider.issuer_url}/revoke", revoked, auth=as_client(provider), timeout=10).ok
    assert refusal(exchanged(tokens["access_token"], "access_token")) == wrong


# --- ID-JAG -----------------------------------------------------------------------------------------------------------


def test_an_id_jag_leads_from_a_login_here_to_a_token_there(provider: Provider, other: Provider) -> None:
    other.trust(provider)
    other.add_client(provider.client_id, "secret-there")
    auth = TokenExchange(
        login(provider)["id_token"],
        *as_client(provider),
        "chat.read",
        subject_token_type="id_token",
        requested_token_type=JAG,
        audience=other.issuer_url,
        resource=other.resource_url,
    )
    jag = get_token(discover(provider.issuer_url), auth)
    assert jag.token_type == "N_A"
    assert provider.tokens_issued == 1  # the login's
    claims = read_claims(jag.access_token)
    assert {name: claims[name] for name in ("iss", "sub", "aud", "client_id", "scope", "resource")} == {
        "iss": provider.issuer_url,
        "sub": provider.username,
        "aud": other.issuer_url,
        "client_id": provider.client_id,
        "scope": "chat.read",
        "resource": other.resource_url,
    }
    there = discover(other.issuer_url)
    token = get_token(there, JWTBearer(jag.access_token, provider.client_id, "secret-there"))
    told = read_claims(token.access_token)
    assert (told["sub"], told["scope"], told["aud"]) == (provider.username, "chat.read", other.resource_url)
    with pytest.raises(TokenRequestError, match="invalid_grant"):  # it is taken once
        get_token(there, JWTBearer(jag.access_token, provider.client_id, "secret-there"))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "another"}, "invalid_grant"),
        ({"aud": "https://x.example"}, "invalid_grant"),
        ({"jti": None}, "invalid_grant"),
        ({"exp": 1.0}, "invalid_grant"),
        ({"scope": "read"}, "invalid_scope"),
    ],
)
def test_an_id_jag_that_is_wrong_is_refused(
    provider: Provider, other: Provider, changes: dict[str, Any], error: str
) -> None:
    other.trust(provider)
    claims = {"sub": "alice", "aud": other.issuer_url, "client_id": other.client_id, "scope": "write"} | changes
    jag = provider.sign(claims, typ="oauth-id-jag+jwt")
    assert refusal(ask(other, BEARER, as_client(other), assertion=jag, scope="write")) == (400, error)


def test_an_id_jag_is_for_a_client_that_authenticates(provider: Provider, other: Provider) -> None:
    other.trust(provider)
    other.add_client("public", None)
    claims = {"sub": "alice", "aud": other.issuer_url, "client_id": "public"}
    jag = provider.sign(claims, typ="oauth-id-jag+jwt")
    assert refusal(ask(other, BEARER, assertion=jag))[1] == "invalid_client"
    assert refusal(ask(other, BEARER, assertion=jag, client_id="public"))[1] == "invalid_client"
    subject = {"subject_token": provider.sign({"sub": "alice", "aud": "x"}), "subject_token_type": f"{TYPE}jwt"}
    wanted = {"requested_token_type": JAG, "audience": other.issuer_url}
    assert refusal(ask(provider, EXCHANGE, **subject, **wanted))[1] == "invalid_client"


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "documents", [("oauth-authorization-server",), ("openid-configuration", "oauth-authorization-server")]
)
@pytest.mark.parametrize("path", ["", "/tenant"])
def test_its_documents_are_where_it_is_told(documents: tuple[str, ...], path: str) -> None:
    with Provider(documents=documents, path=path) as provider:
        assert provider.issuer_url == provider.listen_url + path
        config = discover(provider.issuer_url)
        assert (config.issuer, config.token_endpoint) == (provider.issuer_url, provider.token_endpoint)
        assert provider.discovery_requests == 1  # what it does not have is not counted
        token = get_token(config, ClientCredentials(*as_client(provider)))
        headers = {"Authorization": f"Bearer {token.access_token}"}
        assert requests.get(provider.resource_url, headers=headers, timeout=10).ok
        address = f"{provider.listen_url}/.well-known/oauth-protected-resource{path}/resource"
        refused = requests.get(provider.resource_url, timeout=10)
        assert refused.headers["WWW-Authenticate"] == f'Bearer error="invalid_token", resource_metadata="{address}"'
        resource = requests.get(address, timeout=10).json()
        assert resource["authorization_servers"] == [provider.issuer_url]
        assert resource["resource"] == provider.resource_url


def test_without_documents_it_is_known_by_its_token_endpoint() -> None:
    with Provider(documents=()) as provider:
        auth = ClientCredentials(*as_client(provider))
        assert get_token(OIDCConfig(token_endpoint=provider.token_endpoint), auth).access_token


@pytest.mark.parametrize("wrong", [{"documents": ("jwks",)}, {"path": "tenant"}, {"path": "/tenant/"}])
def test_a_wrong_argument_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Provider(**wrong)


def test_a_stranger_needs_a_key(provider: Provider) -> None:
    with pytest.raises(ValueError, match="needs a key"):
        provider.trust("robot")
    with pytest.raises(ValueError, match="expected a key as PEM or JWK"):
        provider.trust("robot", "no key")
