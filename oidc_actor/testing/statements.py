"""What a server does with signed statements (JWTs): whose it takes, and what it asks of each (RFC 7523 section 3)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

GivenKey: TypeAlias = str | bytes | Mapping[str, Any]
"""A key as PEM or JWK, or several as a JWK set; of a private one only the public half is used."""

SIGNED = ("ES256", "PS256", "RS256", "EdDSA", "Ed25519")
"""What a key pair may sign with here."""

_BY_SECRET = ("HS256",)
_TOLERATED_S = 60.0  # by which a statement may be from the future


class Statements:
    """The issuers that one server trusts, and the statements that it has taken. Any thread may use it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Trust no issuer.

        Args:
            clock: Seconds since the epoch.
        """
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._trusted: list[tuple[Callable[[], str], KeySet]] = []
        self._taken: set[tuple[str, str]] = set()

    def trust(self, issuer: Callable[[], str], keys: KeySet) -> None:
        """Take the statements of one more issuer.

        Args:
            issuer: Says what their `iss` is; asked at each statement.
            keys: What they are signed with.
        """
        with self._lock:
            self._trusted.append((issuer, keys))

    def read_trusted(self, text: str, *, audience: Collection[str] | None) -> dict[str, Any] | str:
        """Check a statement of an issuer that is trusted; see `read`."""
        issuer = claims_of(text).get("iss")
        with self._lock:
            trusted = list(self._trusted)
        known = [keys for name, keys in trusted if name() == issuer]
        if not known:
            return f"iss: expected an issuer that is trusted here, got {issuer!r}"
        keys = KeySet([key for one in known for key in one.keys])
        return self.read(text, keys, issuer=issuer, audience=audience)

    def read(
        self, text: str, keys: KeySet, *, issuer: object, audience: Collection[str] | None, once: bool = False
    ) -> dict[str, Any] | str:
        """Check a statement.

        Args:
            text: The JWT.
            keys: One of them must have signed it.
            issuer: What `iss` must be.
            audience: Of these `aud` must name one; `None` for any audience.
            once: Whether it must have a `jti`, and is taken one time only.

        Returns:
            What it says, or why it is not taken.
        """
        claims = _opened(text, keys)
        if claims is None:
            return "its signature is not that of a key that is known here"
        problem = self._problem(claims, issuer, audience)
        if problem is None and once:
            problem = self.take(claims)
        return claims if problem is None else problem

    def _problem(self, claims: dict[str, Any], issuer: object, audience: Collection[str] | None) -> str | None:
        now = self._clock()
        if claims.get("iss") != issuer:
            return f"iss: expected {issuer!r}, got {claims.get('iss')!r}"
        named = claims.get("aud")
        if audience is not None and not set(named if isinstance(named, list) else [named]) & set(audience):
            return f"aud: expected one of {sorted(audience)}, got {named!r}"
        expires = claims.get("exp")
        if not isinstance(expires, int | float) or expires <= now:
            return f"exp: expected a time to come, got {expires!r}, and it is {now:.0f}"
        for name in ("nbf", "iat"):
            begins = claims.get(name, now)
            if not isinstance(begins, int | float) or begins > now + _TOLERATED_S:
                return f"{name}: expected a time that is past, got {begins!r}, and it is {now:.0f}"
        return None

    def take(self, claims: Mapping[str, Any]) -> str | None:
        """Take a statement, which is not taken again; or say why not."""
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti:
            return "jti: expected a text"
        with self._lock:
            if (claims["iss"], jti) in self._taken:
                return "jti: it was taken before"
            self._taken.add((claims["iss"], jti))
        return None


def read_keys(given: GivenKey) -> KeySet:
    """Read the keys of a client or an issuer.

    Args:
        given: The key or keys.

    Raises:
        ValueError: It is neither PEM nor a JWK nor a set of them.
    """
    if isinstance(given, Mapping):
        return (
            KeySet.import_key_set({"keys": given["keys"]})
            if "keys" in given
            else KeySet([JWKRegistry.import_key(dict(given))])
        )
    for kind in (ECKey, RSAKey, OKPKey):
        try:
            return KeySet([kind.import_key(given)])
        except (JoseError, ValueError, TypeError):
            continue
    raise ValueError("expected a key as PEM or JWK, or a set of JWKs, got something else")


def secret_keys(secret: str) -> KeySet:
    """What a client secret signs with, as a key."""
    return KeySet([OctKey.import_key(secret)])


def claims_of(text: str) -> dict[str, Any]:
    """What a JWT says, unverified; nothing for any other text."""
    return _parts(text)[1]


def type_of(text: str) -> object:
    """The `typ` in a JWT's header, unverified; `None` for any other text."""
    return _parts(text)[0].get("typ")


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        read = jws.extract_compact(text.encode(), registry=_REGISTRY)
        claims = _json(read.payload)
    except (JoseError, ValueError):
        return {}, {}
    return dict(read.headers()), claims


def _json(payload: bytes) -> dict[str, Any]:
    found = json.loads(payload)
    return found if isinstance(found, dict) else {}


class _Registry(JWSRegistry):
    """Without joserfc's warning that RFC 9864 renames EdDSA: many clients know no other name yet."""

    max_header_length = 4096

    def get_alg(self, name: str) -> Any:
        if name not in (*SIGNED, *_BY_SECRET):
            raise ValueError(f"{name} is not taken here")
        return self.algorithms[name]


_REGISTRY = _Registry()


def _opened(text: str, keys: KeySet) -> dict[str, Any] | None:
    by_secret = _parts(text)[0].get("alg") in _BY_SECRET
    for key in keys.keys:  # all of them: the name that a client gives its key need not be the one that is known here
        if isinstance(key, OctKey) != by_secret:  # a public key is no secret that anybody may sign with
            continue
        try:
            return dict(jwt.decode(text, key, registry=_REGISTRY).claims)
        except (JoseError, ValueError, TypeError):
            continue
    return None
