"""What the runtime of ``supervision`` costs, next to bare Pykka in the same run: ``python tests/bench/supervision_runtime.py``.

Each pair is measured interleaved, so that whatever else the machine does hits both; the ratios are what counts. Not a test.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import queue
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pykka

from supervision import ChildSpec, Server, Supervisor, call, cast, send_after, stop

up: queue.SimpleQueue[Any] = queue.SimpleQueue()  # every new incarnation reports here


class Failure(Exception):
    """Crashes an actor."""


class _Bench:
    def on_receive(self, message: Any) -> Any:
        """Echo, or crash."""
        if message == "crash":
            raise Failure
        return message


class Pooled(_Bench, Server):
    """A server on the pool."""


class Threaded(Pooled):
    """A server on a thread of its own."""

    runtime = "thread"


class Bare(_Bench, pykka.ThreadingActor):
    """Pykka's own, on a daemon thread, so that both kinds end alike."""

    use_daemon_thread = True


class _Reporting:
    def on_start(self) -> None:
        """Say that it is up."""
        up.put(self.actor_ref)  # type: ignore[attr-defined]


class PooledChild(_Reporting, Pooled):
    """A child that reports."""


class ThreadedChild(_Reporting, Threaded):
    """The same on a thread of its own."""


class PlainChild(_Reporting, Bare):
    """An unmodified Pykka class, supervised."""


def interleaved(rounds: int, works: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of each piece of work, in turns."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - began)
    return took


def show(what: str, took: dict[str, list[float]], against: str) -> dict[str, Any]:
    """Print and return medians, 90th percentiles, and the ratio of medians."""
    base = statistics.median(took[against])
    rows = {}
    for name, seconds in took.items():
        median, p90 = statistics.median(seconds), sorted(seconds)[int(len(seconds) * 0.9)]
        rows[name] = {"median_us": median * 1e6, "p90_us": p90 * 1e6, "ratio": median / base}
        print(f"{what:16} {name:22} {median * 1e6:9.1f} us  p90 {p90 * 1e6:9.1f} us   {median / base:6.2f} x {against}")
    return rows


def restart_latency(rounds: int) -> dict[str, Any]:
    """From the crash to the new incarnation's first answer, against a bare stop, start and answer."""
    bare = [Bare.start()]

    def again() -> None:
        bare[0].stop()
        bare[0] = Bare.start()
        bare[0].ask(1)

    works: dict[str, Callable[[], Any]] = {"bare stop+start": again}
    for name, cls in (("pooled", PooledChild), ("threaded", ThreadedChild), ("Pykka class", PlainChild)):
        Supervisor.start_link([ChildSpec("it", cls)], max_restarts=10**9, max_seconds=0.001)
        ref = [up.get()]

        def crash(ref: list[Any] = ref) -> None:
            cast(ref[0], "crash")
            ref[0] = up.get()
            call(ref[0], 1)

        works[name] = crash
    return show("restart", interleaved(rounds, works), "bare stop+start")


def round_trips(rounds: int) -> dict[str, Any]:
    """One message and its answer."""
    pooled, threaded, bare = Pooled.start_link(), Threaded.start_link(), Bare.start()
    works: dict[str, Callable[[], Any]] = {
        "bare ask": lambda: bare.ask(1),
        "pooled ask": lambda: pooled.ask(1),
        "pooled call": lambda: call(pooled, 1),
        "threaded ask": lambda: threaded.ask(1),
        "threaded call": lambda: call(threaded, 1),
    }
    return show("round trip", interleaved(rounds, works), "bare ask")


def starts_and_stops(count: int) -> dict[str, Any]:
    """How many a second, of each kind, one after the other; and all of them stopped by ``stop_all``."""
    rows = {}
    starts: dict[str, Callable[[], Any]] = {
        "bare start": Bare.start,
        "pooled start": Pooled.start,
        "pooled start_link": Pooled.start_link,
        "threaded start_link": Threaded.start_link,
    }
    for name, start in starts.items():
        number = count if name.startswith("pooled") else min(count, 1_000)  # a thread each
        began = time.perf_counter()
        for _ in range(number):
            start()
        middle = time.perf_counter()
        pykka.ActorRegistry.stop_all()
        rows[name] = {
            "starts_per_s": number / (middle - began),
            "stops_per_s": number / (time.perf_counter() - middle),
        }
        print(f"{'start, stop_all':16} {name:22} " + "  ".join(f"{k} {v:9.0f}" for k, v in rows[name].items()))
    return rows


def memory(count: int) -> dict[str, Any]:
    """Bytes of an idle actor that has handled a message, Python's own allocations only; threads come on top for Pykka's."""
    rows = {}
    for name, start, number in (("bare", Bare.start, 200), ("pooled", Pooled.start_link, count)):
        refs: list[Any] = [None] * number
        threads = threading.active_count()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for index in range(number):
            refs[index] = start()  # type: ignore[operator]
            refs[index].ask(1)
        gc.collect()
        rows[name] = {
            "bytes_each": (tracemalloc.get_traced_memory()[0] - before) / number,
            "threads": threading.active_count() - threads,
        }
        tracemalloc.stop()
        print(
            f"{'memory':16} {name:22} {rows[name]['bytes_each']:9.0f} bytes each, {rows[name]['threads']} threads more"
        )
        pykka.ActorRegistry.stop_all()
    return rows


def timers(count: int) -> dict[str, Any]:
    """Setting and cancelling, and delivering, a second."""
    ref = Pooled.start_link()
    began = time.perf_counter()
    for _ in range(count):
        send_after(1_000, ref, 1).cancel()
    churn = count / (time.perf_counter() - began)
    left, done = iter(range(count)), threading.Event()

    class Counter(Server):
        def on_receive(self, message: Any) -> None:
            if next(left) == count - 1:
                done.set()

    counter = Counter.start_link()
    began = time.perf_counter()
    for _ in range(count):
        send_after(0, counter, 1)
    done.wait()
    delivered = count / (time.perf_counter() - began)
    stop(counter)
    print(f"{'timers':16} {'set and cancelled':22} {churn:9.0f} /s   delivered {delivered:9.0f} /s")
    return {"set_and_cancelled_per_s": churn, "delivered_per_s": delivered}


def main() -> None:
    """Measure and print everything; ``--json FILE`` writes it, too."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=1_000)
    options.add_argument("--actors", type=int, default=10_000)
    options.add_argument("--json", metavar="FILE")
    given = options.parse_args()
    logging.disable()
    result = {
        "restart": restart_latency(given.rounds),
        "round_trip": round_trips(given.rounds * 5),
        "starts": starts_and_stops(given.actors),
        "memory": memory(given.actors),
        "timers": timers(given.actors),
    }
    pykka.ActorRegistry.stop_all()
    if given.json:
        with open(given.json, "w") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
