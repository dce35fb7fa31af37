"""An authority, a server's certificate for loopback, clients' certificates and keys: made on the spot, as files."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

KINDS: dict[str, Any] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
    "OKP": ed25519.Ed25519PrivateKey.generate,
}


def pem(key: Any, password: str | None = None) -> str:
    """A private key as PKCS#8."""
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs certificates into a folder.

    Attributes:
        ca: PEM file of its own certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = KINDS["EC"]()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        certificate = _builder(self._name, self._name, self._key, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        certificate = certificate.add_extension(_SIGNS_CERTIFICATES, critical=True)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def server(self, address: str = "127.0.0.1", *, expired: bool = False) -> dict[str, str]:
        """Files for a server on that address of loopback, which is to trust this authority."""
        cert, key = self.client(address, expired=expired)
        return {"cert": str(cert), "key": str(key), "ca": str(self.ca)}

    def client(
        self,
        name: str,
        *,
        self_signed: bool = False,
        password: str | None = None,
        expired: bool = False,
        uri: str | None = None,
    ) -> tuple[Path, Path]:
        """A certificate and its key; one made anew for the same name replaces the files."""
        key = KINDS["EC"]()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer, signer = (subject, key) if self_signed else (self._name, self._key)
        builder = _builder(subject, issuer, key, signer, days=-0.01 if expired else 1)
        if name.startswith("127."):
            addresses = [x509.IPAddress(ipaddress.ip_address(name))]
            builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        if uri is not None:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
            )
        cert_file, key_file = (self._folder / f"{name}.{what}.pem" for what in ("cert", "key"))
        cert_file.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))
        key_file.write_text(pem(key, password))
        return cert_file, key_file


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, signer: Any, days: float = 1) -> x509.CertificateBuilder:
    # With both key identifiers, as the authority has a key usage (RFC 5280 4.2.1): Python 3.13 and later verify strictly.
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
