"""The sidecar before the certified npm `oidc-provider`: the grants that trade a token, and a client that signs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.node_provider import CLIENTS, NodeProvider, running
from joserfc import jwt
from joserfc.jwk import ECKey
from pki import Authority
from sidecar.sidecar import Sidecar
from threads import eventually

from oidc_actor.protocol.response_fields import read_claims

WORKLOAD = "https://workloads.example"
WORKLOAD_KEY = ECKey.generate_key("P-256", {"kid": "workload"})
CLIENT_KEY = ECKey.generate_key("P-256", {"kid": "client"})
RESOURCE = "https://api.example"  # for a token whose claims can be read
SECRET = CLIENTS["client_secret_basic"]["client_secret"]


@pytest.fixture(scope="module")
def provider() -> Iterator[NodeProvider]:
    client = {
        "client_id": "signs",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks": {"keys": [CLIENT_KEY.as_dict(private=False)]},
    }
    workload = {"issuer": WORKLOAD, "jwks": {"keys": [WORKLOAD_KEY.as_dict(private=False)]}}
    with running(workload=workload, clients=[client], token_lifetime_s=600) as started:
        yield started


def tables(provider: NodeProvider, resource: str = RESOURCE) -> str:
    """The one that trades comes before the one whose token it trades."""
    basic = (
        f'issuer_url = "{provider.issuer_url}"\nclient_id = "basic:client"\nclient_secret = {{ env = "THE_SECRET" }}'
    )
    signs = f'issuer_url = "{provider.issuer_url}"\nclient_id = "signs"'
    return f"""
        [server]
        unix_socket = "tokens.sock"
        wait_seconds = 20

        [managers.traded]
        {basic}
        grant = "token_exchange"
        subject_token = {{ manager = "signing" }}
        actor_token = {{ file = "projected" }}
        actor_token_type = "jwt"
        resource = "{RESOURCE}"

        [managers.signing]
        {signs}
        private_key = {{ key = {{ file = "client.pem" }}, kid = "client" }}

        [managers.asserting]
        {signs}
        resource = "{resource}"

        [managers.asserting.client_assertion]
        key = {{ file = "client.pem" }}
        kid = "client"
        issuer = "signs"
        audience = "{provider.issuer_url}"

        [managers.bearing]
        {basic}
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        resource = "{RESOURCE}"

        [managers.bearing.assertion]
        key = {{ file = "workload.pem" }}
        kid = "workload"
        issuer = "{WORKLOAD}"
        subject = "robot"
        audience = "{provider.issuer_url}"
        """


@pytest.fixture
def sidecar(provider: NodeProvider, tmp_path: Path) -> Iterator[Sidecar]:
    (tmp_path / "client.pem").write_bytes(CLIENT_KEY.as_pem(private=True))
    (tmp_path / "workload.pem").write_bytes(WORKLOAD_KEY.as_pem(private=True))
    claims = {"iss": WORKLOAD, "sub": "pod", "aud": provider.issuer_url, "exp": int(time.time() + 600)}
    (tmp_path / "projected").write_text(jwt.encode({"alg": "ES256", "kid": "workload"}, claims, WORKLOAD_KEY))
    (tmp_path / "config.toml").write_text(tables(provider))
    with Sidecar(tmp_path, "debug", THE_SECRET=SECRET) as started:
        eventually(lambda: started.get("/readyz").status == 200, "a token for each manager")
        yield started


def claims_of(sidecar: Sidecar, name: str) -> dict[str, Any]:
    return dict(read_claims(sidecar.get(f"/token/{name}").token))


def test_each_gets_its_token(sidecar: Sidecar) -> None:
    traded, bearing, asserting = (claims_of(sidecar, name) for name in ("traded", "bearing", "asserting"))
    assert (traded["acts_as"], traded["actor"], traded["aud"]) == ("signs", "pod", RESOURCE)
    assert (bearing["acts_as"], bearing["aud"]) == ("robot", RESOURCE)
    assert asserting["client_id"] == "signs"
    log = sidecar.log
    for name in ("traded", "signing", "bearing", "asserting"):
        assert sidecar.get(f"/token/{name}").token not in log
    assert (sidecar.directory / "projected").read_text() not in log
    assert SECRET not in log


def test_a_reload_leaves_all_that_are_unchanged_alone(provider: NodeProvider, sidecar: Sidecar) -> None:
    names = ("traded", "signing", "bearing", "asserting")
    before = {name: sidecar.get(f"/token/{name}").token for name in names}
    spent = provider.stats()
    sidecar.hang_up()
    assert {name: sidecar.get(f"/token/{name}").token for name in names} == before
    assert provider.stats() == spent
    assert "kept=4" in sidecar.log
    sidecar.config.write_text(tables(provider, "https://other.example"))
    sidecar.hang_up()
    eventually(lambda: claims_of(sidecar, "asserting")["aud"] == "https://other.example", "the changed one's token")
    assert {name: sidecar.get(f"/token/{name}").token for name in names[:3]} == {
        name: before[name] for name in names[:3]
    }
    assert "kept=3 started=0 replaced=1" in sidecar.log


def test_a_certificate_over_real_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.client("known by name", password="the key's password")
    client = {
        "client_id": "known by name",
        "token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_subject_dn": "CN=known by name",
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
    }
    with running(clients=[client], tls=authority.server()) as provider:
        (tmp_path / "config.toml").write_text(
            f"""
            [server]
            unix_socket = "tokens.sock"
            [managers.mutual]
            issuer_url = "{provider.issuer_url}"
            ca_bundle = "{authority.ca.name}"
            client_id = "known by name"
            client_auth = "tls_client_auth"
            client_certificate = {{ cert_file = "{cert.name}", key_file = "{key.name}", password = {{ env = "THE_SECRET" }} }}
            """
        )
        with Sidecar(tmp_path, THE_SECRET="the key's password") as sidecar:
            assert sidecar.get("/token/mutual").token
