"""The certificate that a client shows in mutual TLS: where it is kept, never what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oidc_actor.credentials.parameters import from_mapping
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.sealed import put, refuse_pickling
from oidc_actor.values.secrets import SecretFile, SecretSource, StoredSecret, store_secret


@dataclass(frozen=True, slots=True, init=False)
class ClientCertificate:
    """A certificate for mutual TLS (RFC 8705). The files are read when a connection is made, and again once they change.

    Attributes:
        cert_file: PEM file of the certificate, with those between it and the authority, if any.
        key_file: PEM file of its private key; ``None`` where that is in ``cert_file`` too.
        password: What an encrypted key is opened with, or ``None``.
    """

    cert_file: Path
    key_file: Path | None
    password: StoredSecret | None

    def __init__(
        self, cert_file: str | Path, key_file: str | Path | None = None, *, password: SecretSource | None = None
    ) -> None:
        """Name the files; they may appear later.

        Args:
            cert_file: As the attribute, and so are the others.
            key_file: A path.
            password: A text, a callable, or `SecretFile`.

        Raises:
            ConfigError: Where something is no path.
        """
        problem = _fill_certificate(self, cert_file, key_file, password)
        del password
        if problem is not None:
            raise ConfigError(f"client_certificate: {problem}")

    @property
    def sources(self) -> tuple[SecretFile, ...]:
        """Its files, for whoever watches them."""
        return tuple(SecretFile(path) for path in (self.cert_file, self.key_file) if path is not None)

    def version(self) -> tuple[object, ...]:
        """Return a cheap value that differs once a file has changed."""
        return tuple(file.version() for file in self.sources)

    def __reduce__(self) -> Any:
        refuse_pickling(self)


def read_certificate(value: object) -> ClientCertificate | None:
    """Bring the option ``client_certificate`` into one form.

    Args:
        value: A `ClientCertificate`, or a mapping of its arguments.

    Raises:
        ConfigError: Where it is neither.
    """
    if value is None or isinstance(value, ClientCertificate):
        return value
    if isinstance(value, Mapping):
        names = ("cert_file", "key_file", "password")
        return from_mapping(ClientCertificate, value, "client_certificate", "cert_file", names)
    raise ConfigError(
        f"client_certificate: expected ClientCertificate(cert_file, key_file), got {type(value).__name__}"
    )


def _fill_certificate(certificate: ClientCertificate, cert_file: Any, key_file: Any, password: object) -> str | None:
    for name, path in (("cert_file", cert_file), ("key_file", key_file)):
        absent = path is None and name == "key_file"
        if not absent and (not isinstance(path, str | Path) or not str(path)):
            return f"expected {name} as the path of a PEM file, got {type(path).__name__}"
        put(certificate, **{name: None if absent else Path(path)})
    try:
        put(certificate, password=None if password is None else store_secret(password, "password"))
    except ConfigError as error:
        return str(error)
    return None
