"""The doctor's conclusions: every check, every result."""

from __future__ import annotations

import pytest
from fakes import AUTH

from oidc_actor.cli import findings
from oidc_actor.cli.findings import Finding
from oidc_actor.machine.forecast import Plan
from oidc_actor.values.clock import Skew

ISSUER = "https://auth.example"


@pytest.mark.parametrize(
    ("named", "result", "words"),
    [
        (ISSUER, "pass", "exactly"),
        (ISSUER + "/", "fail", "slash"),
        ("https://other.example", "fail", "another issuer"),
        (None, "fail", "no issuer"),
        (7, "fail", "no issuer"),
    ],
)
def test_issuer(named: object, result: str, words: str) -> None:
    finding = findings.judge_issuer(ISSUER, named)
    assert finding.result == result
    assert words in finding.found
    assert (finding.fix is None) == (result == "pass")


@pytest.mark.parametrize(
    ("loopback", "version", "days", "error", "result"),
    [
        (False, "TLSv1.3", 100.0, None, "pass"),
        (False, "TLSv1.3", None, None, "pass"),
        (False, "TLSv1.2", 3.0, None, "warn"),
        (False, None, None, "certificate verify failed", "fail"),
        (True, None, None, None, "pass"),
        (False, None, None, None, "warn"),
    ],
)
def test_tls(loopback: bool, version: str | None, days: float | None, error: str | None, result: str) -> None:
    finding = findings.judge_tls(ISSUER, loopback=loopback, version=version, days_left=days, error=error)
    assert finding.result == result
    assert ISSUER in finding.found
    assert (finding.fix is None) == (result == "pass")


def test_a_server_without_tls_is_another_matter_than_a_bad_certificate() -> None:
    finding = findings.judge_tls(ISSUER, loopback=False, error="no TLS there", spoke_tls=False)
    assert finding.result == "fail"
    assert "--ca-bundle" not in str(finding.fix)


@pytest.mark.parametrize(
    ("offered", "result"),
    [(["client_secret_basic"], "pass"), (None, "pass"), (["private_key_jwt"], "warn"), ([], "warn")],
)
def test_client_auth(offered: list[str] | None, result: str) -> None:
    assert findings.judge_client_auth("client_secret_basic", offered).result == result


@pytest.mark.parametrize(
    ("expires_in", "source", "buffer", "result", "words"),
    [
        (3600.0, "expires_in", 60.0, "pass", "60 s before"),
        (90.0, "expires_in", 60.0, "warn", "half"),
        (120.0, "exp", 60.0, "pass", "by exp"),
        (None, "expires_in", 60.0, "warn", "does not say"),
        (300.0, "default", 60.0, "warn", "does not say"),
        (0.5, "expires_in", 0.0, "pass", "0.5 s"),
    ],
)
def test_lifetime(expires_in: float | None, source: str, buffer: float, result: str, words: str) -> None:
    finding = findings.judge_lifetime(expires_in, source, buffer)
    assert finding.result == result
    assert words in finding.found


@pytest.mark.parametrize(
    ("claims", "result", "words"),
    [
        ({"iss": ISSUER, "aud": "api", "iat": 0, "exp": 60}, "pass", "not verified"),
        ({"iss": ISSUER, "aud": ["other", "api"]}, "pass", "aud"),
        ({"iss": ISSUER, "aud": "other"}, "warn", "not made for api"),
        ({"iss": "https://other", "aud": "api"}, "warn", "another issuer"),
        ({"iss": ISSUER, "aud": "api", "iat": 0, "exp": 10}, "warn", "before expires_in"),
        ({}, "pass", "opaque"),
    ],
)
def test_claims(claims: dict[str, object], result: str, words: str) -> None:
    finding = findings.judge_claims(claims, issuer=ISSUER, audience=["api"], expires_in_s=60)
    assert finding.result == result
    assert words in finding.found


@pytest.mark.parametrize(
    ("ahead", "result", "words"),
    [
        (0.0, "pass", "agree"),
        (6.0, "pass", "agree"),
        (-60.0, "warn", "60 s ahead of the server"),
        (60.0, "warn", "60 s behind the server"),
        (4000.0, "fail", "4000 s behind"),
    ],
)
def test_clock(ahead: float, result: str, words: str) -> None:
    finding = findings.judge_clock(Skew(ahead, 1.5))
    assert finding.result == result
    assert words in finding.found


def test_a_skipped_check_needs_no_fix() -> None:
    assert findings.skipped("tls", "no address") == Finding("tls", "skip", "no address", None)


@pytest.mark.parametrize(
    "error", ["Hostname mismatch, certificate is not valid for 'x'.", "IP address mismatch, not valid for '1.2.3.4'."]
)
def test_no_ca_mends_a_certificate_of_another_name(error: str) -> None:
    fix = findings.judge_tls("https://x", loopback=False, error=f"the certificate is not accepted: {error}").fix
    assert fix is not None
    assert fix.startswith("Use the name that the server's certificate has")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (49.9999, "50 s"),
        (130.7, "2 min 10 s"),
        (120, "2 min"),
        (3600, "1 h"),
        (43_190, "11 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_time_is_said_as_a_person_says_it(seconds: float, words: str) -> None:
    assert findings.spoken(seconds) == words


@pytest.mark.parametrize(
    ("plan", "result", "words", "fix"),
    [
        (Plan(AUTH, 300, 140, took_s=0.01), "pass", "up to 2 min 9 s is always survived, 4 min 49 s at best", None),
        (Plan(AUTH, 3600), "pass", "up to 50 s is always", "refresh_buffer_seconds=1800 (half of the token's life"),
        (Plan(AUTH, 10), "warn", "no outage is always survived, one of up to", "timeout_seconds=0.5 would make it"),
        (Plan(AUTH, 300, 5), "warn", "no outage is always survived", "would make it 2 min 19 s"),
    ],
)
def test_outages(plan: Plan, result: str, words: str, fix: str | None) -> None:
    finding = findings.judge_outages(plan)
    assert (finding.result, words in finding.found) == (result, True), finding.found
    assert finding.fix is None if fix is None else fix in str(finding.fix), finding.fix
