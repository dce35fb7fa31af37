"""The private key that a client signs with, and the certificate that it shows: where they are kept, never what is in them."""

from __future__ import annotations

import base64
import re
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from ssl import PEM_cert_to_DER_cert

from oidc_actor.credentials.jws import ALGORITHMS, Signer, load_signer, require_jose
from oidc_actor.credentials.parameters import from_mapping
from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.secrets import (
    MAX_SECRET_BYTES,
    GivenSecret,
    Sealed,
    Secret,
    SecretFile,
    StoredSecret,
    holds_secrets,
    put,
    read_file,
    resolve_secret,
    store_secret,
)

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class PrivateKey(Sealed):
    """The key that a client signs its assertions with (RFC 7523). Compares by value; has no printable form.

    Attributes:
        key: Where the key comes from: PEM or JWK.
        kid: The identifier that it is registered under, or ``None`` for the JWK's own, if any.
        algorithm: ``RS256``, ``PS256``, ``ES256``, ``EdDSA`` or its newer name ``Ed25519``; ``None`` for what fits the key and
            the provider's metadata.
        password: What an encrypted PEM is opened with, or ``None``.
        certificate_file: PEM file of the key's certificate, whose thumbprint goes into the header (Entra ID); or ``None``.
    """

    key: StoredSecret
    kid: str | None
    algorithm: str | None
    password: StoredSecret | None
    certificate_file: Path | None

    @holds_secrets
    def __init__(
        self,
        key: GivenSecret,
        *,
        kid: str | None = None,
        algorithm: str | None = None,
        password: GivenSecret | None = None,
        certificate_file: str | Path | None = None,
    ) -> None:
        """Check and keep. A key given as a text is read at once; one in a file or behind a callable at every request.

        Args:
            key: PEM or JWK: the text itself, a callable, or `SecretFile`.
            kid: As the attribute, and so are the others.
            algorithm: One of these names.
            password: A text, a callable, or `SecretFile`.
            certificate_file: A path.

        Raises:
            ConfigError: Where something does not fit, or joserfc is not installed.
        """
        _check_names(algorithm, kid, certificate_file)
        try:
            stored = store_secret(key, "key"), None if password is None else store_secret(password, "password")
        except ConfigError as error:
            raise error.within("private_key") from None
        put(self, key=stored[0], password=stored[1], kid=kid, algorithm=algorithm)
        put(self, certificate_file=None if certificate_file is None else Path(certificate_file))
        require_jose("a private key", ("private_key",))
        if isinstance(self.key, Secret) and not isinstance(self.password, SecretFile):
            self.signer()

    @property
    def sources(self) -> tuple[StoredSecret, ...]:
        """Where its parts come from, so that their files can be watched."""
        certificate = () if self.certificate_file is None else (SecretFile(self.certificate_file),)
        return (self.key, *(() if self.password is None else (self.password,)), *certificate)

    def signer(self, accepted: Sequence[str] | None = None) -> Signer:
        """Read the key as it is now.

        Args:
            accepted: The algorithms that the provider lists; ``None`` where it does not say.

        Returns:
            The key, ready to sign.

        Raises:
            SecretUnavailable: Where it cannot be read now.
            ConfigError: Where the text that was given is no key.
        """
        password = None if self.password is None else resolve_secret(self.password, "private_key: its password")
        text = resolve_secret(self.key, "private_key")
        found = load_signer(text, kid=self.kid, algorithm=self.algorithm, password=password, accepted=accepted)
        if isinstance(found, Signer):
            return found
        if isinstance(self.key, Secret):
            raise _wrong(f"{found}{_hint_for(self.key)}", "key")
        raise SecretUnavailable(f"private_key: {found}", sent=False)

    def header(self) -> dict[str, str]:
        """Return what the header of an assertion says of the certificate (RFC 7515 section 4.1.8).

        Raises:
            SecretUnavailable: Where the certificate's file cannot be read now.
        """
        if self.certificate_file is None:
            return {}
        digest = _certificate_digest(self.certificate_file)
        if isinstance(digest, str):
            raise SecretUnavailable(
                f"private_key: certificate_file {str(self.certificate_file)!r}: {digest}", sent=False
            )
        return {"x5t#S256": base64.urlsafe_b64encode(digest).decode().rstrip("=")}

    def __repr__(self) -> str:
        shown = ((name, getattr(self, name, None)) for name in ("key", "kid", "algorithm"))  # under construction, too
        return f"PrivateKey({', '.join(f'{name}={value!r}' for name, value in shown if value is not None)})"


@holds_secrets
def read_private_key(value: object) -> PrivateKey | None:
    """Bring the option ``private_key`` into one form.

    Args:
        value: A `PrivateKey`, a source of its text, or a mapping of `PrivateKey`'s arguments.

    Raises:
        ConfigError: Where it is none of these.
    """
    if value is None or isinstance(value, PrivateKey):
        return value
    if isinstance(value, Mapping):
        return from_mapping(PrivateKey, value, "private_key", "key", [one.name for one in fields(PrivateKey)])
    return PrivateKey(value)  # type: ignore[arg-type]  # which says what is wrong with it


def _hint_for(text: Secret) -> str:
    """What to do where the path of a key was given in place of the key; nothing of the text is shown."""
    given = text.reveal().strip()
    is_path = "\n" not in given and (
        given.startswith(("/", "./", "../", "~")) or given.endswith((".pem", ".key", ".json"))
    )
    return "; the path of a file goes in as SecretFile(path)" if is_path else ""


def _check_names(algorithm: object, kid: object, certificate_file: object) -> None:
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise _wrong(f"expected an algorithm of {', '.join(ALGORITHMS)}, got {algorithm!r}", "algorithm")
    if kid is not None and (not isinstance(kid, str) or not kid):
        raise _wrong(f"expected kid as a non-empty text, got {kid!r}", "kid")
    if certificate_file is not None and not isinstance(certificate_file, str | Path):
        got = type(certificate_file).__name__
        raise _wrong(f"expected certificate_file as the path of a PEM file, got {got}", "certificate_file")


def _wrong(problem: str, name: str) -> ConfigError:
    return ConfigError(problem, ("private_key", name), label="private_key")


def _certificate_digest(path: Path) -> bytes | str:
    content = read_file(path, MAX_SECRET_BYTES)
    if isinstance(content, str):
        return content
    try:
        found = _CERTIFICATE.search(content.removeprefix(BOM_UTF8).decode("ascii"))
        return "expected a certificate as PEM" if found is None else sha256(PEM_cert_to_DER_cert(found[0])).digest()
    except ValueError:
        return "expected a certificate as PEM"


@dataclass(frozen=True, slots=True, init=False)
class ClientCertificate(Sealed):
    """A certificate for mutual TLS (RFC 8705). The files are read when a connection is made, and again once they change.

    Attributes:
        cert_file: PEM file of the certificate, with those between it and the authority, if any.
        key_file: PEM file of its private key; ``None`` where that is in ``cert_file`` too.
        password: What an encrypted key is opened with, or ``None``.
    """

    cert_file: Path
    key_file: Path | None
    password: StoredSecret | None

    @holds_secrets
    def __init__(
        self, cert_file: str | Path, key_file: str | Path | None = None, *, password: GivenSecret | None = None
    ) -> None:
        """Name the files; they may appear later.

        Args:
            cert_file: As the attribute, and so are the others.
            key_file: A path.
            password: A text, a callable, or `SecretFile`.

        Raises:
            ConfigError: Where something is no path.
        """
        for name, path in (("cert_file", cert_file), ("key_file", key_file)):
            absent = path is None and name == "key_file"
            if not absent and (not isinstance(path, str | Path) or not str(path)):
                problem = f"expected {name} as the path of a PEM file, got {type(path).__name__}"
                raise ConfigError(problem, ("client_certificate", name), label="client_certificate")
            put(self, **{name: None if path is None else Path(path)})
        try:
            put(self, password=None if password is None else store_secret(password, "password"))
        except ConfigError as error:
            raise error.within("client_certificate") from None

    @property
    def sources(self) -> tuple[SecretFile, ...]:
        """Its files, so that they can be watched."""
        return tuple(SecretFile(path) for path in (self.cert_file, self.key_file) if path is not None)

    def version(self) -> tuple[object, ...]:
        """Return a cheap value that differs once a file has changed."""
        return tuple(file.version() for file in self.sources)


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
    problem = f"expected ClientCertificate(cert_file, key_file), got {type(value).__name__}"
    raise ConfigError(problem, ("client_certificate",))
