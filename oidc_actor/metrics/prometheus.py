"""A Prometheus collector: ``REGISTRY.register(Collector())``. Needs the extra ``prometheus``.

Where several processes serve one ``/metrics`` (prometheus_client's multi-process mode) each makes a `MultiProcessWriter` instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Literal

from oidc_actor.manager.log import MeasuredRequest, observe
from oidc_actor.metrics.instruments import INSTRUMENTS, LATENCY_BUCKETS_S, REQUEST_DURATION, Instrument
from oidc_actor.metrics.readings import Bound, Reading, read_managers
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.lazy_imports import not_installed

try:
    from prometheus_client import Counter, Gauge, Histogram, values
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector as _Collector
    from prometheus_client.samples import Sample
except ModuleNotFoundError as missing:
    raise not_installed("oidc_actor.metrics.prometheus", "prometheus", missing) from None

__all__ = ["Collector", "MultiProcessWriter"]
__dir__ = __all__.copy

_PAUSE_S = 0.5
"""Seconds from the end of a token request to the writing of what came of it."""


class Collector(_Collector):
    """Collects from all managers of the process; a manager that is stopped is not in the next scrape.

    Durations are those of the requests since it was made; everything else is counted from the manager's start. The counters of
    ``(other)`` are those of the managers that share it now: they fall when one of these is stopped.

    Example:
        >>> from prometheus_client import CollectorRegistry, generate_latest
        >>> registry = CollectorRegistry()
        >>> collector = Collector()
        >>> registry.register(collector)
        >>> "oidc_actor_token_time_to_expiry_seconds" in generate_latest(registry).decode()
        True
        >>> collector.close()
    """

    def __init__(
        self,
        *,
        max_managers: int = 1000,
        max_issuers: int = 100,
        read: Callable[[int], list[Reading]] = read_managers,
    ) -> None:
        """Begin to measure durations.

        Args:
            max_managers: How many managers, the oldest, get series of their own; the others share one, ``(other)``.
            max_issuers: How many issuers get a histogram of their own.
            read: Looks at all managers and bounds their number; the sidecar, which replaces managers, has its own.
        """
        self._max_managers = max_managers
        self._read = read
        self._issuer = Bound(max_issuers)
        self._durations = Histogram(
            REQUEST_DURATION.prometheus_name,
            REQUEST_DURATION.description,
            REQUEST_DURATION.labels,
            buckets=LATENCY_BUCKETS_S,
            registry=None,
        )
        self._end = observe(self._observe)

    def describe(self) -> Iterator[Metric]:
        """The families without their values, so that registering looks at no manager."""
        for instrument in INSTRUMENTS:
            yield Metric(instrument.prometheus_name, instrument.description, instrument.kind)

    def collect(self) -> Iterator[Metric]:
        """The values of this moment; called by the registry, on the thread of the scrape."""
        readings = self._read(self._max_managers)
        for instrument in INSTRUMENTS:
            if instrument is REQUEST_DURATION:
                yield from self._durations.collect()
                continue
            family = _family(instrument)
            name = f"{family.name}_total" if instrument.kind == "counter" else family.name
            # As `add_metric` makes them, which costs as much as all else here.
            family.samples = [Sample(name, labels, value) for labels, value in instrument.series(readings)]
            yield family

    def close(self) -> None:
        """Measure no more; unregister it as well. Idempotent."""
        self._end()

    def _observe(self, measured: MeasuredRequest) -> None:
        self._durations.labels(self._issuer(measured.issuer), measured.outcome).observe(measured.duration_s)


def _family(instrument: Instrument) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
    return kind(instrument.prometheus_name, instrument.description, labels=instrument.labels)


class MultiProcessWriter:
    """Writes what `Collector` collects to the files of prometheus_client's multi-process mode.

    That mode reads files, to which each process writes, and no collectors. ``PROMETHEUS_MULTIPROC_DIR`` must be set before
    prometheus_client is imported. Each worker makes a writer after its fork, and the process that forks makes none: at the fork
    its thread might hold a lock of prometheus_client's, which would be held in the worker for ever. The process that answers
    a scrape registers prometheus_client's ``MultiProcessCollector``. There the counters are the sums over all processes, those
    that have ended too; the time to expiry is the least, and the failures in a row the most, of the processes that live.

    A thread writes half a second after each token request, and every ``interval_s`` seconds. A process that is killed takes
    with it what it has counted since. A manager that was stopped keeps its last values until its process ends. As with a
    scrape, managers of a forked child that nothing else has used for 15 s are made anew.
    """

    def __init__(self, *, interval_s: float = 5.0, max_managers: int = 1000, max_issuers: int = 100) -> None:
        """Write now, and from now on.

        Args:
            interval_s: Seconds between two times that it writes, at most.
            max_managers: As for `Collector`.
            max_issuers: As for `Collector`.

        Raises:
            ConfigError: prometheus_client is not in multi-process mode.
        """
        if values.ValueClass is values.MutexValue:
            raise ConfigError(
                "expected the environment variable to name an empty directory before prometheus_client is imported, got "
                "none: prometheus_client is not in multi-process mode. Set it, or register a Collector",
                ("PROMETHEUS_MULTIPROC_DIR",),
            )
        self._interval_s = interval_s
        self._max_managers = max_managers
        self._collector = Collector(max_issuers=max_issuers)  # its histogram writes to the files by itself
        self._metrics = {one.name: (_native(one), one) for one in INSTRUMENTS if one is not REQUEST_DURATION}
        self._counted: dict[
            tuple[str, ...], float
        ] = {}  # what was counted at the last writing, by managers that were there
        self._lock = threading.Lock()  # guards that; held while the managers are read, too
        self._requested, self._closed = threading.Event(), threading.Event()
        self._end = observe(lambda _: self._requested.set())
        self.write()
        threading.Thread(target=self._keep_writing, name="oidc-actor-metrics", daemon=True).start()

    def write(self) -> None:
        """Write the values of this moment. Any thread."""
        with self._lock:
            readings = read_managers(self._max_managers)  # here, so that no older ones are written after newer ones
            counted: dict[tuple[str, ...], float] = {}
            for name, (metric, instrument) in self._metrics.items():
                for labels, value in instrument.series(readings):
                    if isinstance(metric, Gauge):
                        metric.labels(**labels).set(value)
                        continue
                    key = (name, *labels.values())
                    counted[key] = value
                    metric.labels(**labels).inc(_more(self._counted.get(key, 0.0), value))
            self._counted = counted

    def close(self) -> None:
        """Write once more, and no more after that. Idempotent."""
        if not self._closed.is_set():
            self._closed.set()
            self._requested.set()
            self._end()
            self._collector.close()
            self.write()

    def _keep_writing(self) -> None:
        # The manager takes the answer after the request has ended, which the pause is for.
        while not self._closed.is_set():
            if self._requested.wait(self._interval_s):
                self._closed.wait(_PAUSE_S)
                self._requested.clear()
            self.write()


def _more(before: float, now: float) -> float:
    """How much a counter has grown; where it has fallen, another manager of that name has begun at 0."""
    return now - before if now >= before else now


def _native(instrument: Instrument) -> Counter | Gauge:
    name, description, labels = instrument.prometheus_name, instrument.description, instrument.labels
    if instrument.kind == "counter":
        return Counter(name, description, labels, registry=None)
    mode: Literal["livemin", "livemax"] = "livemin" if instrument.unit == "s" else "livemax"
    return Gauge(name, description, labels, registry=None, multiprocess_mode=mode)
