"""`oidc-actor token`: what it prints, where secrets may come from, and how it fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from typer.testing import Result

from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.testing import Provider

Run = Callable[..., subprocess.CompletedProcess[str]]
Invoke = Callable[..., Result]


def access(provider: Provider, **changes: str) -> dict[str, str]:
    return {
        "OIDC_ISSUER_URL": provider.issuer_url,
        "OIDC_CLIENT_ID": provider.client_id,
        "OIDC_CLIENT_SECRET": provider.client_secret,
    } | changes


def accepted(provider: Provider, token: str) -> dict[str, object]:
    answer = requests.get(provider.resource_url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert answer.status_code == 200
    return answer.json()


def test_it_prints_the_token_and_nothing_else(provider: Provider, run: Run) -> None:
    done = run("token", **access(provider))
    assert (done.returncode, done.stderr) == (0, "")
    assert accepted(provider, done.stdout.removesuffix("\n"))


def test_header(provider: Provider, run: Run) -> None:
    done = run("token", "--header", **access(provider))
    name, _, value = done.stdout.strip().partition(": ")
    assert name == "Authorization"
    assert accepted(provider, value.removeprefix("Bearer "))


def test_json(provider: Provider, run: Run) -> None:
    done = run("token", "--json", "--scope", "read write", **access(provider))
    shown = json.loads(done.stdout)
    assert accepted(provider, shown["access_token"])
    assert (shown["token_type"], shown["expires_in"], shown["scope"]) == ("Bearer", 600, "read write")
    assert set(shown) == {"access_token", "token_type", "expires_in", "expires_at", "scope"}


def test_json_and_header_together_are_a_mistake(provider: Provider, run: Run) -> None:
    done = run("token", "--json", "--header", **access(provider))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--json and --header" in done.stderr


def test_everything_by_options(provider: Provider, run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(provider.client_secret + "\n", encoding="utf-8")
    options = ["--issuer", provider.issuer_url, "--client-id", provider.client_id, "--client-secret-file", str(secret)]
    done = run("token", *options, "--scope", "a", "--scope", "b,c", "--audience", "api", "--audience", "web")
    assert done.returncode == 0, done.stderr
    claims = accepted(provider, done.stdout.strip())
    assert (claims["scope"], claims["aud"]) == ("a b c", ["api", "web"])


def test_a_secret_from_standard_input(provider: Provider, run: Run) -> None:
    variables = access(provider, OIDC_CLIENT_SECRET="")
    done = run("token", "--client-secret-stdin", stdin=provider.client_secret + "\n", **variables)
    assert done.returncode == 0, done.stderr


def test_an_option_wins_over_the_environment(provider: Provider, run: Run) -> None:
    done = run(
        "token", "--client-secret-stdin", stdin=provider.client_secret, **access(provider, OIDC_CLIENT_SECRET="old")
    )
    assert done.returncode == 0, done.stderr


def test_a_secret_that_is_no_text_is_refused_without_a_trace(provider: Provider) -> None:
    variables = access(provider, OIDC_CLIENT_SECRET="")
    done = subprocess.run(
        [sys.executable, "-m", "oidc_actor.cli", "token", "--client-secret-stdin"],
        input=b"\xff\xfe\n",
        capture_output=True,
        timeout=60,
        env=os.environ | variables,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.decode().startswith("oidc-actor token: --client-secret-stdin: expected the secret, got text")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line(provider: Provider) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "oidc_actor.cli", "token"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=os.environ | access(provider),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "oidc-actor: the system refused: No space left on device\n"


def test_the_password_grant(provider: Provider, run: Run) -> None:
    done = run("token", **access(provider, OIDC_USERNAME=provider.username, OIDC_PASSWORD=provider.password))
    assert done.returncode == 0, done.stderr
    assert accepted(provider, done.stdout.strip())["sub"] == provider.username


def test_a_public_client_with_a_password_from_standard_input(provider: Provider, run: Run) -> None:
    provider.add_client("public", None)
    variables = {"OIDC_ISSUER_URL": provider.issuer_url, "OIDC_CLIENT_ID": "public"}
    done = run(
        "token", "--username", provider.username, "--password-stdin", stdin=f"{provider.password}\n", **variables
    )
    assert done.returncode == 0, done.stderr


def test_a_token_endpoint_needs_no_discovery(provider: Provider, run: Run) -> None:
    variables = access(provider, OIDC_ISSUER_URL="", OIDC_TOKEN_ENDPOINT=provider.token_endpoint)
    done = run("token", **variables)
    assert done.returncode == 0, done.stderr
    assert provider.discovery_requests == 0


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        ([], {"OIDC_ISSUER_URL": ""}, "--issuer"),
        ([], {"OIDC_CLIENT_ID": ""}, "--client-id"),
        ([], {"OIDC_TOKEN_ENDPOINT": "http://127.0.0.1/token"}, "--token-endpoint"),
        ([], {"OIDC_ISSUER_URL": "auth.example.com"}, "https://"),
        ([], {"OIDC_ISSUER_URL": "http://auth.example.com"}, "--allow-insecure-http"),
        ([], {"OIDC_CLIENT_SECRET": ""}, "OIDC_CLIENT_SECRET"),
        ([], {"OIDC_CLIENT_AUTH": "magic"}, "client_secret_basic"),
        ([], {"OIDC_USERNAME": "ann"}, "--password-file"),
        ([], {"OIDC_PASSWORD": "pw"}, "--username"),
        (["--client-secret-file", "/no/such/file"], {}, "/no/such/file"),
        (["--ca-bundle", "/no/such/bundle"], {}, "/no/such/bundle"),
        (["--client-secret-stdin"], {}, "standard input"),
        (["--client-secret-stdin", "--password-stdin"], {}, "only one"),
        ([], {"OIDC_CLIENT_SECRET": "caf\udce9"}, "OIDC_CLIENT_SECRET"),
        (["--timeout", "0"], {}, "timeout"),
        (["--nonsense"], {}, "--nonsense"),
    ],
)
def test_mistakes_are_status_2_and_name_the_fix(
    provider: Provider, invoke: Invoke, arguments: list[str], changes: dict[str, str], words: str
) -> None:
    done = invoke("token", *arguments, **access(provider, **changes))
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert provider.token_requests == 0


@pytest.mark.parametrize("option", ["--client-secret", "--password"])
@pytest.mark.parametrize("form", ["{} s3cret-value", "{}=s3cret-value"])
def test_a_secret_as_an_argument_is_refused_and_not_repeated(
    provider: Provider, invoke: Invoke, option: str, form: str
) -> None:
    done = invoke("token", *form.format(option).split(), **access(provider))
    assert done.exit_code == 2
    assert "s3cret-value" not in done.stderr + done.stdout
    assert f"{option}-file" in " ".join(done.stderr.split())


def test_a_refusal_is_status_3_says_why_and_shows_no_secret(provider: Provider, run: Run) -> None:
    done = run("token", **access(provider, OIDC_CLIENT_SECRET="wrong-secret-text"))
    assert (done.returncode, done.stdout) == (3, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "invalid_client" in lines[0]
    assert "secret" in lines[1]
    assert "wrong-secret-text" not in done.stderr


def test_a_wrong_issuer_is_status_3(provider: Provider, run: Run) -> None:
    done = run("token", **access(provider, OIDC_ISSUER_URL=provider.issuer_url + "/"))
    assert done.returncode == 3
    assert "trailing slash" in done.stderr
    missing = run("token", **access(provider, OIDC_ISSUER_URL=provider.issuer_url + "/realms/none"))
    assert missing.returncode == 3
    assert "404" in missing.stderr


def test_a_provider_that_is_down_is_status_4(provider: Provider, run: Run) -> None:
    variables = access(provider)
    provider.down()
    done = run("token", **variables)
    assert (done.returncode, done.stdout) == (4, "")
    assert 1 <= len(done.stderr.splitlines()) <= 2


def test_a_provider_in_trouble_is_status_4_and_says_when(provider: Provider, run: Run) -> None:
    provider.fail_next(status=503, headers={"Retry-After": "17"})
    done = run("token", **access(provider))
    assert done.returncode == 4
    assert "17 s" in done.stderr


def test_a_provider_that_never_answers_is_status_4_in_time(run: Run) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = run("token", "--timeout", "0.3", OIDC_ISSUER_URL=url, OIDC_CLIENT_ID="x", OIDC_CLIENT_SECRET="y")
    assert done.returncode == 4


def test_a_page_instead_of_metadata_is_status_3(provider: Provider, run: Run) -> None:
    provider.fail_next(status=200, body="<html>log in</html>", endpoint="discovery")
    done = run("token", **access(provider))
    assert done.returncode == 3
    assert "JSON" in done.stderr


def test_a_token_for_a_resource_is_asked_for_once_that_names_the_issuer(provider: Provider, run: Run) -> None:
    done = run("token", "--resource-url", provider.resource_url, **access(provider))
    assert done.returncode == 0
    assert read_claims(done.stdout.strip())["aud"] == [provider.resource_url]
    provider.answer_next(changes={"authorization_servers": ["https://x.example"]}, endpoint="resource_metadata")
    done = run("token", "--resource-url", provider.resource_url, **access(provider))
    assert (done.returncode, done.stdout) == (3, "")
    assert "authorization_servers: expected the issuer" in done.stderr
    assert "The API takes the tokens of other servers" in done.stderr
    assert provider.token_requests == 1
