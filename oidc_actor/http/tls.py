"""TLS as it is spoken with a provider: always verified, against the certificates that were named, and no others."""

from __future__ import annotations

import os
import ssl
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from oidc_actor.credentials.certificate import ClientCertificate
from oidc_actor.http.sockets import BoundedTLSSocket
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.files import no_file, read_file
from oidc_actor.values.secrets import resolve_secret

MAX_PEM_BYTES = 16 * 1024 * 1024
"""The longest file of certificates that is read, in bytes."""


def tls_context(ca_bundle: str, certificate: ClientCertificate | None = None) -> ssl.SSLContext:
    """Make what connections are made with.

    Args:
        ca_bundle: File or directory of the certificates to trust.
        certificate: What to show where the server asks for one (RFC 8705); ``None`` for nothing.

    Returns:
        The context.

    Raises:
        OSError: Where ``ca_bundle`` holds no certificates, or is neither a directory nor a regular file.
        ConfigError: Where the client's certificate and key cannot be used together.
    """
    context = _context()
    if os.path.isdir(ca_bundle):
        context.load_verify_locations(capath=ca_bundle)
    else:
        refused = no_file(Path(ca_bundle), MAX_PEM_BYTES)  # OpenSSL would wait for the writer of a pipe
        if refused is not None:
            raise OSError(0, refused)
        context.load_verify_locations(cafile=ca_bundle)
    context.sslsocket_class = BoundedTLSSocket
    problem = None if certificate is None else _load(context, certificate)
    if problem is not None:
        raise ConfigError(f"client_certificate: expected a PEM certificate and the key that fits it, got: {problem}")
    return context


def _context() -> ssl.SSLContext:
    """As urllib3 makes it, but for ``SSLKEYLOGFILE``: whoever can read that file can read client secrets and tokens."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates, and that they name the host
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.hostname_checks_common_name = False
    context.post_handshake_auth = True  # a server may ask for a client's certificate late
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    return context


def check_ca_bundle(ca_bundle: object, name: str = "ca_bundle") -> str:
    """Check what is to be trusted, given as an option.

    Args:
        ca_bundle: The candidate.
        name: What it is, for the error's message.

    Returns:
        The path of a file or directory.

    Raises:
        ConfigError: Where it holds no certificates.
    """
    if not isinstance(ca_bundle, (str, Path)):
        raise ConfigError(
            f"{name}: expected the path of a file or directory of certificates, got {ca_bundle!r}; TLS verification "
            "cannot be turned off, name the provider's CA instead"
        )
    try:
        tls_context(str(ca_bundle))
    except OSError as error:  # ssl.SSLError is one
        problem = error.strerror or type(error).__name__
        if _is_marked(Path(str(ca_bundle))):
            problem += "; it begins with a byte order mark: save it without"
    else:
        return str(ca_bundle)
    raise ConfigError(f"{name}: expected PEM certificates in {str(ca_bundle)!r}, got: {problem}")


def _is_marked(path: Path) -> bool:
    """Whether a file begins with a byte order mark, behind which OpenSSL finds no PEM."""
    found = read_file(path, MAX_PEM_BYTES)
    return isinstance(found, bytes) and found.startswith((BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE))


def _load(context: ssl.SSLContext, certificate: ClientCertificate) -> str | None:
    password = certificate.password
    for file in certificate.sources:
        refused = no_file(file.path, MAX_PEM_BYTES)
        if refused is not None:
            return f"{refused} ({file.path})"
    try:
        # Without a password OpenSSL would ask for one on the terminal, and wait.
        opened = "" if password is None else resolve_secret(password, "client_certificate: its password").reveal()
        context.load_cert_chain(certificate.cert_file, certificate.key_file, opened)
    except Exception as error:  # noqa: BLE001 - whatever it is, its frames hold the password
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        marked = "".join(
            f"; {file.path} begins with a byte order mark" for file in certificate.sources if _is_marked(file.path)
        )
        return f"{reason} ({', '.join(str(file.path) for file in certificate.sources)}){marked}"
    return None
