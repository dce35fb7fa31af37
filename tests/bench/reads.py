"""Reading a cached valid token: ours by source and by name, the floor, and the peers, at 1, 8 and 64 threads."""

from __future__ import annotations

import functools
import json
import statistics
import threading
import time
from array import array
from collections.abc import Callable
from itertools import repeat
from typing import TypeAlias

import peers
from figures import Figure, Goal, Loop, at_least, at_most, in_turns, median_ratio, percentile
from floor import Floor

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager
from oidc_actor.transport import Request, Response

Read: TypeAlias = Callable[[], object]
NAME = "bench.reads"
THREADS = (1, 8, 64)
OURS = ("floor", "source", "name")


def _grant(request: Request) -> Response:
    return Response(200, {}, json.dumps({"access_token": "t" * 600, "token_type": "Bearer", "expires_in": 36_000}))


def contenders() -> dict[str, Read]:
    """What is read, each with a valid token."""
    config = OIDCConfig(token_endpoint="https://auth.invalid/token")
    TokenManager.start_link(auth=ClientCredentials("id", "s"), oidc_config=config, transport=_grant, name=NAME)
    TokenManager.get_access_token(NAME)
    get = TokenManager.get_access_token
    found: dict[str, Read] = {
        "floor": Floor(36_000).read,
        "source": TokenManager.source(NAME).access_token,
        "name": lambda: get(NAME),
    }
    for name, make in peers.PEERS.items():
        try:
            found[name] = make()
            found[name]()
        except ImportError as missing:
            print(f"  {name} is left out: {missing}")
    return found


def run(*, quick: bool) -> list[Figure]:
    """Time them in turns."""
    reads = contenders()
    figures = _alone(reads, rounds=25 if quick else 100)
    for threads in THREADS:
        figures += _together(reads, threads, rounds=2 if quick else 6)
    return figures


def _alone(reads: dict[str, Read], *, rounds: int) -> list[Figure]:
    """Nanoseconds of processor time a read takes in a plain loop on one thread, the loop included."""
    loops: dict[str, Loop] = {name: functools.partial(_loop, read) for name, read in reads.items()}
    loops["name"] = _by_name
    times = in_turns(loops, rounds)
    figures = []
    for name, found in times.items():
        ratio = median_ratio(found, times["floor"])
        goal: Goal = {}
        if name == "source":
            goal = at_most(1.25, ratio)
        elif name == "name":
            goal = at_most(2.5, ratio)
        figures.append(_figure(name, "loop", 1, statistics.median(found), ratio, goal))
    others = [name for name in times if name not in OURS]
    if others:
        best = min(others, key=lambda name: statistics.median(times[name]))
        lead = median_ratio(times[best], times["source"])
        against = f"{best} over source"
        value = statistics.median(times[best])
        figures.append(Figure("reads", "best peer, 1 thr, loop", value, "ns", lead, against, **at_least(2.5, lead)))
    return figures


def _loop(read: Read, times: int) -> float:
    began = time.thread_time_ns()
    for _ in repeat(None, times):
        read()
    return (time.thread_time_ns() - began) / times


def _by_name(times: int) -> float:
    get = TokenManager.get_access_token
    began = time.thread_time_ns()
    for _ in repeat(None, times):
        get(NAME)
    return (time.thread_time_ns() - began) / times


def _together(reads: dict[str, Read], threads: int, *, rounds: int) -> list[Figure]:
    """Each read timed by itself, on several threads at once, which hold the interpreter in turns."""
    medians: dict[str, list[float]] = {name: [] for name in reads}
    tails: dict[str, list[float]] = {name: [] for name in reads}
    for _ in range(rounds):
        for name, read in reads.items():
            samples = _timed(read, threads, (200_000 if name in OURS else 12_800) // threads)
            medians[name].append(statistics.median(samples))
            tails[name].append(percentile(samples, 0.99))
    figures = []
    for name in reads:
        ratio = median_ratio(medians[name], medians["floor"])
        figures.append(_figure(name, "median", threads, statistics.median(medians[name]), ratio, {}))
        ratio = median_ratio(tails[name], tails["floor"])
        goal: Goal = {}
        if threads == 64 and name in {"source", "name"}:
            goal = at_most(2 if name == "source" else 4, ratio)
        figures.append(_figure(name, "p99", threads, statistics.median(tails[name]), ratio, goal))
    return figures


def _timed(read: Read, threads: int, times: int) -> list[int]:
    start = threading.Barrier(threads)
    found = [array("q", bytes(8 * times)) for _ in range(threads)]

    def work(samples: array[int]) -> None:
        clock = time.perf_counter_ns
        start.wait()
        for number in range(times):
            began = clock()
            read()
            samples[number] = clock() - began

    workers = [threading.Thread(target=work, args=(samples,)) for samples in found]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [sample for samples in found for sample in samples]


def _figure(name: str, kind: str, threads: int, value: float, ratio: float, goal: Goal) -> Figure:
    return Figure("reads", f"{name}, {threads} thr, {kind}", value, "ns", ratio, "floor", **goal)
