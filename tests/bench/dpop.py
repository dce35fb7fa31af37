"""A request's header fields with a DPoP proof: ours, joserfc's encoding of the same proof, and the signature alone."""

from __future__ import annotations

import json
import secrets
import statistics
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from figures import Figure, at_most, median_ratio
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from oidc_actor import ClientCredentials, DPoPKey, OIDCConfig, TokenManager
from oidc_actor.adapters.headers import headers
from oidc_actor.transport import Request, Response

TOKEN = "t" * 600
URL = "https://api.invalid/items?page=2"
NAME = "bench.dpop"
ENCODE, SIGNATURE, KEY, HEADERS = (
    "joserfc's encode of the same proof",
    "a raw P-256 signature",
    "DPoPKey.proof",
    "headers of a request",
)


def run(*, quick: bool) -> list[Figure]:
    """Time them in turns."""
    jobs = _jobs()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(20 if quick else 80):
        for name, job in jobs.items():
            cost = _cost(job, 200)
            if turn:
                times[name].append(cost)
    figures = []
    for name, found in times.items():
        ratio = median_ratio(found, times[ENCODE])
        goal = at_most(1.2, ratio) if name in (KEY, HEADERS) else {}
        figures.append(Figure("dpop", name, statistics.median(found), "us", ratio, ENCODE, **goal))
    return figures


def _jobs() -> dict[str, Callable[[], object]]:
    def grant(_: Request) -> Response:
        return Response(200, {}, json.dumps({"access_token": TOKEN, "token_type": "DPoP", "expires_in": 36_000}))

    key = DPoPKey()
    auth = ClientCredentials("id", "secret", dpop=key)
    config = OIDCConfig(token_endpoint="https://auth.invalid/token")
    TokenManager.start_link(auth=auth, oidc_config=config, transport=grant, name=NAME)
    TokenManager.get_access_token(NAME)

    theirs = ECKey.generate_key("P-256")
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": theirs.as_dict(private=False)}
    claims = {"jti": secrets.token_urlsafe(16), "htm": "GET", "htu": URL, "iat": int(time.time()), "ath": "a" * 43}

    class Registry(JWSRegistry):
        """One that takes a header with a key in it."""

        max_header_length = 4096

    registry, raw = Registry(), ec.generate_private_key(ec.SECP256R1())
    message = b"m" * 400
    return {
        ENCODE: lambda: jwt.encode(header, dict(claims), theirs, registry=registry),
        SIGNATURE: lambda: raw.sign(message, ec.ECDSA(hashes.SHA256())),
        KEY: lambda: key.proof("GET", URL, now_wall=time.time(), jti=secrets.token_urlsafe(16), access_token=TOKEN),
        HEADERS: lambda: headers(NAME, method="GET", url=URL),
    }


def _cost(job: Callable[[], object], times: int) -> float:
    """Microseconds of processor time of this thread."""
    began = time.thread_time()
    for _ in range(times):
        job()
    return (time.thread_time() - began) / times * 1e6
