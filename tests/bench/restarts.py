"""Restart latency: from a crash to the new incarnation's first answer, against a bare Pykka stop, start and first answer."""

from __future__ import annotations

import logging
import queue
import statistics
import time
from collections.abc import Callable
from typing import Any

import pykka
from figures import Figure, at_most, median_ratio, percentile

from supervision import ChildSpec, Server, Supervisor, call, cast


def run(*, quick: bool) -> list[Figure]:
    """Time them in turns."""
    logging.getLogger("supervision").setLevel(logging.CRITICAL)  # hundreds of crashes on purpose
    rounds = 200 if quick else 1000
    subjects = {
        "bare Pykka": _bare(),
        "pooled": _supervised(Pooled),
        "own thread": _supervised(OwnThread),
        "pykka.ThreadingActor": _supervised(Plain),
    }
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            began = time.perf_counter()
            subject()
            times[name].append((time.perf_counter() - began) * 1e6)
    pykka.ActorRegistry.stop_all()
    figures = []
    for name, found in times.items():
        ratio = median_ratio(found, times["bare Pykka"])
        goal = {} if name == "bare Pykka" else at_most(3, ratio)
        middle, tail = statistics.median(found), percentile(found, 0.99)
        figures.append(Figure("restarts", f"{name}: median", middle, "us", ratio, "bare Pykka", **goal))
        figures.append(Figure("restarts", f"{name}: p99", tail, "us"))
    return figures


_up: queue.SimpleQueue[Any] = queue.SimpleQueue()


class _Crashing:
    actor_ref: Any

    def on_start(self) -> None:
        _up.put(self.actor_ref)

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise ValueError(message)
        return message


class Pooled(_Crashing, Server):
    """On the shared pool."""


class OwnThread(_Crashing, Server):
    """On a thread of its own."""

    runtime = "thread"


class Plain(_Crashing, pykka.ThreadingActor):
    """An unmodified Pykka actor."""


class Echo(pykka.ThreadingActor):
    """What is compared with."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        """Answer the message."""
        return message


def _supervised(actor_class: type[Any]) -> Callable[[], None]:
    Supervisor.start_link([ChildSpec("child", actor_class)], max_restarts=1_000_000, max_seconds=0.001)
    present = [_up.get(timeout=5)]

    def crash() -> None:
        cast(present[0], "crash")
        present[0] = _up.get(timeout=5)
        call(present[0], "hello")

    return crash


def _bare() -> Callable[[], None]:
    present = [Echo.start()]

    def replace() -> None:
        present[0].stop()
        present[0] = Echo.start()
        present[0].ask("hello")

    return replace
