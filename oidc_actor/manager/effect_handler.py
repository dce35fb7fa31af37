"""The effect handler: does what the machine wants done, one method for each effect, in the order in which they come.

All of it runs on the manager's thread, and what takes time is handed to the worker pools. The manager has saved its new state
in the cell before, so that a successor knows what may have been done here.

A killed incarnation may still be in here, because Python cannot end its thread, while its successor is at work. So a change of
the cell names the incarnation, and is not made for one that no longer owns the cell; or it names the very token that is meant,
and does not touch another that has been published since. To answer a reader twice does no harm: the first answer stands.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from oidc_actor.machine.effects import (
    AskPermission,
    CancelTick,
    CheckSecrets,
    Claim,
    Discover,
    Effect,
    Fetch,
    GiveUpLease,
    Publish,
    Reject,
    RenewLease,
    Reply,
    Report,
    RestoreRecord,
    Revoke,
    ScheduleTick,
    ShareToken,
    VerifyResource,
    Withhold,
)
from oidc_actor.machine.events import (
    ClaimFailed,
    Event,
    FetchFailed,
    FetchLost,
    FetchStarted,
    FetchSucceeded,
    HeldLease,
    SecretsChecked,
    ShareFailed,
    Tick,
)
from oidc_actor.manager import provider_requests
from oidc_actor.manager.certificate_watch import watch_of
from oidc_actor.manager.issuers import Subscriber
from oidc_actor.manager.log import raised_at
from oidc_actor.manager.provider_requests import (
    Incarnation,
    check_secrets,
    fetch_metadata,
    fetch_resource,
    fetch_token,
    revoke_on_stop,
)
from oidc_actor.manager.workers import FUNCTION_WORKERS, HTTP_WORKERS, LISTENER_WORKERS
from oidc_actor.reading.directory import tell_followers
from oidc_actor.values.errors import DiscoveryError, StoreError, TokenRequestError
from oidc_actor.values.tokens import ParsedToken
from supervision.calls import Timer, send_after

if TYPE_CHECKING:
    from oidc_actor.manager.shared_store import Caller

STORE_PATIENCE_S = 2.0
"""Seconds after which a store that does not keep its own timeout is taken for one that does not answer."""

MOST_UNDER_WAY = 2
"""Token requests of one manager on threads at a time: its present one, and one that was given up and has not returned.

More would take, one after the other, all the threads that other managers of the issuer need.
"""

MOST_LEFT_BEHIND = 64
"""Functions of `Custom` that have not returned in their time, in this process, beyond which no other is called."""


_TICK = Tick()  # it says nothing else, and lies with the timer until that is due


class EffectHandler:
    """Does what the machine wants done, for one incarnation."""

    __slots__ = ("_certificate_watch", "_manager", "_tick", "_watchdog")

    def __init__(self, manager: Incarnation) -> None:
        self._manager = manager
        self._tick: Any = None
        self._watchdog: Timer | None = None
        certificate, clock = manager.options.auth.client_certificate, manager.options.clock
        self._certificate_watch = None if certificate is None else watch_of(certificate, clock)
        if self._certificate_watch is not None:
            self._certificate_watch.join(manager)

    def handle(self, effect: Effect) -> Event | None:
        """Do one thing; what is known at once comes back as an event."""
        return _HANDLERS[type(effect)](self, effect)

    def watch(self, attempt: int, request: int, patience_s: float | None = None) -> None:
        """See that a request whose transport does not keep its timeout is given up. In real time, as a transport is."""
        self.unwatch()
        if patience_s is None:
            patience_s = provider_requests.patience_s(self._manager.options)
        lost = self._manager.cell.addressed(FetchLost(attempt, request))
        self._watchdog = send_after(patience_s, self._manager.ref, lost)

    def unwatch(self) -> None:
        """The request has ended."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def cancel_timers(self) -> None:
        """The manager has ended."""
        self.unwatch()
        self._cancel_tick(CancelTick())
        if self._certificate_watch is not None:
            self._certificate_watch.leave(self._manager)

    def leave_circuits(self) -> None:
        """The manager ends for good: no other waits for its attempt."""
        manager = self._manager
        manager.issuer.circuit.leave(manager.cell)
        if manager.identity_provider is not None:
            manager.identity_provider.issuer.circuit.leave(manager.cell)

    # --- effects ------------------------------------------------------------------------------------------------------

    def _ask_permission(self, effect: AskPermission) -> Event:
        manager = self._manager
        return manager.issuer.circuit.allow(
            manager.cell, manager.options, haste=effect.haste, discovers=effect.discovers
        )

    def _fetch(self, effect: Fetch) -> Event | None:
        manager = self._manager
        circuit, cell, options = manager.issuer.circuit, manager.cell, manager.options
        # Before the job is submitted: a worker may be at it at once, and looks whether its request is expected.
        if not cell.expect(manager.ref, effect.attempt, effect.request):
            return None
        if isinstance(effect.grant, Discover):
            return self._discover(effect, effect.grant)
        if isinstance(effect.grant, VerifyResource):
            return self._verify_resource(effect)
        if isinstance(effect.grant, Claim):
            return self._claim(effect, effect.grant)
        failure = self._too_many() or self._submit(functools.partial(fetch_token, manager, effect), of_token=True)
        if failure is None:
            return None
        circuit.release_probe(cell)
        return FetchFailed(effect.attempt, effect.request, options.clock(), failure)

    def _too_many(self) -> TokenRequestError | None:
        under_way, asks_provider = len(self._manager.under_way), self._manager.options.auth.asks_provider
        hung = 0 if asks_provider else FUNCTION_WORKERS.value.left_behind
        if hung >= MOST_LEFT_BEHIND:
            told = f"{hung} functions of Custom have not returned in their time; there is no other call until one does"
            return TokenRequestError(told, sent=False)
        if under_way < MOST_UNDER_WAY:
            return None
        if not asks_provider:
            told = f"{under_way} earlier calls of the function have not returned; there is no other until one does"
            return TokenRequestError(told, sent=False)
        return TokenRequestError(
            f"{under_way} earlier requests were given up and have not returned: the source of a secret hangs, or "
            "the transport; there is no other until one of them does",
            sent=False,
        )

    def _discover(self, effect: Fetch, grant: Discover) -> Event | None:
        manager, issuer = self._manager, self._manager.issuer
        now = manager.options.clock()
        config = issuer.known_config(grant.instead_of, now)
        if config is not None:
            return FetchSucceeded(effect.attempt, effect.request, now, config)
        if grant.instead_of is not None and issuer.circuit.spares_metadata():  # the older ones serve
            wait = DiscoveryError("the provider asked to wait before anybody asks for its metadata again", sent=False)
            return FetchFailed(effect.attempt, effect.request, now, wait)
        return self._take_part(effect, now)

    def _verify_resource(self, effect: Fetch) -> Event | None:
        manager, now = self._manager, self._manager.options.clock()
        resource_url = manager.options.resource_url
        assert resource_url is not None
        known = manager.issuer.known_resource(resource_url, now)
        if known is not None:
            return FetchSucceeded(effect.attempt, effect.request, now, known)
        return self._take_part(effect, now, resource_url)

    def _take_part(self, effect: Fetch, now: float, resource_url: str | None = None) -> Event | None:
        """Wait for a discovery that all managers with the same wish share; the first of them runs it."""
        manager, issuer = self._manager, self._manager.issuer
        subscriber = Subscriber(manager.cell, effect.attempt, effect.request)
        discovery = issuer.subscribe(subscriber, resource_url)
        if discovery.subscribers[0] is not subscriber:
            # Subscribed first, then this look: where the request is sent in between, a message says so, too, and does no harm.
            sent_at = discovery.sent_at
            if sent_at is None:  # `FetchStarted` comes to all that have subscribed by then
                return None
            self.watch(effect.attempt, effect.request)
            return FetchStarted(effect.attempt, effect.request, sent_at)
        fetch = fetch_metadata if resource_url is None else fetch_resource
        failure = self._submit(functools.partial(fetch, manager, effect, discovery))
        if failure is not None:
            issuer.circuit.release_probe(manager.cell)
            issuer.discovery_ended(discovery, now, failure)
        return None

    def _submit(self, job: Callable[[], None], *, of_token: bool = False) -> TokenRequestError | None:
        manager = self._manager
        try:
            if of_token and not manager.options.auth.asks_provider:
                late_s = provider_requests.patience_s(manager.options)
                FUNCTION_WORKERS.value.submit(manager.issuer, job, late=lambda: None, patience_s=late_s)
            else:
                HTTP_WORKERS.value.submit(manager.issuer, job)
        except RuntimeError as error:  # the process has no thread left, or is going down
            return TokenRequestError(f"no thread for the request: {error}", sent=False)
        return None

    def _claim(self, effect: Fetch, claim: Claim) -> Event | None:
        manager = self._manager
        release = functools.partial(manager.issuer.circuit.release_probe, manager.cell)
        problem = self._ask_store(self._caller.claim, effect, claim, release)
        if problem is None:
            self.watch(effect.attempt, effect.request, STORE_PATIENCE_S)
            return None
        return ClaimFailed(effect.attempt, effect.request, manager.options.clock(), problem)

    @property
    def _caller(self) -> Caller:
        caller = self._manager.caller
        assert caller is not None
        return caller

    def _ask_store(self, ask: Callable[..., None], *args: object) -> StoreError | None:
        """Ask the store on a worker's thread.

        Returns:
            Why that is of no use: there is no thread to be had, or none that the store gives back.
        """
        client = self._caller.client
        try:
            client.refuse_hung()
            HTTP_WORKERS.value.submit(client, functools.partial(ask, *args))
        except StoreError as error:
            return error.with_traceback(None)
        except RuntimeError:  # the process has no thread left, or is going down
            return StoreError("no thread for the request to the store", sent=False)
        return None

    def _renew_lease(self, effect: RenewLease) -> None:
        self._ask_store(self._caller.renew, effect)

    def _share_token(self, effect: ShareToken) -> Event | None:
        problem = self._ask_store(self._caller.share, effect)
        return None if problem is None else ShareFailed(effect.lease.fence, problem)

    def _give_up_lease(self, effect: GiveUpLease) -> None:
        self._ask_store(self._caller.give_up, effect)

    def end_sharing(self, lease: HeldLease | None, late: FetchSucceeded | None, *, awaits_store: bool) -> None:
        """The manager ends for good, or these options do: what came last is shared.

        Args:
            lease: That of the attempt under way, if any.
            late: A token that came after the manager had looked last.
            awaits_store: Whether to wait until what was redeemed is stored, where that is the only login.
        """
        caller = self._manager.caller
        if caller is None:
            return
        if lease is not None and late is not None and isinstance(late.result, ParsedToken):
            self._ask_store(self._caller.share_late, lease, late.result, late.at + late.result.lifetime_s)
        if awaits_store:
            caller.settle()

    def _restore_record(self, effect: RestoreRecord) -> None:
        self._ask_store(self._caller.restore, effect)

    def _schedule_tick(self, effect: ScheduleTick) -> None:
        self._cancel_tick(CancelTick())
        self._tick = self._manager.later(effect.delay_s, self._manager.cell.addressed(_TICK))

    def _cancel_tick(self, effect: CancelTick) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _publish(self, effect: Publish) -> None:
        manager, cell = self._manager, self._manager.cell
        cell.publish(manager.ref, effect.token, effect.expires_at, effect.ahead_s)

        def failed(error: BaseException) -> None:  # on a listener's thread; its text may quote the token
            manager.log("listener_failed", 0, error=type(error).__name__, at=raised_at(error))

        for subscription in list(cell.subscriptions) if effect.is_new else ():
            # Without a thread no listener can be told; the token is published all the same.
            with contextlib.suppress(RuntimeError):
                tell = functools.partial(subscription.tell, effect.token, failed)
                LISTENER_WORKERS.value.submit(cell, tell, late=functools.partial(manager.log, "listener_late", 0))
        tell_followers(cell)

    def _withhold(self, effect: Withhold) -> None:
        self._manager.cell.hide(effect.token)

    def _reject(self, effect: Reject) -> None:
        # That very token and no other: an incarnation that was killed may get here when its successor has a new one.
        self._manager.cell.reject(effect.token.access_token)

    def _reply(self, effect: Reply) -> None:
        for waiter in effect.waiters:
            waiter.resolve(effect.outcome)

    def _check_secrets(self, effect: CheckSecrets) -> Event | None:
        manager = self._manager
        try:
            HTTP_WORKERS.value.submit(manager.secret_files, functools.partial(check_secrets, manager))
        except RuntimeError:  # without a thread the next tick tries again
            return SecretsChecked(changed=False)
        return None

    def _revoke(self, effect: Revoke) -> None:
        revoke_on_stop(self._manager, effect)

    def _report(self, effect: Report) -> None:
        self._manager.log(effect.event, effect.attempt, **effect.fields)


_HANDLERS: dict[type[Any], Callable[[EffectHandler, Any], Event | None]] = {
    AskPermission: EffectHandler._ask_permission,
    Fetch: EffectHandler._fetch,
    ScheduleTick: EffectHandler._schedule_tick,
    CancelTick: EffectHandler._cancel_tick,
    Publish: EffectHandler._publish,
    Withhold: EffectHandler._withhold,
    Reject: EffectHandler._reject,
    Reply: EffectHandler._reply,
    CheckSecrets: EffectHandler._check_secrets,
    Revoke: EffectHandler._revoke,
    RenewLease: EffectHandler._renew_lease,
    ShareToken: EffectHandler._share_token,
    GiveUpLease: EffectHandler._give_up_lease,
    RestoreRecord: EffectHandler._restore_record,
    Report: EffectHandler._report,
}
