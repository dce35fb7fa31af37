"""One set of options at work for a manager: those in force, or others that are tried beside them.

All of it runs on the manager's thread. What arrives here is about one cell: the manager's own, or that of a trial
(`oidc_actor.reading.cell.Candidate`). Both have an issuer, an effect handler and timers of their own. The machine's two states
are one value, which the manager keeps and steps; so a performer looks at its own, and hands its events on, through a `Machine`.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from oidc_actor.credentials.grants import IdentityAssertion, RefreshToken
from oidc_actor.machine.effects import Claim, Discover, VerifyResource
from oidc_actor.machine.events import (
    ClaimFailed,
    Event,
    FetchFailed,
    FetchLost,
    FetchStarted,
    FetchSucceeded,
    Refresh,
    ResultReady,
    SourceRenewed,
    Wait,
    WaitersArrived,
)
from oidc_actor.machine.invalidation import tokens_to_revoke
from oidc_actor.machine.state import Attempt, Denial, Rules, Sharing, State, as_forked
from oidc_actor.manager.effect_handler import EffectHandler
from oidc_actor.manager.issuers import Issuer
from oidc_actor.manager.log import FLIGHT_JOINED
from oidc_actor.manager.options import Options
from oidc_actor.manager.provider_requests import Incarnation
from oidc_actor.reading.cell import Cell, Ref
from oidc_actor.reading.directory import follow, is_parents_login
from oidc_actor.values.errors import StoreError, TokenRequestError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken
from supervision.runtime.lazy_imports import fork_waits

if TYPE_CHECKING:
    from oidc_actor.manager.identity_providers import IdentityProvider
    from oidc_actor.manager.shared_store import Caller

C = TypeVar("C", bound=Cell)


class Machine(Protocol):
    """What decides on the events that are about one set of options: the manager, or one for its trial."""

    def _known(self) -> State:
        """What is known with these options."""

    def _apply(self, event: Event) -> None:
        """Decide, and have done what is wanted."""


class Performer(Generic[C]):
    """Takes in what happens to one set of options, and has done what the machine wants done with them.

    Attributes:
        cell: The manager's, or that of the trial.
        effects: Does what the machine wants done.
        manager: What works for these options knows them by.
    """

    __slots__ = ("_machine", "cell", "effects", "manager")

    def __init__(
        self,
        ref: Ref,
        cell: C,
        options: Options,
        issuer: Issuer,
        machine: Machine,
    ) -> None:
        """Begin; nothing is asked yet.

        Args:
            ref: The manager.
            cell: What its readers, or those that wait for the trial, know it by.
            options: The options.
            issuer: What managers of that issuer share.
            machine: What decides on the events that are about them.
        """
        self.cell, self._machine = cell, machine
        caller = None if options.store is None else _caller_of(options, cell)
        auth, files = options.auth, options.secret_files
        provider = _identity_provider_of(options, auth) if isinstance(auth, IdentityAssertion) else None
        manager = Incarnation(ref, cell, issuer, options, rules_of(options), files, caller, provider)
        self.manager, self.effects = manager, EffectHandler(manager)
        cell.issuer = issuer
        for source in options.followed:
            follow(source, cell)

    def begin(self, state: State) -> None:
        """Go on with what a predecessor has asked for, if anything; before an attempt may begin here, which would discard it."""
        if state.attempt is not None:
            self.effects.watch(state.attempt.number, state.attempt.request)
        self._take_result()  # the predecessor's; that of a request which begins here would come before `FetchStarted`
        if self.manager.options.followed:  # there may have been a new one while nothing was here to be told
            self._machine._apply(SourceRenewed())

    def receive(self, message: Any) -> None:
        """Take in a message that is no question."""
        handle = _HANDLERS.get(type(message))
        if handle is not None:
            handle(self, message)
        elif isinstance(message, Event):
            self._machine._apply(message)

    def retire(self, state: State, *, awaits_store: bool = False) -> None:
        """These options are of no use any more: revoke what came of them, where they say so. The cell has been closed.

        Args:
            state: What was known with them.
            awaits_store: Whether to wait until a login that was redeemed is stored, because the process may be about to end.
        """
        manager = self.manager
        self.effects.cancel_timers()
        result = self.cell.take_result(manager.ref)
        late = result if isinstance(result, FetchSucceeded) else None
        token = late.result.token if late is not None and isinstance(late.result, ParsedToken) else None
        for effect in tokens_to_revoke(state, manager.options.clock(), token):
            self.effects.handle(effect)
        self.effects.leave_circuits()
        lease = None if state.attempt is None else state.attempt.lease
        self.effects.end_sharing(lease, late, awaits_store=awaits_store)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _waiters_arrived(self, message: WaitersArrived) -> None:
        # A refresh has a message of its own. A reader that rejected the token may have been interrupted before it sent that.
        token = self._machine._known().token
        if token is not None and self.cell.rejected is token:
            self._machine._apply(Refresh(None, Secret(token.access_token)))
        for waiter in self.cell.new_waiters(self.manager.ref, refreshes=False):
            self._share(Wait(waiter))

    def _refresh(self, message: Refresh) -> None:
        # The waiter was put into the cell before this message was sent: an incarnation that started in between knows it.
        waiter = message.waiter
        known = waiter is not None and not self.cell.is_new(self.manager.ref, waiter)
        self._share(Refresh(None, message.rejected) if known else message)

    def _fetch_started(self, message: FetchStarted) -> None:
        if self._attempt_of(message) is not None:  # else it is of an earlier request: the present one keeps its timer
            self.effects.watch(message.attempt, message.request)
        self._machine._apply(message)

    def _fetch_lost(self, message: FetchLost) -> None:
        self._take_result()  # it may have come at the last moment
        attempt, manager = self._attempt_of(message), self.manager
        if attempt is None:
            return
        self.cell.forget_request(manager.ref)
        if isinstance(attempt.grant, Discover | VerifyResource):
            manager.issuer.give_up(self.cell)
        numbers, now = (message.attempt, message.request), manager.options.clock()
        if isinstance(attempt.grant, Claim):
            self._machine._apply(ClaimFailed(*numbers, now, StoreError("no answer long after the timeout")))
            return
        late = TokenRequestError(
            "no answer long after the timeout: the source of a secret does not return, or the transport does not keep "
            "to timeout_s"
            if manager.options.auth.asks_provider
            else f"{manager.issuer.name} has not returned in {manager.options.timeout_seconds:g} s (timeout_seconds)"
        )
        self._machine._apply(FetchFailed(*numbers, now, late))

    def _result_ready(self, message: ResultReady) -> None:
        self._take_result()

    def take_note(self) -> None:
        """A token request may have been sent since the last message; before anything else is taken in that came after it."""
        for sent in self.cell.take_sent(self.manager.ref):
            self._machine._apply(sent)

    def _take_result(self) -> None:
        result = self.cell.take_result(self.manager.ref)
        self.take_note()  # after that: it was there before the result, which may have come just now
        if result is not None:
            self.effects.unwatch()
            self._machine._apply(result)

    # --- what they need -----------------------------------------------------------------------------------------------

    def _share(self, event: Wait | Refresh) -> None:
        under_way = self._machine._known().attempt is not None
        self._machine._apply(event)
        if under_way and event.waiter in self._machine._known().waiters[-1:]:
            self.cell.count(FLIGHT_JOINED)

    def _attempt_of(self, message: FetchStarted | FetchLost) -> Attempt | None:
        """The attempt under way, if the message is about its present request."""
        attempt = self._machine._known().attempt
        same = attempt is not None and (attempt.number, attempt.request) == (message.attempt, message.request)
        return attempt if same else None


def first_state(options: Options, issuer: Issuer) -> State:
    """What is known before the first attempt."""
    config, buffer_s, first_at = options.oidc_config, options.refresh_buffer_seconds, issuer.first_attempt_at()
    shared = None if options.store is None else Sharing()
    state = State(
        config, options.auth, None, buffer_s, rules=rules_of(options), denial=Denial(first_at), sharing=shared
    )
    if shared is not None:
        return state
    return as_forked(state) if state.rules.own_refresh_token and is_parents_login(options.auth.grant_secret) else state


# What these two need is imported at the first manager that has a store, or such credentials, on its thread.


def _identity_provider_of(options: Options, auth: IdentityAssertion) -> IdentityProvider:
    with fork_waits():
        from oidc_actor.manager.identity_providers import IdentityProvider
    return IdentityProvider(options, auth)


def _caller_of(options: Options, cell: Cell) -> Caller | None:
    with fork_waits():
        from oidc_actor.manager.shared_store import caller_of
    return caller_of(options, cell)


@atexit.register
def _settle_all() -> None:
    """Have no login lost at the interpreter's exit. Registered with the managers: what a program registers later runs before."""
    used = sys.modules.get("oidc_actor.manager.shared_store")
    if used is not None:
        used.settle_all()


_rules = lru_cache(maxsize=64)(Rules)  # most managers of a process have the same


def rules_of(options: Options) -> Rules:
    """What the machine needs of the options."""
    return _rules(
        retry=options.retry,
        min_interval_s=options.min_interval_seconds,
        discovers=options.issuer_url is not None,
        own_refresh_token=isinstance(options.auth, RefreshToken),
        watches_files=bool(options.secret_files),
        revokes=options.revoke_on_stop,
        verifies_resource=options.resource_url is not None,
    )


# An event of the machine that is not named here is applied as it is.
_HANDLERS: dict[type[Any], Callable[[Performer[Any], Any], None]] = {
    WaitersArrived: Performer._waiters_arrived,
    Refresh: Performer._refresh,
    ResultReady: Performer._result_ready,
    FetchStarted: Performer._fetch_started,
    FetchLost: Performer._fetch_lost,
}
