"""Does what the machine wants done: one method for each effect, in the order they come. Runs on the manager's thread.

A killed incarnation may still be in here, because Python cannot end its thread. Everything it does goes through the cell,
which does not listen to it any more.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from oidc_actor.machine.effects import (
    CancelTick,
    CheckSecrets,
    Discover,
    Effect,
    Fetch,
    FullGrant,
    Publish,
    Redeem,
    Reject,
    Reply,
    Report,
    Revoke,
    ScheduleTick,
    Withhold,
)
from oidc_actor.machine.events import (
    Event,
    FetchFailed,
    FetchLost,
    FetchStarted,
    FetchSucceeded,
    Held,
    SecretsChecked,
    Tick,
)
from oidc_actor.machine.invalidation import late_tokens_to_revoke
from oidc_actor.machine.state import Rules
from oidc_actor.manager.fetch import ask_for_metadata, ask_for_token
from oidc_actor.manager.issuers import Issuer, Journey
from oidc_actor.manager.log import log, raised_at
from oidc_actor.manager.options import Options
from oidc_actor.manager.revoke_on_stop import revoke, revoke_here
from oidc_actor.manager.workers import HTTP_WORKERS, LISTENER_WORKERS
from oidc_actor.reading.cell import Cell, Ref
from oidc_actor.reading.directory import tell_followers
from oidc_actor.values.clock import real_delay_s
from oidc_actor.values.errors import DiscoveryError, TokenRequestError
from supervision import Timer, send_after

GRACE_S = 5.0
"""Seconds beyond its timeout after which an exchange is taken for lost."""

SECRETS_S = 30.0
"""Seconds beyond that for reading the secrets, which a source of the application's may never end."""

MOST_UNDER_WAY = 2
"""Exchanges of one manager on threads at a time: the one that it waits for, and one that was given up and has not returned.

More would take, one after the other, all the threads that other managers of the issuer need.
"""


class Runner:
    """The hands of one incarnation."""

    __slots__ = ("_cell", "_issuer", "_options", "_ref", "_rules", "_tick", "_under_way", "_watchdog")

    def __init__(self, ref: Ref, cell: Cell, issuer: Issuer, options: Options, rules: Rules) -> None:
        self._ref = ref
        self._cell = cell
        self._issuer = issuer
        self._options = options
        self._rules = rules
        self._tick: Any = None
        self._watchdog: Timer | None = None
        self._under_way: list[int] = []  # one entry for each exchange that a thread is at; a change is one operation

    def perform(self, effect: Effect) -> Event | None:
        """Do one thing; what is known at once comes back as an event."""
        return _ACTIONS[type(effect)](self, effect)

    def watch(self, attempt: int, request: int) -> None:
        """See that an exchange whose transport does not keep its timeout is given up. In real time, as a transport is."""
        self.unwatch()
        patience_s = self._options.timeout_seconds + GRACE_S
        self._watchdog = send_after(patience_s, self._ref, FetchLost(attempt, request))

    def unwatch(self) -> None:
        """The exchange has ended."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def retire(self) -> None:
        """The manager has ended."""
        self.unwatch()
        self._cancel_tick(CancelTick())

    def log(self, event: str, attempt: int, **fields: object) -> None:
        """Log and count an event of this manager."""
        self._cell.count(event)
        log(event, manager=self._cell.name or self._ref.actor_urn, issuer=self._issuer.name, flight=attempt, **fields)

    # --- effects ------------------------------------------------------------------------------------------------------

    def _fetch(self, effect: Fetch) -> Event | None:
        if effect.request == 1:
            discovers = isinstance(effect.grant, Discover) and effect.grant.instead_of is None
            hold = self._issuer.circuit.admit(self._cell, self._options, haste=effect.haste, discovers=discovers)
            if hold is not None:
                return Held(effect.attempt, hold.until, hold.by_provider, hold.probing)
        if not self._cell.expect(self._ref, effect.attempt, effect.request):
            return None
        if isinstance(effect.grant, Discover):
            return self._discover(effect, effect.grant)
        failure = self._too_many() or self._submit(functools.partial(self._ask_for_token, effect, effect.grant))
        if failure is None:
            return None
        self._issuer.circuit.step_aside(self._cell)
        return FetchFailed(effect.attempt, effect.request, self._options.clock(), failure)

    def _ask_for_token(self, effect: Fetch, grant: Redeem | FullGrant) -> None:
        lost = self._expect_loss(effect)
        self._under_way.append(effect.attempt)

        def ended() -> None:
            self._under_way.pop()
            if lost is not None:
                lost.cancel()

        # Looked at before they are read: a file that changes in between is read again rather than missed.
        self._cell.versions = self._file_versions()
        late = ask_for_token(
            self._cell, self._issuer, self._options, effect.attempt, effect.request, grant, ended, early=effect.early
        )
        if late is not None and self._cell.closed:
            for revocation in late_tokens_to_revoke(self._rules, effect.attempt, grant.config, late):
                revoke_here(self._cell, self._issuer, self._options, revocation, self.log)

    def _too_many(self) -> TokenRequestError | None:
        if len(self._under_way) < MOST_UNDER_WAY:
            return None
        return TokenRequestError(
            f"{len(self._under_way)} earlier requests were given up and have not returned: the source of a secret hangs, or "
            "the transport; there is no other until one of them does",
            sent=False,
        )

    def _expect_loss(self, effect: Fetch) -> Timer | None:
        """See that an exchange which does not come to its request is given up; from there on `watch` does. On its thread."""
        patience_s = SECRETS_S + self._options.timeout_seconds + GRACE_S
        try:
            return send_after(patience_s, self._ref, FetchLost(effect.attempt, effect.request))
        except RuntimeError:  # no thread for timers can be had: it is waited for
            return None

    def _discover(self, effect: Fetch, grant: Discover) -> Event | None:
        now = self._options.clock()
        config = self._issuer.known_config(grant.instead_of, now)
        if config is not None:
            return FetchSucceeded(effect.attempt, effect.request, now, config)
        if grant.instead_of is not None and self._issuer.circuit.spares_metadata():  # the older ones serve
            wait = DiscoveryError("the provider asked to wait before anybody asks for its metadata again", sent=False)
            return FetchFailed(effect.attempt, effect.request, now, wait)
        journey = Journey(self._cell, effect.attempt, effect.request)
        discovery = self._issuer.travel(journey)
        if discovery.travellers[0] is not journey:
            sent_at = discovery.sent_at
            if sent_at is None:  # `FetchStarted` comes to everybody who takes part by then
                return None
            self.watch(effect.attempt, effect.request)
            return FetchStarted(effect.attempt, effect.request, sent_at)
        ask = functools.partial(
            ask_for_metadata, self._cell, self._issuer, self._options, discovery, early=effect.early
        )
        failure = self._submit(ask)
        if failure is not None:
            self._issuer.circuit.step_aside(self._cell)
            self._issuer.arrived(discovery, now, failure)
        return None

    def _submit(self, job: Callable[[], None]) -> TokenRequestError | None:
        try:
            HTTP_WORKERS.value.submit(self._issuer, job)
        except RuntimeError as error:  # the process has no thread left, or is going down
            return TokenRequestError(f"no thread for the request: {error}", sent=False)
        return None

    def _schedule_tick(self, effect: ScheduleTick) -> None:
        self._cancel_tick(CancelTick())
        clock = self._options.clock
        # A clock made for tests may keep its own timers, so that a tick comes exactly when it is advanced that far.
        send = getattr(clock, "send_after", None)
        if send is not None:
            self._tick = send(effect.delay_s, self._ref, Tick())
        else:
            self._tick = send_after(real_delay_s(clock, effect.delay_s), self._ref, Tick())

    def _cancel_tick(self, effect: CancelTick) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _publish(self, effect: Publish) -> None:
        self._cell.publish(self._ref, effect.token, effect.expires_at, effect.ahead_s)
        for subscription in list(self._cell.subscriptions) if effect.is_new else ():
            # Without a thread nobody can be told; the token is published all the same.
            with contextlib.suppress(RuntimeError):
                tell = functools.partial(subscription.tell, effect.token, self._listener_failed)
                LISTENER_WORKERS.value.submit(self._cell, tell, late=self._listener_late)

        tell_followers(self._cell)

    def _listener_failed(self, error: BaseException) -> None:
        self.log("listener_failed", 0, error=type(error).__name__, at=raised_at(error))  # its text may quote the token

    def _listener_late(self) -> None:
        self.log("listener_late", 0)

    def _withhold(self, effect: Withhold) -> None:
        self._cell.hide(effect.token)

    def _reject(self, effect: Reject) -> None:
        # That very token and no other: an incarnation that was killed may get here when its successor has a new one.
        self._cell.reject(effect.token.access_token)

    def _reply(self, effect: Reply) -> None:
        for waiter in effect.waiters:
            waiter.resolve(effect.outcome)

    def _check_secrets(self, effect: CheckSecrets) -> Event | None:
        try:
            HTTP_WORKERS.value.submit(self._options.secret_files, self._compare_versions)
        except RuntimeError:  # without a thread the next tick tries again
            return SecretsChecked(changed=False)
        return None

    def _compare_versions(self) -> None:
        self._cell.tell(SecretsChecked(self._file_versions() != self._cell.versions))

    def _file_versions(self) -> object:
        return tuple(file.version() for file in self._options.secret_files)

    def _revoke(self, effect: Revoke) -> None:
        revoke(self._cell, self._issuer, self._options, effect, self.log)

    def _report(self, effect: Report) -> None:
        self.log(effect.event, effect.attempt, **effect.fields)


_ACTIONS: dict[type[Any], Callable[[Runner, Any], Event | None]] = {
    Fetch: Runner._fetch,
    ScheduleTick: Runner._schedule_tick,
    CancelTick: Runner._cancel_tick,
    Publish: Runner._publish,
    Withhold: Runner._withhold,
    Reject: Runner._reject,
    Reply: Runner._reply,
    CheckSecrets: Runner._check_secrets,
    Revoke: Runner._revoke,
    Report: Runner._report,
}
