"""What a server does with DPoP proofs (RFC 9449 section 4.3): check each by its own words, take it once, ask for nonces."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry
from joserfc.jws import JWSRegistry

ALGORITHMS = ["ES256", "PS256", "RS256"]
"""What it takes; a proof that is signed with anything else, or not at all, is refused."""

_WINDOW_S = 60.0
_MOST_NONCES = 4


@dataclass(frozen=True, slots=True)
class ProofRefused:
    """Why a proof is not taken.

    Attributes:
        error: ``"invalid_dpop_proof"`` or ``"use_dpop_nonce"``.
        reason: What is wrong with it.
    """

    error: str
    reason: str


class Proofs:
    """The proofs of one server, and its nonces. Any number of threads may use it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with no nonce, which none needs then.

        Args:
            clock: Seconds since the epoch.
        """
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._taken: set[str] = set()
        self._nonces: deque[str] = deque(maxlen=_MOST_NONCES)

    @property
    def nonce(self) -> str | None:
        """The newest nonce; ``None`` while proofs need none."""
        with self._lock:
            return self._nonces[-1] if self._nonces else None

    def want(self, nonce: str, *, keep: int = 0) -> None:
        """Have proofs carry a nonce from now on.

        Args:
            nonce: The nonce.
            keep: How many of those before it stay good.
        """
        with self._lock:
            while len(self._nonces) > keep:
                self._nonces.popleft()
            self._nonces.append(nonce)

    def check(self, proof: str | None, *, method: str, url: str, access_token: str | None = None) -> str | ProofRefused:
        """Check the proof of one request.

        Args:
            proof: The value of ``DPoP``.
            method: The request's method.
            url: Its address, without query and fragment.
            access_token: The token that it goes with; ``None`` at the token endpoint.

        Returns:
            The thumbprint of the key, which ``cnf.jkt`` of a bound token is (section 6.1), or why it is not taken.
        """
        if proof is None:
            return ProofRefused("invalid_dpop_proof", "no proof")
        try:
            key, claims = _opened(proof)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            return ProofRefused("invalid_dpop_proof", f"it cannot be read: {type(error).__name__}")
        problem = self._problem(claims, method, url, access_token)
        if problem is not None:
            return problem
        return self._take(str(claims["jti"]), claims.get("nonce")) or str(key.thumbprint())

    def _problem(self, claims: dict[str, Any], method: str, url: str, access_token: str | None) -> ProofRefused | None:
        expected = {"htm": method, "htu": url, "ath": None if access_token is None else _hash(access_token)}
        for name, value in expected.items():
            if claims.get(name) != value:
                return ProofRefused("invalid_dpop_proof", f"{name}: expected {value!r}, got {claims.get(name)!r}")
        issued = claims.get("iat")
        if not isinstance(issued, int | float) or abs(issued - self._clock()) > _WINDOW_S:
            return ProofRefused("invalid_dpop_proof", f"iat: expected about now, got {issued!r}")
        if not isinstance(claims.get("jti"), str):
            return ProofRefused("invalid_dpop_proof", "jti: expected a text")
        return None

    def _take(self, jti: str, nonce: object) -> ProofRefused | None:
        with self._lock:
            if jti in self._taken:
                return ProofRefused("invalid_dpop_proof", "jti: it was taken before")
            self._taken.add(jti)
            if self._nonces and nonce not in self._nonces:
                return ProofRefused("use_dpop_nonce", "nonce: expected the newest")
        return None


class _Registry(JWSRegistry):
    max_header_length = 4096  # a proof carries its public key there


_REGISTRY = _Registry(algorithms=ALGORITHMS)


def _opened(proof: str) -> tuple[Any, dict[str, Any]]:
    """The key that a proof names and has been signed with, and what it says."""
    header = jws.extract_compact(proof.encode(), registry=_REGISTRY).headers()
    if header.get("typ") != "dpop+jwt" or header["alg"] not in ALGORITHMS or "d" in header["jwk"]:
        raise ValueError("no DPoP proof")
    key: Any = JWKRegistry.import_key(header["jwk"])
    return key, jwt.decode(proof, key, algorithms=ALGORITHMS, registry=_REGISTRY).claims


def _hash(access_token: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(access_token.encode()).digest()).decode().rstrip("=")
