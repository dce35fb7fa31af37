"""What the managers of one issuer share in a process: its metadata, and the knowledge that it is down.

An `Issuer` lives as long as a manager of it does. It is shared by those with the same address, transport and clock.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable

from oidc_actor.machine import circuit_breaker as pace
from oidc_actor.machine import failure_policy as policy
from oidc_actor.machine.attempt import METADATA_AGE_S
from oidc_actor.machine.events import FetchFailed, FetchStarted, FetchSucceeded
from oidc_actor.manager.circuit import Circuit
from oidc_actor.manager.options import Options
from oidc_actor.oidc import default_transport
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.reading.cell import Cell
from oidc_actor.transport import Transport
from oidc_actor.values.errors import OIDCActorError


class Journey:
    """One manager's part in a shared discovery: whom to tell, and as which leg of which flight."""

    __slots__ = ("cell", "flight", "leg")

    def __init__(self, cell: Cell, flight: int, leg: int) -> None:
        self.cell = cell
        self.flight = flight
        self.leg = leg

    def started(self, at: float) -> FetchStarted:
        """What the manager is told when the request is sent."""
        return FetchStarted(self.flight, self.leg, at)

    def succeeded(self, at: float, config: OIDCConfig) -> FetchSucceeded:
        """What it is told when the metadata are there."""
        return FetchSucceeded(self.flight, self.leg, at, config)

    def failed(self, at: float, error: OIDCActorError, retry_at: float | None) -> FetchFailed:
        """What it is told when they are not."""
        return FetchFailed(self.flight, self.leg, at, error, retry_at)


class Discovery:
    """One request for the metadata, and who takes part in it."""

    __slots__ = ("sent_at", "travellers")

    def __init__(self) -> None:
        self.travellers: list[Journey] = []
        self.sent_at: float | None = None  # None while it waits for a thread


class Issuer:
    """One issuer, as seen through one transport."""

    def __init__(self, options: Options) -> None:
        self.name = options.issuer
        self.clock = options.clock
        self.circuit = Circuit(options.clock)
        self._transport = options.transport
        self._ca_bundle = options.ca_bundle
        self._config: OIDCConfig | None = None
        self._config_at = 0.0
        self._discovery: Discovery | None = None
        self._first_attempt_at = pace.NEVER  # of the manager that started last
        # Guards everything above but the first five. Never held while a request runs or a manager is told something.
        self._lock = threading.Lock()

    @property
    def transport(self) -> Transport:
        """What performs its requests. HTTP is imported at the first use, not with the package."""
        if self._transport is None:
            self._transport = default_transport(self._ca_bundle)
        return self._transport

    # --- metadata -----------------------------------------------------------------------------------------------------

    def known_config(self, instead_of: OIDCConfig | None, now: float) -> OIDCConfig | None:
        """The metadata, unless they are missing, too old, or the very ones that do not do any more."""
        with self._lock:
            if self._config is instead_of or now - self._config_at > METADATA_AGE_S:
                return None
            return self._config

    def travel(self, journey: Journey) -> Discovery:
        """Take part in the discovery that is under way, or in a new one, which the first to take part has to run."""
        with self._lock:
            if self._discovery is None:
                self._discovery = Discovery()
            self._discovery.travellers.append(journey)
            return self._discovery

    def departed(self, discovery: Discovery, at: float) -> None:
        """Its request is about to be sent."""
        with self._lock:
            discovery.sent_at = at
            travellers = list(discovery.travellers)
        for journey in travellers:
            journey.cell.tell(journey.started(at))

    def give_up(self, cell: Cell) -> None:
        """The discovery that a manager takes part in does not end: let the next one be another, unless it is already."""
        with self._lock:
            if self._discovery is not None and any(one.cell is cell for one in self._discovery.travellers):
                self._discovery = None

    def arrived(
        self, discovery: Discovery, at: float, result: OIDCConfig | OIDCActorError, retry_at: float | None = None
    ) -> None:
        """It has ended: tell everybody who takes part."""
        with self._lock:
            if self._discovery is discovery:
                self._discovery = None
            if isinstance(result, OIDCConfig):
                self._config, self._config_at = result, at
            travellers = discovery.travellers
        if not isinstance(result, OIDCConfig) and policy.is_outage(result):
            self.circuit.hold(journey.cell for journey in travellers)
        for journey in travellers:
            if isinstance(result, OIDCConfig):
                journey.cell.deliver(journey.succeeded(at, result))
            else:
                journey.cell.deliver(journey.failed(at, result, retry_at))

    # --- starts -------------------------------------------------------------------------------------------------------

    def first_attempt_at(self) -> float:
        """When a manager that starts now may make its first attempt, unless somebody wants its token before."""
        with self._lock:
            at = self._first_attempt_at = pace.first_attempt_at(self._first_attempt_at, self.clock())
            return at

    def start_over(self) -> None:
        """In a forked child: no exchange is under way, and the lock may be held for ever."""
        self._lock = threading.Lock()
        self._discovery = None
        self.circuit.start_over()


_issuers: weakref.WeakValueDictionary[Hashable, Issuer] = weakref.WeakValueDictionary()
_lock = threading.Lock()  # guards the table


def join(options: Options) -> Issuer:
    """Find or make the issuer that a manager shares with its like; it lives as long as one of them keeps it."""
    key = (
        options.issuer,
        options.allow_insecure_http,
        options.ca_bundle,
        _identity(options.transport),
        _identity(options.clock),
    )
    with _lock:
        issuer = _issuers.get(key)
        if issuer is None:
            issuer = _issuers[key] = Issuer(options)
        return issuer


def _identity(value: object) -> Hashable:
    """What two equal callables have in common: themselves, or for one that cannot be hashed its place in memory."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


def _start_over() -> None:
    global _lock  # noqa: PLW0603 - a forked child must not wait for a thread of its parent
    _lock = threading.Lock()
    for issuer in list(_issuers.values()):
        issuer.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
