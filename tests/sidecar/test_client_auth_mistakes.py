"""Every way to authenticate, from the configuration: its mistakes, and that no secret stands in it."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sidecar.tables import CLIENT, EXCHANGE, mistakes

from oidc_actor import (
    ConfigError,
    ManagerToken,
    TokenManager,
)
from oidc_actor.sidecar.config import _check_uses
from oidc_actor.sidecar.config_reader import SECRETS, ConfigReader
from oidc_actor.sidecar.manager_tables import (
    CERTIFICATE,
    GRANTS,
    KEY,
    OPTIONS,
    OWN,
    SIGNED,
    SOURCES,
    _names,
    read_manager,
)


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
    (mistake,) = mistakes(read, *EXCHANGE, 'client_id = "id"', *more, line)
    assert mistake.startswith(found[0])
    assert found[-1] in mistake


def test_all_mistakes_within_a_table_are_named_at_once(read) -> None:
    found = mistakes(
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
        "private_key.algorithm",
        "private_key.kid",
        "assertion.key.env",
        "assertion.audience",
        "assertion.claims.password",
    ]
    assert "very-secret" not in " ".join(found)
    found = mistakes(
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
        "private_key.algorithm",
        "private_key.kid",
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
    (mistake,) = mistakes(read, *lines, line)
    assert mistake.startswith(f"{key}: ")
    assert "very-secret" not in mistake


def test_without_joserfc_each_key_says_what_to_install(read, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "joserfc", None)
    lines = (
        'grant = "jwt_bearer"',
        'private_key = { key = { file = "k" }, kid = "1", algorithm = "RS256" }',
        'assertion = { key = { file = "k" }, issuer = "i", audience = "a" }',
    )
    needs = 'a private key needs joserfc, which is not installed: pip install "oidc-actor[jwt]"'
    assert mistakes(read, *CLIENT, *lines) == [f"private_key: {needs}", f"assertion: {needs}"]


_PLAIN = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.sampled_from(["", "x", "jwt", "m", "other"])
_OF_CREDENTIALS = _names("token_exchange") | _names("jwt_bearer") | _names("password") | {"dpop", "text"}
_OF_CREDENTIALS |= _names("identity_assertion")
_OF_SOURCES = {*SOURCES, *KEY, *SIGNED, *CERTIFICATE, *(name for names in SOURCES.values() for name in names)}
_NAMES = st.sampled_from(sorted({*OPTIONS, *OWN, *_OF_SOURCES, *_OF_CREDENTIALS}))
_VALUES = st.recursive(
    _PLAIN | st.just("very secret"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=8,
)
_GRANTS = st.sampled_from([*GRANTS, "", 5])


@given(st.fixed_dictionaries({"grant": _GRANTS}), st.dictionaries(_NAMES, _VALUES, max_size=8))
@settings(max_examples=100, deadline=None)
def test_whatever_a_table_holds_it_is_a_manager_or_has_a_mistake(grant: dict, rest: dict) -> None:
    reader = ConfigReader(Path("/nowhere"))
    table = {"issuer_url": "https://auth.example.com", "client_id": "id", **rest, **grant}
    made = read_manager("m", table, reader, ManagerToken)
    assert (made is None) == (len(reader) > 0)
    if made is not None:
        TokenManager.child_spec(name="m", **made.options)


@given(st.sampled_from(sorted(SECRETS | {"client_certificate"})), st.sampled_from(list(GRANTS)), _VALUES)
@settings(max_examples=100, deadline=None)
def test_whatever_stands_in_the_place_of_a_secret_is_not_shown(key: str, grant: str, value: object) -> None:
    reader = ConfigReader(Path("/nowhere"))
    table = {"issuer_url": "https://auth.example.com", "client_id": "id", "grant": grant, key: value}
    read_manager("m", table, reader, ManagerToken)
    _check_uses({"m"}, reader)
    with contextlib.suppress(ConfigError):
        reader.raise_any("here")
    shown_anyway = re.compile(
        r"\.(manager|kind|algorithm|kid|issuer|github_actions|timeout_seconds|lifetime_seconds|assertion_type|socket)\b"
    )
    lines = [line for line in reader._problems if shown_anyway.search(line.partition(": ")[0]) is None]
    assert "very secret" not in "".join(lines)
