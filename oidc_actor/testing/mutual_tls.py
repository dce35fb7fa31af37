"""Mutual TLS (RFC 8705) as a server sees it: the certificate that came with a connection, and the client that it is."""

from __future__ import annotations

import ssl
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import flask
from cryptography import x509

from oidc_actor.testing.accounts import Client

METHOD = "tls_client_auth"


def ask_for_certificates(context: ssl.SSLContext, client_ca: Path) -> None:
    """Have a server ask each connection for a client's certificate; one that comes has to be this authority's.

    Args:
        context: The server's side of TLS.
        client_ca: PEM file of the authority.

    Raises:
        ValueError: It holds no certificates, or cannot be read.
    """
    try:
        context.load_verify_locations(client_ca)
    except OSError as error:  # its text has no path
        raise ValueError(f"client_ca must be a file of PEM certificates, got {str(client_ca)!r}: {error}") from None
    context.verify_mode = ssl.CERT_OPTIONAL


def shown_thumbprint() -> str | None:
    """What `cnf` `x5t#S256` calls the certificate of the request under way (section 3.1); `None` where none was shown."""
    pem = flask.request.environ.get("SSL_CLIENT_CERT")  # Werkzeug's, from the connection
    if pem is None:
        return None
    return urlsafe_b64encode(sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()).decode().rstrip("=")


def client_by_certificate(query_client: Callable[[str], Client | None], _: Any) -> Client | None:
    """The method `tls_client_auth` in Authlib's form: a certificate that names the client's URI (section 2.1.2)."""
    pem, client = flask.request.environ.get("SSL_CLIENT_CERT"), query_client(flask.request.form.get("client_id", ""))
    if pem is None or client is None or client.certificate_uri is None:
        return None
    return client if client.certificate_uri in _uris(pem) else None


def _uris(pem: str) -> list[str]:
    try:
        names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)
