"""What the pages' tables of options, providers and clients name is there, and its expressions can be built."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
from pathlib import Path

import pytest
from otp import differences
from pages import ROOT, section
from pki import KINDS, pem

from oidc_actor import (
    ClientCertificate,
    ClientCredentials,
    GitHubActionsToken,
    IdentityAssertion,
    JWTBearer,
    OIDCConfig,
    Password,
    PrivateKey,
    RefreshToken,
    RetryPolicy,
    SecretFile,
    SignedAssertion,
    TokenExchange,
    TokenManager,
    cli,
)
from oidc_actor.manager.options import Options
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.values.secrets import resolve_secret
from supervision import ChildSpec

PAGE = "oidc_actor/README.md"
MAKERS = (
    ClientCredentials, Password, RefreshToken, JWTBearer, TokenExchange, PrivateKey, ClientCertificate, SignedAssertion,
    OIDCConfig,
)  # fmt: skip


def test_every_option_is_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|(.*?)\|", section(PAGE, "Options"), flags=re.MULTILINE)
    table = {name: default for names, default in rows for name in re.findall(r"\w+", names)}
    fields = {field.name: field for field in dataclasses.fields(Options)}
    assert set(table) == set(fields)
    for name, default in table.items():
        if default.strip(" `-") not in {"", "required", "RetryPolicy()"}:
            assert fields[name].default == eval(default.strip(" `")), name


def test_the_table_of_credentials_has_each_with_its_arguments_in_order() -> None:
    kinds = {
        kind.__name__: kind
        for kind in (ClientCredentials, Password, RefreshToken, JWTBearer, TokenExchange, IdentityAssertion)
    }
    table = section(PAGE, "Credentials").partition("\n\nEach also takes")[0]
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \| (.*) \|", table, flags=re.MULTILINE)
    assert {kind for kind, _, _ in rows} == set(kinds)
    for kind, arguments, meaning in rows:
        parameters = list(inspect.signature(kinds[kind]).parameters)
        assert parameters[: arguments.count(",") + 1] == arguments.split(", ")
        assert set(re.findall(r"`(\w+)=`", meaning)) <= set(parameters)
        assert {"scopes", "audience", "resource", "extra"} <= set(parameters)


def test_every_variable_of_the_command_line_is_named() -> None:
    files = Path(cli.__file__).parent.glob("*.py")
    read = {name for file in files for name in re.findall(r"\bOIDC_[A-Z_]+[A-Z]", file.read_text())}
    assert read == set(re.findall(r"`(OIDC_\w+)`", section(PAGE, "Command line")))


def test_the_options_that_the_table_of_providers_names_are_there() -> None:
    known = {name for maker in MAKERS for name in inspect.signature(maker).parameters}
    known |= {field.name for field in dataclasses.fields(Options)}
    rows = "\n".join(line for line in section(PAGE, "Your provider").splitlines() if line.startswith("|"))
    named = set(re.findall(r"\b(\w+)=", rows))
    assert len(named) > 10
    assert named <= known


def test_the_row_of_google_signs_what_google_asks_for() -> None:
    (row,) = re.findall(r"^\| Google \|.*", section(PAGE, "Your provider"), flags=re.MULTILINE)
    (expression,) = re.findall(r"`(JWTBearer\(.*?)`", row)
    info = {
        "private_key": pem(KINDS["RSA"]()),
        "private_key_id": "1",
        "client_email": "me@x",
        "token_uri": "https://x.example/t",
    }
    names = {"JWTBearer": JWTBearer, "SignedAssertion": SignedAssertion, "PrivateKey": PrivateKey, "info": info}
    auth = eval(expression.replace("...", "'a b'"), names)
    claims = read_claims(resolve_secret(auth.assertion).reveal())
    assert (claims["iss"], claims["aud"], claims["scope"]) == ("me@x", "https://x.example/t", "a b")
    assert claims["exp"] - claims["iat"] <= 3600


def test_the_workload_identities_of_entra_can_be_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    names = {"SecretFile": SecretFile, "GitHubActionsToken": GitHubActionsToken, "os": os}
    found = re.findall(r"`client_assertion=(.*?)`", section(PAGE, "Your provider"))
    assert len(found) == 2
    for expression in found:
        assert ClientCredentials("id", client_assertion=eval(expression, names)).has_key


def test_the_table_of_reads_has_their_arguments_and_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)\(server(.*?)\)` \|", section(PAGE, "Reading tokens"), flags=re.MULTILINE)
    assert len(rows) > 4
    for name, written in rows:
        parameters = list(inspect.signature(getattr(TokenManager, name)).parameters.values())[1:]
        shown = [one.name if one.default is one.empty else f"{one.name}={one.default!r}" for one in parameters]
        assert [one.strip() for one in written.split(",") if one.strip()] == shown


def test_the_policy_of_retries_is_shown_with_its_defaults() -> None:
    assert f"`{RetryPolicy()!r}`" in section(PAGE, "Options")


def test_the_table_of_child_specifications_has_every_field_and_default() -> None:
    table = section("supervision/README.md", "Supervisors").partition("A bad specification")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, flags=re.MULTILINE))
    fields = {field.name: field.default for field in dataclasses.fields(ChildSpec)}
    assert set(fields) - set(rows) == {"args", "kwargs", "type"}
    assert set(rows) <= set(fields)
    for name, default in rows.items():
        if name not in {"id", "start", "shutdown"}:
            assert fields[name] == eval(default.strip("`")), name


def test_what_differs_from_otp_is_the_list_by_which_the_judge_compares() -> None:
    table = section("supervision/README.md", "What differs from OTP, and why")
    assert [line for line in table.splitlines() if line.startswith("|")] == differences.table(), (
        "a row that is written on the page is also one in tests/otp/differences.py, which says how it is judged"
    )


def test_the_table_of_peers_has_each_library_and_each_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "bench")
    outages = importlib.import_module("outages")
    head, _, *rows = re.findall(r"^\|.*\|$", section("tests/bench/PEERS.md", "The table"), flags=re.MULTILINE)
    assert [one.strip() for one in head.split("|")[2:-1]] == list(outages.SCENES)
    assert [re.sub(r"[*]| [\d.]+", "", row.split("|")[1]).strip() for row in rows] == list(outages.PEERS)
    troubles = re.findall(r"^\| (\w+) \| (?!what)", section("tests/bench/PEERS.md", "The troubles"), flags=re.MULTILINE)
    assert troubles == list(outages.SCENES)
    cells = [cell for row in rows for cell in row.split("|")[2:-1]]
    assert all(
        re.match(r" (unnoticed|waited|failed): \d+ of \d+, [\d.]+ s, \d+, (-|[\d.]+ s) $", cell) for cell in cells
    )
    assert " failed" not in rows[-1]
