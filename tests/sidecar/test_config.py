"""The configuration: what a good one becomes, and that a bad one names every key that is wrong, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from sidecar.tables import FULL, manager, problems

from oidc_actor import ClientCredentials, ConfigError, OIDCConfig, Password, RefreshToken, SecretFile, TokenManager
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.sidecar.config import load
from oidc_actor.sidecar.listening import ServerConfig
from oidc_actor.values.secrets import Secret

GOOD = """
[server]
unix_socket = "run/tokens.sock"
tcp = "127.0.0.1:8391"
wait_seconds = 2
drain_seconds = 3.5

[managers.billing]
issuer_url = "https://auth.example.com"
client_id = "billing"
client_secret = { file = "secrets/billing" }
scopes = ["read", "write"]
audience = "api"
refresh_buffer_seconds = 30
token_file = "run/billing.token"

[managers.legacy]
grant = "password"
token_endpoint = "https://old.example.com/token"
username = "robot"
password = { env = "ROBOT_PASSWORD" }

[managers.mobile]
grant = "refresh_token"
issuer_url = "https://auth.example.com"
client_id = "mobile"
refresh_token = { file = "/run/refresh" }
"""


def test_a_good_one(read, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ROBOT_PASSWORD", "pass")
    config = read(GOOD)
    assert config.server == ServerConfig(tmp_path / "run/tokens.sock", ("127.0.0.1", 8391), 2.0, 3.5)
    billing, legacy, mobile = config.managers.values()
    assert billing.token_file == tmp_path / "run/billing.token"
    assert billing.options == {
        "issuer_url": "https://auth.example.com",
        "refresh_buffer_seconds": 30,
        "auth": ClientCredentials(
            "billing", SecretFile(tmp_path / "secrets/billing"), ["read", "write"], audience="api"
        ),
    }
    assert legacy.options["oidc_config"] == OIDCConfig(token_endpoint="https://old.example.com/token")
    assert legacy.options["auth"] == Password("robot", Secret("pass"))
    assert mobile.options["auth"] == RefreshToken(SecretFile("/run/refresh"), "mobile")
    for one in config.managers.values():
        TokenManager.child_spec(name=one.name, **one.options)


def test_a_manager_may_be_for_one_resource(read) -> None:
    options = read(manager(*FULL, 'resource_url = "https://api.example/mcp"')).managers["m"].options
    assert options["resource_url"] == options["auth"].resource == "https://api.example/mcp"


def test_a_manager_can_revoke_its_token_when_it_stops(read) -> None:
    assert read(manager(*FULL, "revoke_on_stop = true")).managers["m"].options["revoke_on_stop"] is True
    (problem,) = problems(read, manager(*FULL, "revoke_on_stop = 1"))
    assert problem == "managers.m.revoke_on_stop: expected True or False, got 1"
    endpoint = ('token_endpoint = "https://auth.example.com/token"', *FULL[1:], "revoke_on_stop = true")
    (problem,) = problems(read, manager(*endpoint))
    assert problem.startswith("managers.m.revoke_on_stop: expected an issuer_url")


def test_the_same_text_gives_equal_values_and_a_changed_one_does_not(read) -> None:
    first, again = read(manager(*FULL)), read(manager(*FULL))
    assert first == again
    assert first.managers["m"] != read(manager(*FULL, 'scopes = "more"')).managers["m"]


def test_a_client_with_a_key_and_a_certificate(read, tmp_path) -> None:
    lines = (
        *FULL[:2],
        'private_key = { key = { file = "key.pem" }, kid = "1" }',
        'client_certificate = { cert_file = "tls.pem", key_file = "/tls.key" }',
    )
    auth = read(manager(*lines)).managers["m"].options["auth"]
    assert auth.private_key == PrivateKey(SecretFile(tmp_path / "key.pem"), kid="1")
    assert auth.client_certificate == ClientCertificate(tmp_path / "tls.pem", "/tls.key")
    assert read(manager(*lines)) == read(manager(*lines))


def test_a_key_does_not_stand_in_the_file(read) -> None:
    (found,) = problems(read, manager(*FULL[:2], 'private_key = { key = "very-secret", kid = "1" }'))
    assert found.startswith("managers.m.private_key.key: expected { file =")
    assert "very-secret" not in found


def test_all_problems_are_named_at_once(read) -> None:
    found = problems(
        read,
        """
        [sever]
        [server]
        tcp = "0.0.0.0:80"
        drain_seconds = -1
        unix_sockt = "s"
        [managers.a]
        isuer_url = "https://auth.example.com"
        client_id = ""
        client_secret = "very-secret"
        scopes = 5
        refresh_buffer_seconds = "soon"
        timeout_seconds = 0
        [managers.b]
        issuer_url = "http://auth.example.com"
        client_auth = "magic"
        ca_bundle = "missing.pem"
        token_file = 7
        [managers.c]
        grant = "implicit"
        issuer_url = "https://auth.example.com"
        token_endpoint = "https://auth.example.com/token"
        """,
    )
    assert {problem.split(": ")[0] for problem in found} == {
        "sever",
        "server.tcp",
        "server.drain_seconds",
        "server.unix_sockt",
        "managers.a.isuer_url",
        "managers.a.client_id",
        "managers.a.client_secret",
        "managers.a.scopes",
        "managers.a.refresh_buffer_seconds",
        "managers.a.timeout_seconds",
        "managers.a",
        "managers.b.client_id",
        "managers.b.issuer_url",
        "managers.b.client_auth",
        "managers.b.ca_bundle",
        "managers.b.token_file",
        "managers.c.grant",
        "managers.c.client_id",
        "managers.c",
    }
    assert "very-secret" not in " ".join(found)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((*FULL[:1], *FULL[2:]), "managers.m.client_id: missing"),
        (FULL[1:], "managers.m: expected exactly one of issuer_url and token_endpoint, got neither"),
        ((*FULL, 'scope = "a"'), "managers.m.scope: no such key; did you mean 'scopes'?"),
        ((*FULL, 'scopes = "a\\"b"'), "managers.m.scopes: expected texts without spaces"),
        ((*FULL, 'extra = { grant_type = "x" }'), "managers.m.extra: 'grant_type' belongs to the protocol"),
        ((*FULL, "allow_insecure_http = 1"), "managers.m.allow_insecure_http: expected True or False, got 1"),
        ((*FULL, 'grant = "magic"'), "managers.m.grant: expected one of client_credentials, password, refresh_token"),
        ((*FULL[1:], 'token_endpoint = "ftp://x"'), "managers.m.token_endpoint: expected an https URL"),
        ((*FULL[1:], "token_endpoint = 1"), "managers.m.token_endpoint: expected an https URL, got int"),
        ((*FULL[1:], "issuer_url = 1"), "managers.m.issuer_url: expected an https URL, got int"),
        ((*FULL, 'resource_url = "http://a.example"'), "managers.m.resource_url: expected https, got plain http"),
        (
            ('token_endpoint = "https://a.example/token"', *FULL[1:], 'resource_url = "https://api.example"'),
            "managers.m.resource_url: expected an issuer_url beside it",
        ),
        (
            (*FULL, 'resource_url = "https://api.example"', 'resource = "https://x.example"'),
            "managers.m.resource: expected none beside resource_url",
        ),
        ((*FULL, 'token_file = ""'), "managers.m.token_file: expected a path, got ''"),
        ((*FULL, 'token_file = "/"'), "managers.m.token_file: expected the path of a file, got the directory '/'"),
        ((*FULL, 'token_file = ".."'), "managers.m.token_file: expected the path of a file, got the directory"),
        ((*FULL, "timeout_seconds = 1e10"), "managers.m.timeout_seconds: expected a positive number of seconds, 1e+09"),
        ((*FULL, f"min_interval_seconds = 1{'0' * 400}"), "managers.m.min_interval_seconds: expected finite seconds"),
        ((*FULL, f"default_lifetime_seconds = 1{'0' * 400}"), "managers.m.default_lifetime_seconds: expected finite"),
        ((*FULL, 'grant = "jwt-bearer"', 'assertion = { file = "a" }'), "managers.m.grant: expected one of"),
        (
            (*FULL, 'subject_token = { file = "a" }'),
            'managers.m.subject_token: belongs to grant = "token_exchange", got "client_credentials"',
        ),
        ((*FULL, 'grant = "token_exchange"'), "managers.m.subject_token: missing"),
        ((*FULL, 'grant = "jwt_bearer"'), "managers.m.assertion: missing"),
        (
            (*FULL, "dpop = true"),
            "managers.m.dpop: cannot be used here: a token bound to a key is worth nothing without",
        ),
        (
            ('issuer_url = "http://a.example"', *FULL[1:]),
            "managers.m.issuer_url: expected https, got plain http 'http://a.example', which would send secrets readable "
            "over the network; use https, or set allow_insecure_http in a test setup",
        ),
        (
            (FULL[0], FULL[2], 'grant = "jwt_bearer"', 'assertion = { file = "a" }'),
            "managers.m.client_secret: expected a client_id beside it, got none",
        ),
        (
            (*FULL, 'client_assertion = { file = "a" }'),
            "managers.m.client_secret: expected one of client_secret and private_key or client_assertion, got both; drop one",
        ),
    ],
)
def test_one_problem(read, lines: tuple[str, ...], problem: str) -> None:
    (found,) = problems(read, manager(*lines))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ("", 'server: expected unix_socket = "<path>" or tcp = "127.0.0.1:<port>", got neither'),
        ('tcp = "10.0.0.1:80"', "server.tcp: expected a loopback address such as 127.0.0.1, got '10.0.0.1'"),
        ('tcp = "127.0.0.1"', "server.tcp: expected"),
        ('tcp = "127.0.0.1:65536"', "server.tcp: expected"),
        ("tcp = 80", "server.tcp: expected"),
        (f'tcp = "127.0.0.1:{"9" * 5000}"', "server.tcp: expected"),
        (f'unix_socket = "s"\nwait_seconds = 1{"0" * 400}', "server.wait_seconds: expected finite seconds"),
        ("unix_socket = 5", "server.unix_socket: expected a path, got 5"),
        ('unix_socket = "s"\nwait_seconds = inf', "server.wait_seconds: expected finite seconds"),
        (f'unix_socket = "s"\nwait_seconds = {10**400}', "server.wait_seconds: expected finite seconds"),
        ('unix_socket = "s"\ndrain_seconds = true', "server.drain_seconds: expected finite seconds"),
    ],
)
def test_a_wrong_server(read, server: str, problem: str) -> None:
    (found,) = problems(read, "\n".join(["[server]", server, "[managers.m]", *FULL]))
    assert found.startswith(problem)


def test_ipv6_and_localhost_are_loopback(read) -> None:
    for address, expected in (("[::1]:80", ("::1", 80)), ("localhost:0", ("localhost", 0))):
        text = "\n".join([f'[server]\ntcp = "{address}"', "[managers.m]", *FULL])
        assert read(text).server.tcp == expected


def test_managers_are_needed_and_have_names_that_fit_a_url(read) -> None:
    server = '[server]\nunix_socket = "s"\n'
    assert problems(read, server) == ["managers: expected at least one table [managers.<name>], got none"]
    (found,) = problems(read, "\n".join([server, '[managers."a/b"]', *FULL]))
    assert found.startswith("managers.a/b: expected a name of letters")
    (found,) = problems(read, f"{server}[managers]\nm = 5")
    assert found == "managers.m: expected a table [managers.m], got int"
    (found,) = problems(read, "\n".join(["server = 5", "[managers.m]", *FULL]))
    assert found.startswith("server: expected a table [server], got int")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[server", "expected TOML: "),
        (b"\xff", "expected UTF-8 text"),
        (f"a = {'9' * 5000}", "expected TOML: "),
        (b"#" * (4 * 1024 * 1024 + 1), "of at most 4194304 bytes: longer than"),
    ],
)
def test_what_is_no_toml(read, content: str | bytes, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read(content)


def test_a_mark_of_the_encoding_is_no_part_of_it(read) -> None:
    assert read("\ufeff" + manager(*FULL)).managers


def test_a_syntax_error_says_the_line(read) -> None:
    with pytest.raises(ConfigError, match="at line 2"):
        read("[server]\nunix_socket = \n")


def test_a_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/config\.toml: expected a readable TOML file .*: No such file"):
        load(Path("/nowhere/config.toml"))


def test_nothing_secret_is_in_a_repr(read, monkeypatch) -> None:
    monkeypatch.setenv("THE_SECRET", "very-secret")
    config = read(manager(*FULL[:2], 'client_secret = { env = "THE_SECRET" }'))
    assert "very-secret" not in f"{config!r} {config.managers} {config.managers['m'].options}"
