"""Every way to authenticate, from the configuration: the values it becomes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pki import KINDS, pem
from sidecar.tables import CLIENT, EXCHANGE, OTHER, URL, auth_of, manager, mistakes

from oidc_actor import (
    AzureMetadataToken,
    ClientCertificate,
    ClientCredentials,
    GitHubActionsToken,
    GoogleMetadataToken,
    IdentityAssertion,
    JWTBearer,
    ManagerToken,
    Overlap,
    PrivateKey,
    SecretFile,
    SignedAssertion,
    SpiffeJWT,
    TokenExchange,
    TokenManager,
)
from oidc_actor.testing import Provider
from oidc_actor.values.secrets import Secret

# --- servers that are no OpenID providers -------------------------------------------------------------------------------


def test_a_server_that_is_no_openid_provider(read, tmp_path: Path) -> None:
    auth = auth_of(
        read,
        *CLIENT,
        'client_secret = { file = "secret" }',
        'body = "json"',
        'accept_token_types = ["BearerToken"]',
        'request_headers = { X-Version = "7", X-Api-Key = { file = "secret" } }',
    )
    assert auth == ClientCredentials(
        "id",
        SecretFile(tmp_path / "secret"),
        body="json",
        accept_token_types=("BearerToken",),
        request_headers={"X-Version": "7", "X-Api-Key": SecretFile(tmp_path / "secret")},
    )


def test_two_secrets_of_a_client(read, tmp_path: Path) -> None:
    auth = auth_of(read, *CLIENT, 'client_secret = [{ file = "new" }, { file = "old" }]')
    assert auth == ClientCredentials("id", Overlap(SecretFile(tmp_path / "new"), SecretFile(tmp_path / "old")))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('client_secret = [{ file = "x" }]', "client_secret: expected one secret, or two in a list, got a list of 1"),
        ('client_secret = [{ file = "x" }, "hunter2"]', "client_secret.1: expected { file"),
        ('request_headers = ["X"]', "request_headers: expected a table from names of header fields"),
        ('request_headers = { X = { path = "x" } }', "request_headers.X"),
        ('request_headers = { Host = "x" }', "request_headers: 'Host' cannot be set"),
        ('body = "xml"', "body: expected 'form' or 'json', got 'xml'"),
        ('accept_token_types = "JWT"', "accept_token_types: expected a list of names"),
    ],
)
def test_mistakes_about_such_a_server(read, line: str, message: str) -> None:
    (mistake,) = mistakes(read, *CLIENT, line)
    assert message in mistake


# --- grants -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grant", ["token_exchange", "urn:ietf:params:oauth:grant-type:token-exchange"])
def test_token_exchange(read, tmp_path: Path, grant: str) -> None:
    auth = auth_of(
        read,
        *CLIENT,
        f'grant = "{grant}"',
        'client_secret = { file = "secret" }',
        'subject_token = { file = "subject" }',
        'subject_token_type = "jwt"',
        'actor_token = { manager = "other", kind = "id_token" }',
        'actor_token_type = "id_token"',
        'requested_token_type = "access_token"',
        'audience = ["one", "two"]',
        'resource = "https://api.example.com"',
    )
    assert auth == TokenExchange(
        SecretFile(tmp_path / "subject"),
        "id",
        SecretFile(tmp_path / "secret"),
        subject_token_type="jwt",
        actor_token=ManagerToken("other", "id_token"),
        actor_token_type="id_token",
        requested_token_type="access_token",
        audience=["one", "two"],
        resource="https://api.example.com",
    )


@pytest.mark.parametrize("grant", ["jwt_bearer", "urn:ietf:params:oauth:grant-type:jwt-bearer"])
def test_jwt_bearer_signed_with_a_key_of_ones_own(read, tmp_path: Path, grant: str) -> None:
    auth = auth_of(
        read,
        URL,
        f'grant = "{grant}"',
        "[managers.m.assertion]",
        'key = { file = "key.pem" }',
        'kid = "1"',
        'algorithm = "ES256"',
        'issuer = "robot"',
        'subject = "someone"',
        'audience = "https://auth.example.com/token"',
        'claims = { scope = "a b", deep = { list = [1, true] } }',
        "lifetime_seconds = 60",
    )
    key = PrivateKey(SecretFile(tmp_path / "key.pem"), kid="1", algorithm="ES256")
    claims = {"scope": "a b", "deep": {"list": [1, True]}}
    audience = "https://auth.example.com/token"
    expected = SignedAssertion(
        key, issuer="robot", subject="someone", audience=audience, claims=claims, lifetime_seconds=60
    )
    assert auth == JWTBearer(expected)


TWO_STEPS = (
    URL,
    'grant = "identity_assertion"',
    'client_id = "id"',
    'subject_token = { file = "login" }',
    'identity_provider = "https://idp.example.com"',
)


def test_a_login_that_is_traded_in_two_steps(read, tmp_path: Path) -> None:
    client = """identity_client = { client_id = "idp", client_secret = [{ file = "new" }, { file = "old" }],
        client_auth = "client_secret_post", extra = { tenant = "t" } }"""
    overlap = Overlap(SecretFile(tmp_path / "new"), SecretFile(tmp_path / "old"))
    assert auth_of(
        read, *TWO_STEPS, 'resource = "https://api.example.com"', client.replace("\n", "")
    ) == IdentityAssertion(
        SecretFile(tmp_path / "login"),
        "id",
        identity_provider="https://idp.example.com",
        identity_client=ClientCredentials("idp", overlap, client_auth="client_secret_post", extra={"tenant": "t"}),
        resource="https://api.example.com",
    )
    by_name = auth_of(read, *TWO_STEPS, 'identity_client = "idp"')
    assert by_name.identity_client == ClientCredentials("idp")
    signed = 'identity_client = { client_id = "idp", client_assertion = { spiffe = "api" } }'
    assert auth_of(read, *TWO_STEPS, signed).identity_client == ClientCredentials(
        "idp", client_assertion=SpiffeJWT("api")
    )
    followed = 'identity_client = { client_id = "idp", client_assertion = { manager = "other" } }'
    assert read("\n".join([manager(*TWO_STEPS, followed), OTHER])).managers["m"].uses == {"other"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("identity_client = 5", "identity_client: expected credentials with a client_id"),
        ("identity_client = {}", "identity_client.client_id: missing"),
        (
            'identity_client = { client_id = "x", client_secret = "hunter2" }',
            "identity_client.client_secret: expected { file",
        ),
        (
            'identity_client = { client_id = "x", scopes = ["a"] }',
            "identity_client.scopes: no such key; the keys here are assertion_audience, body, client_assertion",
        ),
        (
            'identity_client = { client_id = "x", client_assertion = { spiffe = "a", socket = "x" } }',
            "identity_client.client_assertion.socket: expected an address such as unix://",
        ),
        ('client_assertion = { azure_metadata = "a", client_id = 5 }', "client_assertion.client_id: expected a text"),
        (
            'client_assertion = { spiffe = "a", assertion_type = "x" }',
            "client_assertion.assertion_type: expected 'jwt-spiffe'",
        ),
        ('client_assertion = { google_metadata = "" }', "client_assertion.google_metadata: expected the audience"),
        ('subject_token_type = "\\u0007"', "subject_token_type: expected a text without control characters"),
    ],
)
def test_mistakes_about_the_two_steps_and_a_machines_identity(read, line: str, message: str) -> None:
    (mistake,) = mistakes(read, *TWO_STEPS, line)
    assert mistake.startswith(message)
    assert "hunter2" not in mistake


def test_the_two_steps_need_an_identity_provider_and_whom_the_statement_names(read) -> None:
    assert mistakes(read, *TWO_STEPS[:-1]) == ["identity_provider: missing"]
    (mistake,) = mistakes(read, 'token_endpoint = "https://auth.example.com/token"', *TWO_STEPS[1:])
    assert mistake.endswith("the authorization server's metadata have no issuer to name; give audience=")
    (mistake,) = mistakes(read, *CLIENT, 'identity_client = "x"')
    assert mistake == 'identity_client: belongs to grant = "identity_assertion", got "client_credentials"'


def test_without_grpcio_a_table_says_what_to_install(read, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    assert mistakes(read, *CLIENT, 'client_assertion = { spiffe = "a" }') == [
        "client_assertion: SpiffeJWT needs the package grpcio: pip install 'oidc-actor[spiffe]'"
    ]


def test_a_manager_of_such_a_table_gets_a_token_from_real_servers(read, tmp_path: Path) -> None:
    with Provider() as idp, Provider() as server:
        server.trust(idp)
        (tmp_path / "login").write_text(idp.sign({"sub": "me", "aud": idp.client_id}))
        (tmp_path / "idp").write_text(idp.client_secret)
        (tmp_path / "secret").write_text(server.client_secret)
        found = read(
            manager(
                f'issuer_url = "{server.issuer_url}"',
                'grant = "identity_assertion"',
                f'client_id = "{server.client_id}"',
                'client_secret = { file = "secret" }',
                'subject_token = { file = "login" }',
                f'identity_provider = "{idp.issuer_url}"',
                f'identity_client = {{ client_id = "{idp.client_id}", client_secret = {{ file = "idp" }} }}',
            )
        )
        ref = TokenManager.start_link(**found.managers["m"].options)
        assert TokenManager.get_token(ref, timeout=10)
        TokenManager.stop(ref)
        assert (idp.token_requests, server.token_requests) == (1, 1)


# --- tokens from elsewhere, and proofs of the client ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ('{ file = "t" }', lambda base: SecretFile(base / "t")),
        ('{ env = "THE_TOKEN" }', lambda _: Secret("very-secret")),
        ('{ manager = "other" }', lambda _: ManagerToken("other")),
        ('{ github_actions = "api" }', lambda _: GitHubActionsToken("api")),
        ('{ github_actions = "api", timeout_seconds = 3 }', lambda _: GitHubActionsToken("api", timeout_seconds=3)),
        ('{ spiffe = "api" }', lambda _: SpiffeJWT("api")),
        (
            '{ spiffe = "api", spiffe_id = "spiffe://x/y", socket = "unix:///s", assertion_type = "jwt-bearer", '
            "timeout_seconds = 3 }",
            lambda _: SpiffeJWT(
                "api", spiffe_id="spiffe://x/y", socket="unix:///s", assertion_type="jwt-bearer", timeout_seconds=3
            ),
        ),
        ('{ google_metadata = "api" }', lambda _: GoogleMetadataToken("api")),
        (
            '{ azure_metadata = "api", client_id = "x", timeout_seconds = 3 }',
            lambda _: AzureMetadataToken("api", client_id="x", timeout_seconds=3),
        ),
        (
            '{ key = { file = "k" }, issuer = "i", audience = "a" }',
            lambda base: SignedAssertion(SecretFile(base / "k"), issuer="i", audience="a"),
        ),
    ],
)
def test_every_source_of_a_token_does_everywhere(read, monkeypatch, tmp_path: Path, source: str, made) -> None:
    monkeypatch.setenv("THE_TOKEN", "very-secret")
    token = made(tmp_path)
    assert auth_of(read, *EXCHANGE, f"subject_token = {source}") == TokenExchange(token)
    assert auth_of(read, URL, 'grant = "jwt_bearer"', f"assertion = {source}") == JWTBearer(token)
    lines = (*EXCHANGE, 'subject_token = { file = "s" }', f"actor_token = {source}")
    assert auth_of(read, *lines) == TokenExchange(SecretFile(tmp_path / "s"), actor_token=token)
    assert auth_of(read, *CLIENT, f"client_assertion = {source}") == ClientCredentials("id", client_assertion=token)
    assert "very-secret" not in repr(auth_of(read, *lines))


def test_a_private_key(read, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THE_KEY", pem(KINDS["EC"](), "very-secret"))
    monkeypatch.setenv("THE_PASSWORD", "very-secret")
    place = SecretFile(tmp_path / "k")
    assert auth_of(read, *CLIENT, 'private_key = { file = "k" }').private_key == PrivateKey(place)
    rest = 'kid = "1", algorithm = "PS256", certificate_file = "c", password = { file = "p" }'
    full = f'private_key = {{ key = {{ file = "k" }}, {rest} }}'
    assert auth_of(read, *CLIENT, full).private_key == PrivateKey(
        place, kid="1", algorithm="PS256", certificate_file=tmp_path / "c", password=SecretFile(tmp_path / "p")
    )
    from_env = 'private_key = { key = { env = "THE_KEY" }, password = { env = "THE_PASSWORD" } }'
    assert auth_of(read, *CLIENT, from_env, 'client_auth = "private_key_jwt"').private_key.signer().algorithm == "ES256"
    assert mistakes(read, *CLIENT, 'private_key = { key = { env = "THE_PASSWORD" } }') == [
        "private_key.key: expected a private key of RSA, P-256 or Ed25519, as PEM or JWK, "
        "got a text that cannot be read (ValueError)"
    ]


def test_a_certificate(read, tmp_path: Path) -> None:
    line = 'client_certificate = { cert_file = "c", key_file = "/k", password = { file = "p" } }'
    expected = ClientCertificate(tmp_path / "c", "/k", password=SecretFile(tmp_path / "p"))
    assert auth_of(read, *CLIENT, line, 'client_auth = "tls_client_auth"').client_certificate == expected


def test_the_same_text_gives_equal_managers(read, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THE_KEY", pem(KINDS["EC"]()))
    sources = [
        '{ env = "THE_KEY" }',
        '{ manager = "other" }',
        '{ github_actions = "api" }',
        '{ key = { env = "THE_KEY" }, issuer = "i", audience = "a", claims = { x = [1] } }',
    ]
    proof = 'private_key = { key = { env = "THE_KEY" }, kid = "1" }\nclient_certificate = { cert_file = "c", key_file = "k" }'
    texts = [
        "\n".join([manager(*EXCHANGE, 'client_id = "id"', proof, f"subject_token = {one}"), OTHER]) for one in sources
    ]
    for text in texts:
        assert read(text).managers == read(text).managers
    assert len({repr(read(text).managers["m"].options["auth"]) for text in texts}) == len(texts)
    assert read(texts[1]).managers["m"].uses == {"other"}
    assert read(texts[0]).managers["m"].uses == frozenset()
    changed = texts[1].replace('"other" }', '"other", kind = "id_token" }')
    assert read(changed).managers["m"] != read(texts[1]).managers["m"]
    changed = texts[3].replace("[1]", "[2]")
    assert read(changed).managers["m"] != read(texts[3]).managers["m"]
    assert read(changed).managers["other"] == read(texts[3]).managers["other"]
