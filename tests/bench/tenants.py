"""Many tenants in one process: a `TokenPool` beside managers that are started by hand, what churn leaves behind, and what
hopeless tenants cost the others.

Each measurement has a process of its own. The provider is a transport in that process that answers at once, so that what is
measured is the managers.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pykka

from oidc_actor import ClientCredentials, NoTokenError, TokenManager, TokenPool
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
        # A name is free a moment before the pool has heard of the end.
        while (by_name or DynamicSupervisor.count_children("users").specs) and time.monotonic() < ends_at:
            time.sleep(0.01)
            clock.advance(1.0)

    def look(done: int) -> tuple[float, Counter[str]]:
        """Print what there is, and return the memory and the objects by type."""
        all_idle()
        assert clock.next_in_s is None  # it drops the timers that were cancelled, which hold their managers
        gc.collect()
        mb, threads, blocks = resident_mb(), threading.active_count(), sys.getallocatedblocks()
        objects = Counter(type(one).__qualname__ for one in gc.get_objects())
        print(
            f"{done:>9,} {mb:8.1f} MB {blocks:>9,} blocks {objects.total():>9,} objects {threads:4} threads"
            f" {len(by_name):4} managers {len(pykka.ActorRegistry.get_all()):4} actors",
            flush=True,
        )
        return mb, objects

    first = keys // 10  # after which the interpreter's own memory has its size
    some(0, first)
    before_mb, before = look(first)
    began, used = time.monotonic(), time.process_time()
    for done in (keys // 5, keys * 2 // 5, keys * 7 // 10, keys):
        some(first, done)
        after_mb, after = look(done)
        first = done
    took_s, used_s = time.monotonic() - began, time.process_time() - used
    print(
        f"{keys:,} keys in an hour of the clock: {took_s:.1f} s, {used_s:.1f} s of the processor for the last nine tenths"
    )
    print(f"{'managers at a time, at most':<44} {most[0]:8}")
    print(f"{'memory more than after the first tenth':<44} {after_mb - before_mb:8.1f} MB")
    print("objects more than after the first tenth:", dict((after - before).most_common(8)))
    TokenPool.stop("users")


# --- three hopeless tenants among the others --------------------------------------------------------------------------

WRONG, HANGS, RAISES = -1, -2, -3
ROUNDS, READERS, READS = 20, 8, 20


def measure_neighbours(tenants: int, issuers: int) -> None:
    """The same tenants without and with three hopeless ones, in turn: what the three cost the others."""
    figures: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    _with_neighbours(tenants, issuers, hopeless=True)  # the first round warms up, and does not count
    for number in range(2 * ROUNDS):
        hopeless = number % 4 in (1, 2)  # in turn, and each as often first
        figures[hopeless].append(_with_neighbours(tenants, issuers, hopeless=hopeless))
    for column, what in enumerate(("until all have tokens, ms", "a read, median, us", "a read, 99 of 100, us")):
        quarters = [statistics.quantiles((row[column] for row in figures[kind]), n=4) for kind in (False, True)]
        alone, beside = (f"{median:8.2f} ({low:.2f} to {high:.2f})" for low, median, high in quarters)
        print(f"{what:<28} alone {alone}, beside three hopeless {beside}, ratio {quarters[1][1] / quarters[0][1]:.2f}")


def _with_neighbours(tenants: int, issuers: int, *, hopeless: bool) -> tuple[float, float, float]:
    """Milliseconds until all but the hopeless have tokens, and microseconds of a read: the median, and 99 of 100."""
    others = Hopeless(issuers)
    reads: list[int] = []

    def read(number: int) -> None:
        for _ in range(READS):
            began = time.perf_counter_ns()
            TokenPool.get_access_token("tenants", number)
            reads.append(time.perf_counter_ns() - began)

    TokenPool.start_link(others.factory, name="tenants")
    asking = [threading.Thread(target=others.ask_for, args=[number]) for number in (WRONG, HANGS, RAISES) if hopeless]
    for thread in asking:
        thread.start()
    start_s = _each(tenants, lambda number: TokenPool.get_token("tenants", number, timeout=DEADLINE_S))
    _each(tenants, read)
    others.over.set()
    for thread in asking:
        thread.join(DEADLINE_S)
    TokenPool.stop("tenants", timeout=DEADLINE_S)
    if len(others.refused) < len(asking):
        raise AssertionError(f"refused reads of the hopeless: {dict(others.refused)}")
    reads.sort()
    return start_s * 1e3, reads[len(reads) // 2] / 1e3, reads[len(reads) * 99 // 100] / 1e3


def _each(tenants: int, act: Callable[[int], object]) -> float:
    """Do it for all tenants, on several threads; in seconds."""

    def part(first: int) -> None:
        for number in range(first, tenants, READERS):
            act(number)

    began = time.monotonic()
    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(part, range(READERS)))
    return time.monotonic() - began


class Hopeless:
    """A pool's factory and its providers, with three tenants that never get a token."""

    def __init__(self, issuers: int) -> None:
        self.issuers, self.over = issuers, threading.Event()
        self.refused: Counter[int] = Counter()

    def factory(self, number: int) -> dict[str, Any]:
        if number == RAISES:
            raise LookupError("no such row")
        options = {**options_of(max(number, 0), self.issuers), "transport": self.answer}
        if number == HANGS:
            options["issuer_url"] = "https://hangs.example.com"
        if number == WRONG:
            options["auth"] = ClientCredentials("client-wrong", "wrong", client_auth="client_secret_post")
        return options

    def answer(self, request: Request) -> Response:
        if "//hangs." in request.url:
            self.over.wait(DEADLINE_S)
            return Response(503, {}, "")
        if b"client-wrong" in request.body:
            return Response(401, {}, '{"error": "invalid_client"}')
        return answer(request)

    def ask_for(self, number: int) -> None:
        """Ask for one of them ten times a second."""
        while not self.over.wait(0.1):
            with contextlib.suppress(NoTokenError):
                TokenPool.get_token("tenants", number, timeout=0.1)
                raise AssertionError(f"{number} has a token")
            self.refused[number] += 1


KINDS = {"plain": measure_plain, "pool": measure_pool, "churn": measure_churn, "neighbours": measure_neighbours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--issuers", type=int, default=3, help="of how many issuers (default: %(default)s)")
    parser.add_argument(
        "--kind",
        choices=KINDS,
        help="one of them, in this process; without it, all (churn: ten times as many; neighbours: 497)",
    )
    given = parser.parse_args()
    if given.kind is not None:
        KINDS[given.kind](given.tenants, given.issuers)
        return
    for kind in KINDS:
        print(f"--- {kind}", flush=True)
        tenants = {"churn": 10 * given.tenants, "neighbours": 497}.get(kind, given.tenants)
        subprocess.run(
            [sys.executable, __file__, f"--kind={kind}", f"--tenants={tenants}", f"--issuers={given.issuers}"],
            check=True,
        )


if __name__ == "__main__":
    main()
