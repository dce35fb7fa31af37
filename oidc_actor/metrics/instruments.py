"""The table of instruments, from which both exporters are made. Names and units by OpenTelemetry's conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, TypeAlias, get_args

from oidc_actor.manager.log import FLIGHT_JOINED, RequestOutcome, StoreOutcome, count_of, store_count_of
from oidc_actor.metrics.readings import Reading
from supervision.frozen import dataclass

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Values: TypeAlias = Mapping[str, float]
"""A manager's values by outcome; the outcome is empty for an instrument without that label."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument.

    Attributes:
        name: Its OpenTelemetry name.
        kind: ``"counter"``, ``"gauge"`` or ``"histogram"``.
        unit: Its unit by UCUM; ``"s"``, or what is counted in braces.
        labels: Its attributes, in this order: ``manager`` and ``issuer``, which are bounded in number, and ``outcome``.
        description: What it tells, in one line.
        values: How a manager's reading becomes its values; ``None`` for what is told as it happens.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    description: str
    values: Callable[[Reading], Values] | None = None

    @property
    def prometheus_name(self) -> str:
        """Its name in Prometheus, without the ``_total`` that the text format adds to a counter."""
        return self.name.replace(".", "_") + ("_seconds" if self.unit == "s" else "")

    def series(self, readings: Iterable[Reading]) -> Iterator[tuple[dict[str, str], float]]:
        """Its labels by name, in their order, with the value that they have."""
        assert self.values is not None
        has_outcome = "outcome" in self.labels
        for reading in readings:
            manager, issuer = reading.manager, reading.issuer
            for outcome, value in self.values(reading).items():
                if has_outcome:
                    yield {"manager": manager, "issuer": issuer, "outcome": outcome}, value
                else:
                    yield {"manager": manager, "issuer": issuer}, value


def _requests(reading: Reading) -> Values:
    return {outcome: reading.counts.get(event, 0) for outcome, event in _REQUEST_OUTCOMES.items()}


def _refreshes(reading: Reading) -> Values:
    return {outcome: reading.counts.get(event, 0) for outcome, event in _REFRESH_OUTCOMES.items()}


def _store_calls(reading: Reading) -> Values:
    return {outcome: reading.counts.get(event, 0) for outcome, event in _STORE_OUTCOMES.items()}


_REQUEST_OUTCOMES = {outcome: count_of(outcome) for outcome in get_args(RequestOutcome)}
_STORE_OUTCOMES = {outcome: store_count_of(outcome) for outcome in get_args(StoreOutcome)}
_REFRESH_OUTCOMES = {"success": "token_obtained", "transient_error": "request_failed", "permanent_error": "blocked"}
_MANAGER = ("manager", "issuer")

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUEST_DURATION = Instrument(
    "oidc_actor.token.request.duration",
    "histogram",
    "s",
    ("issuer", "outcome"),
    "Time from sending a token request to having read its answer.",
)

INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument(
        "oidc_actor.token.requests",
        "counter",
        "{request}",
        (*_MANAGER, "outcome"),
        "Token requests that have ended: success, refused, unavailable or invalid.",
        _requests,
    ),
    REQUEST_DURATION,
    Instrument(
        "oidc_actor.token.refreshes",
        "counter",
        "{attempt}",
        (*_MANAGER, "outcome"),
        "Attempts to get a new token that have ended: success, transient_error or permanent_error.",
        _refreshes,
    ),
    Instrument(
        "oidc_actor.token.time_to_expiry",
        "gauge",
        "s",
        _MANAGER,
        "Time the current token is still valid; 0 where there is none.",
        lambda reading: {"": reading.expires_in_s},
    ),
    Instrument(
        "oidc_actor.manager.consecutive_failures",
        "gauge",
        "{failure}",
        _MANAGER,
        "Failed attempts since the last success.",
        lambda reading: {"": reading.consecutive_failures},
    ),
    Instrument(
        "oidc_actor.manager.restarts",
        "counter",
        "{restart}",
        _MANAGER,
        "Restarts of the manager after a crash.",
        lambda reading: {"": reading.restarts},
    ),
    Instrument(
        "oidc_actor.flights.joined",
        "counter",
        "{caller}",
        _MANAGER,
        "Callers that shared an attempt already under way instead of causing one.",
        lambda reading: {"": reading.counts.get(FLIGHT_JOINED, 0)},
    ),
    Instrument(
        "oidc_actor.store.calls",
        "counter",
        "{call}",
        (*_MANAGER, "outcome"),
        "Calls of the shared store on behalf of the manager: answered or failed. Looks serve all managers, and are left out.",
        _store_calls,
    ),
    Instrument(
        "oidc_actor.store.adoptions",
        "counter",
        "{token}",
        _MANAGER,
        "Tokens of other processes that were adopted from the shared store instead of requested.",
        lambda reading: {"": reading.counts.get("token_adopted", 0)},
    ),
    Instrument(
        "oidc_actor.store.alone_requests",
        "counter",
        "{request}",
        _MANAGER,
        "Times that a token was requested without the shared store, because it could not be asked.",
        lambda reading: {"": reading.counts.get("went_alone", 0)},
    ),
)
"""All instruments, in the order of README.md."""
