"""An assertion that a program signs for itself for each request, as Google's service accounts do."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any

from oidc_actor.credentials.keys import PrivateKey, read_private_key
from oidc_actor.credentials.parameters import read_text
from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.secrets import GivenSecret, Secret, SecretFile, SecretSource, holds_secrets

_OWN_CLAIMS = frozenset({"iss", "sub", "aud", "iat", "exp", "jti"})


class SignedAssertion(SecretSource):
    """Signs anew whenever it is read; for `JWTBearer` (RFC 7523 section 3)."""

    __slots__ = ("_claims", "_key", "_lifetime_s")

    @holds_secrets
    def __init__(
        self,
        private_key: PrivateKey | GivenSecret | Mapping[str, Any],
        *,
        issuer: str,
        audience: str,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        lifetime_seconds: int = 300,
    ) -> None:
        """Check and keep; nothing is signed yet.

        Args:
            private_key: What to sign with: a `PrivateKey`, or its text, a callable, or `SecretFile`.
            issuer: The party that signs; the provider knows the key as that party's.
            audience: The provider; most want the address of their token endpoint.
            subject: Whom the token is to be for; ``None`` for the issuer itself.
            claims: Further claims; what JSON can say.
            lifetime_seconds: Seconds that each assertion lives.

        Raises:
            ConfigError: Where something does not fit.
        """
        key = read_private_key(private_key)
        if key is None:
            raise ConfigError("expected a key, got None", ("private_key",))
        named = {"iss": issuer, "sub": subject if subject is not None else issuer, "aud": audience}
        for text, name in ((issuer, "issuer"), (named["sub"], "subject"), (audience, "audience")):
            read_text(text, name)
        problem = _claims_problem({} if claims is None else claims)
        if problem is not None:
            raise ConfigError(problem, ("claims",))
        seconds: object = lifetime_seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1:
            raise ConfigError(f"expected whole seconds of at least 1, got {lifetime_seconds!r}", ("lifetime_seconds",))
        self._key = key
        self._claims = {**(claims or {}), **named}
        self._lifetime_s = lifetime_seconds

    @property
    def files(self) -> tuple[SecretFile, ...]:
        """Where the key is kept."""
        return tuple(file for source in self._key.sources if isinstance(source, SecretSource) for file in source.files)

    def fetch(self) -> Secret | str:
        """Sign one, or say why that cannot be done now."""
        now = int(time.time())
        times = {"iat": now, "exp": now + self._lifetime_s, "jti": token_urlsafe(16)}
        try:
            return self._key.signer().sign({**self._claims, **times}, self._key.header())
        except (SecretUnavailable, ConfigError) as error:
            return str(error)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SignedAssertion) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((SignedAssertion, self._key, self._claims["iss"], self._claims["sub"]))

    def _parts(self) -> tuple[object, ...]:
        return self._key, self._claims, self._lifetime_s

    def __repr__(self) -> str:
        claims = getattr(self, "_claims", {})  # without under construction, when an error may show this frame
        return f"SignedAssertion(issuer={claims.get('iss')!r}, subject={claims.get('sub')!r})"


def _claims_problem(claims: object) -> str | None:
    if not isinstance(claims, Mapping):
        return f"expected a mapping, got {type(claims).__name__}"
    taken = sorted(name for name in _OWN_CLAIMS if name in claims)
    if taken:
        return f"{', '.join(taken)} are set by the options made for them"
    try:
        json.dumps(dict(claims), allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # a date of a TOML file, for one
        return "expected what JSON can say: texts, finite numbers, True, False, None, lists and mappings of these"
    return None
