"""OpenTelemetry metrics: ``instrument()`` once in a process. Needs the extra ``otel``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from oidc_actor.manager.log import MeasuredRequest, observe
from oidc_actor.metrics.instruments import INSTRUMENTS, LATENCY_BUCKETS_S, REQUEST_DURATION, Instrument
from oidc_actor.metrics.readings import Bound, Look
from oidc_actor.values.lazy_imports import not_installed

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
except ModuleNotFoundError as missing:
    raise not_installed("oidc_actor.metrics.otel", "otel", missing) from None

__all__ = ["Instrumentation", "instrument"]
__dir__ = __all__.copy

_Callback: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(
    meter_provider: MeterProvider | None = None, *, max_managers: int = 1000, max_issuers: int = 100
) -> Instrumentation:
    """Make the instruments and begin to measure.

    Args:
        meter_provider: Where to; ``None`` for the global one.
        max_managers: How many managers, the oldest, are told apart; the others are all called ``(other)``.
        max_issuers: How many issuers the durations are told apart by.

    Returns:
        An object whose ``close()`` ends it.
    """
    return Instrumentation(meter_provider, max_managers, max_issuers)


class Instrumentation:
    """The instruments of one meter provider, from `instrument`."""

    def __init__(self, meter_provider: MeterProvider | None, max_managers: int, max_issuers: int) -> None:
        self._look = Look(max_managers)
        self._issuer = Bound(max_issuers)
        self._is_closed = False
        meter = get_meter("oidc_actor", meter_provider=meter_provider)
        makers = {"counter": meter.create_observable_counter, "gauge": meter.create_observable_gauge}
        for one in INSTRUMENTS:
            if one is not REQUEST_DURATION:
                makers[one.kind](one.name, [self._callback(one)], one.unit, one.description)
        self._durations = meter.create_histogram(
            REQUEST_DURATION.name,
            REQUEST_DURATION.unit,
            REQUEST_DURATION.description,
            explicit_bucket_boundaries_advisory=LATENCY_BUCKETS_S,
        )
        self._end = observe(self._observe)

    def close(self) -> None:
        """Observe nothing more. Idempotent. OpenTelemetry keeps the instruments' names, without values."""
        self._is_closed = True
        self._end()

    def _callback(self, one: Instrument) -> _Callback:
        def values(_options: CallbackOptions) -> Iterable[Observation]:
            if self._is_closed:
                return []
            return [Observation(value, labels) for labels, value in one.series(self._look(one.name))]

        return values

    def _observe(self, measured: MeasuredRequest) -> None:
        labels = {"issuer": self._issuer(measured.issuer), "outcome": measured.outcome}
        self._durations.record(measured.duration_s, labels)
