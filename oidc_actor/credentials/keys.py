"""The private key that a client signs with, and the certificate that it shows; and signing (RFC 7515, RFC 7519).

The text of a key stays where it is kept: what is here prints none. Signing is joserfc's, which the extra ``jwt`` brings; no
other module imports it. A problem with a key comes back as a phrase.
"""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from hashlib import sha256
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any

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
from supervision.frozen import dataclass

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""What tokens are signed with (RFC 7518 section 3.1, RFC 8037 section 3.1); the last is RFC 9864's name for the one before it."""

_EXPECTED = "a private key of RSA, P-256 or Ed25519, as PEM or JWK"

_FITTING = {"RSA": ("RS256", "PS256"), "EC": ("ES256",), "OKP": ("EdDSA", "Ed25519")}

_CODED = ("n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y")

_BASE64URL = frozenset(string.ascii_letters + string.digits + "-_")

_CURVES = {"EC": "P-256", "OKP": "Ed25519"}

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
        raise SecretUnavailable(f"private_key: {found}", option="private_key", sent=False)

    def header(self) -> dict[str, str]:
        """Return what the header of an assertion says of the certificate (RFC 7515 section 4.1.8).

        Raises:
            SecretUnavailable: Where the certificate's file cannot be read now.
        """
        if self.certificate_file is None:
            return {}
        digest = certificate_digest(self.certificate_file)
        if isinstance(digest, str):
            problem = f"private_key: certificate_file {str(self.certificate_file)!r}: {digest}"
            raise SecretUnavailable(problem, option="private_key", sent=False)
        return {"x5t#S256": _base64url(digest)}

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


def certificate_digest(path: Path) -> bytes | str:
    """Return the SHA-256 of the first certificate in a PEM file, or why there is none.

    Args:
        path: The file.
    """
    content = read_file(path, MAX_SECRET_BYTES)
    return content if isinstance(content, str) else digest_of(content)


def digest_of(content: bytes) -> bytes | str:
    """Do what `certificate_digest` does, with what is in the file.

    Args:
        content: PEM, with any text around it, as OpenSSL reads it: a name there may be in any encoding.
    """
    found = _CERTIFICATE.search(content.decode("latin-1"))
    try:
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


class Signer(Sealed):
    """A private key that is ready to sign.

    Attributes:
        algorithm: What it signs with.
        kid: The key's identifier, or ``None``.
    """

    __slots__ = ("_head", "_key", "algorithm", "kid")
    _key: Any
    _head: str
    algorithm: str
    kid: str | None

    def __init__(self, key: Any, algorithm: str, kid: str | None) -> None:
        put(self, _key=key, algorithm=algorithm, kid=kid, _head="")

    def __repr__(self) -> str:
        return f"Signer({self.algorithm}, kid={self.kid!r})"

    def sign(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> Secret | str:
        """Sign a token.

        Args:
            claims: Its claims.
            header: Further header parameters.

        Returns:
            The token, or what went wrong.
        """
        try:
            return Secret(self._encoded(claims, header or {}))
        except Exception as error:  # noqa: BLE001 - a warning made an error, a key that cannot do it: all end the attempt only
            return self._failed(error)

    def sign_proof(self, claims: Mapping[str, Any]) -> Secret | str:
        """Sign a DPoP proof (RFC 9449 section 4.2). Its header, which has the public key, is the same in all, and is made once.

        Args:
            claims: Its claims.

        Returns:
            The proof, or what went wrong.
        """
        try:
            if not self._head:  # joserfc checks header and key; two threads may both come here, and make the same
                made = self._encoded({}, {"typ": "dpop+jwt", "jwk": self.public_jwk()})
                put(self, _head=made.partition(".")[0])
            text = f"{self._head}.{_base64url(json.dumps(claims, separators=(',', ':')).encode())}"
            return Secret(f"{text}.{_base64url(_registry().get_alg(self.algorithm).sign(text.encode(), self._key))}")
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(error)

    def _encoded(self, claims: Mapping[str, Any], header: Mapping[str, Any]) -> str:
        from joserfc import jwt

        full = {"alg": self.algorithm, **({} if self.kid is None else {"kid": self.kid}), **header}
        return jwt.encode(full, dict(claims), self._key, registry=_registry())

    def _failed(self, error: Exception) -> str:
        return f"signing with {self.algorithm} failed: {type(error).__name__}"

    def public_jwk(self) -> dict[str, str]:
        """Return the public half, with no more than what identifies it (RFC 7638 section 3.2)."""
        found: dict[str, Any] = self._key.as_dict(private=False)
        return {name: found[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in found}

    def thumbprint(self) -> str:
        """Return the key's name by its content (RFC 7638), which ``cnf.jkt`` of a bound token repeats."""
        return str(self._key.thumbprint())


def require_jose(what: str, option: tuple[str, ...] = (), *, label: str = "") -> None:
    """See that tokens can be signed.

    Args:
        what: What they are signed for, for the error's message.
        option: Which option wants it; see `ConfigError`.
        label: How the message names that.

    Raises:
        ConfigError: Where joserfc is not installed.
    """
    try:
        # All that is needed later on other threads, so that no import is left for them to make (see
        # `supervision.runtime.lazy_imports`).
        import joserfc.errors
        import joserfc.jwk
        import joserfc.jws
        import joserfc.jwt  # noqa: F401
    except ImportError:
        missing = True
    else:
        missing = False
    if missing:
        problem = f'{what} needs joserfc, which is not installed: pip install "oidc-actor[jwt]"'
        raise ConfigError(problem, option, label=label)


def load_signer(
    text: Secret,
    *,
    kid: str | None = None,
    algorithm: str | None = None,
    password: Secret | None = None,
    accepted: Sequence[str] | None = None,
) -> Signer | str:
    """Read a private key.

    Args:
        text: The key as PEM (PKCS#8, PKCS#1 or SEC 1) or as a JWK.
        kid: Its identifier; ``None`` for the JWK's own.
        algorithm: What to sign with; ``None`` for the JWK's own, else what fits the key.
        password: What an encrypted PEM is opened with.
        accepted: The algorithms that the provider lists; ``None`` where it does not say.

    Returns:
        The key, ready to sign, or what is wrong with it.
    """
    found = _import_jwk(text) if text.reveal().lstrip().startswith("{") else _import_pem(text, password)
    if isinstance(found, str):
        return found
    key, about = found
    problem = _key_problem(key)
    if problem is not None:
        return problem
    chosen = algorithm or about.get("alg") or _preferred(_FITTING[key.key_type], accepted)
    if chosen not in _FITTING[key.key_type]:
        return f"expected a key for {chosen}, got one for {' or '.join(_FITTING[key.key_type])}"
    return Signer(key, chosen, kid or about.get("kid"))


def secret_signer(secret: Secret) -> Signer | str:
    """Make a client secret sign with HS256 (OpenID Connect Core 1.0 section 9, ``client_secret_jwt``).

    Args:
        secret: The client secret.

    Returns:
        The key, ready to sign, or what is wrong with it.
    """
    from joserfc.jwk import OctKey

    key = _base64url(secret.reveal().encode())
    try:
        return Signer(OctKey.import_key({"kty": "oct", "k": key}), "HS256", None)
    except Exception as error:  # noqa: BLE001 - as in `Signer.sign`
        return (
            f"expected a client_secret long enough to sign with HS256, got one that is refused ({type(error).__name__})"
        )


def new_signer() -> Signer:
    """Make a fresh key for ES256, which every implementation of DPoP takes (RFC 9449)."""
    from joserfc.jwk import ECKey

    return Signer(ECKey.generate_key("P-256"), "ES256", None)


def _import_jwk(text: Secret) -> tuple[Any, Mapping[str, str]] | str:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    try:
        members = json.loads(text.reveal())
        about = {name: members[name] for name in ("alg", "kid") if isinstance(members.get(name), str)}
        kind: Any = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}[members["kty"]]
        return kind.import_key({name: one for name, one in members.items() if isinstance(one, str)}), about
    except Exception as error:  # noqa: BLE001 - a broken key may raise anything, from frames that hold it
        return f"expected {_EXPECTED}, got a JWK that cannot be read ({type(error).__name__}){_jwk_hint(text)}"


def _import_pem(text: Secret, password: Secret | None) -> tuple[Any, Mapping[str, str]] | str:
    from joserfc.errors import InvalidKeyTypeError
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    for kind in (ECKey, RSAKey, OKPKey):
        try:
            return kind.import_key(text.reveal(), password=None if password is None else password.reveal()), {}
        except InvalidKeyTypeError:
            continue
        except TypeError:  # cryptography's word for it, of all kinds of files
            got = "an encrypted one without" if password is None else "one that is not encrypted, with"
            return f"expected {_EXPECTED}, got {got} a password"
        except Exception as error:  # noqa: BLE001 - as above
            hint = " or the wrong password" if password is not None else ""
            return (
                f"expected {_EXPECTED}, got a text that cannot be read{hint} ({type(error).__name__}){_pem_hint(text)}"
            )
    return f"expected {_EXPECTED}, got a key of another kind"


def _jwk_hint(text: Secret) -> str:
    """What a person may have done to a JWK; shows nothing of it and raises nothing."""
    try:
        members = json.loads(text.reveal())
    except (ValueError, RecursionError):
        return ""
    if isinstance(members.get("keys"), list):
        return "; it is a set of keys: give one of those in its 'keys'"
    coded = "".join(members[one] for one in _CODED if isinstance(members.get(one), str))
    if set(coded) - _BASE64URL:
        return (
            "; its members are not base64url without padding (RFC 7515, 2): write - for +, _ for /, and no = at the end"
        )
    return ""


def _pem_hint(text: Secret) -> str:
    r"""What a person may have done to a PEM; shows nothing of it."""
    if "\\n" in text.reveal():
        return r"; it has \n written out where lines should end: replace each with a line break"
    return ""


def _key_problem(key: Any) -> str | None:
    if not key.is_private:
        return f"expected {_EXPECTED}, got a public key"
    curve = _CURVES.get(key.key_type)
    if curve is not None and key.curve_name != curve:
        return f"expected {_EXPECTED}, got one on {key.curve_name}"
    return None


def _preferred(fitting: tuple[str, ...], accepted: Sequence[str] | None) -> str:
    return next((one for one in fitting if accepted and one in accepted), fitting[0])


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@cache
def _registry() -> Any:
    from joserfc.jws import JWSRegistry

    class Registry(JWSRegistry):
        """Our algorithms, without joserfc's warning that RFC 9864 renames EdDSA: many providers know no other name yet."""

        max_header_length = 4096  # a DPoP proof carries its public key there

        def get_alg(self, name: str) -> Any:
            return self.algorithms[name]

    return Registry()
