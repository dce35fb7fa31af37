"""Many children of one supervisor: what one costs to start, restart and stop, and whether that grows with their number.

All is processor time of the whole process, per child, on one core: between two, what a change of threads costs is luck. The
large number and the small one are measured in turns, and so is the floor, a loop that starts bare Pykka actors. What kills a
supervisor is measured until its last child is gone. The full run has 100,000 children, too, for the curves.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import pykka
from figures import Figure, at_most, median_ratio

from supervision import ChildSpec, DynamicSupervisor, Server, Supervisor, cast, kill, monitor

FEW, MANY, MOST = 1_000, 10_000, 100_000
WITHIN_S = 300.0
LIVING = {"max_restarts": 10_000_000, "max_seconds": 3_600.0}  # nothing leaves the window while this runs


class _Counted:
    """Says when so many have started."""

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self._wanted = -1
        self._there = threading.Event()

    def expect(self, wanted: int) -> None:
        """From here on that many are to start."""
        self._count, self._wanted = itertools.count(1), wanted
        self._there.clear()

    def one_more(self) -> None:
        """One has started."""
        if next(self._count) == self._wanted:
            self._there.set()

    def wait(self) -> None:
        """Wait for the last of them."""
        assert self._there.wait(WITHIN_S)


_ups = _Counted()


class _Crashing:
    def on_start(self) -> None:
        _ups.one_more()

    def on_receive(self, message: Any) -> Any:
        raise ValueError(message)


class Pooled(_Crashing, Server):
    """On the shared pool."""


class Plain(_Crashing, pykka.ThreadingActor):
    """An unmodified Pykka actor, on a thread of its own."""

    use_daemon_thread = True


def run(*, quick: bool) -> list[Figure]:
    """Measure each at both numbers, in turns."""
    for name in ("supervision", "pykka"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # many thousands of crashes on purpose
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    rounds = 2 if quick else 5
    figures = []
    for what, measure in WORKS.items():
        turns = [(_few(measure), measure(MANY), _bare(FEW)) for _ in range(rounds)]
        few, many, floor = zip(*turns, strict=True)
        growth = median_ratio(many, few)
        cost = f"{what}: each of {MANY:,}"
        figures.append(Figure("children", cost, median(many), "us", growth, f"of {FEW:,}", **at_most(1.3, growth)))
        figures.append(_small(what, few, floor))
        if what in GOALS_US:
            cost = median(many)
            figures.append(Figure("children", f"{what}: goal", cost, "us", **at_most(GOALS_US[what], cost)))
        if what in CURVES and not quick:
            cost, first = measure(MOST), median(few)
            growth = cost / first
            figures.append(
                Figure(
                    "children", f"{what}: each of {MOST:,}", cost, "us", growth, f"of {FEW:,}", **at_most(1.5, growth)
                )
            )
    for what, measure in PLAIN.items():
        turns = [(measure(FEW), _bare(FEW)) for _ in range(rounds)]
        figures.append(_small(what, *zip(*turns, strict=True)))
    return figures


def _few(measure: Callable[[int], float]) -> float:
    return median(measure(FEW) for _ in range(3))


def _small(what: str, few: Sequence[float], floor: Sequence[float]) -> Figure:
    ratio = median_ratio(few, floor)
    return Figure("children", f"{what}: each of {FEW:,}", median(few), "us", ratio, "a bare Pykka start")


@contextmanager
def _spent(each: list[float], count: int) -> Iterator[None]:
    """Microseconds of processor time that one of so many took in this block; the collector's full runs are not among it."""
    gc.collect()
    gc.freeze()
    began = time.process_time()
    yield
    each.append((time.process_time() - began) / count * 1e6)
    gc.unfreeze()


def _bare(count: int) -> float:
    """Start so many bare Pykka actors."""
    _ups.expect(count)
    each: list[float] = []
    with _spent(each, count):
        refs = [Plain.start() for _ in range(count)]
        _ups.wait()
    for ref in refs:
        ref.stop()
    return each[0]


def _specs(count: int, actor_class: type[Any], named: bool) -> list[ChildSpec]:
    return [ChildSpec(n, actor_class, name=f"child {n}" if named else None) for n in range(count)]


def _static(count: int, actor_class: type[Any] = Pooled, named: bool = False, **flags: Any) -> Any:
    return Supervisor.start_link(_specs(count, actor_class, named), **LIVING, **flags)


def _dynamic(count: int, named: bool = False) -> Any:
    sup = DynamicSupervisor.start_link(**LIVING)
    for spec in _specs(count, Pooled, named):
        DynamicSupervisor.start_child(sup, spec)
    return sup


def _nested(count: int) -> Any:
    below = [Supervisor.child_spec(_specs(count // 10, Pooled, False), id=n, **LIVING) for n in range(10)]
    return Supervisor.start_link(below, **LIVING)


def _refs(sup: Any) -> list[Any]:
    """All workers below it."""
    found = []
    for info in sup.actor_class.which_children(sup):
        found += _refs(info.ref) if info.type == "supervisor" else [info.ref]
    return found


def _start(make: Callable[..., Any], **how: Any) -> Callable[[int], float]:
    def measure(count: int) -> float:
        each: list[float] = []
        with _spent(each, count):
            sup = make(count, **how)
        Supervisor.stop(sup)
        return each[0]

    return measure


def _stop(make: Callable[..., Any], **how: Any) -> Callable[[int], float]:
    def measure(count: int) -> float:
        each: list[float] = []
        sup = make(count, **how)
        with _spent(each, count):
            Supervisor.stop(sup)
        return each[0]

    return measure


def _kill(make: Callable[..., Any]) -> Callable[[int], float]:
    def measure(count: int) -> float:
        each: list[float] = []
        sup = make(count)
        gone = _Counted()
        gone.expect(count)
        for ref in _refs(sup):
            monitor(ref, lambda _down: gone.one_more())
        with _spent(each, count):
            kill(sup)
            gone.wait()
        return each[0]

    return measure


def _crash(make: Callable[..., Any], crashing: slice = slice(None), **how: Any) -> Callable[[int], float]:
    """All those crash at once, and all children are up again."""

    def measure(count: int) -> float:
        each: list[float] = []
        sup = make(count, **how)
        refs = _refs(sup)[crashing]
        _ups.expect(count)
        with _spent(each, count):
            for ref in refs:
                cast(ref, "crash")
            del refs
            _ups.wait()
        Supervisor.stop(sup)
        return each[0]

    return measure


WORKS: dict[str, Callable[[int], float]] = {
    "start, Supervisor": _start(_static),
    "start, Supervisor, named": _start(_static, named=True),
    "start, DynamicSupervisor": _start(_dynamic),
    "restart, one_for_one, all crash": _crash(_static),
    "restart, one_for_one, all crash, named": _crash(_static, named=True),
    "restart, one_for_all, one crashes": _crash(_static, slice(1), strategy="one_for_all"),
    "restart, one_for_all, all crash": _crash(_static, strategy="one_for_all"),
    "restart, rest_for_one, the first crashes": _crash(_static, slice(1), strategy="rest_for_one"),
    "restart, DynamicSupervisor, all crash": _crash(_dynamic),
    "restart, DynamicSupervisor, all crash, named": _crash(_dynamic, named=True),
    "restart, ten supervisors below one, all crash": _crash(_nested),
    "stop, Supervisor": _stop(_static),
    "stop, DynamicSupervisor": _stop(_dynamic),
    "stop, ten supervisors below one": _stop(_nested),
    "kill, Supervisor": _kill(_static),
    "kill, DynamicSupervisor": _kill(_dynamic),
}
"""At both numbers."""

GOALS_US = {"start, Supervisor": 40.0, "start, DynamicSupervisor": 60.0}
"""What one of the large number may cost, in microseconds."""

CURVES = (
    "start, Supervisor",
    "start, DynamicSupervisor",
    "restart, one_for_one, all crash",
    "stop, Supervisor",
    "stop, DynamicSupervisor",
)
"""What is measured at the largest number, too."""

PLAIN: dict[str, Callable[[int], float]] = {
    "start, unmodified Pykka actors": _start(_static, actor_class=Plain),
    "restart, unmodified Pykka actors, all crash": _crash(_static, actor_class=Plain),
    "stop, unmodified Pykka actors": _stop(_static, actor_class=Plain),
}
"""At the small number, because each has a thread of its own."""
