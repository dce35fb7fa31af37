"""``TokenManager``, a GenServer that keeps one valid access token ready: the client's functions, then the callbacks.

The client's functions run on the thread that calls them. Most never ask the actor: they read the manager's cell
(`oidc_actor.reading.cell`) and may wait there. The callbacks run on the manager's thread: read the clock, let the machine
decide (`oidc_actor.machine.transitions`), do what it wants done (`oidc_actor.manager.effect_handler`).

In every function ``server`` is the manager's ref or its name.
"""

from __future__ import annotations

import functools
import time
from abc import ABCMeta
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn, Self

import pykka

import supervision
from oidc_actor.machine.effects import DropTrial, Effect, ForTrial, Publish, TakeOver
from oidc_actor.machine.events import (
    AskHealth,
    CheckNow,
    ClockJumped,
    Event,
    FetchLost,
    ForceRefresh,
    GetToken,
    OfTrial,
    Refresh,
    Replacing,
    ResultReady,
    Started,
    TrialOverdue,
    TrialWanted,
    Wait,
    WaitersArrived,
)
from oidc_actor.machine.health import Health, health_of
from oidc_actor.machine.replacing import resumed
from oidc_actor.machine.schedule import refusal
from oidc_actor.machine.state import Denial, State, is_valid
from oidc_actor.machine.transitions import adopt, step
from oidc_actor.manager import issuers
from oidc_actor.manager.options import (
    Options,
    check_options,
    check_replacing,
    how_to_replace,
    manager_options,
    replacing_options,
    signed_as,
)
from oidc_actor.manager.performer import Performer, first_state, rules_of
from oidc_actor.manager.provider_requests import revoke_replaced
from oidc_actor.reading.cell import Candidate, Cell, Ref, by_name, is_final
from oidc_actor.reading.directory import (
    ManagerNotRunning,
    await_successor,
    in_force,
    locate,
    take_cell,
    watch_clocks,
)
from oidc_actor.reading.token_source import TokenSource
from oidc_actor.reading.waiters import Subscription, check_listener
from oidc_actor.reading.waiting_reads import (
    ServerRef,
    await_replacement,
    check_wait,
    error_of,
    read_rejected,
    refresh_now,
    refresh_now_async,
    refresh_soon,
    wait_for_token,
    wait_for_token_async,
)
from oidc_actor.values.clock import JUMP_S, wall_ahead_s
from oidc_actor.values.secrets import holds_secrets
from oidc_actor.values.tokens import TokenResponse
from supervision import ChildSpec, NoProcess, Server, ServerDied
from supervision.calls import stop_for_good
from supervision.errors import check_seconds
from supervision.exits import Reason
from supervision.monitors import keep_for_successor
from supervision.process.registry import find, name_in, starting_predecessor, starting_supervisor
from supervision.server import ClassOrInstance


class _ListsItsFunctions(ABCMeta):
    """The class of `TokenManager`: tab completion shows what users call, and neither the callbacks nor what is Pykka's."""

    def __dir__(cls) -> list[str]:
        names = {name for kind in cls.__mro__ if isinstance(kind, _ListsItsFunctions) for name in vars(kind)}
        hidden = {"launch", "start"}  # the callbacks' own way in, and what is there to refuse
        return sorted(
            name for name in names - hidden if name[0] != "_" and name[:3] != "on_" and callable(getattr(cls, name))
        )


class TokenManager(Server, metaclass=_ListsItsFunctions):
    """A supervised actor that gets an access token, refreshes it before it ends, and never lets readers wait while one lives.

    Start it with `start_link`, or as a child of a supervisor with `child_spec`; then read with `get_access_token`, or
    fastest with `source`. Every function is called on the class; the ref or name of another actor is a ``TypeError``.

    Any thread may call them. A read, `subscribe`, `force_refresh` and `health` may also be called in a signal handler or a
    finalizer: they wait for no lock that the interrupted thread may hold. `start_link` and `stop` may not.
    """

    crash_on_call_error: ClassVar[bool] = False  # `NoTokenError` is an answer, not a crash
    has_cell: ClassVar[bool] = True  # from its start on, as `oidc_actor.reading.directory` knows it

    # Of other options that are tried; most managers never have any, and share these.
    _trials: Mapping[int, Performer[Candidate]] = MappingProxyType({})  # another one for each change
    _replaced: Callable[[], None] | None = None  # revokes what the options before had, after a step
    _held: int = 0  # the number of the last trial that came into force
    _overdue: Any = None

    @classmethod
    @signed_as(manager_options)
    def start_link(cls, _options: dict[str, Any]) -> pykka.ActorRef[Self]:  # type: ignore[override]
        """Start a manager. It returns once the manager is initialised, and never waits for the network.

        Args:
            auth: The credentials, such as `ClientCredentials`, or their mapping form.
            issuer_url: The issuer, whose metadata are discovered. Either this or ``oidc_config`` is needed.
            oidc_config: The provider's metadata, where they are not discovered.
            resource_url: The API that the token is for. Its own metadata (RFC 9728) have to name the issuer before a token is
                asked for, and each request names it (RFC 8707). Beside ``issuer_url``: no resource chooses who gets a secret.
            name: What the manager is registered under; ``None`` for a manager that is known by its ref only.
            refresh_buffer_seconds: How long before its expiry a token is refreshed; at most half of its lifetime.
            ca_bundle: The file or directory of the certificates to trust; ``None`` for the usual ones.
            allow_insecure_http: Whether plain http is acceptable beyond loopback.
            transport: For tests: what performs a request; ``None`` for HTTP.
            clock: For tests: what deadlines are kept on; ``None`` for one that counts suspend.
            rng: For tests: the random source of the jitter; ``None`` for the module `random`.
            retry: The waits after failures.
            min_interval_seconds: The least time between two attempts.
            default_lifetime_seconds: How long a token is taken to live where nothing says.
            timeout_seconds: For one whole request.
            revoke_on_stop: Whether an orderly stop has the provider revoke the token, and a refresh token that came with it
                (RFC 7009), as far as three seconds suffice; one that is still under way is revoked when it comes.
            store: The store that processes share the token through, such as `oidc_actor.sharing.RedisStore`; ``None`` for a
                manager that gets its token alone.
            store_key: What tells managers apart that share a store and whose other options are the same: whose token it is, where
                the credentials do not say.

        Returns:
            Its ref.

        Raises:
            ConfigError: An option is wrong, missing or unknown; nothing was started.
            AlreadyStarted: The name is taken; ``.ref`` is its owner.
        """
        return cls.launch(_taken(_options))

    @classmethod
    def start(cls, *_args: object, **_options: object) -> NoReturn:
        """Refuse Pykka's own way to start an actor, which neither checks options nor registers a name.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"{cls.__name__}.start: use {cls.__name__}.start_link(**options), or child_spec under a supervisor"
        )

    @classmethod
    @holds_secrets
    @signed_as(manager_options)
    def child_spec(cls, _options: dict[str, Any]) -> ChildSpec[Self]:  # type: ignore[override]
        """Describe a manager as the child of a supervisor: permanent, with 5 seconds to stop. The options are checked here.

        Args:
            auth: As for `start_link`.
            issuer_url: As for `start_link`.
            oidc_config: As for `start_link`.
            resource_url: As for `start_link`.
            name: As for `start_link`; also the specification's id, which is ``"TokenManager"`` without one.
            refresh_buffer_seconds: As for `start_link`.
            ca_bundle: As for `start_link`.
            allow_insecure_http: As for `start_link`.
            transport: As for `start_link`.
            clock: As for `start_link`.
            rng: As for `start_link`.
            retry: As for `start_link`.
            min_interval_seconds: As for `start_link`.
            default_lifetime_seconds: As for `start_link`.
            timeout_seconds: As for `start_link`.
            revoke_on_stop: As for `start_link`.
            store: As for `start_link`.
            store_key: As for `start_link`.

        Returns:
            The specification; nothing has started.

        Raises:
            ConfigError: An option is wrong, missing or unknown.
        """
        checked = check_options(_options)
        kwargs = {name: getattr(checked, name) for name in _options}
        return ChildSpec(checked.name or "TokenManager", cls.start_link, kwargs=kwargs, shutdown=5.0, name=checked.name)

    @staticmethod
    def get_token(server: ServerRef, *, timeout: float = 5.0, min_validity: float = 0.0) -> TokenResponse:
        """Return a valid token: at once while there is one, else as soon as an attempt brings one.

        Args:
            server: The manager's ref or name.
            timeout: Seconds to wait; 0 never waits.
            min_validity: Seconds the token must still live. Where the present one falls short an attempt starts, unless none
                of the last three tokens would have been enough: then the read is refused at once, and costs no request.

        Raises:
            NoTokenError: None came in time, or waiting cannot help: a permanent error, or the next attempt comes too late.
            ManagerNotRunning: The manager does not exist, was stopped, or has crashed and its token has ended.
            ConfigError: A time that is no finite number of seconds of at least 0.
        """
        cell = by_name.get(server)  # type: ignore[arg-type]  # a ref is looked up below
        if cell is not None and not min_validity:
            snapshot = cell.snapshot
            if cell.clock() < snapshot.deadline and snapshot.token is not None:
                return snapshot.token
        return wait_for_token(server, timeout, min_validity)

    @staticmethod
    def get_access_token(server: ServerRef, *, timeout: float = 5.0, min_validity: float = 0.0) -> str:
        """Return the text of a valid access token, as `get_token` does the whole of it.

        Args:
            server: The manager's ref or name.
            timeout: Seconds to wait; 0 never waits.
            min_validity: Seconds the token must still live.

        Raises:
            NoTokenError: As for `get_token`, and so are the others.
            ManagerNotRunning: The manager is not there.
            ConfigError: A time is wrong.
        """
        cell = by_name.get(server)  # type: ignore[arg-type]  # a ref is looked up below
        if cell is not None and not min_validity:
            snapshot = cell.snapshot
            if cell.clock() < snapshot.deadline:
                return snapshot.text
        return wait_for_token(server, timeout, min_validity).access_token

    @staticmethod
    async def aget_token(server: ServerRef, *, timeout: float = 5.0, min_validity: float = 0.0) -> TokenResponse:
        """Do what `get_token` does, in a task of asyncio or trio; it yields only where there is no token, and makes no thread.

        Args:
            server: The manager's ref or name.
            timeout: Seconds to wait; 0 never waits.
            min_validity: Seconds the token must still live.

        Raises:
            NoTokenError: As for `get_token`, and so are the others.
            ManagerNotRunning: The manager is not there.
            ConfigError: A time is wrong.
        """
        cell = by_name.get(server)  # type: ignore[arg-type]  # a ref is looked up below
        if cell is not None and not min_validity:
            snapshot = cell.snapshot
            if cell.clock() < snapshot.deadline and snapshot.token is not None:
                return snapshot.token
        return await wait_for_token_async(server, timeout, min_validity)

    @staticmethod
    async def aget_access_token(server: ServerRef, *, timeout: float = 5.0, min_validity: float = 0.0) -> str:
        """Do what `get_access_token` does, in a task of asyncio or trio; it yields only where there is no token.

        Args:
            server: The manager's ref or name.
            timeout: Seconds to wait; 0 never waits.
            min_validity: Seconds the token must still live.

        Raises:
            NoTokenError: As for `get_token`, and so are the others.
            ManagerNotRunning: The manager is not there.
            ConfigError: A time is wrong.
        """
        cell = by_name.get(server)  # type: ignore[arg-type]  # a ref is looked up below
        if cell is not None and not min_validity:
            snapshot = cell.snapshot
            if cell.clock() < snapshot.deadline:
                return snapshot.text
        return (await wait_for_token_async(server, timeout, min_validity)).access_token

    @staticmethod
    @holds_secrets
    def force_refresh(
        server: ServerRef, *, wait: bool = False, timeout: float = 5.0, rejected: str | None = None
    ) -> None:
        """Have a new token fetched now; where a refresh is under way, it serves.

        It wakes a manager from a backoff or a slow probe, but never breaks the minimum interval or a ``Retry-After``.

        Args:
            server: The manager's ref or name.
            wait: Whether to wait for the outcome. Without, it is a cast: silent even where no manager is there.
            timeout: Seconds to wait.
            rejected: The access token that a resource server answered 401 to. If it is the current one no reader gets it
                any more when this returns, and it is replaced; otherwise nothing is done.

        Raises:
            NoTokenError: The attempt failed or did not end in time, even where an older token lives on. Only with ``wait``.
            ManagerNotRunning: No manager is there. Only with ``wait``.
            ConfigError: An argument is wrong.
        """
        secret = read_rejected(rejected)
        if wait:
            refresh_now(server, timeout, secret)
        else:
            refresh_soon(server, secret)

    @staticmethod
    @holds_secrets
    def aforce_refresh(
        server: ServerRef, *, timeout: float = 5.0, rejected: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """Do what `force_refresh` does with ``wait=True``, in a task of asyncio or trio; without, it never waits.

        Args:
            server: The manager's ref or name.
            timeout: Seconds to wait.
            rejected: As for `force_refresh`.

        Raises:
            NoTokenError: The attempt failed or did not end in time, even where an older token lives on.
            ManagerNotRunning: No manager is there.
            ConfigError: An argument is wrong.
        """
        # No coroutine of its own: its frame would hold the text of the token until it ends.
        return refresh_now_async(server, timeout, read_rejected(rejected))

    @staticmethod
    def health(server: ServerRef) -> Health:
        """Return how a manager is doing.

        Args:
            server: Its ref or name.

        Raises:
            ManagerNotRunning: It is not running.
            CallTimeout: It has not answered within 5 seconds.
        """
        cell = locate(server)
        running = _running(server, cell)
        if running is None:
            raise ManagerNotRunning(server)
        known = _known_health(running, cell)
        if known is not None:
            return known
        try:
            answer: Health = supervision.call(running, AskHealth())
        except (NoProcess, ServerDied):
            raise ManagerNotRunning(server) from None
        return answer

    @staticmethod
    def subscribe(server: ServerRef, listener: Callable[[TokenResponse], object]) -> Subscription:
        """Have a listener called with every new token, not with the present one.

        Args:
            server: The manager's ref or name.
            listener: Called on a thread of its own pool, one token after the other; what it raises is logged. One that has not
                returned in 10 s is not waited for any longer: the other listeners go on, and when it has returned it
                is told of the newest token that it missed. It is told across restarts too, until the manager is stopped.

        Returns:
            An object whose ``cancel()`` ends that.

        Raises:
            ManagerNotRunning: No manager is there.
            ConfigError: The listener cannot be called, or is a coroutine function, whose coroutine would not be awaited.
        """
        check_listener(listener)
        cell = locate(server)
        subscription = Subscription(cell, listener)
        if not cell.subscribe(subscription):
            raise ManagerNotRunning(server)
        return subscription

    @staticmethod
    def source(server: ServerRef) -> TokenSource:
        """Return the fastest way to read: `TokenSource`, bound to the name.

        Args:
            server: The manager's ref or name.

        Raises:
            ManagerNotRunning: No manager is there.
        """
        return TokenSource(server)

    @staticmethod
    @holds_secrets
    @signed_as(replacing_options)
    def replace(server: ServerRef, _options: dict[str, Any]) -> None:
        """Put other options in force, without a gap: readers get the present token until there is one of the new options.

        The manager stays the same: its ref, its name and its listeners are as before, and it is not restarted. The options are
        all of them, as for `start_link`: nothing is taken from those in force but the name and the clock. Where they are the
        ones in force, nothing changes.

        It returns once the new options have a token. Where they are refused for good (``invalid_client`` and its like), those
        before stay in force, and refresh their token as ever. Where no answer comes in time, as in an outage, the new ones hold,
        as after `start_link`, and the present token is served while it lives. A restart by the supervisor uses those in force.
        Of several calls the last one counts.

        With ``revoke_on_stop`` among the former options their token is revoked when the new one is there. `RefreshToken`
        credentials with the refresh token of those in force hold at once: a login cannot be tried beside itself.

        Args:
            server: The manager's ref or name.
            timeout: Seconds to wait for a token of the new options.
            auth: As for `start_link`.
            issuer_url: As for `start_link`.
            oidc_config: As for `start_link`.
            name: The name that it has, or ``None``.
            refresh_buffer_seconds: As for `start_link`.
            ca_bundle: As for `start_link`.
            allow_insecure_http: As for `start_link`.
            transport: As for `start_link`.
            clock: The clock that it has, or ``None``.
            rng: As for `start_link`.
            retry: As for `start_link`.
            min_interval_seconds: As for `start_link`.
            default_lifetime_seconds: As for `start_link`.
            timeout_seconds: As for `start_link`.
            revoke_on_stop: As for `start_link`.
            store: As for `start_link`.
            store_key: As for `start_link`.

        Raises:
            ConfigError: An option is wrong, missing or unknown; nothing was changed.
            NoTokenError: The new options are refused for good (``.cause``), and not in force; or they have no token in time, and
                are in force; or other options came meanwhile.
            ManagerNotRunning: No manager is there.
        """
        timeout = _options.pop("timeout", 10.0)
        check_wait(timeout, 0.0)
        ends_at = time.monotonic() + timeout
        cell = locate(server)
        await_replacement(server, cell, _offered(server, cell, _options, timeout), timeout, ends_at)

    # On an instance this is Pykka's `stop()`.
    @ClassOrInstance
    def stop(server: ServerRef, *, timeout: float = 5.0) -> None:  # type: ignore[override]
        """Stop a manager. On return its actor has ended, its name is free and no reader gets its token any more.

        A supervised one is ended by its supervisor, as by ``terminate_child``: it is not restarted, also where it had just
        crashed, no restart is counted, and its siblings are left alone. As in OTP its specification stays (``restart_child``
        starts it), and under ``one_for_all`` or ``rest_for_one`` the crash of a sibling that takes it along starts it again:
        ``delete_child``.

        Args:
            server: Its ref or name.
            timeout: Seconds to wait.

        Raises:
            ManagerNotRunning: No manager is running there; a crashed one's token is taken from its readers all the same.
            CallTimeout: It has not ended in time; the stop goes on.
            SupervisionError: The calling thread is its own, its supervisor's, or that of an actor whose start the supervisor
                waits for.
            TypeError: The timeout is no number, or ``server`` is neither a ref nor a name.
            ValueError: The timeout is negative, or not finite.
        """
        check_seconds("timeout", timeout)
        ends_at = time.monotonic() + timeout
        cell = locate(server, revive=False)
        if cell.inherited is not None:  # in a forked child, before the first use
            cell.close(None)
            return
        # Each round stops the incarnation that is there. It may end by itself first, and its supervisor start a successor,
        # also while this looks: the next round stops that. There is no next round once no other incarnation has the cell, nor
        # can get it.
        while True:
            ref = _running(server, cell) or cell.ref  # None where a restart has failed: the supervisor tries again
            was_alive = ref is not None and ref.is_alive()
            try:
                if ref is not None:
                    stop_for_good(ref, timeout=max(0.0, ends_at - time.monotonic()))
                    last = cell.ref  # which may have been killed, at the end of its time or in a start that failed
                    if last is None or not last.is_alive():
                        cell.close(last)
                    return
            except (NoProcess, ServerDied):  # it went down by itself, or with its supervisor: both may come back
                if cell.closed and was_alive:  # which is what was asked for
                    return
            await_successor(cell, ref, ends_at - time.monotonic())
            if cell.ref is ref:
                break
        if not cell.closed:
            cell.close(None)
        raise ManagerNotRunning(server)

    # --- callbacks: on the manager's thread, but where one says otherwise ----------------------------------------------

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
        self._predecessor = starting_predecessor() if inherited is None else None

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

    def on_start(self) -> None:
        """Find the cell and take over what a crashed predecessor left there. Nothing here waits for the network.

        The cell comes first. From then on readers send messages here, which wait until this has returned. Only then is the end of
        this actor watched for: a callback that came before the cell is owned would be taken for a predecessor's, and ignored.
        """
        given = self._options
        if self._supervisor is not None or self._inherited is not None:
            self._options = in_force(given, given.name, self._predecessor, self._inherited)
        options = self._options
        identity = options.identity
        self._cell = take_cell(
            self.actor_ref,
            name=options.name,
            identity=identity,
            clock=options.clock,
            supervisor=self._supervisor,
            inherited=self._inherited,
            options=options,
            began_as=identity if options is given else given.identity,
        )
        self._inherited = None
        keep_for_successor(self.actor_ref, self._cell)
        issuer = issuers.join(options)
        self._state = _state_of(options, self._cell, issuer)
        self._own = Performer(self.actor_ref, self._cell, options, issuer, self)
        self._cell.kind = type(self)
        self._cell.save(self.actor_ref, self._state)
        watch_clocks()

    def on_continue(self) -> None:
        """Begin: with the predecessor's token, its request under way and its readers, or with a first attempt.

        The order matters. That the predecessor's request was sent is noted before a jump of the wall clock is judged, which came
        after that. The jump is judged before the predecessor's token is shown to readers. The result
        of its request is taken before an attempt may begin here, which would discard it (`Cell.expect`). The readers that wait
        come last, so that one look at each does: one that comes later announces itself (`WaitersArrived`).
        """
        self._own.take_note()
        ahead_s = wall_ahead_s(self._options.clock)
        is_concerned = self._state.token is not None or self._state.attempt is not None
        if is_concerned and ahead_s - self._state.judged_ahead_s > JUMP_S:  # while no incarnation was here
            self._clock_jumped(ClockJumped(ahead_s))
        state = self._state
        token = state.token
        self._own.manager.log("manager_started", state.attempts, adopted=token is not None)
        if token is not None and self._cell.snapshot.token is not token and is_valid(state, self._options.clock()):
            self._own.effects.handle(Publish(token, state.expires_at, state.ahead_s))
        self._own.begin(state)
        self._apply(Started())
        for waiter in self._cell.new_waiters(self.actor_ref):
            self._apply(Wait(waiter))
        self._try(TrialWanted())

    def on_terminate(self, reason: Reason) -> None:
        """An end for good empties the cell, and revokes the token if asked to; any other leaves it to the successor.

        The cell is closed first, so that no reader gets a token that is being revoked. A result that a worker delivers before
        that is taken here; one that comes after it is refused by the cell, and the worker revokes the token itself, or shares it.
        """
        self._own.effects.cancel_timers()
        for trial in self._trials.values():
            trial.effects.cancel_timers()
        self._forget_deadline()
        if is_final(self.actor_ref, reason):
            self._cell.close(self.actor_ref)
            if self._cell.closed:  # else this one has been killed by now, and a successor goes on with all of it
                self._own.retire(self._state, awaits_store=True)
                tried = self._state.trial
                if tried is not None and tried.number in self._trials:
                    self._trials[tried.number].retire(tried.state, awaits_store=True)
        self._own.manager.log("manager_stopped", self._state.attempts, reason=str(reason))

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> Any:
        """Handle a message; every one of them also makes the machine look at the clock."""
        self._own.take_note()
        for trial in [*self._trials.values()]:
            trial.take_note()
        handle = _HANDLERS.get(type(message))
        if handle is not None:
            return handle(self, message)
        if isinstance(message, _ABOUT_OPTIONS):
            return self._own.receive(message)
        return super().on_receive(message)

    def _known(self) -> State:
        """What is known with the options in force; on the manager's thread, as is what follows."""
        return self._state

    def _clock_jumped(self, message: ClockJumped) -> None:
        self._apply(replace(message, turn_at=self._own.manager.issuer.first_attempt_at()))

    def _get_token(self, message: GetToken) -> TokenResponse:
        self._apply(CheckNow())
        now = self._options.clock()
        if self._state.token is not None and is_valid(self._state, now):
            return self._state.token
        raise error_of(refusal(self._state, now))

    def _ask_health(self, message: AskHealth) -> Health:
        self._apply(CheckNow(asks=False))
        return health_of(self._state, self._options.clock())

    def _force_refresh(self, message: ForceRefresh) -> None:
        self._apply(Refresh())

    # --- other options ------------------------------------------------------------------------------------------------

    def _try(self, message: TrialWanted) -> None:
        """Try what the cell has, which may be what a predecessor has begun to try."""
        candidate = self._cell.take_candidate(self.actor_ref)
        if candidate is None or candidate.number in self._trials:
            return
        options, trial = candidate.options, self._state.trial
        is_begun = trial is not None and trial.number == candidate.number
        issuer = issuers.join(options)
        performer = Performer(self.actor_ref, candidate, options, issuer, _TrialMachine(self, candidate))
        self._trials = {**self._trials, candidate.number: performer}
        if not is_begun:
            first, how = first_state(options, issuer), how_to_replace(self._options, options)
            self._apply(Replacing(candidate.number, first, candidate.until, how))
        if candidate.number not in self._trials:  # they hold already
            self._own.receive(WaitersArrived())
            return
        left_s = max(0.0, candidate.until - options.clock())
        self._overdue = performer.manager.later(left_s, TrialOverdue(candidate.number))
        performer.begin(self._tried(candidate))
        performer.receive(Started())
        for waiter in candidate.new_waiters(self.actor_ref):
            performer.receive(Wait(waiter))

    def _tried(self, candidate: Candidate) -> State:
        """What is known with those options, or with those in force where they have come to that."""
        trial = self._state.trial
        return self._state if trial is None or trial.number != candidate.number else trial.state

    def _of_trial(self, message: OfTrial) -> None:
        """Something is about options that are tried, or that have come into force since it was sent."""
        if message.number in self._trials:
            self._trials[message.number].receive(message.event)
        elif message.number == self._held:
            self.on_receive(message.event)

    def _apply_to_trial(self, number: int, event: Event) -> None:
        self._apply(OfTrial(number, event) if number in self._trials else event)

    def _take_over(self, effect: TakeOver) -> None:
        """The options that were tried are in force, and the cell says so already: go on with them in all that is done here."""
        former, new = self._own, self._take_trial(effect.number)
        self._forget_deadline()
        self._held, self._options = effect.number, new.manager.options
        new.effects.cancel_timers()
        former.effects.cancel_timers()
        if former.manager.caller is not None:  # the record of the options before is looked at no longer
            former.manager.caller.client.forget(self._cell)
        if new.manager.caller is not None:
            new.manager.caller.client.move(new.manager.cell, self._cell)
        self._own = Performer(self.actor_ref, self._cell, self._options, new.manager.issuer, self)
        if (attempt := self._state.attempt) is not None:
            self._own.effects.watch(attempt.number, attempt.request)
        if not effect.is_adopted:
            former.effects.leave_circuits()
        if effect.revoke:
            self._replaced = functools.partial(revoke_replaced, former.manager, effect.revoke)

    def _drop(self, effect: DropTrial) -> None:
        performer = self._take_trial(effect.number)
        self._forget_deadline()
        self._cell.drop_candidate(performer.cell)
        performer.retire(effect.state)

    def _take_trial(self, number: int) -> Performer[Candidate]:
        left = {**self._trials}
        taken = left.pop(number)
        self._trials = left
        return taken

    def _forget_deadline(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    # --- steps --------------------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> None:
        """Have the machine decide on an event that is about the options in force, and do what it wants done."""
        events = deque([event])
        while events:
            self._state, effects = step(self._state, events.popleft(), self._options.clock(), self._options.rng)
            # Saved before anything is done: this incarnation may be killed in between, and its successor must know of all that
            # may have been done. What was not done after all it sees in the cell, which expects no such request.
            first = effects[0] if effects else None
            heir = self._trials[first.number].cell if isinstance(first, TakeOver) else None
            is_adopted = isinstance(first, TakeOver) and first.is_adopted
            if not self._cell.save(self.actor_ref, self._state, heir, is_adopted=is_adopted):
                return
            for effect in effects:
                known = self._perform(effect)
                if known is not None:
                    events.append(known)
            if self._replaced is not None:  # the new token is published, and the listeners are being told
                replaced, self._replaced = self._replaced, None
                replaced()

    def _perform(self, effect: Effect) -> Event | None:
        if isinstance(effect, ForTrial):
            known = self._trials[effect.number].effects.handle(effect.effect)
            return None if known is None else OfTrial(effect.number, known)
        if isinstance(effect, TakeOver):
            self._take_over(effect)
        elif isinstance(effect, DropTrial):
            self._drop(effect)
        else:
            return self._own.effects.handle(effect)
        return None


class _TrialMachine:
    """What decides on the events of a trial: the manager's machine, which they come to marked as that trial's."""

    __slots__ = ("_candidate", "_manager")

    def __init__(self, manager: TokenManager, candidate: Candidate) -> None:
        self._manager, self._candidate = manager, candidate

    def _known(self) -> State:
        """What is known with those options, or with those in force where they have come to that."""
        return self._manager._tried(self._candidate)

    def _apply(self, event: Event) -> None:
        """Decide, and have done what is wanted."""
        self._manager._apply_to_trial(self._candidate.number, event)


@holds_secrets
def _offered(server: ServerRef, cell: Cell, options: dict[str, Any], timeout: float) -> Candidate:
    """Have options tried, and empty their dict, as `_taken` does."""
    try:
        checked = check_replacing(options, cell.options)
    finally:
        options.clear()
    offered = cell.offer(Candidate(cell, checked, cell.clock() + timeout))
    if offered is None:
        raise ManagerNotRunning(server)
    return offered


def _taken(options: dict[str, Any]) -> Options:
    """Check options, and empty their dict: secrets may be in it as they are, and the frame that has it may raise later."""
    try:
        return check_options(options)
    finally:
        options.clear()


def _running(server: ServerRef, cell: Cell) -> Ref | None:
    """The incarnation to talk to; a successor has the name a moment before it has the cell."""
    name = name_in(server)
    ref = (None if name is None else supervision.whereis(name)) or cell.ref
    return ref if ref is not None and ref.is_alive() else None


def _known_health(running: Ref, cell: Cell) -> Health | None:
    """The health of a manager that would have nothing to do but say what its cell shows; ``None`` where it has to be asked.

    First it is at rest: what this thread has sent it before has been handled. Then the state is read, and it is what that led to.
    There is a live token, and the next tick is not due: asked, it would do nothing.
    """
    process = find(running)
    if process is None or not process.is_at_rest or not cell.is_owned_by(running):
        return None
    state, now = cell.state, cell.clock()
    if state is None or cell.sent or cell.candidate is not None or not is_valid(state, now):
        return None
    return health_of(state, now) if state.refresh_timer is not None and now < state.refresh_timer else None


def _state_of(options: Options, cell: Cell, issuer: issuers.Issuer) -> State:
    """What a manager starts with: what its crashed predecessor knew, or nothing."""
    if cell.state is None:
        return first_state(options, issuer)
    rejected = cell.rejected is not None and cell.rejected is cell.state.token
    state = adopt(cell.state, under_way=_is_under_way(cell.state, cell), rejected=rejected)
    trial, candidate = state.trial, cell.candidate
    if trial is not None:
        is_known = candidate is not None and candidate.number == trial.number
        tried = (
            adopt(trial.state, under_way=_is_under_way(trial.state, candidate), rejected=False) if is_known else None
        )
        state = resumed(state, tried)
    # A forked child may make many anew at once.
    denial = Denial(issuer.first_attempt_at()) if state.borrowed else state.denial
    buffer_s = options.refresh_buffer_seconds
    return state._replace(refresh_buffer_seconds=buffer_s, rules=rules_of(options), denial=denial)


def _is_under_way(state: State, cell: Cell | None) -> bool:
    """Whether the request that a crashed predecessor waited for is to be heard of; it may have known the end at once."""
    attempt = state.attempt
    return attempt is not None and cell is not None and cell.expects(attempt.number, attempt.request)


_ABOUT_OPTIONS = (Event, WaitersArrived, ResultReady, FetchLost)

# What is not named here is about the options in force, and theirs to take in (`oidc_actor.manager.performer`).
_HANDLERS: dict[type[Any], Callable[[TokenManager, Any], Any]] = {
    GetToken: TokenManager._get_token,
    ForceRefresh: TokenManager._force_refresh,
    AskHealth: TokenManager._ask_health,
    ClockJumped: TokenManager._clock_jumped,
    TrialWanted: TokenManager._try,
    OfTrial: TokenManager._of_trial,
}
