"""The files that a configuration names: secrets are read from them, and a token's file is in the place of no other."""

from __future__ import annotations

from pathlib import Path

import certifi
import pytest
from sidecar.tables import FULL, manager, problems

from oidc_actor import ConfigError
from oidc_actor.sidecar.config import absent, load


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (
            '"very-secret"',
            ': expected { file = "<path>" } or { env = "<variable>" }, got a text: a secret does not belong in this file',
        ),
        (
            "5",
            ': expected { file = "<path>" } or { env = "<variable>" }, got int: a secret does not belong in this file',
        ),
        ('{ text = "very-secret" }', ".text: no such key; the keys here are env, file"),
        ('{ fille = "very-secret" }', ".fille: no such key; did you mean 'file'?"),
        ('{ file = "a", env = "B" }', ': expected { file = "<path>" } or { env = "<variable>" }, and one of them only'),
        ("{}", ': expected { file = "<path>" } or { env = "<variable>" }, and one of them only'),
        ('{ file = "" }', ".file: expected a path, got ''"),
        ("{ env = 5 }", ".env: expected the name of an environment variable, got int that is none"),
        (
            '{ env = "very-secret" }',
            ".env: expected the name of an environment variable, got a text that is none",
        ),
        ('{ env = "NOT_SET" }', ".env: expected the secret in the environment variable 'NOT_SET', got none; set it"),
        ('{ env = "EMPTY" }', ".env: expected the secret in the environment variable 'EMPTY', got empty text; set it"),
    ],
)
def test_a_secret_is_in_a_file_or_in_the_environment(read, monkeypatch, secret: str, problem: str) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("EMPTY", "")
    assert problems(read, manager(*FULL[:2], f"client_secret = {secret}")) == [f"managers.m.client_secret{problem}"]


def test_two_managers_do_not_share_a_token_file(read) -> None:
    lines = (*FULL, 'token_file = "t"')
    (found,) = problems(read, "\n".join([manager(*lines), "[managers.n]", *lines]))
    assert found == "managers.n.token_file: expected a file of its own, got that of managers.m"


@pytest.mark.parametrize(
    ("place", "whose"),
    [
        ("f", "one that managers.m reads"),
        ("a/../f", "one that managers.m reads"),
        ("link/f", "one that managers.m reads"),
        ("ca.pem", "one that managers.m reads"),
        ("cert.pem", "one that managers.x reads"),
        ("subject", "that of the token that it trades"),
        ("s", "server.unix_socket"),
        ("config.toml", "the configuration itself"),
        ("a/../t", "that of managers.m"),
    ],
)
def test_a_token_file_is_in_the_place_of_no_other_file(read, tmp_path, place: str, whose: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "ca.pem").write_text(Path(certifi.where()).read_text())
    others = (*FULL, 'token_file = "t"', 'ca_bundle = "ca.pem"', "[managers.x]", *FULL[:2])
    certificate = 'client_certificate = { cert_file = "cert.pem" }'
    exchange = ("[managers.n]", 'grant = "token_exchange"', *FULL, 'subject_token = { file = "subject" }')
    (found,) = problems(read, manager(*others, certificate, *exchange, f'token_file = "{place}"'))
    assert found == f"managers.n.token_file: expected a file of its own, got {whose}"


def test_a_manager_may_trade_the_token_file_of_another(read) -> None:
    exchange = ("[managers.n]", 'grant = "token_exchange"', *FULL, 'subject_token = { file = "t" }')
    assert len(read(manager(*FULL, 'token_file = "t"', *exchange)).managers) == 2


@pytest.mark.parametrize(
    ("before", "inside", "after"),
    [
        ("no_such_key = 1\n", "", ""),
        ("", "no_such_key = 1\n", ""),
        ("", 'scopes = { a = "b" }\n', ""),
        ("", 'password = "inline"\n', ""),
        ("", 'token_file = ""\n', ""),
        ("", "", "[managers.other]\n"),
        ("", "", "[managers.'a b']\n"),
        ("", "", '[server]\ntcp = "0.0.0.0:1"\n'),
        ("", "", "[serverr]\n"),
    ],
)
def test_missing_files_are_named_beside_every_kind_of_mistake(
    tmp_path: Path, before: str, inside: str, after: str
) -> None:
    (tmp_path / "run.toml").write_text(
        f'{before}[managers.m]\ntoken_endpoint = "https://a.example/token"\nclient_id = "id"\n{inside}'
        f'client_secret = {{ file = "not-there" }}\n{after}'
    )
    with pytest.raises(ConfigError):
        load(tmp_path / "run.toml")
    (line,) = absent(tmp_path / "run.toml")
    assert line.startswith("  managers.m.client_secret.file: cannot be read yet: ")
    assert "not-there" in line


@pytest.mark.parametrize("mistake", ["", "no_such_key = 1\n"])
def test_directories_and_certificates_that_are_not_there_are_named_with_or_without_a_mistake(
    tmp_path: Path, mistake: str
) -> None:
    lines = (
        'client_id = "id"',
        'token_endpoint = "https://a.example/token"',
        'token_file = "tokens/m"',
        'client_certificate = { cert_file = "c.pem", key_file = "k.pem", password = { file = "p" } }',
        'private_key = { key = { file = "key.pem" }, certificate_file = "x5.pem" }',
    )
    head = f'{mistake}[server]\nunix_socket = "absent/s"\n[managers.m]\n'
    (tmp_path / "run.toml").write_text(head + "\n".join(lines))
    expected = [
        f"  server.unix_socket: no such directory yet: '{tmp_path / 'absent'}'",
        f"  managers.m.token_file: no such directory yet: '{tmp_path / 'tokens'}'",
        *(
            f"  managers.m.{key}: cannot be read yet: '{tmp_path / name}': No such file or directory"
            for key, name in [
                ("client_certificate.cert_file", "c.pem"),
                ("client_certificate.key_file", "k.pem"),
                ("client_certificate.password.file", "p"),
                ("private_key.key.file", "key.pem"),
                ("private_key.certificate_file", "x5.pem"),
            ]
        ),
    ]
    assert absent(tmp_path / "run.toml") == expected
    for directory in ("absent", "tokens"):
        (tmp_path / directory).mkdir()
    for name in ("c.pem", "k.pem", "p", "key.pem", "x5.pem"):
        (tmp_path / name).write_text("something")
    assert absent(tmp_path / "run.toml") == []
