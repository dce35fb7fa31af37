"""Requests to the provider, each on a thread of the worker pool: for a token, for metadata, and to revoke tokens (RFC 7009).

Every function here runs on a worker's thread, but for `revoke_on_stop`, which runs on the manager's and waits. None of those
that the pool runs raises anything. A token request goes through four steps, on two threads:

1. The manager notes in its cell which request it expects (`Cell.expect`) and submits the job. The job may wait for a
   thread, and the manager be stopped or give it up meanwhile; so the worker first looks whether it is still expected.
2. The worker notes the versions of the secrets' files, and *then* has the secrets read: a file that changes in between is
   read once more than needed. In the other order its change could be missed.
3. Just before a request is sent that is noted in the cell (`Cell.note_sent`), where the manager finds it with the next message.
   A timer watches over the request, and over what comes before (`_Watch`), because a secret's source may never return.
4. The request has ended. The worker takes it off those under way, then tells the circuit breaker, and puts the result into
   the cell last. The manager may ask again the moment that the result is there: a request that was still under way by
   then would count as one too many, and a circuit breaker that had not heard would not hold it back.

The result goes into the cell and not into a message, because the incarnation that asked may be dead: a message would be lost
with its mailbox, and with it perhaps the only copy of a rotated refresh token. A successor finds the result in the cell.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeVar

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.grants import IdentityAssertion
from oidc_actor.endpoints.other_endpoints import request_metadata, request_resource_metadata, request_revocation
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.machine.effects import Claim, Discover, Fetch, FullGrant, GiveUpLease, Redeem, Revoke, VerifyResource
from oidc_actor.machine.events import FetchFailed, FetchLost, FetchStarted, FetchSucceeded, HeldLease, SecretsChecked
from oidc_actor.machine.failure_policy import code_of, status_of
from oidc_actor.machine.invalidation import late_tokens_to_revoke
from oidc_actor.machine.state import Rules
from oidc_actor.manager.issuers import Discovery, Issuer, Sending
from oidc_actor.manager.log import (
    BegunRequest,
    EndedRequest,
    MeasuredRequest,
    RequestOutcome,
    count_of,
    log,
    observers,
    outcome_of,
    raised_at,
    tracers,
)
from oidc_actor.manager.options import Options
from oidc_actor.manager.workers import HTTP_WORKERS, LISTENER_WORKERS
from oidc_actor.reading.cell import Cell, FileVersions, Ref
from oidc_actor.transport import Request, Response
from oidc_actor.values.clock import real_delay_s
from oidc_actor.values.errors import (
    ConfigError,
    DiscoveryError,
    IdentityProviderError,
    OIDCActorError,
    ProviderError,
    SecretUnavailable,
    TokenRequestError,
)
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.resource_metadata import ResourceMetadata
from oidc_actor.values.secrets import Secret, SecretFile
from oidc_actor.values.tokens import ParsedToken, TokenTypeHint
from supervision.calls import cast, send_after
from supervision.frozen import dataclass
from supervision.runtime import timer_thread
from supervision.runtime.dispatcher import blocking
from supervision.runtime.per_process import PerProcess

if TYPE_CHECKING:
    from oidc_actor.manager.identity_providers import FirstStep, IdentityProvider
    from oidc_actor.manager.shared_store import Caller

GRACE_S = 5.0
"""Seconds beyond its timeout after which a request is taken for lost."""

FUNCTION_GRACE_S = 0.25
"""The same for a function of the user's, which is bounded by nothing else."""

SECRETS_S = 30.0
"""Seconds beyond that for reading the secrets, which a source of the application's may never end."""

REVOCATION_S = 3.0
"""Seconds that a stop waits for revocations, at most; less than the five that a supervisor gives its children."""

MOST_WAITING = 32
"""Stops that wait at a time, as many as there are threads for HTTP; what the others began goes on after they have returned."""

T = TypeVar("T")
R = TypeVar("R")

_waiting = PerProcess(lambda: threading.BoundedSemaphore(MOST_WAITING))


@dataclass(frozen=True, slots=True, eq=False)
class Incarnation:
    """One incarnation of a manager, as those that work for it know it. Any thread.

    Attributes:
        ref: The actor.
        cell: What it shares with its readers and its successor.
        issuer: What it shares with the other managers of its issuer.
        options: The user's.
        rules: What the machine knows of them.
        secret_files: The files that its secrets are kept in.
        caller: It, as those know it that ask its store; ``None`` without a store.
        identity_provider: Whom it has to ask first; ``None`` but for `IdentityAssertion`.
        under_way: One entry for each token request that a worker is at. Each change is one operation.
    """

    ref: Ref
    cell: Cell
    issuer: Issuer
    options: Options
    rules: Rules
    secret_files: tuple[SecretFile, ...] = ()
    caller: Caller | None = None
    identity_provider: IdentityProvider | None = None
    under_way: list[int] = field(default_factory=list)

    def log(self, event: str, attempt: int, **fields: object) -> None:
        """Log and count an event of this manager."""
        self.cell.count(event)
        log(event, manager=self.cell.name or self.ref.actor_urn, issuer=self.issuer.name, attempt=attempt, **fields)

    def later(self, delay_s: float, message: object) -> Any:
        """Send the manager a message when its clock has gone on that far; what is returned has ``cancel()``."""
        clock = self.options.clock
        # A clock made for tests may keep its own timers, so that a message comes exactly when it is advanced that far.
        send = getattr(clock, "send_after", None)
        return (
            send_after(real_delay_s(clock, delay_s), self.ref, message)
            if send is None
            else send(delay_s, self.ref, message)
        )

    @property
    def is_in_force(self) -> bool:
        """Whether the manager runs with these options, or tries them."""
        return not self.cell.closed and self.cell.options == self.options

    def file_versions(self) -> FileVersions:
        """The versions of the secrets' files, and of those of the certificate among them, which are read from the disk."""
        certificate = self.options.auth.client_certificate
        shown = () if certificate is None else certificate.version()
        return tuple(file.version() for file in self.secret_files), shown


# --- a token ----------------------------------------------------------------------------------------------------------


def fetch_token(manager: Incarnation, effect: Fetch) -> None:
    """Request a token, and put what comes into the manager's cell."""
    cell, issuer, grant = manager.cell, manager.issuer, effect.grant
    assert not isinstance(grant, Discover | VerifyResource | Claim)
    if not cell.expects(effect.attempt, effect.request):
        issuer.circuit.release_probe(cell)
        _give_back(manager, effect)
        return
    watch = _Watch(manager, effect)
    manager.under_way.append(effect.attempt)
    cell.versions = manager.file_versions()
    started = functools.partial(_started, manager, effect, watch)
    sending = Sending(issuer, started)
    own = manager.options.auth
    auth = own if effect.step_up is None or not own.asks_provider else own.stepped_up(effect.step_up)
    first = _first_step(manager, effect, auth, grant.config, started)
    endings = _begin_traces(manager, effect)
    try:
        result: ParsedToken | OIDCActorError = _ask(manager, effect, grant, auth, sending, first)
    except BaseException as error:  # noqa: BLE001 - of a user's source or transport; a failure of this attempt only
        result = _as_value(error, TokenRequestError)
    if endings:
        _end_traces(manager, effect, endings, result)
    manager.under_way.pop()
    watch.end()
    if sending.is_sent:
        _measure(manager, effect, issuer.name, outcome_of(result), issuer.clock() - sending.at)
    if isinstance(result, ParsedToken):
        _token_came(manager, effect, grant.config, sending, result)
        return
    if first is not None and isinstance(
        result, IdentityProviderError
    ):  # which says nothing of the authorization server
        issuer.circuit.release_probe(cell)
        retry_at = first.retry_at
    else:
        retry_at = _record_failure(manager, result, early=effect.early)
    cell.deliver(FetchFailed(effect.attempt, effect.request, sending.at, result, retry_at, sending.skew))
    if not sending.is_sent:
        _give_back(manager, effect)


def _ask(
    manager: Incarnation,
    effect: Fetch,
    grant: Redeem | FullGrant,
    auth: Credentials,
    sending: Sending,
    first: FirstStep | None,
) -> ParsedToken:
    options, present = manager.options, manager.cell.snapshot.text
    if not auth.asks_provider and isinstance(grant, FullGrant):
        # It is loaded: `auth` comes from there.
        from oidc_actor.endpoints.custom import Call, Custom, call_function

        assert isinstance(auth, Custom)
        transport = functools.partial(_transport_of, manager.issuer)
        return call_function(
            Call(
                auth,
                transport,
                grant.previous,
                effect.attempt,
                options.timeout_seconds,
                options.default_lifetime_seconds,
                sending.begin,
                effect.step_up,
            )
        )
    return request_token(
        TokenRequest(
            sending,
            grant.config,
            auth,
            refresh_token=grant.refresh_token if isinstance(grant, Redeem) else None,
            timeout_s=options.timeout_seconds,
            default_lifetime_s=options.default_lifetime_seconds,
            known=(Secret(present),) if present else (),
            sending=sending.begin,
            tries_one=effect.probes,
            statement=first,
        )
    )


def _transport_of(issuer: Issuer, request: Request, /) -> Response:
    """HTTP is imported where a function sends something, and not before."""
    return issuer.transport(request)


def patience_s(options: Options) -> float:
    """Seconds after the start of a request beyond which it is taken for lost."""
    return options.timeout_seconds + (GRACE_S if options.auth.asks_provider else FUNCTION_GRACE_S)


def _started(manager: Incarnation, effect: Fetch, watch: _Watch, at: float) -> None:
    if not manager.cell.expects(effect.attempt, effect.request):
        raise SecretUnavailable("reading the secrets took too long", sent=False)
    if effect.lease is not None and at >= _lease_ends_at(manager.cell, effect.lease):
        raise TokenRequestError("the lease of the shared store ended before the request could be sent", sent=False)
    watch.begin()
    manager.cell.note_sent(FetchStarted(effect.attempt, effect.request, at))


def _lease_ends_at(cell: Cell, lease: HeldLease) -> float:
    """When a lease ends, as its manager knows it, which may have renewed it since."""
    state = cell.state
    attempt = None if state is None else state.attempt
    held = None if attempt is None else attempt.lease
    return held.until if held is not None and held.fence == lease.fence else lease.until


def _token_came(manager: Incarnation, effect: Fetch, config: OIDCConfig, sending: Sending, parsed: ParsedToken) -> None:
    manager.issuer.circuit.record_answer()
    result = FetchSucceeded(effect.attempt, effect.request, sending.at, parsed, sending.skew, sending.ahead_s)
    if manager.cell.deliver(result):
        return
    # The manager was stopped while this was under way, or has given it up; the store refuses it where it is too late.
    if manager.caller is not None and effect.lease is not None:
        manager.caller.share_late(effect.lease, parsed, sending.at + parsed.lifetime_s)
    if manager.is_in_force:
        return
    for late in late_tokens_to_revoke(manager.rules, effect.attempt, config, parsed.token):
        if _may_ask(manager, late):
            _revoke(manager, late, _revocation_ends_at(manager))


def _give_back(manager: Incarnation, effect: Fetch) -> None:
    """Give a lease back under which nothing was sent, where the manager was stopped: else that is for the manager to do."""
    if manager.caller is not None and effect.lease is not None and not manager.is_in_force:
        manager.caller.give_up(GiveUpLease(effect.lease, "intact"))


class _Watch:
    """Has the manager told (`FetchLost`) where a worker does not come to an end. In real time, as a transport is.

    First it stands for a request that is never sent, then (`begin`) for one whose transport does not keep its timeout. One timer
    does for both, and for each time that the request is sent once more: it looks at the moment that counts by then.
    """

    __slots__ = ("_is_over", "_lost", "_lost_at", "_patience_s", "_ref", "_timer")

    def __init__(self, manager: Incarnation, effect: Fetch) -> None:
        self._ref, self._lost = manager.ref, manager.cell.addressed(FetchLost(effect.attempt, effect.request))
        self._patience_s, self._is_over = patience_s(manager.options), False
        steps = 1 if manager.identity_provider is None else 3  # the metadata and the statement are had before
        at_most_s = SECRETS_S + steps * manager.options.timeout_seconds + GRACE_S
        self._lost_at = timer_thread.now() + at_most_s
        self._timer: timer_thread.TimerHandle | None = None
        with contextlib.suppress(RuntimeError):  # no thread for timers can be had: it is waited for
            self._timer = timer_thread.call_later(min(self._patience_s, at_most_s), self._look)

    def begin(self) -> None:
        """The request is about to be sent."""
        self._lost_at = timer_thread.now() + self._patience_s

    def end(self) -> None:
        """The worker has come to an end. A message that says otherwise may be on its way: the manager takes the result first."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:  # on the timer thread
        if self._is_over:
            return
        left_s = self._lost_at - timer_thread.now()
        if left_s > 0:
            self._timer = timer_thread.call_later(left_s, self._look)
        else:
            cast(self._ref, self._lost)


def _first_step(
    manager: Incarnation, effect: Fetch, auth: Credentials, server: OIDCConfig, started: Callable[[float], None]
) -> FirstStep | None:
    provider = manager.identity_provider
    if provider is None or not isinstance(auth, IdentityAssertion):
        return None
    measure = functools.partial(_measure, manager, effect)
    return provider.first_step(auth, manager.cell, effect, server, started, measure)


def _begin_traces(manager: Incarnation, effect: Fetch) -> list[Callable[[EndedRequest], object]]:
    found = tracers()
    if not found:
        return []
    grant = "refresh_token" if isinstance(effect.grant, Redeem) else manager.options.auth.grant_type
    begun = BegunRequest(manager.cell.name or manager.ref.actor_urn, manager.issuer.name, effect.attempt, grant)
    return [ending for one in found if (ending := _told(manager, effect, one, begun)) is not None]


def _end_traces(
    manager: Incarnation,
    effect: Fetch,
    endings: list[Callable[[EndedRequest], object]],
    result: ParsedToken | OIDCActorError,
) -> None:
    """Before the result is there: who waits for it does so until then. The last that began ends first."""
    cell = manager.cell
    callers = [one.caller for one in list(cell.waiting) if one.caller is not None and one.known_to is not cell]
    for ending in reversed(endings):
        _told(manager, effect, ending, EndedRequest(result, callers))


def _told(manager: Incarnation, effect: Fetch, told: Callable[[T], R], what: T) -> R | None:
    try:
        return told(what)
    except BaseException as error:  # noqa: BLE001 - of a user callback, which must cost neither token nor thread
        manager.log("listener_failed", effect.attempt, error=type(error).__name__, at=raised_at(error))
        return None


def _measure(manager: Incarnation, effect: Fetch, issuer: str, outcome: RequestOutcome, duration_s: float) -> None:
    measured = MeasuredRequest(issuer, outcome, duration_s)
    manager.cell.count(count_of(measured.outcome))
    for observer in observers():
        _told(manager, effect, observer, measured)


def _record_failure(
    manager: Incarnation, error: OIDCActorError, *, early: bool, among: Iterable[Cell] = ()
) -> float | None:
    circuit, cell = manager.issuer.circuit, manager.cell
    retry_at = circuit.record_failure(cell, manager.options, error, early=early, among=among)
    if cell.closed:  # it has stopped meanwhile, and the others must not wait for its next attempt
        circuit.leave(cell)
    return retry_at


def _as_value(error: BaseException, unknown: type[ProviderError]) -> OIDCActorError:
    """Turn what a request raised into an error to keep: without its frames, which hold what was sent.

    Args:
        error: What it raised.
        unknown: The type to give to what no request raises on purpose.
    """
    if isinstance(error, OIDCActorError):
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = "" if where is None else f" in {where.tb_frame.f_code.co_name}, line {where.tb_lineno}"
    return unknown(f"the exchange raised {type(error).__name__}{place}")


# --- metadata and files -----------------------------------------------------------------------------------------------


def fetch_metadata(manager: Incarnation, effect: Fetch, discovery: Discovery) -> None:
    """Request the metadata, for every manager that has subscribed to this discovery."""
    issuer, options = manager.issuer, manager.options
    assert options.issuer_url is not None
    sending = Sending(issuer, functools.partial(issuer.discovery_started, discovery))
    result: OIDCConfig | OIDCActorError
    found_at = None
    try:
        sending.begin()
        result, found_at = request_metadata(
            sending,
            options.issuer_url,
            timeout_s=options.timeout_seconds,
            allow_insecure_http=options.allow_insecure_http,
            first=issuer.metadata_url,
        )
    except BaseException as error:  # noqa: BLE001 - as above
        result = _as_value(error, DiscoveryError)
    retry_at = None
    if isinstance(result, OIDCConfig):
        issuer.circuit.record_answer()
    else:
        among = [one.cell for one in discovery.subscribers]
        retry_at = _record_failure(manager, result, early=effect.early, among=among)
    issuer.discovery_ended(discovery, sending.at, result, retry_at, found_at)


def fetch_resource(manager: Incarnation, effect: Fetch, discovery: Discovery) -> None:
    """Request a resource's metadata, for every manager that has subscribed to this discovery.

    Nothing that a resource answers, nor that it does not answer, is held against the issuer.
    """
    issuer, options = manager.issuer, manager.options
    assert discovery.resource_url is not None
    sending = Sending(issuer, functools.partial(issuer.discovery_started, discovery))
    result: ResourceMetadata | OIDCActorError
    try:
        sending.begin()
        result, _ = request_resource_metadata(
            issuer.transport,
            discovery.resource_url,
            timeout_s=options.timeout_seconds,
            issuer_url=options.issuer_url,
        )
    except BaseException as error:  # noqa: BLE001 - as above
        result = _as_value(error, DiscoveryError)
    if isinstance(result, OIDCActorError):
        for one in discovery.subscribers:
            issuer.circuit.release_probe(one.cell)
    issuer.discovery_ended(discovery, sending.at, result)


def check_secrets(manager: Incarnation) -> None:
    """Tell the manager whether a secret's file has changed since its last attempt."""
    found, known = manager.file_versions(), manager.cell.versions
    manager.cell.tell(SecretsChecked(known is None or found[0] != known[0]))


# --- revocation -------------------------------------------------------------------------------------------------------


def revoke_on_stop(manager: Incarnation, effect: Revoke) -> None:
    """Have tokens revoked on a worker's thread, and wait for that within the deadline. On the manager's thread; raises nothing.

    An issuer that is known to be down, or has asked to be left alone, is not asked. The cell has been closed by then, so that no
    reader is given a token that is about to be revoked.
    """
    if not _may_ask(manager, effect):
        return
    ended, ends_at, waiting = threading.Event(), _revocation_ends_at(manager), _waiting.value

    def revoke() -> None:
        _revoke(manager, effect, ends_at)
        ended.set()

    try:
        HTTP_WORKERS.value.submit(manager.issuer, revoke)
    except RuntimeError as error:  # the process has no thread left, or is going down
        _give_up(manager, effect, f"no thread for the request: {error}")
        return
    if waiting.acquire(blocking=False):
        try:
            with blocking():
                ended.wait(max(0.0, ends_at - time.monotonic()))
        finally:
            waiting.release()


def revoke_replaced(manager: Incarnation, effects: Iterable[Revoke]) -> None:
    """Have the tokens of former options revoked, and do not wait. On the manager's thread; raises nothing.

    The job goes through the manager's listeners: one that hands tokens on has the new one by then.
    """

    def revoke() -> None:
        for effect in effects:
            _revoke(manager, effect, _revocation_ends_at(manager))

    def submit() -> None:
        try:
            HTTP_WORKERS.value.submit(manager.issuer, revoke)
        except RuntimeError as error:  # the process has no thread left, or is going down
            for effect in effects:
                _give_up(manager, effect, f"no thread for the request: {error}")

    due = [effect for effect in effects if _may_ask(manager, effect)]
    if not due:
        return
    effects = due
    try:
        LISTENER_WORKERS.value.submit(manager.cell, submit)
    except RuntimeError:
        submit()


def _revocation_ends_at(manager: Incarnation) -> float:
    return time.monotonic() + min(manager.options.timeout_seconds, REVOCATION_S)


def _may_ask(manager: Incarnation, effect: Revoke) -> bool:
    if not manager.issuer.circuit.is_down(manager.cell, manager.options):
        return True
    _give_up(manager, effect, "the provider is known to be down, or asked to wait")
    return False


def _revoke(manager: Incarnation, effect: Revoke, ends_at: float) -> None:
    for kind, token in effect.tokens:
        _report(manager, effect, kind, _why_not_revoked(manager, effect, kind, token, ends_at - time.monotonic()))


def _why_not_revoked(
    manager: Incarnation, effect: Revoke, kind: TokenTypeHint, token: Secret, left_s: float
) -> OIDCActorError | None:
    """Revoke one token; ``None`` where that is done."""
    if left_s <= 0:
        return TokenRequestError("there was no time left for it", sent=False)
    if effect.config is None:
        return ConfigError("the provider's metadata were never had")
    try:
        request_revocation(manager.issuer.transport, effect.config, manager.options.auth, token, kind, timeout_s=left_s)
    except BaseException as error:  # noqa: BLE001 - as above
        return _as_value(error, TokenRequestError)
    return None


def _give_up(manager: Incarnation, effect: Revoke, why: str) -> None:
    for kind, _ in effect.tokens:
        _report(manager, effect, kind, TokenRequestError(why, sent=False))


def _report(manager: Incarnation, effect: Revoke, kind: TokenTypeHint, error: OIDCActorError | None) -> None:
    if error is None:
        manager.log("token_revoked", effect.attempt, token_type=kind)
        return
    fields = {"error": str(error), "status": status_of(error), "code": code_of(error)}
    manager.log("revocation_failed", effect.attempt, token_type=kind, **fields)
