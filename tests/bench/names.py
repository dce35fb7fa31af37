"""A kept proxy of a name next to a kept proxy of Pykka's on the same actor: what it costs to find the actor at each use."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pykka
from figures import Figure, at_most, median_ratio

from supervision import ChildSpec, Server, Supervisor, named, whereis

USES = 200
"""In one batch, whose processor time is one measurement."""


class Plain(pykka.ThreadingActor):
    """An unmodified class of Pykka's."""

    field = 1

    def method(self) -> int:
        """Answer."""
        return 1


class Pooled(Server):
    """A server on the pool."""

    field = 1

    def method(self) -> int:
        """Answer."""
        return 1


def run(*, quick: bool) -> list[Figure]:
    """Measure each kind of use, in turns."""
    batches = 60 if quick else 200
    sup = Supervisor.start_link([ChildSpec("plain", Plain, name="plain"), ChildSpec("pooled", Pooled, name="pooled")])
    figures = [figure for name in ("plain", "pooled") for figure in _uses(name, batches)]
    Supervisor.stop(sup)
    return figures


def _uses(name: str, batches: int) -> list[Figure]:
    ref = whereis(name)
    assert ref is not None
    by_ref, by_name = ref.proxy(), named(name).proxy()
    figures = []
    for what, use in USED.items():
        times: dict[Any, list[float]] = {by_ref: [], by_name: []}
        for _ in range(batches):
            for proxy, found in times.items():
                began = time.process_time()
                for _ in range(USES):
                    use(proxy)
                proxy.field.get()  # all before it are handled
                found.append((time.process_time() - began) / USES * 1e6)
        ratio = median_ratio(times[by_name], times[by_ref])
        goal = at_most(1.3, ratio, "<= 1.3 x")
        middle = statistics.median(times[by_name])
        figures.append(Figure("names", f"{what}, {name}", middle, "us", ratio, "a kept plain proxy", **goal))
    return figures


USED: dict[str, Callable[[Any], object]] = {
    "proxy.method().get()": lambda proxy: proxy.method().get(),
    "proxy.method.defer()": lambda proxy: proxy.method.defer(),
    "proxy.field.get()": lambda proxy: proxy.field.get(),
}
