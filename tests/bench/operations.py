"""What operators ask of a process with many managers: whether all are ready, a scrape, the health of each."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from figures import Figure, Goal, at_most, median_ratio
from prometheus_client import CollectorRegistry, Metric, generate_latest

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager
from oidc_actor.metrics import ready
from oidc_actor.metrics.prometheus import Collector
from oidc_actor.transport import Request, Response

MANAGERS = 10_000
RENDERED = "the text of that scrape alone (prometheus_client)"


def run(*, quick: bool) -> list[Figure]:
    """Start them, wait for their tokens, and ask."""
    names = _started()
    registry = CollectorRegistry()
    registry.register(Collector())
    collected = CollectorRegistry()
    collected.register(_Collected(registry))
    health = TokenManager.health
    jobs: dict[str, tuple[Callable[[], object], float, str, float | None]] = {
        "ready()": (ready, 1e3, "ms", 5.0),
        "scrape, of 1,000 of them series": (lambda: generate_latest(registry), 1e3, "ms", 80.0),
        RENDERED: (lambda: generate_latest(collected), 1e3, "ms", None),
        "health of all, each": (lambda: [health(name) for name in names], 1e6 / MANAGERS, "us", 25.0),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(5 if quick else 15):
        for name, (job, scale, _unit, _goal) in jobs.items():
            began = time.process_time()  # of all threads: managers answer on theirs
            job()
            times[name].append((time.process_time() - began) * scale)
    figures = []
    for name, (_, _, unit, most) in jobs.items():
        value = statistics.median(times[name])
        goal: Goal = {} if most is None else at_most(most, value)
        ratio = median_ratio(times[name], times[RENDERED]) if name.startswith("scrape") else None
        against = "" if ratio is None else "its text"
        figures.append(Figure("operations", f"{MANAGERS:,} managers: {name}", value, unit, ratio, against, **goal))
    return figures


class _Collected:
    """What was collected once, so that only its text is made."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._metrics = list(registry.collect())

    def collect(self) -> list[Metric]:
        """Give it."""
        return self._metrics


def _started() -> list[str]:
    def grant(_: Request) -> Response:
        return Response(200, {}, json.dumps({"access_token": "t" * 600, "token_type": "Bearer", "expires_in": 36_000}))

    names = [f"m{number}" for number in range(MANAGERS)]
    # Of many issuers, each of which has its managers start at a pace.
    configs = [OIDCConfig(token_endpoint=f"https://auth{number}.invalid/token") for number in range(100)]
    for number, name in enumerate(names):
        TokenManager.start_link(
            auth=ClientCredentials(name, "secret"), oidc_config=configs[number % 100], transport=grant, name=name
        )
    for name in names:
        TokenManager.get_access_token(name, timeout=60)
    return names
