"""The manager's callbacks: read the clock, let the machine decide, do what it wants done."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

import pykka

from oidc_actor.credentials.grants import RefreshToken
from oidc_actor.machine.effects import Discover, Publish
from oidc_actor.machine.events import (
    Accepted,
    Arrived,
    AskHealth,
    ClockJumped,
    Event,
    FetchFailed,
    FetchLost,
    FetchStarted,
    FetchSucceeded,
    ForceRefresh,
    GetToken,
    Join,
    Newcomers,
    Nudge,
    ProbeFailed,
    Refresh,
    Rejected,
    Released,
    SecretsChecked,
    SourceRenewed,
    Started,
    Tick,
)
from oidc_actor.machine.health import Health, health_of
from oidc_actor.machine.revocation import farewell
from oidc_actor.machine.schedule import refusal
from oidc_actor.machine.state import Flight, Rules, State, as_forked, is_valid
from oidc_actor.machine.transitions import adopt, step
from oidc_actor.machine.wall_clock import JUMP_S
from oidc_actor.manager import issuers
from oidc_actor.manager.effects import Runner
from oidc_actor.manager.log import FLIGHT_JOINED
from oidc_actor.manager.options import Options
from oidc_actor.protocol.token_response import ParsedToken
from oidc_actor.reading import wall_watch
from oidc_actor.reading.cell import Cell, is_final
from oidc_actor.reading.directory import claim, follow, is_parents_login
from oidc_actor.values.clock import wall_ahead_s
from oidc_actor.values.errors import NoTokenError, TokenRequestError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import TokenResponse
from supervision import Server, monitor
from supervision.child_process import when_given_up
from supervision.exits import Reason
from supervision.supervising import starting_supervisor


class Keeper(Server):
    """One incarnation of a manager. Its state is one immutable value, kept in the cell for a successor."""

    crash_on_call_error: ClassVar[bool] = False  # `NoTokenError` is an answer, not a crash
    has_cell: ClassVar[bool] = True  # from its start on, as `oidc_actor.reading.directory` knows it

    def __init__(self, options: Options, inherited: Cell | None = None) -> None:
        """Prepare; runs on the starter's thread.

        Args:
            options: The manager's options.
            inherited: In a forked child, the cell of the manager that is made anew.
        """
        super().__init__()
        self._options = options
        self._inherited = inherited
        # The first use in a forked child may be on the thread of a supervisor, which is none of this manager's.
        self._supervisor = starting_supervisor() if inherited is None else None

    @classmethod
    def launch(cls, options: Options, inherited: Cell | None = None) -> pykka.ActorRef[Self]:
        """Start an incarnation; returns once it is initialised.

        Args:
            options: The manager's options.
            inherited: In a forked child, the cell of the manager that is made anew.

        Raises:
            AlreadyStarted: The name is taken.
        """
        return super().start_link(options, inherited, name=options.name)

    # --- life ---------------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Find the cell and take over what a crashed predecessor left there. Nothing here waits for the network."""
        options = self._options
        self._cell = claim(
            self.actor_ref,
            name=options.name,
            identity=options.identity,
            clock=options.clock,
            supervisor=self._supervisor,
            inherited=self._inherited,
        )
        self._inherited = None
        monitor(self.actor_ref, self._cell.ended)
        when_given_up(self.actor_ref, self._cell.given_up)
        issuer = self._issuer = issuers.join(options)
        self._state = _first_state(options, self._cell, issuer)
        self._runner = Runner(self.actor_ref, self._cell, issuer, options, self._state.rules)
        self._cell.issuer, self._cell.revive = issuer, functools.partial(type(self).launch, options)
        self._cell.save(self.actor_ref, self._state)
        wall_watch.begin()
        for source in options.followed:
            follow(source, self._cell)

    def on_continue(self) -> None:
        """Begin: with the predecessor's token, its exchange under way and its readers, or with a first attempt."""
        ahead_s = wall_ahead_s(self._options.clock)
        is_concerned = self._state.token is not None or self._state.flight is not None
        if is_concerned and ahead_s - self._state.judged_ahead_s > JUMP_S:  # while nobody was here
            self._clock_jumped(ClockJumped(ahead_s))
        state = self._state
        token = state.token
        self._runner.log("manager_started", state.flights, adopted=token is not None)
        if token is not None and self._cell.snapshot.token is not token and is_valid(state, self._options.clock()):
            self._runner.perform(Publish(token, state.expires_at, state.ahead_s))
        if state.flight is not None:
            self._runner.watch(state.flight.number, state.flight.leg)
        self._take_result()  # the predecessor's; of an exchange that begins here it would come before `FetchStarted`
        if self._options.followed:  # there may have been a new one while nobody was here to be told
            self._apply(SourceRenewed())
        self._apply(Started())
        for waiter in self._cell.waiters_for(self.actor_ref):
            self._apply(Join(waiter))

    def on_terminate(self, reason: Reason) -> None:
        """An end for good empties the cell, and revokes the token if asked to; any other leaves it to the successor."""
        self._runner.retire()
        if is_final(self.actor_ref, reason):
            self._cell.close(self.actor_ref)
            if self._cell.closed:  # else this one has been killed by now, and a successor goes on with all of it
                for effect in farewell(self._state, self._options.clock(), self._late_token()):
                    self._runner.perform(effect)
                self._issuer.circuit.leave(self._cell)
        self._runner.log("manager_stopped", self._state.flights, reason=str(reason))

    def _late_token(self) -> TokenResponse | None:
        result = self._cell.take_result(self.actor_ref)
        found = result.result if isinstance(result, FetchSucceeded) else None
        return found.token if isinstance(found, ParsedToken) else None

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> Any:
        """Handle a message; every one of them also makes the machine look at the clock."""
        handle = _HANDLERS.get(type(message))
        return super().on_receive(message) if handle is None else handle(self, message)

    def _clock_jumped(self, message: ClockJumped) -> None:
        self._apply(replace(message, turn_at=self._issuer.first_attempt_at()))

    def _get_token(self, message: GetToken) -> TokenResponse:
        self._apply(Nudge())
        now = self._options.clock()
        if self._state.token is not None and is_valid(self._state, now):
            return self._state.token
        refused = refusal(self._state, now)
        raise NoTokenError(refused.message, cause=refused.cause, retry_in_s=refused.retry_in_s)

    def _ask_health(self, message: AskHealth) -> Health:
        self._apply(Nudge(asks=False))
        return health_of(self._state, self._options.clock())

    def _force_refresh(self, message: ForceRefresh) -> None:
        self._apply(Refresh())

    def _newcomers(self, message: Newcomers) -> None:
        # Who wants a refresh says so in a message of its own. Who withdrew the token may have been interrupted before it could.
        if (token := self._state.token) is not None and self._cell.withdrawn is token:
            self._apply(Refresh(None, Secret(token.access_token)))
        for waiter in self._cell.waiters_for(self.actor_ref, refreshes=False):
            self._share(Join(waiter))

    def _refresh(self, message: Refresh) -> None:
        waiter = message.waiter
        known = waiter is not None and not self._is_new(waiter)
        self._share(Refresh(None, message.rejected) if known else message)

    def _fetch_started(self, message: FetchStarted) -> None:
        if self._flight_of(message) is not None:  # that of another has a watch of its own
            self._runner.watch(message.flight, message.leg)
        self._apply(message)

    def _fetch_lost(self, message: FetchLost) -> None:
        self._take_result()  # it may have come at the last moment
        flight = self._flight_of(message)
        if flight is None:
            return
        self._cell.forget_exchange(self.actor_ref)
        if isinstance(flight.grant, Discover):
            self._issuer.give_up(self._cell)
        late = TokenRequestError(
            "no answer long after the timeout: the source of a secret does not return, or the transport does not keep "
            "to timeout_s"
        )
        self._apply(FetchFailed(message.flight, message.leg, self._options.clock(), late))

    def _arrived(self, message: Arrived) -> None:
        self._take_result()

    def _take_result(self) -> None:
        result = self._cell.take_result(self.actor_ref)
        if result is not None:
            self._runner.unwatch()
            self._apply(result)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> None:
        events = deque([event])
        while events:
            self._state, effects = step(self._state, events.popleft(), self._options.clock(), self._options.rng)
            # Kept before anything is done, so that a successor knows of whatever may have been.
            if not self._cell.save(self.actor_ref, self._state):
                return
            for effect in effects:
                known = self._runner.perform(effect)
                if known is not None:
                    events.append(known)

    def _share(self, event: Join | Refresh) -> None:
        under_way = self._state.flight is not None
        self._apply(event)
        if under_way and event.waiter in self._state.waiters[-1:]:
            self._cell.count(FLIGHT_JOINED)

    def _flight_of(self, message: FetchStarted | FetchLost) -> Flight | None:
        """The flight under way, if the message is about its present exchange."""
        flight = self._state.flight
        same = flight is not None and (flight.number, flight.leg) == (message.flight, message.leg)
        return flight if same else None

    def _is_new(self, waiter: Any) -> bool:
        new = waiter.joined is not self.actor_ref
        waiter.joined = self.actor_ref
        return new


def _first_state(options: Options, cell: Cell, issuer: issuers.Issuer) -> State:
    if cell.state is not None:
        withdrawn = cell.withdrawn is not None and cell.withdrawn is cell.state.token
        flight = cell.state.flight
        # What is expected may be an earlier exchange, whose end the manager knew at once.
        in_flight = flight is not None and cell.expected == (flight.number, flight.leg)
        state = adopt(cell.state, in_flight=in_flight, withdrawn=withdrawn)
        # A forked child may make many anew at once.
        held_until = issuer.first_attempt_at() if state.borrowed else state.held_until
        buffer_s = options.refresh_buffer_seconds
        return replace(state, refresh_buffer_seconds=buffer_s, rules=_rules(options), held_until=held_until)
    config, buffer_s, first_at = options.oidc_config, options.refresh_buffer_seconds, issuer.first_attempt_at()
    state = State(config, options.auth, None, buffer_s, rules=_rules(options), held_until=first_at)
    return as_forked(state) if state.rules.own_refresh_token and is_parents_login(options.auth.grant_secret) else state


def _rules(options: Options) -> Rules:
    return Rules(
        retry=options.retry,
        min_interval_s=options.min_interval_seconds,
        discovers=options.issuer_url is not None,
        own_refresh_token=isinstance(options.auth, RefreshToken),
        watches_files=bool(options.secret_files),
        revokes=options.revoke_on_stop,
    )


_HANDLERS: dict[type[Any], Callable[[Keeper, Any], Any]] = {
    GetToken: Keeper._get_token,
    ForceRefresh: Keeper._force_refresh,
    AskHealth: Keeper._ask_health,
    Newcomers: Keeper._newcomers,
    Refresh: Keeper._refresh,
    Arrived: Keeper._arrived,
    FetchStarted: Keeper._fetch_started,
    FetchLost: Keeper._fetch_lost,
    Tick: Keeper._apply,
    ClockJumped: Keeper._clock_jumped,
    Nudge: Keeper._apply,
    Rejected: Keeper._apply,
    Accepted: Keeper._apply,
    Released: Keeper._apply,
    ProbeFailed: Keeper._apply,
    SecretsChecked: Keeper._apply,
    SourceRenewed: Keeper._apply,
}
