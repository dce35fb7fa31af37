"""The runtime of `supervision` next to bare Pykka: a message and its answer, start, stop, and what an idle actor weighs."""

from __future__ import annotations

import asyncio
import gc
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pykka
from figures import Figure, at_most, median_ratio

from supervision import Server, acall, call


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


class Answering(Bare):
    """It is told a future, and sets it: what a program of asyncio writes by hand."""

    def on_receive(self, message: Any) -> None:
        """Answer in the future."""
        message.set_result(1)


def run(*, quick: bool) -> list[Figure]:
    """Measure each."""
    few, many = (500, 5_000) if quick else (1_000, 20_000)
    figures = _round_trips(1_000 if quick else 5_000) + asyncio.run(_tasks(300 if quick else 2_000))
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


async def _tasks(rounds: int) -> list[Figure]:
    """Microseconds for a message and its answer in a task of asyncio, one and a hundred at a time, in turns."""
    bare, pooled, answering, loop = Bare.start(), Pooled.start_link(), Answering.start(), asyncio.get_running_loop()

    async def wrapped() -> Any:
        future: Future[Any] = Future()
        answering.tell(future)
        return await asyncio.wait_for(asyncio.wrap_future(future), 5.0)

    works: dict[str, Callable[[], Any]] = {
        "a task's ask in an executor": lambda: loop.run_in_executor(None, bare.ask, 1),
        "a task's wrap_future and wait_for": wrapped,
        "a task's acall": lambda: acall(pooled, 1),
        "a task's acall, bare": lambda: acall(bare, 1),
    }
    figures: list[Figure] = []
    for count in (1, 100):
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(rounds // count):
            for name, work in works.items():
                began = time.perf_counter()
                await asyncio.gather(*(work() for _ in range(count))) if count > 1 else await work()
                times[name].append((time.perf_counter() - began) / count * 1e6)
        against = next(iter(works))
        figures += [
            Figure(
                "actors",
                name if count == 1 else f"{name}, {count} at a time",
                statistics.median(found),
                "us",
                median_ratio(found, times[against]),
                "ask in an executor",
            )
            for name, found in times.items()
        ]
    await loop.shutdown_default_executor()
    pykka.ActorRegistry.stop_all()
    return figures


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
