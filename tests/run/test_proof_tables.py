"""Every way to authenticate, from the configuration: the values it becomes, its mistakes, and that no secret stands in it."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import KINDS, pem
from run.test_config import manager, problems

from oidc_actor import (
    ClientCertificate,
    ClientCredentials,
    ConfigError,
    GitHubActionsToken,
    JWTBearer,
    PrivateKey,
    SecretFile,
    SignedAssertion,
    TokenExchange,
    TokenManager,
)
from oidc_actor.run.config import load
from oidc_actor.run.manager_tables import GRANTS, OPTIONS, OWN, _names, read_manager
from oidc_actor.run.places import SECRETS
from oidc_actor.run.posts import Posts, PostToken
from oidc_actor.run.problems import Problems
from oidc_actor.run.proof_tables import CERTIFICATE, KEY, SIGNED, SOURCES
from oidc_actor.run.references import References
from oidc_actor.secrets import Secret

URL = 'issuer_url = "https://auth.example.com"'
CLIENT = (URL, 'client_id = "id"')
OTHER = '[managers.other]\nissuer_url = "https://auth.example.com"\nclient_id = "id"\n'
EXCHANGE = (URL, 'grant = "token_exchange"')


def auth_of(read, *lines: str):
    return read("\n".join([manager(*lines), OTHER])).managers["m"].options["auth"]


def complaints(read, *lines: str) -> list[str]:
    return [one.removeprefix("managers.m.") for one in problems(read, "\n".join([manager(*lines), OTHER]))]


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
        actor_token=PostToken(Posts(), "other", "id_token"),
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


# --- tokens from elsewhere, and proofs of the client ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ('{ file = "t" }', lambda base: SecretFile(base / "t")),
        ('{ env = "THE_TOKEN" }', lambda _: Secret("very-secret")),
        ('{ manager = "other" }', lambda _: PostToken(Posts(), "other")),
        ('{ github_actions = "api" }', lambda _: GitHubActionsToken("api")),
        ('{ github_actions = "api", timeout_seconds = 3 }', lambda _: GitHubActionsToken("api", timeout_seconds=3)),
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
    assert complaints(read, *CLIENT, 'private_key = { key = { env = "THE_PASSWORD" } }') == [
        "private_key: expected a private key of RSA, P-256 or Ed25519, as PEM or JWK, got a text that cannot be read (ValueError)"
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


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("subject_token = 5", ["subject_token: expected { file ="]),
        ("subject_token = {}", ["subject_token: expected one of { file =", "got nothing"]),
        ('subject_token = { manger = "x" }', ["subject_token.manger: no such key; did you mean 'manager'?"]),
        ('subject_token = { file = "x", manager = "other" }', ["subject_token: expected one of", "got file, manager"]),
        ('subject_token = { file = "x", kind = "id_token" }', ["subject_token.kind: no such key; the keys here are"]),
        ('subject_token = { manager = "othr" }', ["subject_token.manager: no manager of this file", "mean 'other'?"]),
        ("subject_token = { manager = 5 }", ["subject_token.manager: expected the name of another manager", "got 5"]),
        ('subject_token = { manager = "other", kind = "x" }', ["subject_token.kind: expected 'access_token' or 'id_token'"]),
        ("subject_token = { github_actions = true }", ["subject_token.github_actions: expected the audience"]),
        (
            'subject_token = { github_actions = "a", timeout_seconds = 0 }',
            ["subject_token.timeout_seconds: expected a positive"],
        ),
        ('subject_token = { issuer = "i", audience = "a" }', ["subject_token: expected one of", "got issuer, audience"]),
        ('private_key = { kid = "1" }', ["private_key.key: missing"]),
        ('private_key = { file = "k", kid = "1" }', ['private_key.file: belongs within key, beside the rest: key = { file =']),
        ('private_key = { key = { file = "k" }, kidd = "1" }', ["private_key.kidd: no such key; did you mean 'kid'?"]),
        ("client_certificate = 5", ['client_certificate: expected { cert_file = "<path>"', "got int"]),
        ('client_certificate = { key_file = "k" }', ["client_certificate.cert_file: missing"]),
        ("client_certificate = { cert_file = 5 }", ["client_certificate.cert_file: expected a path, got 5"]),
        ('client_certificate = { cert = "c", cert_file = "c" }', ["client_certificate.cert: no such key; did you mean"]),
    ],
)  # fmt: skip
def test_one_mistake(read, line: str, found: list[str]) -> None:
    more = () if "subject_token" in line else ('subject_token = { file = "s" }',)
    (complaint,) = complaints(read, *EXCHANGE, 'client_id = "id"', *more, line)
    assert complaint.startswith(found[0])
    assert found[-1] in complaint


def test_all_mistakes_within_a_table_are_named_at_once(read) -> None:
    found = complaints(
        read,
        *CLIENT,
        'grant = "jwt_bearer"',
        'private_key = { key = { fil = "k" }, kid = 5, algorithm = "HS256", password = "very-secret" }',
        "[managers.m.assertion]",
        'key = { env = "NOT_SET" }',
        "issuer = 5",
        'claims = { exp = 5, password = "very-secret" }',
        "lifetime_seconds = 0",
    )
    assert [one.partition(": ")[0] for one in found] == [
        "private_key.key.fil",
        "private_key.password",
        "assertion.key.env",
        "assertion.audience",
        "assertion.claims.password",
    ]
    assert "very-secret" not in " ".join(found)
    found = complaints(
        read,
        *CLIENT,
        'grant = "jwt_bearer"',
        'private_key = { key = { file = "k" }, kid = 5, algorithm = "HS256" }',
        "[managers.m.assertion]",
        'key = { file = "k" }',
        "issuer = 5",
        'audience = "a"',
        "claims = { exp = 5 }",
        "lifetime_seconds = 0",
    )
    assert [one.partition(": ")[0] for one in found] == [
        "private_key.kid",
        "private_key.algorithm",
        "assertion.issuer",
        "assertion.claims",
        "assertion.lifetime_seconds",
    ]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('subject_token = "very-secret"', "subject_token"),
        ('actor_token = "very-secret"', "actor_token"),
        ('client_assertion = "very-secret"', "client_assertion"),
        ('private_key = "very-secret"', "private_key"),
        ('private_key = { key = "very-secret" }', "private_key.key"),
        ('private_key = { key = { text = "very-secret" } }', "private_key.key.text"),
        ('private_key = { key = { file = "k" }, password = "very-secret" }', "private_key.password"),
        ('private_key = { key = { file = "k" }, kid = { file = "k", text = "very-secret" } }', "private_key.kid"),
        ('client_certificate = { cert_file = "c", password = "very-secret" }', "client_certificate.password"),
        ('client_assertion = { key = "very-secret", issuer = "i", audience = "a" }', "client_assertion.key"),
        (
            'client_assertion = { key = { file = "k" }, password = "very-secret", issuer = "i", audience = "a" }',
            "client_assertion.password",
        ),
        (
            'client_assertion = { key = { file = "k" }, issuer = "i", audience = "a", claims.a.password = "very-secret" }',
            "client_assertion.claims.a.password",
        ),
        ('client_auth = { text = "very-secret" }', "client_auth"),
        ('scopes = { text = "very-secret" }', "scopes"),
        ('grant = { text = "very-secret" }\nclient_secret = { file = "s" }', "grant"),
        ('token_file = { text = "very-secret" }', "token_file"),
        ('timeout_seconds = { text = "very-secret" }', "timeout_seconds"),
        ('ca_bundle = "-----BEGIN PRIVATE KEY-----very-secret"', "ca_bundle"),
        ('subject_token = { manager = { text = "very-secret" } }', "subject_token.manager"),
        ('subject_token = { manager = "other", kind = { text = "very-secret" } }', "subject_token.kind"),
        ('subject_token = { github_actions = { text = "very-secret" } }', "subject_token.github_actions"),
        ('client_secret = { env = { text = "very-secret" } }', "client_secret.env"),
        ('extra = { private_key = "very-secret" }', "extra.private_key"),
        ('extra = { x = "-----BEGIN PRIVATE KEY-----very-secret" }', "extra.x"),
        ('resource = ["-----BEGIN EC PRIVATE KEY-----very-secret"]', "resource"),
    ],
)  # fmt: skip
def test_a_secret_that_stands_in_the_file_is_refused_and_not_shown(read, line: str, key: str) -> None:
    more = () if line.startswith("subject_token") else ('subject_token = { file = "s" }',)
    lines = CLIENT if line.startswith("grant") else (*EXCHANGE, 'client_id = "id"', *more)
    (complaint,) = complaints(read, *lines, line)
    assert complaint.startswith(f"{key}: ")
    assert "very-secret" not in complaint


def test_without_joserfc_each_key_says_what_to_install(read, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "joserfc", None)
    lines = (
        'grant = "jwt_bearer"',
        'private_key = { key = { file = "k" }, kid = "1", algorithm = "RS256" }',
        'assertion = { key = { file = "k" }, issuer = "i", audience = "a" }',
    )
    needs = 'a private key needs joserfc, which is not installed: pip install "oidc-actor[jwt]"'
    assert complaints(read, *CLIENT, *lines) == [f"private_key: {needs}", f"assertion: {needs}"]


_PLAIN = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.sampled_from(["", "x", "jwt", "m", "other"])
_OF_CREDENTIALS = _names("token_exchange") | _names("jwt_bearer") | _names("password") | {"dpop", "text"}
_OF_SOURCES = {*SOURCES, *KEY, *SIGNED, *CERTIFICATE, "kind", "timeout_seconds"}
_NAMES = st.sampled_from(sorted({*OPTIONS, *OWN, *_OF_SOURCES, *_OF_CREDENTIALS}))
_VALUES = st.recursive(
    _PLAIN | st.just("very secret"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=8,
)
_GRANTS = st.sampled_from([*GRANTS, "", 5])


@given(st.fixed_dictionaries({"grant": _GRANTS}), st.dictionaries(_NAMES, _VALUES, max_size=8))
@settings(max_examples=100, deadline=None)
def test_whatever_a_table_holds_it_is_a_manager_or_has_a_complaint(grant: dict, rest: dict) -> None:
    base, references, found = Path("/nowhere"), References(), Problems()
    table = {"issuer_url": "https://auth.example.com", "client_id": "id", **rest, **grant}
    made = read_manager("m", table, base, Posts(), references, found)
    assert (made is None) == (len(found) > 0)
    if made is not None:
        TokenManager.child_spec(name="m", **made.options)


@given(st.sampled_from(sorted(SECRETS | {"client_certificate"})), st.sampled_from(list(GRANTS)), _VALUES)
@settings(max_examples=100, deadline=None)
def test_whatever_stands_in_the_place_of_a_secret_is_not_shown(key: str, grant: str, value: object) -> None:
    base, references, found = Path("/nowhere"), References(), Problems()
    table = {"issuer_url": "https://auth.example.com", "client_id": "id", "grant": grant, key: value}
    read_manager("m", table, base, Posts(), references, found)
    references.check({"m"}, found)
    with contextlib.suppress(ConfigError):
        found.raise_any("here")
    shown_anyway = re.compile(
        r"\.(manager|kind|algorithm|kid|issuer|github_actions|timeout_seconds|lifetime_seconds)\b"
    )
    lines = [line for line in found._found if shown_anyway.search(line.partition(": ")[0]) is None]
    assert "very secret" not in "".join(lines)


# --- managers that use each other -------------------------------------------------------------------------------------


def using(**uses: str) -> str:
    tables = [
        f'[managers.{name}]\ngrant = "token_exchange"\n{URL}\nsubject_token = {{ manager = "{used}" }}'
        for name, used in uses.items()
    ]
    return "\n".join(['[server]\nunix_socket = "s"', *tables, OTHER])


def test_a_chain_in_any_order(read) -> None:
    assert read(using(a="b", b="other")).managers["a"].uses == {"b"}
    assert read(using(b="other", a="b")).managers["a"].uses == {"b"}


def test_every_circle_is_named_once(read) -> None:
    assert problems(read, using(a="a")) == [
        "managers.a.subject_token.manager: expected tokens that do not wait for each other, got a -> a; "
        "let one of them use another source"
    ]
    found = problems(read, using(c="d", d="c", z="x", x="y", y="z", tail="x", fine="other"))
    assert [one.partition(" got ")[2].partition(";")[0] for one in found] == ["c -> d -> c", "x -> y -> z -> x"]


def test_a_missing_one_is_named_even_where_more_is_wrong(read) -> None:
    found = problems(read, using(a="nobody", b="a").replace('client_id = "id"', 'client_id = ""'))
    assert [one.partition(": ")[0] for one in found] == ["managers.other.client_id", "managers.a.subject_token.manager"]


def test_the_token_of_whoever_serves(tmp_path: Path) -> None:
    posts = Posts()
    path = tmp_path / "config.toml"
    path.write_text(using(a="other"))
    source = load(path, posts).managers["a"].options["auth"].subject_token
    assert source.look() == "there is no manager other"
    assert repr(source) == "PostToken('other', 'access_token')"
