"""Every client authentication method against the certified npm `oidc-provider`; mutual TLS over real TLS.

Theirs: the verification of assertions (signature, audience, lifetime, single use), the comparison of certificates with what is
registered, the binding of tokens. Our configuration of it: which clients there are, and what Node says of a certificate.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.node_provider import NodeProvider, running
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pki import KINDS, Authority, pem

from oidc_actor import (
    ClientCertificate,
    ClientCredentials,
    OIDCConfig,
    PrivateKey,
    SecretFile,
    TokenManager,
    TokenRequestError,
)
from oidc_actor.http.client import RequestsTransport
from oidc_actor.oidc import discover, get_token
from oidc_actor.protocol.response_fields import read_claims

RESOURCE = "https://api.example"  # for a token whose claims can be read
ALGORITHMS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP", "Ed25519": "OKP"}
READERS = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
SHARED_SECRET = "a secret that is long enough to sign with, by far"
GRANTS = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}


class Keys:
    """A private key of each kind, and the clients that have registered their public halves."""

    def __init__(self) -> None:
        self.pems = {kind: pem(make()) for kind, make in KINDS.items()}
        self.jwks = {kind: READERS[kind].import_key(self.pems[kind], {"kid": f"{kind} of 2026"}) for kind in KINDS}

    def clients(self) -> list[dict[str, Any]]:
        return [
            {
                "client_id": f"signs with {algorithm}",
                "token_endpoint_auth_method": "private_key_jwt",
                "token_endpoint_auth_signing_alg": algorithm,
                "jwks": {"keys": [self.jwks[kind].as_dict(private=False)]},
                **GRANTS,
            }
            for algorithm, kind in ALGORITHMS.items()
        ]


KEYS = Keys()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def provider(authority: Authority) -> Iterator[NodeProvider]:
    own_cert, _ = authority.client("own", self_signed=True)
    other_cert, _ = authority.client("bound", self_signed=True)
    tls = {
        "token_endpoint_auth_method": "self_signed_tls_client_auth",
        "tls_client_certificate_bound_access_tokens": True,
    }
    clients = [
        *KEYS.clients(),
        {
            "client_id": "signs with its secret",
            "client_secret": SHARED_SECRET,
            "token_endpoint_auth_method": "client_secret_jwt",
            **GRANTS,
        },
        {
            "client_id": "known by name",
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_subject_dn": "CN=known by name",
            **GRANTS,
        },
        {"client_id": "known by certificate", "jwks": {"keys": [jwk_with(own_cert)]}, **tls, **GRANTS},
        {
            "client_id": "bound",
            "token_endpoint_auth_method": "private_key_jwt",
            "tls_client_certificate_bound_access_tokens": True,
            "jwks": {"keys": [KEYS.jwks["EC"].as_dict(private=False), jwk_with(other_cert)]},
            **GRANTS,
        },
    ]
    with running(clients=clients, tls=authority.server()) as started:
        yield started


@pytest.fixture
def config(provider: NodeProvider, authority: Authority) -> OIDCConfig:
    return discover(provider.issuer_url, ca_bundle=authority.ca)


def jwk_with(cert_file: Path) -> dict[str, Any]:
    """A certificate's public key with its `x5c`, which is what a self-signed one is registered by."""
    from cryptography import x509

    public = x509.load_pem_x509_certificate(cert_file.read_bytes()).public_key()
    jwk = ECKey.import_key(public).as_dict(private=False)
    return {**jwk, "x5c": [base64.b64encode(der(cert_file)).decode()]}


def der(cert_file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(cert_file.read_text())


def thumbprint(cert_file: Path) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(der(cert_file)).digest()).decode().rstrip("=")


# --- signed assertions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pem", "jwk", "file", "callable"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_private_key_jwt(config: OIDCConfig, authority: Authority, tmp_path: Path, algorithm: str, form: str) -> None:
    kind = ALGORITHMS[algorithm]
    file = tmp_path / "key.pem"
    file.write_text(KEYS.pems[kind])
    key = {
        "pem": PrivateKey(KEYS.pems[kind], kid=f"{kind} of 2026", algorithm=algorithm),
        "jwk": PrivateKey(json.dumps(KEYS.jwks[kind].as_dict(private=True)), algorithm=algorithm),
        "file": PrivateKey(SecretFile(file), algorithm=algorithm),
        "callable": PrivateKey(lambda: KEYS.pems[kind], algorithm=algorithm),
    }[form]
    auth = ClientCredentials(f"signs with {algorithm}", private_key=key)
    assert get_token(config, auth, ca_bundle=authority.ca).access_token


@pytest.mark.parametrize("audience", [None, "issuer", "token_endpoint"])
def test_both_audiences_are_taken(config: OIDCConfig, authority: Authority, audience: str | None) -> None:
    auth = ClientCredentials("signs with ES256", private_key=KEYS.pems["EC"], assertion_audience=audience)
    assert get_token(config, auth, ca_bundle=authority.ca).access_token


@pytest.mark.parametrize(
    "proof",
    [
        {"private_key": pem(KINDS["EC"]())},
        {"private_key": KEYS.pems["EC"], "assertion_audience": "https://elsewhere.example"},
        {"private_key": PrivateKey(KEYS.pems["EC"], kid="another")},
    ],
    ids=["another key", "another audience", "another kid"],
)
def test_a_wrong_assertion_is_refused_for_good(config: OIDCConfig, authority: Authority, proof: dict[str, Any]) -> None:
    with pytest.raises(TokenRequestError) as caught:
        get_token(config, ClientCredentials("signs with ES256", **proof), ca_bundle=authority.ca)
    assert (caught.value.error, caught.value.permanent) == ("invalid_client", True)


def test_client_secret_jwt(config: OIDCConfig, authority: Authority) -> None:
    auth = ClientCredentials("signs with its secret", SHARED_SECRET, client_auth="client_secret_jwt")
    assert get_token(config, auth, ca_bundle=authority.ca).access_token


def test_client_secret_jwt_never_sends_the_secret(config: OIDCConfig, authority: Authority) -> None:
    sent: list[bytes] = []
    transport = RequestsTransport(authority.ca)

    def noting(request: Any) -> Any:
        sent.append(request.body + str(dict(request.headers)).encode())
        return transport(request)

    auth = ClientCredentials("signs with its secret", SHARED_SECRET, client_auth="client_secret_jwt")
    assert get_token(config, auth, transport=noting).access_token
    assert len(sent) == 1
    assert b"by+far" not in sent[0]
    assert b"by%20far" not in sent[0]
    transport.close()


def test_a_manager_signs_anew_each_time_and_follows_a_changed_key(
    provider: NodeProvider, authority: Authority, tmp_path: Path
) -> None:
    file = tmp_path / "key.pem"
    file.write_text(pem(KINDS["EC"]()))
    auth = ClientCredentials("signs with ES256", private_key=SecretFile(file))
    ref = TokenManager.start_link(
        issuer_url=provider.issuer_url, auth=auth, ca_bundle=authority.ca, min_interval_seconds=0.05
    )
    try:
        with pytest.raises(Exception, match="invalid_client"):
            TokenManager.get_token(ref, timeout=20.0)
        assert TokenManager.health(ref).blocked
        came = threading.Event()
        TokenManager.subscribe(ref, lambda _: came.set())
        file.write_text(KEYS.pems["EC"])
        assert came.wait(30.0)
        for _ in range(3):  # an assertion that came twice would be refused
            TokenManager.force_refresh(ref, wait=True, timeout=20.0)
    finally:
        TokenManager.stop(ref)


# --- mutual TLS -------------------------------------------------------------------------------------------------------


def test_the_metadata_name_another_address_for_certificates(config: OIDCConfig) -> None:
    assert config.mtls_endpoint_aliases is not None
    assert config.mtls_endpoint_aliases["token_endpoint"] != config.token_endpoint


def test_tls_client_auth(config: OIDCConfig, authority: Authority) -> None:
    certificate = ClientCertificate(*authority.client("known by name"))
    auth = ClientCredentials("known by name", client_certificate=certificate)
    assert get_token(config, auth, ca_bundle=authority.ca).access_token


def test_tls_client_auth_with_an_encrypted_key(config: OIDCConfig, authority: Authority) -> None:
    cert_file, key_file = authority.client("known by name", password="opens it")
    certificate = ClientCertificate(cert_file, key_file, password="opens it")
    auth = ClientCredentials("known by name", client_certificate=certificate)
    assert get_token(config, auth, ca_bundle=authority.ca).access_token


@pytest.mark.parametrize(
    "how", ["another name", "self-signed", "none"], ids=["another name", "not of the authority", "no certificate"]
)
def test_the_wrong_certificate_is_refused(config: OIDCConfig, authority: Authority, how: str) -> None:
    options: dict[str, Any] = {"client_auth": "none"}
    if how != "none":
        name = "known by name" if how == "self-signed" else "somebody else"
        files = authority.client(name, self_signed=how == "self-signed")
        options = {"client_certificate": ClientCertificate(*files)}
    with pytest.raises(TokenRequestError) as caught:
        get_token(config, ClientCredentials("known by name", **options), ca_bundle=authority.ca)
    assert (caught.value.error, caught.value.permanent) == ("invalid_client", True)


def test_self_signed_tls_client_auth_binds_the_token(config: OIDCConfig, authority: Authority) -> None:
    cert_file, key_file = authority.ca.parent / "own.cert.pem", authority.ca.parent / "own.key.pem"
    auth = ClientCredentials(
        "known by certificate",
        resource=RESOURCE,
        client_auth="self_signed_tls_client_auth",
        client_certificate=ClientCertificate(cert_file, key_file),
    )
    token = get_token(config, auth, ca_bundle=authority.ca)
    assert dict(read_claims(token.access_token)["cnf"]) == {"x5t#S256": thumbprint(cert_file)}


def test_a_private_key_beside_a_certificate(config: OIDCConfig, authority: Authority) -> None:
    cert_file, key_file = authority.ca.parent / "bound.cert.pem", authority.ca.parent / "bound.key.pem"
    auth = ClientCredentials(
        "bound",
        resource=RESOURCE,
        private_key=KEYS.pems["EC"],
        client_certificate={"cert_file": cert_file, "key_file": str(key_file)},
    )
    token = get_token(config, auth, ca_bundle=authority.ca)
    assert dict(read_claims(token.access_token)["cnf"]) == {"x5t#S256": thumbprint(cert_file)}


def test_a_manager_shows_a_replaced_certificate(provider: NodeProvider, authority: Authority) -> None:
    certificate = ClientCertificate(*authority.client("somebody else"))
    auth = ClientCredentials("known by name", client_certificate=certificate)
    ref = TokenManager.start_link(
        issuer_url=provider.issuer_url, auth=auth, ca_bundle=authority.ca, min_interval_seconds=0.05
    )
    try:
        with pytest.raises(Exception, match="invalid_client"):
            TokenManager.get_token(ref, timeout=20.0)
        came = threading.Event()
        TokenManager.subscribe(ref, lambda _: came.set())
        cert_file, key_file = authority.client("known by name")
        # The key first: a request in between finds two that do not fit, which ends that attempt only.
        key_file.replace(certificate.key_file)  # type: ignore[arg-type]
        cert_file.replace(certificate.cert_file)
        assert came.wait(30.0)
    finally:
        TokenManager.stop(ref)
