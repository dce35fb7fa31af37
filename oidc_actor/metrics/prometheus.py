"""A Prometheus collector: ``REGISTRY.register(Collector())``. Needs the extra ``prometheus``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from oidc_actor.manager.log import MeasuredRequest, observe
from oidc_actor.metrics.instruments import INSTRUMENTS, LATENCY_BUCKETS_S, REQUEST_DURATION, Instrument
from oidc_actor.metrics.readings import Bound, Reading, read_managers
from oidc_actor.values.lazy_imports import not_installed

try:
    from prometheus_client import Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector as _Collector
except ModuleNotFoundError as missing:
    raise not_installed("oidc_actor.metrics.prometheus", "prometheus", missing) from None

__all__ = ["Collector"]
__dir__ = __all__.copy


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
            for labels, value in instrument.series(readings):
                family.add_metric(labels, value)
            yield family

    def close(self) -> None:
        """Measure no more; unregister it as well. Idempotent."""
        self._end()

    def _observe(self, measured: MeasuredRequest) -> None:
        self._durations.labels(self._issuer(measured.issuer), measured.outcome).observe(measured.duration_s)


def _family(instrument: Instrument) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
    return kind(instrument.prometheus_name, instrument.description, labels=instrument.labels)
