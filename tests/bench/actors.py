"""The runtime of `supervision` next to bare Pykka: a message and its answer, start, stop, and what an idle actor weighs."""

from __future__ import annotations

import gc
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pykka
from figures import Figure, at_most, median_ratio

from supervision import Server, call


class Pooled(Server):
    """A server on the pool."""

    def on_receive(self, message: Any) -> Any:
        """Answer the message."""
        return message


class OwnThread(Pooled):
    """A server on a thread of its own."""

    runtime = "thread"


class Bare(pykka.ThreadingActor):
    """Pykka's own, on a daemon thread, so that all end alike."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        """Answer the message."""
        return message


def run(*, quick: bool) -> list[Figure]:
    """Measure each."""
    few, many = (500, 5_000) if quick else (1_000, 20_000)
    figures = _round_trips(1_000 if quick else 5_000)
    small, large = _start_and_stop(Pooled.start_link, few), _start_and_stop(Pooled.start_link, many)
    bare = _start_and_stop(Bare.start, few)
    for what, one in (("start_link", 0), ("stop_all", 1)):
        growth = large[one] / small[one]
        against = f"bare Pykka, {few:,}"
        figures += [
            Figure("actors", f"{what}, each of {few:,}", small[one], "us", small[one] / bare[one], against),
            Figure(
                "actors", f"{what}, each of {many:,}", large[one], "us", growth, f"of {few:,}", **at_most(2, growth)
            ),
        ]
    figures.append(Figure("actors", "an idle pooled actor", _bytes_each(Pooled.start_link, many), "B"))
    figures.append(
        Figure("actors", "an idle bare actor, without its thread's stack", _bytes_each(Bare.start, 200), "B")
    )
    return figures


def _round_trips(rounds: int) -> list[Figure]:
    """Microseconds for a message and its answer, in turns."""
    bare, pooled, threaded = Bare.start(), Pooled.start_link(), OwnThread.start_link()
    works: dict[str, Callable[[], Any]] = {
        "bare ask": lambda: bare.ask(1),
        "pooled ask": lambda: pooled.ask(1),
        "pooled call": lambda: call(pooled, 1),
        "own thread call": lambda: call(threaded, 1),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append((time.perf_counter() - began) * 1e6)
    pykka.ActorRegistry.stop_all()
    return [
        Figure("actors", name, statistics.median(found), "us", median_ratio(found, times["bare ask"]), "bare ask")
        for name, found in times.items()
    ]


def _start_and_stop(start: Callable[[], Any], count: int) -> tuple[float, float]:
    """Microseconds of processor time to start one, and to stop one of all by ``ActorRegistry.stop_all``."""
    began = time.process_time()
    for _ in range(count):
        start()
    middle = time.process_time()
    pykka.ActorRegistry.stop_all()
    return (middle - began) / count * 1e6, (time.process_time() - middle) / count * 1e6


def _bytes_each(start: Callable[[], Any], count: int) -> float:
    """Bytes of Python's own allocations for an actor that has handled a message."""
    refs: list[Any] = [None] * count
    threads = threading.active_count()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(count):
        refs[number] = start()
        refs[number].ask(1)
    gc.collect()
    each = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    pykka.ActorRegistry.stop_all()
    assert threading.active_count() >= threads
    return each
