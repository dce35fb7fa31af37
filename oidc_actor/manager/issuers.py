"""What the managers of one issuer share: its metadata, and its circuit breaker, which holds them back while it is down.

An `Issuer` lives as long as a manager of it does. It is shared by those with the same address, transport and clock.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeAlias

from oidc_actor.http import default_transport
from oidc_actor.machine import circuit_breaker, failure_policy
from oidc_actor.machine.circuit_breaker import CircuitBreaker, Limits
from oidc_actor.machine.events import (
    NEVER,
    Allowed,
    BreakerClosed,
    Denied,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    Haste,
    ProbeFailed,
)
from oidc_actor.machine.state import METADATA_AGE_S
from oidc_actor.manager.options import Options
from oidc_actor.protocol.response_fields import read_skew
from oidc_actor.reading.cell import Cell
from oidc_actor.transport import Request, Response, Transport
from oidc_actor.values.clock import Clock, Skew, wall_ahead_s, wall_clock
from oidc_actor.values.errors import DiscoveryError, OIDCActorError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.resource_metadata import ResourceMetadata
from supervision.frozen import dataclass
from supervision.runtime.per_process import PerProcess, in_forked_child

SPREAD_S = 0.01
"""Seconds for each manager that is let go after an outage, so that they do not come all at once."""

MOST_SPREAD_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Subscriber:
    """One manager that takes part in a shared discovery: whom to tell, and as which request of which attempt."""

    cell: Cell
    attempt: int
    request: int


class Discovery:
    """One request for metadata, and the managers that wait for it.

    Attributes:
        resource_url: The resource whose metadata they are; ``None`` for the issuer's own.
        subscribers: The managers.
        sent_at: When it was sent; ``None`` while it waits for a thread.
    """

    __slots__ = ("resource_url", "sent_at", "subscribers")

    def __init__(self, resource_url: str | None = None) -> None:
        self.resource_url = resource_url
        self.subscribers: list[Subscriber] = []
        self.sent_at: float | None = None


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
        self.metadata_url: str | None = None  # where the metadata were found last, and are looked for first
        self._resources: dict[str, tuple[ResourceMetadata, float]] = {}  # those that name it, and when they did
        self._discoveries: dict[str | None, Discovery] = {}  # those under way, by resource
        self._first_attempt_at = NEVER  # of the manager that started last
        # Guards everything above but the first five. Never held while a request runs or a manager is told something.
        self._lock = threading.Lock()
        # Guards nothing: a worker holds it while it requests the metadata for the first step of a token request.
        self._turn = threading.Lock()

    @property
    def transport(self) -> Transport:
        """What performs its requests. HTTP is imported at the first use, not with the package."""
        if self._transport is None:
            self._transport = default_transport(self._ca_bundle)
        return self._transport

    # --- metadata -----------------------------------------------------------------------------------------------------

    def known_config(self, instead_of: OIDCConfig | None, now: float) -> OIDCConfig | None:
        """The metadata, unless they are missing, too old, or the very ones that have become doubtful."""
        with self._lock:
            if self._config is instead_of or now - self._config_at > METADATA_AGE_S:
                return None
            return self._config

    def known_resource(self, resource_url: str, now: float) -> ResourceMetadata | None:
        """The metadata of a resource, which name this issuer, unless they are missing or too old."""
        with self._lock:
            known = self._resources.get(resource_url)
            return None if known is None or now - known[1] > METADATA_AGE_S else known[0]

    def subscribe(self, subscriber: Subscriber, resource_url: str | None = None) -> Discovery:
        """Take part in the discovery that is under way, or in a new one, which the first subscriber has to run."""
        with self._lock:
            discovery = self._discoveries.setdefault(resource_url, Discovery(resource_url))
            discovery.subscribers.append(subscriber)
            return discovery

    def discovery_started(self, discovery: Discovery, at: float) -> None:
        """Its request is about to be sent: tell all subscribers of this moment. On a worker's thread.

        A manager that subscribes after this reads ``sent_at``; one that subscribes just before may both read it and be told.
        """
        with self._lock:
            discovery.sent_at = at
            subscribers = list(discovery.subscribers)
        for one in subscribers:
            one.cell.tell(FetchStarted(one.attempt, one.request, at))

    def give_up(self, cell: Cell) -> None:
        """The discovery that a manager takes part in does not end: let the next one be another, unless it is already."""
        with self._lock:
            hung = [one for one in self._discoveries.values() if any(each.cell is cell for each in one.subscribers)]
            for one in hung:
                del self._discoveries[one.resource_url]

    def discovery_ended(
        self,
        discovery: Discovery,
        at: float,
        result: OIDCConfig | ResourceMetadata | OIDCActorError,
        retry_at: float | None = None,
        found_at: str | None = None,
    ) -> None:
        """Keep what it brought, then tell every subscriber; on a worker's thread, or that of a manager that got no worker.

        It is no longer the one under way *before* the subscribers are read: a manager that comes later begins another, and is
        not forgotten in this one.
        """
        with self._lock:
            if self._discoveries.get(discovery.resource_url) is discovery:
                del self._discoveries[discovery.resource_url]
            if isinstance(result, OIDCConfig):
                self._config, self._config_at, self.metadata_url = result, at, found_at
            elif isinstance(result, ResourceMetadata):
                young = [(url, one) for url, one in self._resources.items() if at - one[1] <= METADATA_AGE_S]
                self._resources = dict(young) | {result.resource: (result, at)}
        is_issuers = discovery.resource_url is None
        if is_issuers and isinstance(result, OIDCActorError) and failure_policy.opens_circuit(result):
            self.circuit.tell_when_closed(one.cell for one in discovery.subscribers)
        for one in discovery.subscribers:
            if not isinstance(result, OIDCActorError):
                one.cell.deliver(FetchSucceeded(one.attempt, one.request, at, result))
            else:
                one.cell.deliver(FetchFailed(one.attempt, one.request, at, result, retry_at))

    def keep_config(self, config: OIDCConfig, at: float, url: str) -> None:
        """Keep metadata that were requested at that reading of the clock, and found at that address."""
        with self._lock:
            self._config, self._config_at, self.metadata_url = config, at, url

    @contextlib.contextmanager
    def discovering(self, patience_s: float) -> Iterator[bool]:
        """Wait for the turn to request the metadata on a thread that has no use for anything else, which one at a time does.

        Args:
            patience_s: Seconds to wait for the turn.

        Returns:
            Whether the turn came at once.

        Raises:
            DiscoveryError: It did not come in time.
        """
        is_first = self._turn.acquire(blocking=False)
        if not is_first and not self._turn.acquire(timeout=patience_s):
            raise DiscoveryError("another request for its metadata does not end", sent=False)
        try:
            yield is_first
        finally:
            self._turn.release()

    # --- starts -------------------------------------------------------------------------------------------------------

    def first_attempt_at(self) -> float:
        """When a manager that starts now may make its first attempt, unless a reader wants its token before."""
        with self._lock:
            at = self._first_attempt_at = circuit_breaker.first_attempt_at(self._first_attempt_at, self.clock())
            return at

    def fork(self) -> None:
        """In a forked child: no request is under way, and the lock may be held for ever."""
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._discoveries = {}
        self.circuit.fork()


class Sending:
    """The issuer's transport, with a note of when the request was sent: a token's life counts from there.

    The moment is noted (`begin`) before the token's ``issued_at`` is taken. So the deadline that readers compare is never later
    than the ``expires_at`` that they see.

    Attributes:
        is_sent: Whether a request was sent.
        at: Reading of the manager's clock when the last one was.
        skew: How the provider's clock goes, as its last answer shows it; ``None`` where it does not.
        ahead_s: How far the wall clock was ahead of the manager's when the last request was sent.
    """

    def __init__(self, issuer: Issuer, started: Callable[[float], None]) -> None:
        self._issuer = issuer
        self._started = started
        self.is_sent = False
        self.at, self.ahead_s = issuer.clock(), 0.0
        self.skew: Skew | None = None

    def begin(self) -> None:
        """Note that a request is about to be sent."""
        self.at, self.ahead_s = self._issuer.clock(), wall_ahead_s(self._issuer.clock)
        self._started(self.at)
        self.is_sent = True

    def __call__(self, request: Request, /) -> Response:
        """Perform a request, and see how the provider's clock goes."""
        began = time.monotonic()
        response = self._issuer.transport(request)
        if isinstance(response, Response):  # an injected transport may return anything
            self.skew = read_skew(response, ended_wall=wall_clock(), took_s=time.monotonic() - began)
        return response


_Cells: TypeAlias = weakref.WeakValueDictionary[int, Cell]


class Circuit:
    """The one circuit breaker of an issuer's managers: `oidc_actor.machine.circuit_breaker` decides. Any thread.

    A manager asks (`allow`) on its own thread before an attempt begins. Where it is denied it is noted, under the lock, among
    those that are told (`BreakerClosed`, `ProbeFailed`) when that ends. The end may come on another thread before the manager has
    taken the answer in: what it is told is a message then, which it reads after the step that takes the answer. The other way
    round, with the note after the answer, an end in between would be told to no manager, and this one would sleep through it.
    """

    def __init__(self, clock: Clock) -> None:
        """Close the circuit.

        Args:
            clock: The managers'.
        """
        self._clock = clock
        self._breaker = CircuitBreaker()
        self._denied = _Cells()  # managers to be told when the issuer answers again
        # Those of them to be told when the probe under way has failed.
        self._probe_waiters = _Cells()
        self._floors: dict[Hashable, float] = {}  # waits that the provider asked for: whom each binds, and its end
        # Guards the above. Never held while a manager is told something.
        self._lock = threading.Lock()

    def allow(self, cell: Cell, options: Options, *, haste: Haste, discovers: bool = False) -> Allowed | Denied:
        """Say whether a manager may begin an attempt.

        Args:
            cell: The manager's.
            options: Its options.
            haste: Why it asks now.
            discovers: Whether it asks for the metadata, for which it needs no client, while it has no older ones.
        """
        with self._lock:
            now = self._clock()
            floor = self._floor_of(cell, options, discovers=discovers)
            answer: Allowed | Denied = Allowed()
            if now < floor:
                answer = Denied(floor, by_provider=True)
            elif self._breaker.failures:
                limits = _limits_of(options)
                self._breaker, answer = circuit_breaker.allow(
                    self._breaker, cell.number, now, haste=haste, limits=limits
                )
            if isinstance(answer, Denied):
                self._denied[cell.number] = cell
                if answer.probing and haste >= Haste.ASKED:
                    self._probe_waiters[cell.number] = cell
            return answer

    def spares_metadata(self) -> bool:
        """Whether the provider asked for a wait before its metadata are requested again."""
        with self._lock:
            return self._clock() < self._floors.get(_METADATA, NEVER)

    def is_down(self, cell: Cell, options: Options) -> bool:
        """Whether asking it now is of no use to a manager that has ended, and whose stop must not wait."""
        with self._lock:
            now = self._clock()
            limits = _limits_of(options)
            _, answer = circuit_breaker.allow(self._breaker, cell.number, now, haste=Haste.CALM, limits=limits)
            return isinstance(answer, Denied) or now < self._floor_of(cell, options)

    def record_failure(
        self, cell: Cell, options: Options, error: OIDCActorError, *, early: bool, among: Iterable[Cell] = ()
    ) -> float | None:
        """Learn from a manager's failure.

        Args:
            cell: The manager's.
            options: Its options.
            error: The failure.
            early: Whether a live token's nearing end brought the attempt forward.
            among: The managers that had subscribed to the discovery that failed; none for a token request.

        Returns:
            When the issuer may be asked again where it is down, else ``None``.
        """
        members = {one.number for one in among}
        is_down = failure_policy.opens_circuit(error)
        if not is_down and failure_policy.status_of(error) is not None:
            self.record_answer()  # a refusal is an answer too
        with self._lock:
            now = self._clock()
            self._keep_floor(cell, options, error, now, discovers=bool(members))
            number = self._breaker.owner if self._breaker.owner in members else cell.number
            if is_down:
                self._breaker = circuit_breaker.record_failure(
                    self._breaker,
                    number,
                    now,
                    early=early,
                    limits=_limits_of(options),
                    rng=options.rng,
                    not_before=self._floors.get(_ALL_MANAGERS, now),
                )
                self._denied[cell.number] = cell
            else:
                self._breaker = circuit_breaker.release_probe(self._breaker, number)
            retry_at = circuit_breaker.retry_at(self._breaker, now) if is_down else None
        self._tell_probe_waiters()
        return retry_at

    def record_answer(self) -> None:
        """Learn that the issuer answers: each manager that was denied may go."""
        with self._lock:
            if not self._breaker.failures:
                return
            self._breaker = CircuitBreaker()
        self._tell_closed()

    def leave(self, cell: Cell) -> None:
        """A manager has stopped: if the others waited for its attempt, one of them goes instead."""
        with self._lock:
            self._denied.pop(cell.number, None)
            self._probe_waiters.pop(cell.number, None)
            if self._breaker.owner != cell.number:
                return
            self._breaker = circuit_breaker.release_probe(self._breaker, cell.number)
        self._tell_closed()

    def release_probe(self, cell: Cell) -> None:
        """A manager that was allowed to ask did not come to its request."""
        with self._lock:
            self._breaker = circuit_breaker.release_probe(self._breaker, cell.number)
        self._tell_probe_waiters()

    def _tell_closed(self) -> None:
        """Tell the managers that were denied. The breaker has been closed, or has lost its owner, before: under the lock.

        A failure may have opened it again since, and a manager that was denied then is told too: it asks once more, for nothing.
        Were they told first, one that asks at once might be denied by the old state, and would not be told again.
        """
        with self._lock:
            denied, self._denied, self._probe_waiters = self._denied, _Cells(), _Cells()
        within_s = min(MOST_SPREAD_S, SPREAD_S * len(denied))
        _tell(denied, BreakerClosed(within_s))

    def _tell_probe_waiters(self) -> None:
        """Have the managers that waited for the end of a probe ask again.

        Another manager may have begun the next probe since the lock was held last: then they stay, and are told when that ends.
        """
        with self._lock:
            if self._breaker.is_half_open:
                return
            waiters, self._probe_waiters = self._probe_waiters, _Cells()
        _tell(waiters, ProbeFailed())

    def _keep_floor(self, cell: Cell, options: Options, error: OIDCActorError, now: float, *, discovers: bool) -> None:
        """Note a ``Retry-After`` for all that it binds; the lock is held."""
        wait_s = failure_policy.retry_after_s(error)
        if not wait_s:
            return
        known = {"manager": cell.number, "client": _client(options), "issuer": _ALL_MANAGERS}
        bound = known[failure_policy.bound_by_retry_after(error) if options.auth.asks_provider else "manager"]
        if discovers and bound is not _ALL_MANAGERS:
            bound = _METADATA
        self._floors = {one: floor for one, floor in self._floors.items() if floor > now}
        bound = cell.number if bound is None else bound
        self._floors[bound] = max(self._floors.get(bound, now), now + wait_s)

    def _floor_of(self, cell: Cell, options: Options, *, discovers: bool = False) -> float:
        bound = [_ALL_MANAGERS, cell.number, _client(options), *([_METADATA] if discovers else [])]
        return max(self._floors.get(one, NEVER) for one in bound)

    def tell_when_closed(self, cells: Iterable[Cell]) -> None:
        """These managers have failed too, and are to be told when the issuer answers again."""
        with self._lock:
            self._denied.update({cell.number: cell for cell in cells})

    def fork(self) -> None:
        """In a forked child: the owner of the probe is the parent's, and the lock may be held for ever."""
        self._lock = threading.Lock()
        self._probe_waiters = _Cells()
        if self._breaker.owner is not None:
            self._breaker = circuit_breaker.release_probe(self._breaker, self._breaker.owner)


_ALL_MANAGERS: Hashable = "all managers"
_METADATA: Hashable = "those that ask for the metadata"


def _client(options: Options) -> Hashable:
    """The client that a manager asks as: a wait that the client was told binds the manager too; ``None`` where it has none."""
    client_id = options.auth.client_id
    return None if client_id is None else ("client", client_id)


def _limits_of(options: Options) -> Limits:
    interval_s = options.min_interval_seconds
    return Limits(options.retry, interval_s, lease_s=options.timeout_seconds + interval_s)


def _tell(cells: _Cells, message: BreakerClosed | ProbeFailed) -> None:
    for cell in list(cells.values()):
        cell.tell(message)


_issuers: weakref.WeakValueDictionary[Hashable, Issuer] = weakref.WeakValueDictionary()
_lock = PerProcess(threading.Lock)  # guards the table


def join(options: Options) -> Issuer:
    """Find or make the issuer that a manager shares with its like; it lives as long as one of them keeps it."""
    key = (
        options.issuer,
        None if options.auth.asks_provider else options.auth,  # a function is no issuer that others share
        options.allow_insecure_http,
        options.ca_bundle,
        _identity(options.transport),
        _identity(options.clock),
    )
    with _lock.value:
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


def _fork() -> None:
    for issuer in list(_issuers.values()):
        issuer.fork()


in_forked_child(_fork)
