"""The embedded provider's DPoP (RFC 9449), by proofs that are as they should be but for one thing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import ECKey

from oidc_actor import ClientCredentials, DPoPKey, oidc
from oidc_actor.testing import Provider
from oidc_actor.testing.dpop import ProofRefused, Proofs

URL = "https://api.example/items"
KEY = ECKey.generate_key("P-256")
OTHER = ECKey.generate_key("P-256")
ATH = "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A"  # of "token"


def proof(*, header: dict[str, Any] | None = None, signed_by: ECKey = KEY, **claims: Any) -> str:
    said = {"jti": "j", "htm": "GET", "htu": URL, "iat": int(time.time()), **claims}
    full = {"alg": "ES256", "typ": "dpop+jwt", "jwk": KEY.as_dict(private=False), **(header or {})}
    return jwt.encode(full, {name: value for name, value in said.items() if value is not None}, signed_by)


def checked(text: str | None, proofs: Proofs | None = None, **options: Any) -> str | ProofRefused:
    return (proofs or Proofs(time.time)).check(text, method="GET", url=URL, **options)


def test_a_good_one_is_taken_once() -> None:
    proofs, text = Proofs(time.time), proof()
    assert checked(text, proofs) == KEY.thumbprint()
    assert checked(text, proofs) == ProofRefused("invalid_dpop_proof", "jti: it was taken before")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": {"typ": "jwt"}}, "cannot be read"),
        ({"header": {"jwk": KEY.as_dict(private=True)}}, "cannot be read"),
        ({"header": {"jwk": OTHER.as_dict(private=False)}}, "cannot be read"),
        ({"signed_by": OTHER}, "cannot be read"),
        ({"htm": "POST"}, "htm: expected 'GET', got 'POST'"),
        ({"htu": URL + "/"}, "htu: expected"),
        ({"ath": ATH}, "ath: expected None"),
        ({"iat": 1_800_000_000}, "iat: expected about now"),
        ({"iat": None}, "iat: expected about now"),
        ({"jti": None}, "jti: expected a text"),
    ],
)
def test_one_thing_wrong(changes: dict[str, Any], reason: str) -> None:
    found = checked(proof(**changes))
    assert isinstance(found, ProofRefused)
    assert (found.error, reason in found.reason) == ("invalid_dpop_proof", True), found


@pytest.mark.parametrize(("text", "reason"), [(None, "no proof"), ("x", "cannot be read"), ("a.b.c", "cannot be read")])
def test_what_is_no_proof(text: str | None, reason: str) -> None:
    found = checked(text)
    assert isinstance(found, ProofRefused)
    assert reason in found.reason


def test_it_names_the_token_that_it_goes_with() -> None:
    assert isinstance(checked(proof(), access_token="token"), ProofRefused)
    assert isinstance(checked(proof(ath=ATH), access_token="another"), ProofRefused)


def test_nonces() -> None:
    proofs = Proofs(time.time)
    proofs.want("one")
    assert proofs.nonce == "one"
    assert checked(proof(jti="1"), proofs) == ProofRefused("use_dpop_nonce", "nonce: expected the newest")
    assert checked(proof(jti="2", nonce="one"), proofs) == KEY.thumbprint()
    proofs.want("two", keep=1)
    assert checked(proof(jti="3", nonce="one"), proofs) == KEY.thumbprint()
    proofs.want("three")
    assert isinstance(checked(proof(jti="4", nonce="two"), proofs), ProofRefused)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def test_a_bound_token_is_taken_with_a_proof_of_its_key_only(provider: Provider) -> None:
    key, other = DPoPKey(), DPoPKey()
    auth = ClientCredentials(provider.client_id, provider.client_secret, dpop=key)
    token = oidc.get_token(oidc.discover(provider.issuer_url), auth)
    assert token.token_type == "DPoP"

    def ask(scheme: str, by: DPoPKey | None, **options: Any) -> tuple[int, str | None]:
        made = {"now_wall": time.time(), "jti": str(time.monotonic_ns()), "access_token": token.access_token, **options}
        proved = {} if by is None else {"DPoP": by.proof("GET", provider.resource_url, **made).reveal()}
        sent = {"Authorization": f"{scheme} {token.access_token}", **proved}
        answer = requests.get(provider.resource_url, headers=sent, timeout=10)
        return answer.status_code, answer.headers.get("WWW-Authenticate", "").partition(", resource_metadata=")[
            0
        ] or None

    assert ask("DPoP", key) == (200, None)
    assert ask("DPoP", None) == (401, 'DPoP error="invalid_dpop_proof"')
    assert ask("DPoP", key, access_token="another") == (401, 'DPoP error="invalid_dpop_proof"')
    assert ask("DPoP", other) == (401, 'DPoP error="invalid_token"')
    assert ask("Bearer", None) == (401, 'Bearer error="invalid_token"')


def test_a_bad_proof_gets_no_token(provider: Provider) -> None:
    data, auth = {"grant_type": "client_credentials"}, (provider.client_id, provider.client_secret)
    url = f"{provider.issuer_url}/token"
    answer = requests.post(url, data=data, auth=auth, headers={"DPoP": proof()}, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


def test_a_token_without_a_proof_is_a_bearers(provider: Provider) -> None:
    auth = ClientCredentials(provider.client_id, provider.client_secret)
    token = oidc.get_token(oidc.discover(provider.issuer_url), auth)
    sent = {"Authorization": f"DPoP {token.access_token}", "DPoP": proof()}
    assert requests.get(provider.resource_url, headers=sent, timeout=10).status_code == 401
