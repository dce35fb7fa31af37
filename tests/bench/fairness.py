"""One issuer of ten stops answering: its connections are accepted, and nothing comes. Are the others' refreshes late?

The dead one has most of the managers, so it could keep every thread waiting. Without jitter each refresh is due at a known
time; its lateness is when the provider saw the request, less that.
"""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import provider
from figures import Figure, at_most, percentile

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager

ISSUERS = 10
EACH = 20
DEAD_ONES = 200
LIFE_S = 8.0
LEAD_S = 3.0
TIMEOUT_S = 10.0


class NoJitter:
    """A random source that always gives the lower end."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return ``a``."""
        return a


def run(*, quick: bool) -> list[Figure]:
    """Run it with the dead issuer and without, for as many refreshes."""
    refreshes = 3 if quick else 6
    with provider.running() as endpoint:
        without, _ = _latenesses(endpoint, "well", refreshes, dead=False)
        within, threads = _latenesses(endpoint, "ill", refreshes, dead=True)
    later = max(within) - max(without)
    return [
        Figure("fairness", "latest refresh of nine issuers, all ten well", max(without), "s"),
        Figure("fairness", "latest refresh of nine issuers, the tenth silent", max(within), "s"),
        Figure("fairness", "p99, all ten well", percentile(without, 0.99), "s"),
        Figure("fairness", "p99, the tenth silent", percentile(within, 0.99), "s"),
        Figure("fairness", "latest with over latest without", later, "s", **at_most(1.0, later, "<= 1 s later")),
        Figure("fairness", "HTTP threads at most", threads, "", **at_most(32, threads)),
    ]


def _latenesses(endpoint: provider.Endpoint, run_name: str, refreshes: int, *, dead: bool) -> tuple[list[float], int]:
    names = []
    threads = 0
    for issuer in range(ISSUERS):
        silent = dead and issuer == 0
        for number in range(DEAD_ONES if issuer == 0 else EACH):
            key = f"{run_name}.{issuer}.{number}"
            address = endpoint.token(key, life=LIFE_S, **({"until": 1} if silent else {}))
            names.append(key)
            TokenManager.start_link(
                auth=ClientCredentials("id", "secret"),
                oidc_config=OIDCConfig(issuer=f"https://{run_name}{issuer}.invalid", token_endpoint=address),
                name=key,
                refresh_buffer_seconds=LEAD_S,
                timeout_seconds=TIMEOUT_S,
                rng=NoJitter(),
            )
    over = time.monotonic() + refreshes * (LIFE_S - LEAD_S) + 3
    while time.monotonic() < over:
        time.sleep(0.1)
        threads = max(threads, sum(1 for thread in threading.enumerate() if thread.name == "oidc-actor-http"))
    found = []
    for name in names:
        if not name.startswith(f"{run_name}.0."):
            came = endpoint.requests(name)
            found += [later - earlier - (LIFE_S - LEAD_S) for earlier, later in pairwise(came)]
        TokenManager.stop(name)
    assert found
    return found, threads
