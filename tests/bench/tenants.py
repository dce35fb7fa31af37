"""Many tenants in one process: what a `TokenPool` costs beside managers that are started by hand, and what churn leaves behind.

Each measurement has a process of its own. The provider is a transport in that process that answers at once, so that what is
measured is the managers.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oidc_actor import ClientCredentials, TokenManager, TokenPool
from oidc_actor.metrics import ready
from oidc_actor.reading.cell import by_name
from oidc_actor.testing import ManualClock
from oidc_actor.transport import Request, Response
from supervision import DynamicSupervisor

TOKEN_BYTES = 600
DEADLINE_S = 600.0
HOUR_S = 3600.0


def answer(request: Request) -> Response:
    """What the providers answer: metadata, or a token of its own for each request."""
    host = request.url.split("/")[2]
    if request.method == "GET":
        members = {"issuer": f"https://{host}", "token_endpoint": f"https://{host}/token"}
    else:
        members = {"access_token": os.urandom(TOKEN_BYTES // 2).hex(), "token_type": "Bearer", "expires_in": 3600}
    return Response(200, {}, json.dumps(members))


def resident_mb() -> float:
    """Memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def timed(what: str, act: Callable[[], object]) -> None:
    began, used = time.monotonic(), time.process_time()
    act()
    took_s, used_s = time.monotonic() - began, time.process_time() - used
    print(f"{what:<44} {took_s:8.3f} s {used_s:8.3f} s of the processor", flush=True)


def options_of(number: int, issuers: int) -> dict[str, Any]:
    return {
        "issuer_url": f"https://auth{number % issuers}.example.com",
        "auth": ClientCredentials(f"client-{number}", f"secret-{number}"),
        "transport": answer,
    }


# --- by hand, and with a pool -----------------------------------------------------------------------------------------


def measure_plain(tenants: int, issuers: int) -> None:
    names = [f"tenants.{number}" for number in range(tenants)]
    DynamicSupervisor.start_link(name="tenants", max_restarts=100, max_seconds=60)
    before_mb = resident_mb()

    def start() -> None:
        for number, name in enumerate(names):
            spec = TokenManager.child_spec(name=name, **options_of(number, issuers))
            DynamicSupervisor.start_child("tenants", spec)

    def await_all() -> None:
        for name in names:
            TokenManager.get_token(name, timeout=DEADLINE_S)

    def health_of_all() -> None:
        for name in names:
            TokenManager.health(name)

    _measure(
        tenants, before_mb, start, await_all, health_of_all,
        lambda: DynamicSupervisor.terminate_child("tenants", names[-1]),
        lambda: DynamicSupervisor.stop("tenants", timeout=DEADLINE_S),
    )  # fmt: skip


def measure_pool(tenants: int, issuers: int) -> None:
    TokenPool.start_link(name="tenants")
    before_mb = resident_mb()

    def start() -> None:
        for number in range(tenants):
            TokenPool.put("tenants", number, **options_of(number, issuers))

    def await_all() -> None:
        for number in range(tenants):
            TokenPool.get_token("tenants", number, timeout=DEADLINE_S)

    _measure(
        tenants, before_mb, start, await_all, lambda: TokenPool.health("tenants"),
        lambda: TokenPool.remove("tenants", tenants - 1),
        lambda: TokenPool.stop("tenants", timeout=DEADLINE_S),
    )  # fmt: skip


def _measure(
    tenants: int,
    before_mb: float,
    start: Callable[[], None],
    await_all: Callable[[], None],
    health_of_all: Callable[[], object],
    remove: Callable[[], None],
    stop: Callable[[], None],
) -> None:
    timed(f"start {tenants:,}, one after another", start)
    timed("then, until the last has a token that is asked", await_all)
    print(f"{'memory':<44} {resident_mb() - before_mb:8.1f} MB")
    print(f"{'threads':<44} {threading.active_count():8}")
    timed("health of all", health_of_all)
    timed("ready()", ready)
    timed("remove one", remove)
    timed("stop all", stop)


# --- churn ------------------------------------------------------------------------------------------------------------


def measure_churn(keys: int, _issuers: int) -> None:
    """Users come and go for an hour of a clock made for tests: each is read once, and ends when it has been idle for a minute."""
    clock = ManualClock()

    def factory(number: int) -> dict[str, Any]:
        return {"auth": ClientCredentials(f"client-{number}", f"secret-{number}")}

    TokenPool.start_link(
        factory, name="users", idle_seconds=60.0, max_size=5000, issuer_url="https://auth.example.com", transport=answer,
        clock=clock,
    )  # fmt: skip
    most = [0]

    def some(first: int, last: int) -> None:
        for number in range(first, last):
            TokenPool.get_token("users", number, timeout=DEADLINE_S)
            clock.advance(HOUR_S / keys)
        most[0] = max(most[0], len(by_name))

    def all_idle() -> None:
        clock.advance(61.0)
        ends_at = time.monotonic() + DEADLINE_S
        while by_name and time.monotonic() < ends_at:
            time.sleep(0.01)
            clock.advance(1.0)

    warm = keys // 10  # after which the interpreter's own memory has its size
    some(0, warm)
    all_idle()
    gc.collect()
    before_mb, threads = resident_mb(), threading.active_count()
    timed(f"{keys - warm:,} keys in an hour of the clock", lambda: some(warm, keys))
    all_idle()
    gc.collect()
    print(f"{'managers at a time, at most':<44} {most[0]:8}")
    print(f"{'names left':<44} {len(by_name):8}")
    print(f"{'threads more than before':<44} {threading.active_count() - threads:8}")
    print(f"{'memory more than before':<44} {resident_mb() - before_mb:8.1f} MB")
    TokenPool.stop("users")


KINDS = {"plain": measure_plain, "pool": measure_pool, "churn": measure_churn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--issuers", type=int, default=3, help="of how many issuers (default: %(default)s)")
    parser.add_argument(
        "--kind", choices=KINDS, help="one of them, in this process; without it, all (churn: ten times as many)"
    )
    given = parser.parse_args()
    if given.kind is not None:
        KINDS[given.kind](given.tenants, given.issuers)
        return
    for kind in KINDS:
        print(f"--- {kind}", flush=True)
        tenants = given.tenants * (10 if kind == "churn" else 1)
        subprocess.run(
            [sys.executable, __file__, f"--kind={kind}", f"--tenants={tenants}", f"--issuers={given.issuers}"],
            check=True,
        )


if __name__ == "__main__":
    main()
