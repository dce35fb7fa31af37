"""Two hundred callers at an expired token, and an endpoint that takes 200 ms: how many requests, and how long they wait."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import provider
import requests
from figures import Figure, at_most, median_ratio, percentile

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager

CALLERS = 200
DELAY_S = 0.2
Waits: TypeAlias = list[float]
Herd: TypeAlias = Callable[[provider.Endpoint, str], Waits]


class Clock:
    """The machine's clock, which can be set forward; a manager's token has then expired."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.ahead_s


def run(*, quick: bool) -> list[Figure]:
    """Run the herds in turns."""
    herds: dict[str, Herd] = {"threads": our_threads, "tasks": our_tasks}
    try:
        import botocore  # noqa: F401 - only whether it is there
    except ImportError:
        print("  botocore is left out: not installed")
    else:
        herds["botocore"] = botocore_threads
    rounds = 4 if quick else 12
    tails: dict[str, Waits] = {name: [] for name in herds}
    middles: dict[str, Waits] = {name: [] for name in herds}
    counts: dict[str, list[int]] = {name: [] for name in herds}
    with provider.running() as endpoint:
        for turn in range(rounds):
            for name, herd in herds.items():
                key = f"{name}{turn}"
                waits = herd(endpoint, key)
                tails[name].append(percentile(waits, 0.99) * 1e3)
                middles[name].append(statistics.median(waits) * 1e3)
                counts[name].append(len(endpoint.requests(key)))
    figures = []
    for name in herds:
        label = f"{CALLERS} {name}" if name != "botocore" else f"botocore, {CALLERS} threads"
        ours = name != "botocore"
        most = max(counts[name])
        goal = {"goal": "exactly 1", "met": counts[name] == [1] * rounds} if ours else {}
        figures.append(Figure("herd", f"{label}: most requests", most, "", **goal))
        for kind, found in (("p50", middles), ("p99", tails)):
            ratio = median_ratio(found[name], found["botocore"]) if "botocore" in herds else None
            asked = at_most(1.10, ratio) if ours and kind == "p99" and ratio is not None else {}
            value = statistics.median(found[name])
            figures.append(Figure("herd", f"{label}: {kind}", value, "ms", ratio, "botocore", **asked))
    return figures


def our_threads(endpoint: provider.Endpoint, key: str) -> Waits:
    """Threads that read by name."""
    clock, name = _expiring(endpoint, key)
    waits = _threads(lambda: TokenManager.get_access_token(name), clock)
    TokenManager.stop(name)
    return waits


def our_tasks(endpoint: provider.Endpoint, key: str) -> Waits:
    """Tasks of one event loop."""
    clock, name = _expiring(endpoint, key)

    async def read(start: asyncio.Event) -> float:
        await start.wait()
        began = time.perf_counter()
        await TokenManager.aget_access_token(name)
        return time.perf_counter() - began

    async def together() -> Waits:
        start = asyncio.Event()
        tasks = [asyncio.create_task(read(start)) for _ in range(CALLERS)]
        await asyncio.sleep(0)
        clock.ahead_s = 3600.0
        start.set()
        return await asyncio.gather(*tasks)

    waits = asyncio.run(together())
    TokenManager.stop(name)
    return waits


def _expiring(endpoint: provider.Endpoint, key: str) -> tuple[Clock, str]:
    """A manager with a token that expires when its clock is set forward. The first one came in another way."""
    clock = Clock()
    name = f"herd.{key}"
    first = endpoint.token(f"{key}.first", life=1800)
    later = endpoint.token(key, delay=DELAY_S)
    session = requests.Session()

    from oidc_actor.http.client import RequestsTransport
    from oidc_actor.transport import Request, Response

    http = RequestsTransport()

    def transport(request: Request, /) -> Response:
        # The first token from the quick address, all others from the slow one.
        url = first if not clock.ahead_s else later
        return http(Request(request.method, url, request.headers, request.body, request.timeout_s))

    TokenManager.start_link(
        auth=ClientCredentials("id", "secret"),
        oidc_config=OIDCConfig(token_endpoint=later),
        name=name,
        clock=clock,
        transport=transport,
    )
    TokenManager.get_access_token(name)
    session.close()
    return clock, name


def botocore_threads(endpoint: provider.Endpoint, key: str) -> Waits:
    """Threads that read expired credentials of botocore's."""
    from botocore.credentials import RefreshableCredentials

    session = requests.Session()
    session.post(endpoint.token(f"{key}.first"), data={"grant_type": "client_credentials"}, timeout=10)
    url = endpoint.token(key, delay=DELAY_S)

    def refresh() -> dict[str, str]:
        answer = session.post(url, data={"grant_type": "client_credentials"}, timeout=10).json()
        expiry = datetime.now(UTC) + timedelta(seconds=answer["expires_in"])
        return {
            "access_key": "k",
            "secret_key": "s",
            "token": answer["access_token"],
            "expiry_time": expiry.isoformat(),
        }

    past = datetime.now(UTC) - timedelta(seconds=60)
    credentials = RefreshableCredentials("k", "s", "t", past, refresh, "bench")
    return _threads(lambda: credentials.get_frozen_credentials().token, None)


def _threads(read: Callable[[], object], clock: Clock | None) -> Waits:
    start = threading.Event()
    waits: Waits = []

    def work() -> None:
        start.wait()
        began = time.perf_counter()
        read()
        waits.append(time.perf_counter() - began)

    workers = [threading.Thread(target=work) for _ in range(CALLERS)]
    for worker in workers:
        worker.start()
    if clock is not None:
        clock.ahead_s = 3600.0
    start.set()
    for worker in workers:
        worker.join()
    return waits
