"""``TokenManager``: keeps one valid access token ready. The client's side; `oidc_actor.manager.callbacks` has the callbacks.

In every function ``server`` is the manager's ref or its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn, Self, Unpack

import pykka

import supervision
from oidc_actor.machine.events import AskHealth
from oidc_actor.machine.health import Health
from oidc_actor.manager.callbacks import Keeper
from oidc_actor.manager.options import ManagerOptions, Options, read_options
from oidc_actor.reading.cell import Cell, Ref, by_name
from oidc_actor.reading.directory import ManagerNotRunning, await_successor, locate
from oidc_actor.reading.reads import (
    Server,
    read_complaint,
    refresh_now,
    refresh_soon,
    wait_for_token,
    wait_for_token_async,
)
from oidc_actor.reading.source import TokenSource
from oidc_actor.reading.waiters import Subscription, check_listener
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse
from supervision import ChildSpec, NoProcess, ServerDied
from supervision.child_spec import check_seconds
from supervision.server import ClassOrInstance
from supervision.supervising import stop_for_good


def _stop(server: Server, *, timeout: float = 5.0) -> None:
    """Stop a manager. On return its actor has ended, its name is free and no reader gets its token any more.

    A supervised one is ended by its supervisor, as by ``terminate_child``: it is not restarted, also where it had just crashed,
    no restart is counted, and its siblings are left alone. As in OTP its specification stays (``restart_child`` starts it),
    and under ``one_for_all`` or ``rest_for_one`` the crash of a sibling that takes it along starts it again: ``delete_child``.

    Args:
        server: Its ref or name.
        timeout: Seconds to wait.

    Raises:
        ManagerNotRunning: No manager is running there; a crashed one's token is withdrawn all the same.
        CallTimeout: It has not ended in time; the stop goes on.
        SupervisionError: The calling thread is its own, its supervisor's, or that of an actor whose start the supervisor
            waits for.
    """
    check_seconds("timeout", timeout)
    ends_at = time.monotonic() + timeout
    cell = locate(server, revive=False)
    if cell.inherited is not None:  # in a forked child, before the first use
        cell.close(None)
        return
    while True:
        ref = (
            _running(server, cell) or cell.ref
        )  # the latter is None where a restart has failed: another attempt follows
        was_alive = ref is not None and ref.is_alive()
        try:
            if ref is not None:
                stop_for_good(ref, timeout=max(0.0, ends_at - time.monotonic()))
                last = cell.ref  # which may have been killed, at the end of its time or in a start that failed
                if last is None or not last.is_alive():
                    cell.close(last)
                return
        except (NoProcess, ServerDied):  # it went down by itself, or with its supervisor: both may be on their way back
            if cell.closed and was_alive:  # which is what was asked for
                return
        await_successor(cell, ref, ends_at - time.monotonic())
        if cell.ref is ref:
            break
    if not cell.closed:
        cell.close(None)
    raise ManagerNotRunning(server)


class TokenManager(Keeper):
    """A supervised actor that gets an access token, refreshes it before it ends, and never lets readers wait while one lives.

    Start it with `start_link`, or as a child of a supervisor with `child_spec`; then read with `get_access_token`, or
    fastest with `source`. Every function is called on the class; the ref or name of another actor is a ``TypeError``.
    """

    @classmethod
    def start_link(cls, **options: Unpack[ManagerOptions]) -> pykka.ActorRef[Self]:  # type: ignore[override]
        """Start a manager. It returns once the manager is initialised, and never waits for the network.

        Args:
            **options: ``auth``, and either ``issuer_url`` or ``oidc_config``, are needed. ``name``: what it is registered
                under. ``refresh_buffer_seconds=60``: lead before expiry. ``retry=RetryPolicy(...)``: waits after failures.
                ``min_interval_seconds=1.0``: least time between two attempts. ``default_lifetime_seconds=300``: where the
                provider says nothing. ``timeout_seconds=10``: for one whole exchange. ``ca_bundle``: certificates to trust.
                ``allow_insecure_http=False``. ``revoke_on_stop=False``: whether an orderly stop has the provider revoke
                the token, and a refresh token that came with it (RFC 7009), as far as three seconds suffice; one that is
                still under way is revoked when it comes. For tests:
                ``transport``, ``clock``, ``rng``.

        Returns:
            Its ref.

        Raises:
            ConfigError: An option is wrong; nothing was started.
            AlreadyStarted: The name is taken; ``.ref`` is its owner.
        """
        found = read_options(options)
        del options  # it may hold secrets as they are, and this frame may raise
        return cls.launch(_checked(found))

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
    def child_spec(cls, **options: Unpack[ManagerOptions]) -> ChildSpec:
        """Describe a manager as the child of a supervisor: permanent, with 5 seconds to stop.

        Args:
            **options: As for `start_link`; checked here already.

        Returns:
            The specification; its id is the name, or ``"TokenManager"``.

        Raises:
            ConfigError: An option is wrong.
        """
        found = read_options(options)
        given = dict.fromkeys(options)
        del options
        checked = _checked(found)
        kwargs = {name: getattr(checked, name) for name in given}
        return ChildSpec(checked.name or "TokenManager", cls.start_link, kwargs=kwargs, shutdown=5.0, name=checked.name)

    @staticmethod
    def get_token(server: Server, *, timeout: float = 5.0, min_validity: float = 0.0) -> TokenResponse:
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
    def get_access_token(server: Server, *, timeout: float = 5.0, min_validity: float = 0.0) -> str:
        """Return the text of a valid access token; arguments and errors as for `get_token`."""
        cell = by_name.get(server)  # type: ignore[arg-type]  # a ref is looked up below
        if cell is not None and not min_validity:
            snapshot = cell.snapshot
            if cell.clock() < snapshot.deadline:
                return snapshot.text
        return wait_for_token(server, timeout, min_validity).access_token

    @staticmethod
    async def aget_token(server: Server, *, timeout: float = 5.0, min_validity: float = 0.0) -> TokenResponse:
        """Do what `get_token` does, without blocking the event loop and without its default executor."""
        return await wait_for_token_async(server, timeout, min_validity)

    @staticmethod
    async def aget_access_token(server: Server, *, timeout: float = 5.0, min_validity: float = 0.0) -> str:
        """Do what `get_access_token` does, without blocking the event loop and without its default executor."""
        return (await wait_for_token_async(server, timeout, min_validity)).access_token

    @staticmethod
    def force_refresh(server: Server, *, wait: bool = False, timeout: float = 5.0, rejected: str | None = None) -> None:
        """Have a new token fetched now; a refresh under way is joined.

        It wakes a manager from a backoff or a slow probe, but never breaks the minimum interval or a ``Retry-After``.

        Args:
            server: The manager's ref or name.
            wait: Whether to wait for the outcome. Without, it is a cast: silent even where no manager is there.
            timeout: Seconds to wait.
            rejected: The access token that a resource server answered 401 to. If it is the current one it is withdrawn
                before this returns, and replaced; otherwise nothing is done.

        Raises:
            NoTokenError: The attempt failed or did not end in time, even where an older token lives on. Only with ``wait``.
            ManagerNotRunning: No manager is there. Only with ``wait``.
            ConfigError: An argument is wrong.
        """
        complaint = read_complaint(rejected)
        del rejected  # this frame may raise
        if isinstance(complaint, ConfigError):
            raise complaint
        if wait:
            refresh_now(server, timeout, complaint)
        else:
            refresh_soon(server, complaint)

    @staticmethod
    def health(server: Server) -> Health:
        """Return how a manager is doing.

        Args:
            server: Its ref or name.

        Raises:
            ManagerNotRunning: It is not running.
        """
        running = _running(server, locate(server))
        if running is None:
            raise ManagerNotRunning(server)
        try:
            answer: Health = supervision.call(running, AskHealth())
        except (NoProcess, ServerDied):
            raise ManagerNotRunning(server) from None
        return answer

    @staticmethod
    def subscribe(server: Server, listener: Callable[[TokenResponse], object]) -> Subscription:
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
            ConfigError: The listener cannot be called, or is a coroutine function, whose coroutine nobody would await.
        """
        check_listener(listener)
        cell = locate(server)
        subscription = Subscription(cell, listener)
        if not cell.subscribe(subscription):
            raise ManagerNotRunning(server)
        return subscription

    @staticmethod
    def source(server: Server) -> TokenSource:
        """Return the fastest way to read: `TokenSource`, bound to the name.

        Args:
            server: The manager's ref or name.

        Raises:
            ManagerNotRunning: No manager is there.
        """
        return TokenSource(server)

    # On an instance this is Pykka's `stop()`.
    stop = ClassOrInstance(_stop)  # type: ignore[assignment]


def _running(server: Server, cell: Cell) -> Ref | None:
    """The incarnation to talk to; a successor has the name a moment before it has the cell."""
    ref = supervision.whereis(server) if isinstance(server, str) else None
    ref = ref or cell.ref
    return ref if ref is not None and ref.is_alive() else None


def _checked(found: Options | ConfigError) -> Options:
    if isinstance(found, ConfigError):
        raise found
    return found
