"""Managers over the loopback network: the same as `scale` with everything in it that HTTP costs, so with fewer of them."""

from __future__ import annotations

import threading
import time

import provider
from figures import Figure, at_least, at_most
from scale import Reader

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager


def run(*, quick: bool) -> list[Figure]:
    """Start them, let them live, stop them."""
    managers, lifetime_s, lifetimes = (500, 10.0, 1) if quick else (5_000, 40.0, 3)
    with provider.running() as endpoint:
        for number in range(managers):
            address = endpoint.token(f"m{number}", life=lifetime_s)
            TokenManager.start_link(
                auth=ClientCredentials(str(number), "secret"),
                oidc_config=OIDCConfig(issuer="https://auth.invalid", token_endpoint=address),
                name=f"m{number}",
                refresh_buffer_seconds=lifetime_s / 4,
            )
        while endpoint.summary().clients < managers:
            time.sleep(0.1)
        time.sleep(0.5)
        reader = Reader(managers)
        reader.start()
        before, cpu, began = endpoint.summary(), time.process_time(), time.perf_counter()
        threads = 0
        while time.perf_counter() - began < lifetimes * lifetime_s:
            time.sleep(0.5)
            threads = max(threads, sum(1 for thread in threading.enumerate() if thread.name == "oidc-actor-http"))
        reader.over.set()
        reader.join()
        spent, lived_s, seen = time.process_time() - cpu, time.perf_counter() - began, endpoint.summary()
        for number in range(managers):
            TokenManager.stop(f"m{number}")
    refreshes, bad = seen.requests - before.requests, reader.failed + reader.expired
    left_s = seen.least_left_s
    label = f"{managers:,} managers"
    return [
        Figure("network", f"{label}: refreshes", refreshes / lived_s, "/s"),
        Figure("network", f"{label}: processor time a refresh", spent / refreshes * 1e6, "us"),
        Figure(
            "network", f"{label}: fewest refreshes of one", seen.fewest - 1, "", **at_least(lifetimes, seen.fewest - 1)
        ),
        Figure("network", f"{label}: latest refresh, before its token's end", left_s, "s", goal="> 0", met=left_s > 0),
        Figure("network", f"{label}: expired or failed reads of {reader.reads:,}", bad, "", **at_most(0, bad)),
        Figure("network", f"{label}: most first requests in a second", seen.burst, "", **at_most(400, seen.burst)),
        Figure("network", f"{label}: HTTP threads at most", threads, "", **at_most(32, threads)),
        # One more is the benchmark's own, for each look at the summary.
        Figure(
            "network", f"{label}: connections opened while they lived", seen.connections - before.connections - 1, ""
        ),
    ]
