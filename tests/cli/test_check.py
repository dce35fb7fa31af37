"""`oidc-actor check`: healthy, and one test for each thing that can be wrong."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pki import KINDS, pem

from oidc_actor import Password
from oidc_actor.oidc import discover, get_token
from oidc_actor.testing import Provider

Run = Callable[..., subprocess.CompletedProcess[str]]

CHECKS = ["discovery", "issuer", "tls", "client auth", "token", "lifetime", "outages", "claims", "clock"]


def access(provider: Provider, **changes: str) -> dict[str, str]:
    return {
        "OIDC_ISSUER_URL": provider.issuer_url,
        "OIDC_CLIENT_ID": provider.client_id,
        "OIDC_CLIENT_SECRET": provider.client_secret,
    } | changes


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}


def results(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {check: finding["result"] for check, finding in findings(done).items()}


def test_all_well(provider: Provider, run: Run) -> None:
    done = run("check", "--json", **access(provider))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] is True
    assert results(done) == dict.fromkeys(CHECKS, "pass")
    assert (provider.discovery_requests, provider.token_requests) == (1, 1)


def test_a_refresh_token_is_one_processs_and_that_is_said(provider: Provider, run: Run) -> None:
    variables = access(provider, OIDC_USERNAME=provider.username, OIDC_PASSWORD=provider.password)
    done = run("check", "--json", **variables)
    assert done.returncode == 0
    said = findings(done)["refresh token"]
    assert said["result"] == "pass"
    assert "several processes with one refresh token, or a restart" in said["fix"]
    assert "lose the login" in said["fix"]


def test_the_table_has_every_check_and_shows_neither_secret_nor_token(provider: Provider, run: Run) -> None:
    done = run("check", **access(provider))
    assert done.returncode == 0
    assert next(line for line in done.stdout.splitlines() if line.startswith("pass")).split()[1] == "discovery"
    assert all(check in done.stdout for check in CHECKS)
    assert provider.client_secret not in done.stdout
    assert "eyJ" not in done.stdout
    assert "9 pass" in done.stdout


def test_a_wrong_secret_fails_the_token_and_says_what_to_do(provider: Provider, run: Run) -> None:
    done = run("check", "--json", **access(provider, OIDC_CLIENT_SECRET="wrong-secret-text"))
    assert done.returncode == 1
    assert results(done) == dict.fromkeys(CHECKS, "pass") | {
        "token": "fail",
        "lifetime": "skip",
        "outages": "skip",
        "claims": "skip",
    }
    assert "Check the client id and its secret" in findings(done)["token"]["fix"]
    assert "wrong-secret-text" not in done.stdout


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (["--private-key-file", "k.pem", "--key-id", "other"], ["private key", "JWKS", "--key-id"]),
        (["--private-key-file", "k.pem"], ["private key", "JWKS", "--key-id"]),
        (["--client-auth", "none"], ["has to prove itself"]),
        (["--client-auth", "client_secret_jwt"], ["its secret"]),
    ],
)
@pytest.mark.parametrize("command", ["check", "token"])
def test_a_refused_client_is_told_of_the_proof_that_it_gave(
    provider: Provider, run: Run, tmp_path: Path, proof: list[str], words: list[str], command: str
) -> None:
    (tmp_path / "k.pem").write_text(pem(KINDS["RSA"]()))
    with_secret = proof[-1] == "client_secret_jwt"
    secret = provider.client_secret if with_secret else ""
    provider.fail_next(2, status=401, body='{"error": "invalid_client"}')
    options = [str(tmp_path / one) if one == "k.pem" else one for one in proof]
    done = run(command, *options, **access(provider, OIDC_CLIENT_SECRET=secret))
    said = done.stdout if command == "check" else done.stderr
    assert done.returncode == (1 if command == "check" else 3)
    assert all(word in said for word in words), said
    assert ("its secret" in said) is with_secret


def test_a_client_that_must_use_the_other_method_is_told_which(provider: Provider, run: Run) -> None:
    provider.add_client("post-only", "post-only-secret", ["client_secret_post"])
    variables = access(provider, OIDC_CLIENT_ID="post-only", OIDC_CLIENT_SECRET="post-only-secret")
    done = run("check", "--json", **variables)
    assert done.returncode == 1
    assert "--client-auth client_secret_post" in findings(done)["token"]["fix"]
    mended = run("check", "--json", "--client-auth", "client_secret_post", **variables)
    assert mended.returncode == 0


def test_a_slash_too_many_fails_the_issuer_only(provider: Provider, run: Run) -> None:
    done = run("check", "--json", **access(provider, OIDC_ISSUER_URL=provider.issuer_url + "/"))
    assert done.returncode == 1
    assert results(done) == dict.fromkeys(CHECKS, "pass") | {"issuer": "fail"}
    assert findings(done)["issuer"]["fix"] == f"Use --issuer {provider.issuer_url}"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 404}, "realm"),
        ({"status": 503, "headers": {"Retry-After": "9"}}, "in 9 s"),
        ({"status": 200, "body": "<html>"}, None),
    ],
)
def test_no_metadata_fails_discovery_and_skips_what_needs_them(
    provider: Provider, run: Run, fault: dict[str, object], words: str | None
) -> None:
    provider.fail_next(endpoint="discovery", **fault)
    done = run("check", "--json", **access(provider))
    assert done.returncode == 1
    expected = {"discovery": "fail", "issuer": "skip", "client auth": "skip", "token": "skip"}
    assert expected.items() <= results(done).items()
    assert results(done)["clock"] == "pass"
    assert words is None or words in findings(done)["discovery"]["fix"]


def test_each_address_that_was_asked_is_said(provider: Provider, run: Run) -> None:
    variables = access(provider, OIDC_ISSUER_URL=f"{provider.issuer_url}/tenant")
    said = findings(run("check", "--json", **variables))["discovery"]
    paths = [
        "/tenant/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/tenant",
        "/tenant/.well-known/oauth-authorization-server",
    ]
    assert re.findall(rf"{provider.issuer_url}(\S+?)(?: failed)?: HTTP 404", said["found"]) == paths


def test_the_document_that_was_found_is_said(run: Run) -> None:
    with Provider(documents=("oauth-authorization-server",), path="/tenant", token_lifetime_s=3600) as provider:
        done = run("check", "--json", **access(provider))
        assert results(done) == dict.fromkeys(CHECKS, "pass")
        at = provider.listen_url
        assert (
            findings(done)["discovery"]["found"].split(", ")[0] == f"{at}/.well-known/oauth-authorization-server/tenant"
        )
        absent = f"none at {at}/tenant/.well-known/openid-configuration (HTTP 404)"
        assert findings(done)["discovery"]["found"].endswith(absent)


# --- the resource that the token is for


def test_a_resource_that_names_the_issuer(provider: Provider, run: Run) -> None:
    done = run("check", "--json", "--resource-url", provider.resource_url, **access(provider))
    assert done.returncode == 0
    assert list(results(done)) == [*CHECKS[:2], "resource", *CHECKS[2:]]
    said = findings(done)
    assert said["resource"]["result"] == "pass"
    assert said["resource"]["found"].startswith(f"it takes tokens of this issuer: {provider.listen_url}/.well-known/")
    assert f"aud={provider.resource_url}" in said["claims"]["found"]


@pytest.mark.parametrize(
    ("changes", "result", "found", "fix"),
    [
        (
            {"resource": "https://api.example"},
            "fail",
            "expected the resource",
            "Use --resource-url https://api.example",
        ),
        (
            {"authorization_servers": ["https://x.example"]},
            "fail",
            "among them",
            "It takes tokens of https://x.example",
        ),
        ({"dpop_bound_access_tokens_required": True}, "warn", "bound to a key", "Add --dpop"),
        ({"tls_client_certificate_bound_access_tokens": True}, "warn", "client's certificate", "--client-cert"),
        ({"bearer_methods_supported": ["body"]}, "warn", "only by: body", "The adapters send a token in"),
    ],
)
def test_a_resource_that_does_not_fit(
    changes: dict[str, object], result: str, found: str, fix: str, provider: Provider, run: Run
) -> None:
    provider.answer_next(None, changes=changes, endpoint="resource_metadata")
    done = run("check", "--json", **access(provider, OIDC_RESOURCE_URL=provider.resource_url))
    said = findings(done)["resource"]
    assert (done.returncode, said["result"]) == (1 if result == "fail" else 0, result)
    assert found in said["found"]
    assert said["fix"].startswith(fix) or fix in said["fix"]


def test_a_resource_without_metadata(provider: Provider, run: Run) -> None:
    done = run("check", "--json", "--resource-url", f"{provider.issuer_url}/other", **access(provider))
    said = findings(done)["resource"]
    assert said["result"] == "fail"
    assert said["found"].count("HTTP 404: expected the resource's metadata, got none") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--token-endpoint", "https://x.example/t"], "--resource-url: expected --issuer beside it"),
        (["--issuer", "https://x.example", "--resource", "https://y.example"], "--resource: expected none beside"),
        (
            ["--issuer", "https://x.example", "--resource-url", "http://y.example"],
            "--resource-url: expected https, got",
        ),
    ],
)
def test_a_resource_that_cannot_be_asked_is_status_2(options: list[str], message: str, run: Run) -> None:
    client = ["--client-id", "id", "--client-auth", "none"]
    done = run("check", "--resource-url", "https://api.example", *client, *options)
    assert done.returncode == 2
    assert message in done.stderr


def test_metadata_of_a_stranger_fail_the_issuer(provider: Provider, run: Run) -> None:
    stranger = {"issuer": "https://stranger.example", "token_endpoint": provider.token_endpoint}
    provider.fail_next(status=200, body=json.dumps(stranger), endpoint="discovery")
    done = run("check", "--json", **access(provider))
    assert results(done)["issuer"] == "fail"
    assert "https://stranger.example" in findings(done)["issuer"]["fix"]


def test_a_provider_that_is_down(provider: Provider, run: Run) -> None:
    variables = access(provider)
    provider.down()
    done = run("check", "--json", **variables)
    assert done.returncode == 1
    assert results(done)["discovery"] == "fail"
    assert results(done)["clock"] == "skip"


def test_a_short_life_is_a_warning_and_no_failure(provider: Provider, run: Run) -> None:
    provider.token_lifetime_s = 30
    done = run("check", "--json", **access(provider))
    assert done.returncode == 0
    assert results(done)["lifetime"] == "warn"
    assert run("check", "--json", "--refresh-buffer", "10", **access(provider)).returncode == 0


def test_the_outages_that_are_survived_are_forecast(provider: Provider, run: Run) -> None:
    provider.token_lifetime_s = 300
    said = findings(run("check", "--json", **access(provider)))["outages"]
    # A second less where this machine is slow: what an answer takes is counted, too.
    assert re.search(r"an outage of up to (50|49) s is always survived, 4 min (49|48) s at best$", said["found"])
    assert re.match(r"refresh_buffer_seconds=150 .* would make it 2 min (19|18) s\.$", said["fix"])
    most = run("check", "--json", "--refresh-buffer", "150", "--timeout", "2", **access(provider))
    assert re.search(r"2 min 2[678] s is always survived", findings(most)["outages"]["found"])
    assert findings(most)["outages"]["fix"] is None


@pytest.mark.parametrize(("skew_s", "result", "status"), [(-90.0, "warn", 0), (4000.0, "fail", 1)])
def test_a_wrong_clock(provider: Provider, run: Run, skew_s: float, result: str, status: int) -> None:
    provider.clock_skew_s = skew_s
    done = run("check", "--json", **access(provider))
    assert (done.returncode, results(done)["clock"]) == (status, result)


def test_an_audience_asked_for_is_found_in_the_claims(provider: Provider, run: Run) -> None:
    given = run("check", "--json", "--audience", "api", **access(provider))
    assert results(given)["claims"] == "pass"
    assert "aud=api" in findings(given)["claims"]["found"]


def test_a_token_endpoint_skips_discovery(provider: Provider, run: Run) -> None:
    variables = access(provider, OIDC_ISSUER_URL="", OIDC_TOKEN_ENDPOINT=provider.token_endpoint)
    done = run("check", "--json", **variables)
    assert done.returncode == 0
    assert {"discovery": "skip", "issuer": "skip", "token": "pass"}.items() <= results(done).items()


def test_wrong_options_are_status_2(run: Run) -> None:
    done = run("check", OIDC_ISSUER_URL="https://auth.example")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--client-id" in done.stderr


def test_tls_that_is_not_trusted_fails_and_the_bundle_mends_it(run: Run) -> None:
    with Provider(tls=True, token_lifetime_s=600) as provider:
        untrusted = run("check", "--json", **access(provider))
        trusted = run("check", "--json", "--ca-bundle", str(provider.ca_bundle), **access(provider))
        token = run("token", "--ca-bundle", str(provider.ca_bundle), **access(provider))
    assert untrusted.returncode == 1
    assert {"discovery": "fail", "tls": "fail"}.items() <= results(untrusted).items()
    assert "--ca-bundle" in findings(untrusted)["tls"]["fix"]
    assert trusted.returncode == 0, trusted.stdout
    assert "TLSv1.3" in findings(trusted)["tls"]["found"]
    assert token.returncode == 0


def test_what_is_piped_is_neither_broken_nor_cut(provider: Provider, run: Run) -> None:
    done = run("check", **access(provider, OIDC_CLIENT_SECRET="a-wrong-secret", COLUMNS="40"))
    lines = done.stdout.splitlines()
    assert any("invalid_client" in line for line in lines)
    assert sum("Check the client id" in line and "(--client-auth)." in line for line in lines) == 1
    assert len([line for line in lines if line[:1].strip()]) == len(CHECKS) + 1


@pytest.mark.parametrize("forced", [{}, {"FORCE_COLOR": "1"}, {"TERM": "xterm-256color", "NO_COLOR": ""}])
def test_what_is_piped_is_plain_text(provider: Provider, run: Run, forced: dict[str, str]) -> None:
    variables = access(provider, OIDC_CLIENT_SECRET="a-wrong-secret") | forced
    for done in (run("check", **variables), run("check", "--client-secret", "x", **variables)):
        assert not re.search(r"[\x1b─│╭→]", done.stdout + done.stderr), done.stdout + done.stderr
    assert run("check", PYTHONIOENCODING="ascii", **variables).returncode == 1


def test_a_refresh_token_is_redeemed_and_its_successor_kept(provider: Provider, run: Run, tmp_path: Path) -> None:
    login = Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    first = str(get_token(discover(provider.issuer_url), login).refresh_token)
    kept = tmp_path / "login"
    kept.write_text(first)
    for _ in range(2):  # the second redeems what the first has kept
        done = run("check", "--json", "--refresh-token-file", str(kept), **access(provider))
        assert (done.returncode, results(done)["token"]) == (0, "pass"), done.stdout
        assert kept.read_text() not in ("", first)
    assert provider.refresh_tokens_reused == 0


@pytest.mark.parametrize("more", [[], ["--username", "u"]])
def test_no_refresh_token_is_redeemed_whose_successor_cannot_be_kept(
    provider: Provider, run: Run, tmp_path: Path, more: list[str]
) -> None:
    variables = access(provider) | ({"OIDC_PASSWORD": "p"} if more else {})
    done = run("check", "--refresh-token-file", str(tmp_path / "missing"), *more, **variables)
    assert (done.returncode, provider.token_requests) == (2, 0)
    assert "--refresh-token-file" in done.stderr


def test_the_identity_of_the_place_is_shown(provider: Provider, run: Run, tmp_path: Path) -> None:
    """What the provider has to be told of it: who signs it, whom it names, and for whom."""
    claims = (
        base64.urlsafe_b64encode(b'{"iss":"https://eks","sub":"system:sa:billing","aud":["a","b"]}')
        .decode()
        .rstrip("=")
    )
    (tmp_path / "token").write_text(f"eyJhbGciOiJub25lIn0.{claims}.hunter2")
    variables = access(provider, OIDC_CLIENT_SECRET="", AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"))
    done = run("check", "--json", "--workload-identity", "api", **variables)
    found = findings(done)["identity"]
    assert found["result"] == "pass"
    place = "AWS (EKS) (AWS_WEB_IDENTITY_TOKEN_FILE)"
    assert found["found"] == f"found {place}: iss https://eks, sub system:sa:billing, aud a and b"
    assert "hunter2" not in done.stdout
    (tmp_path / "token").unlink()
    found = findings(run("check", "--json", **variables, OIDC_WORKLOAD_IDENTITY="api"))["identity"]
    assert (found["result"], "No such file" in found["found"]) == ("fail", True)


def test_where_there_is_no_identity_that_is_said(provider: Provider, run: Run) -> None:
    done = run("check", "--workload-identity", "api", **access(provider, OIDC_CLIENT_SECRET=""))
    assert done.returncode == 2
    assert "expected a place that gives programs an identity, found none" in " ".join(done.stderr.split())
