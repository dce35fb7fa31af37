"""Signing JSON Web Tokens (RFC 7515, RFC 7519) with joserfc, which the extra ``jwt`` brings: the one module that imports it.

Nothing here raises once a key's text is in hand: the frames below joserfc's errors hold it. A problem comes back as a phrase.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import Sealed, Secret, put

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""What tokens are signed with (RFC 7518 section 3.1, RFC 8037 section 3.1); the last is RFC 9864's name for the one before it."""

_EXPECTED = "a private key of RSA, P-256 or Ed25519, as PEM or JWK"
_FITTING = {"RSA": ("RS256", "PS256"), "EC": ("ES256",), "OKP": ("EdDSA", "Ed25519")}
_CODED = ("n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y")
_BASE64URL = frozenset(string.ascii_letters + string.digits + "-_")
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}


class Signer(Sealed):
    """A private key that is ready to sign.

    Attributes:
        algorithm: What it signs with.
        kid: The key's identifier, or ``None``.
    """

    __slots__ = ("_key", "algorithm", "kid")
    _key: Any
    algorithm: str
    kid: str | None

    def __init__(self, key: Any, algorithm: str, kid: str | None) -> None:
        put(self, _key=key, algorithm=algorithm, kid=kid)

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
        from joserfc import jwt

        full = {"alg": self.algorithm, **({} if self.kid is None else {"kid": self.kid}), **(header or {})}
        try:
            return Secret(jwt.encode(full, dict(claims), self._key, registry=_registry()))
        except Exception as error:  # noqa: BLE001 - a warning made an error, a key that cannot do it: all end the attempt only
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
        # `oidc_actor.values.lazy_imports`).
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

    key = base64.urlsafe_b64encode(secret.reveal().encode()).decode().rstrip("=")
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


@cache
def _registry() -> Any:
    from joserfc.jws import JWSRegistry

    class Registry(JWSRegistry):
        """Our algorithms, without joserfc's warning that RFC 9864 renames EdDSA: many providers know no other name yet."""

        max_header_length = 4096  # a DPoP proof carries its public key there

        def get_alg(self, name: str) -> Any:
            return self.algorithms[name]

    return Registry()
