"""DPoP (RFC 9449): a key that tokens are bound to, and the proofs that its holder sends along. Only nonces change in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from oidc_actor.credentials.keys import PrivateKey, Signer, new_signer, read_private_key, require_jose
from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.secrets import GivenSecret, Sealed, Secret, StoredSecret, holds_secrets, put
from oidc_actor.values.urls import SCHEMES

LONGEST_NONCE = 1024
"""Characters of a nonce that is believed; it goes back as it came."""

_MOST_ORIGINS = 256
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class DPoPKey(Sealed):
    """A key that access and refresh tokens are bound to. Two are equal only if they are the same object.

    It also keeps the nonces that servers ask for (section 8): the newest of each origin.

    Any number of threads may use it, and it has no lock: each step is one operation on a dict or a list, which CPython does as a
    whole. Two threads that note nonces of one origin at once leave one of them there; the request that signs with an older one is
    refused with the newer one, and is sent once more. A thread that finds the table full empties it; a nonce that another thread
    notes in that moment may be lost, and costs its origin one request more.
    """

    __slots__ = ("_hashed", "_key", "_nonces", "_signers")
    _key: PrivateKey | None
    _hashed: tuple[str, str]  # the token that was sent last, and its hash: most requests carry the same
    _signers: list[Signer]
    _nonces: dict[str, str]

    @holds_secrets
    def __init__(self, key: PrivateKey | GivenSecret | None = None) -> None:
        """Take a key, or make one.

        Args:
            key: A `PrivateKey`, its text, a callable, or `SecretFile`, which is read once, at the first use: what is bound to one
                key is of no use with another. ``None`` makes a new key, which ends with the process.

        Raises:
            ConfigError: Where it is no key, or joserfc is not installed.
        """
        try:
            require_jose("a DPoP key")
            given = read_private_key(key)
        except ConfigError as error:
            raise error.within("dpop") from None
        put(self, _key=given, _signers=[new_signer()] if given is None else [], _nonces={}, _hashed=("", ""))

    @property
    def is_made(self) -> bool:
        """Whether it was made here, and ends with the process."""
        return self._key is None

    @property
    def sources(self) -> tuple[StoredSecret, ...]:
        """Where the key comes from, so that its file can be watched."""
        return () if self._key is None else self._key.sources

    @holds_secrets
    def proof(
        self,
        method: str,
        url: str,
        *,
        now_wall: float,
        jti: str,
        access_token: str | None = None,
        accepted: Sequence[str] | None = None,
        nonce: str | None = None,
    ) -> Secret:
        """Sign the proof for one request (section 4.2).

        Args:
            method: The request's method.
            url: Its address; query and fragment do not count.
            now_wall: Seconds since the epoch.
            jti: A text that no other proof has.
            access_token: The token that goes with it; ``None`` at the token endpoint.
            accepted: The algorithms that the server lists, for the first use of a key that can do several.
            nonce: What the response to the try before asked for; ``None`` for the newest that the origin gave.

        Returns:
            The proof.

        Raises:
            SecretUnavailable: Where the key cannot be read now.
        """
        origin, path = _target(url)
        claims: dict[str, Any] = {"jti": jti, "htm": method.upper(), "htu": origin + path, "iat": int(now_wall)}
        if access_token is not None:
            claims["ath"] = self._hash(access_token)
        nonce = nonce or self._nonces.get(origin)
        if nonce is not None:
            claims["nonce"] = nonce
        signed = self._signer(accepted).sign_proof(claims)
        if isinstance(signed, str):
            raise SecretUnavailable(f"dpop: {signed}", sent=False)
        return signed

    def thumbprint(self) -> str:
        """Return what a bound token names the key by (section 6.1, ``cnf.jkt``)."""
        return self._signer(None).thumbprint()

    def note_nonce(self, url: str, nonce: str | None) -> bool:
        """Keep the nonce of a response's ``DPoP-Nonce`` field for the requests to come.

        Args:
            url: What was asked.
            nonce: The field's value; ``None`` where there is none.

        Returns:
            Whether there was one that a proof can carry.
        """
        nonce = read_nonce(nonce)
        if nonce is None:
            return False
        origin = _target(url)[0]
        if origin not in self._nonces and len(self._nonces) >= _MOST_ORIGINS:
            self._nonces.clear()  # each costs a request more, once
        self._nonces[origin] = nonce
        return True

    def _hash(self, access_token: str) -> str:
        hashed = self._hashed
        if hashed[0] != access_token:
            # One value: of two threads that hash two tokens each goes on with its own.
            hashed = (access_token, _hash(access_token))
            put(self, _hashed=hashed)
        return hashed[1]

    def _signer(self, accepted: Sequence[str] | None) -> Signer:
        if not self._signers:
            assert self._key is not None
            # Two threads may both find the list empty, both read the key and both append. Both then sign with the first: what is
            # bound to a key that was read later, from a file replaced in between, would be of no use with it.
            self._signers.append(self._key.signer(accepted))
        return self._signers[0]

    def __repr__(self) -> str:
        return "DPoPKey(***)"


def read_dpop(value: object) -> DPoPKey | Literal[True] | None:
    """Check the option ``dpop``.

    Args:
        value: A `DPoPKey`; ``True`` for one that each manager makes for itself; ``False`` or ``None`` for none.

    Raises:
        ConfigError: Where it is none of these, or joserfc is not installed.
    """
    if value is None or value is False:
        return None
    if value is True:
        require_jose("dpop", ("dpop",))
        return True
    if isinstance(value, DPoPKey):
        return value
    raise ConfigError(f"expected True or a DPoPKey, got {type(value).__name__}", ("dpop",))


def read_nonce(field: str | None) -> str | None:
    """Read what a response's ``DPoP-Nonce`` gives the proofs to come.

    Args:
        field: The field's value; ``None`` for a response without.

    Returns:
        The nonce: the last one that a proof can carry, where the field came more than once and its values were joined.
        ``None`` where there is none. A nonce may hold a comma (section 8.1), but no white space: a comma alone parts
        only what is the same on both sides.
    """
    values = [one.strip() for one in re.split(r",\s+", field or "")]
    found = next((one for one in reversed(values) if _is_nonce(one)), None)
    parts = set() if found is None else set(found.split(","))
    return parts.pop() if len(parts) == 1 and parts != {""} else found


def _is_nonce(text: str) -> bool:
    return 0 < len(text) <= LONGEST_NONCE and all("!" <= one <= "~" for one in text)


def nonce_of(proof: str) -> str | None:
    """Read which nonce a proof of ours carries.

    Args:
        proof: The value of ``DPoP`` that was sent.

    Returns:
        The nonce; ``None`` where it carries none. Another one in the response makes another try worth while, also
        where a request beside this one has noted it already.
    """
    body = proof.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims.get("nonce")


def _target(url: str) -> tuple[str, str]:
    """An address's origin and path as ``htu`` has them (section 4.2): no user, query or fragment.

    In the form that is its own normal form (RFC 3986 section 6.2.3): a server may compare texts.
    """
    parts = urlsplit(url)
    scheme = SCHEMES.get(parts.scheme, parts.scheme)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS.get(scheme, ":"))
    return f"{scheme}://{host}", parts.path or "/"


def _hash(access_token: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(access_token.encode("ascii")).digest()).decode().rstrip("=")
