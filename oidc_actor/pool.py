"""``TokenPool``: managers by key under one supervisor, started when they are asked for, and ended when no one asks any more.

What a pool knows of its members is a table that belongs to the pool's name, as a cell belongs to a manager's: readers look there
without asking the pool, and a pool that its supervisor restarts has its members again. Four kinds of threads meet in it.

- A reader looks its key up, without a lock, and reads the member's cell. Where the key has no member it joins the key's *start*.
- A worker runs that: it calls the factory, which may take as long as it likes, and asks the pool to start what came of it.
- The pool's own thread alone adds members and takes them out, one after the other. It waits for no factory, no provider, and no
  member's end: one that goes is told so, and ends on its own thread.
- A member's thread is that of a manager.

A member that crashes is restarted by itself, each time after a longer wait, and that counts against no other: a pool's window for
restarts is never full. A key may be a secret, such as a user's token. It is never shown: names, logs and labels have a
fingerprint of it, under a key of this process.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Hashable, Mapping
from hashlib import blake2b
from typing import Any, Final, NoReturn, TypeAlias

import pykka

from oidc_actor.machine.health import Health, health_of
from oidc_actor.manager.log import log, raised_at
from oidc_actor.manager.options import Options, check_options, check_replacing
from oidc_actor.manager.token_manager import TokenManager
from oidc_actor.manager.workers import WorkerPool
from oidc_actor.reading.cell import Candidate, Cell, Ref
from oidc_actor.reading.directory import ManagerNotRunning, cell_of
from oidc_actor.reading.token_source import TokenSource
from oidc_actor.reading.waiters import TaskWaiter, ThreadWaiter
from oidc_actor.reading.waiting_reads import (
    check_wait,
    read_rejected,
    refresh_now,
    refresh_now_async,
    refresh_soon,
    wait_for_token,
    wait_for_token_async,
)
from oidc_actor.values.clock import Clock, default_clock, is_seconds, real_delay_s
from oidc_actor.values.errors import ConfigError, NoTokenError, OIDCActorError
from oidc_actor.values.secrets import Secret, holds_secrets
from oidc_actor.values.tokens import TokenResponse
from supervision import AlreadyStarted, Backoff, CallTimeout, ChildNotFound, ChildSpec, DynamicSupervisor, NoProcess
from supervision.calls import send_after, stop_with
from supervision.child_process import ends_for_restart, when_ended_for_good
from supervision.errors import ServerDied, SupervisionError
from supervision.exits import SHUTDOWN, Reason, Restart, is_orderly
from supervision.process.registry import is_current, name_in
from supervision.runtime.per_process import PerProcess, in_forked_child
from supervision.supervising import ask, starting_predecessor

PoolRef: TypeAlias = Ref | str
"""What names a pool: its ref, or its name."""

Factory: TypeAlias = Callable[[Any], Mapping[str, Any] | None]
"""Gives the options for a key, over the pool's own; ``None`` for a key that it does not know."""

FACTORY_S = 30.0
"""Seconds after which a factory that has not returned is left behind, with its thread."""

PUT_S = 10.0
"""Seconds, by the member's clock, after which options that were put hold although no answer has come."""

START_S = 10.0
"""Seconds for which a start waits until the pool has started its manager."""

AGAIN_S = 0.05
"""Seconds after which a pool that was restarted tries again to start a member whose last incarnation is still ending."""

_ALWAYS = 10**9  # restarts within a second: a member's backoff bounds its own, and no member's count against another's
_BACKOFF = Backoff(initial=0.1, maximum=30.0)
_FINGERPRINT_KEY: Final = secrets.token_bytes(16)

FACTORY_WORKERS = PerProcess(lambda: WorkerPool("oidc-actor-pool", threads=32, per_lane=1, patience_s=FACTORY_S))
"""Run factories; a lane is the start of a key."""


class UnknownKey(OIDCActorError, KeyError):
    """A pool has no manager for a key, and no factory that knows it. The key may be a secret: it is shown nowhere here."""

    __str__ = Exception.__str__  # that of `KeyError` would quote the text

    def __init__(self, message: str = "the pool has no such key, and no factory that knows it") -> None:
        """Make the error.

        Args:
            message: What is said; without the key.
        """
        super().__init__(message)


class PoolFull(OIDCActorError):
    """A pool has as many managers as it may have (``max_size``), and each of them is waited for at this moment."""


class TokenPool(DynamicSupervisor):
    """Managers by key. It is a supervisor, and itself a child of any supervisor; all functions are called on the class.

    A key is any hashable value, such as a tenant's id, a pair, or a user's token. It stands for a set of options: those that were
    `put`, or those that the factory gives. Any thread may call the functions. Those that read are as fast as `TokenManager`'s
    while a token lives; none of them asks the pool then.
    """

    # --- client API ---------------------------------------------------------------------------------------------------

    @classmethod
    def start_link(  # type: ignore[override]
        cls,
        factory: Factory | None = None,
        *,
        name: str | None = None,
        max_size: int | None = None,
        idle_seconds: float | None = None,
        **defaults: Any,
    ) -> pykka.ActorRef[Any]:
        """Start a pool without members, or with those that a crashed one of its name had.

        Args:
            factory: Gives the options for a key that has no manager: called on a thread of its own, once however many ask for
                that key at once; it may wait. ``None`` for a pool that has only what was `put`.
            name: What it is registered under; its members' names begin with it.
            max_size: The most managers at a time; beyond it the longest unused goes. ``None`` for no limit.
            idle_seconds: Seconds without a read after which a manager ends; ``None`` for never.
            **defaults: Options of all members, as for `TokenManager.start_link`; `put` and the factory give theirs over these.

        Returns:
            Its ref.

        Raises:
            ConfigError: An argument is wrong.
            AlreadyStarted: The name is taken.
        """
        settings = _settings(factory, name, max_size, idle_seconds, defaults)
        return cls._launch(settings)

    @classmethod
    def child_spec(  # type: ignore[override]
        cls,
        factory: Factory | None = None,
        *,
        id: Hashable = None,  # noqa: A002 - OTP's word
        name: str | None = None,
        max_size: int | None = None,
        idle_seconds: float | None = None,
        restart: Restart = "permanent",
        **defaults: Any,
    ) -> ChildSpec[Any]:
        """Describe a pool as the child of a supervisor.

        Args:
            factory: As for `start_link`.
            id: Its id under the supervisor; ``None`` for its name, or ``"TokenPool"``.
            name: As for `start_link`.
            max_size: As for `start_link`.
            idle_seconds: As for `start_link`.
            restart: When its supervisor restarts it.
            **defaults: As for `start_link`.

        Returns:
            The specification; nothing has started.

        Raises:
            ConfigError: An argument is wrong.
        """
        settings = _settings(factory, name, max_size, idle_seconds, defaults)
        return ChildSpec(
            name or "TokenPool" if id is None else id,
            cls._launch,
            (settings,),
            {},
            restart,
            "infinity",
            "supervisor",
            name=name,
        )

    @staticmethod
    @holds_secrets
    def put(pool: PoolRef, key: Hashable, **options: Any) -> None:
        """Have a manager for a key, with these options over the pool's own; it never waits for the network.

        A key that has a manager gets the options as by `TokenManager.replace`: readers get the present token until there is one
        of the new options, and a refusal leaves those before in force and shows in `health`. Options that are in force already
        change nothing. What was put stays known until `remove`: a manager that has ended unused starts again at the next read.

        Args:
            pool: The pool's ref or name.
            key: The key.
            **options: As for `TokenManager.start_link`, without ``name``. Nothing is merged with what the key had.

        Raises:
            ConfigError: An option is wrong; nothing was changed.
            PoolFull: There is no room, and every manager is waited for.
            ManagerNotRunning: No such pool runs.
        """
        table = _table_of(pool)
        try:
            present = table.live(key)
            if present is None:
                wanted = table.member(key, options)
            else:
                given = {**table.settings.defaults, **options}
                wanted = Member(key, present.name, check_replacing(_without_name(given), present.cell.options))
        finally:
            options.clear()
        table.begin(wanted, TokenPool._put, time.monotonic() + START_S)

    @staticmethod
    @holds_secrets
    def remove(pool: PoolRef, key: Hashable, *, timeout: float = 5.0) -> None:
        """End a key's manager, and forget what was put. On return no reader gets its token any more.

        Args:
            pool: The pool's ref or name.
            key: The key.
            timeout: Seconds to wait for its end.

        Raises:
            UnknownKey: There is none.
            CallTimeout: It has not ended in time; the stop goes on.
            ManagerNotRunning: No such pool runs.
        """
        table = _table_of(pool)
        member = table.ask(TokenPool._remove, _Key(key))
        if member is None:
            raise UnknownKey
        ref = member.cell.ref
        member.cell.close(None) if ref is None or not ref.is_alive() else _end(ref, timeout)

    @staticmethod
    def keys(pool: PoolRef) -> list[Any]:
        """Return the keys that have a manager now.

        Args:
            pool: The pool's ref or name.

        Raises:
            ManagerNotRunning: No such pool runs.
        """
        return [key for key, member in list(_table_of(pool).members.items()) if not member.cell.closed]

    @staticmethod
    def health(pool: PoolRef) -> dict[Any, Health]:
        """Return how each manager is doing, by its key; no manager is asked, so that 10,000 take no longer than a blink.

        Args:
            pool: The pool's ref or name.

        Raises:
            ManagerNotRunning: No such pool runs.
        """
        found = {}
        for key, member in list(_table_of(pool).members.items()):
            state = member.cell.state
            if state is not None:
                found[key] = health_of(state, member.cell.clock())
        return found

    @staticmethod
    def get_token(pool: PoolRef, key: Hashable, *, timeout: float = 5.0, min_validity: float = 0.0) -> TokenResponse:
        """Return a valid token of a key, as `TokenManager.get_token` does; a key without a manager gets one by the factory.

        Args:
            pool: The pool's ref or name.
            key: The key.
            timeout: Seconds to wait, for the factory and the token together; 0 never waits.
            min_validity: Seconds the token must still live.

        Raises:
            NoTokenError: None came in time, or waiting cannot help. Where the factory has failed, ``.cause`` is its exception.
            UnknownKey: The key has no manager, and there is no factory, or it does not know the key.
            PoolFull: There is no room, and every manager is waited for.
            ManagerNotRunning: No such pool runs.
            ConfigError: The options that the factory gave are wrong, or a time is.
        """
        member = _member(pool, key)
        if member is not None and not min_validity:
            cell = member.cell
            snapshot, now = cell.snapshot, cell.clock()
            if now < snapshot.deadline and snapshot.token is not None:
                member.used_at = now
                return snapshot.token
        hidden, key = _Key(key), None  # what is raised below shows the variables of this frame to some loggers
        return _table_of(pool).wait(hidden, timeout, min_validity)

    @staticmethod
    def get_access_token(pool: PoolRef, key: Hashable, *, timeout: float = 5.0, min_validity: float = 0.0) -> str:
        """Return the text of a valid access token, as `get_token` does the whole of it.

        Args:
            pool: The pool's ref or name.
            key: The key.
            timeout: Seconds to wait; 0 never waits.
            min_validity: Seconds the token must still live.

        Raises:
            NoTokenError: As for `get_token`, and so are the others.
            UnknownKey: There is no such key.
            PoolFull: There is no room.
            ManagerNotRunning: No such pool runs.
            ConfigError: Options or a time are wrong.
        """
        member = _member(pool, key)
        if member is not None and not min_validity:
            cell = member.cell
            snapshot, now = cell.snapshot, cell.clock()
            if now < snapshot.deadline:
                member.used_at = now
                return snapshot.text
        hidden, key = _Key(key), None
        return _table_of(pool).wait(hidden, timeout, min_validity).access_token

    @staticmethod
    async def aget_token(
        pool: PoolRef, key: Hashable, *, timeout: float = 5.0, min_validity: float = 0.0
    ) -> TokenResponse:
        """Do what `get_token` does, in a task of asyncio or trio; it yields only where there is no token.

        Args:
            pool: The pool's ref or name.
            key: The key.
            timeout: Seconds to wait; 0 never waits.
            min_validity: Seconds the token must still live.

        Raises:
            NoTokenError: As for `get_token`, and so are the others.
            UnknownKey: There is no such key.
            PoolFull: There is no room.
            ManagerNotRunning: No such pool runs.
            ConfigError: Options or a time are wrong.
        """
        member = _member(pool, key)
        if member is not None and not min_validity:
            cell = member.cell
            snapshot, now = cell.snapshot, cell.clock()
            if now < snapshot.deadline and snapshot.token is not None:
                member.used_at = now
                return snapshot.token
        hidden, key = _Key(key), None  # what is raised below shows the variables of this frame to some loggers
        return await _table_of(pool).wait_async(hidden, timeout, min_validity)

    @staticmethod
    async def aget_access_token(
        pool: PoolRef, key: Hashable, *, timeout: float = 5.0, min_validity: float = 0.0
    ) -> str:
        """Do what `get_access_token` does, in a task of asyncio or trio.

        Args:
            pool: The pool's ref or name.
            key: The key.
            timeout: Seconds to wait; 0 never waits.
            min_validity: Seconds the token must still live.

        Raises:
            NoTokenError: As for `get_token`, and so are the others.
            UnknownKey: There is no such key.
            PoolFull: There is no room.
            ManagerNotRunning: No such pool runs.
            ConfigError: Options or a time are wrong.
        """
        member = _member(pool, key)
        if member is not None and not min_validity:
            cell = member.cell
            snapshot, now = cell.snapshot, cell.clock()
            if now < snapshot.deadline:
                member.used_at = now
                return snapshot.text
        hidden, key = _Key(key), None
        return (await _table_of(pool).wait_async(hidden, timeout, min_validity)).access_token

    @staticmethod
    @holds_secrets
    def force_refresh(
        pool: PoolRef, key: Hashable, *, wait: bool = False, timeout: float = 5.0, rejected: str | None = None
    ) -> None:
        """Have a new token fetched for a key, as `TokenManager.force_refresh` does.

        Args:
            pool: The pool's ref or name.
            key: The key. Without ``wait``, a key that has no manager is left alone.
            wait: Whether to wait for the outcome.
            timeout: Seconds to wait.
            rejected: The access token that a resource server answered 401 to.

        Raises:
            NoTokenError: The attempt failed or did not end in time. Only with ``wait``, and so are the others.
            UnknownKey: There is no such key.
            PoolFull: There is no room.
            ManagerNotRunning: No such pool runs.
            ConfigError: An argument is wrong.
        """
        table, secret = _table_of(pool), read_rejected(rejected)
        if wait:
            check_wait(timeout, 0.0)
            ends_at = time.monotonic() + timeout
            refresh_now(table.found(_Key(key), ends_at).name, max(0.0, ends_at - time.monotonic()), secret)
        elif (member := table.live(key)) is not None:
            refresh_soon(member.name, secret)

    @staticmethod
    @holds_secrets
    def aforce_refresh(
        pool: PoolRef, key: Hashable, *, timeout: float = 5.0, rejected: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """Do what `force_refresh` does with ``wait=True``, in a task of asyncio or trio.

        Args:
            pool: The pool's ref or name.
            key: The key.
            timeout: Seconds to wait.
            rejected: As for `force_refresh`.

        Raises:
            NoTokenError: The attempt failed or did not end in time.
            UnknownKey: There is no such key.
            PoolFull: There is no room.
            ManagerNotRunning: No such pool runs.
            ConfigError: An argument is wrong.
        """
        # No coroutine of its own: its frame would hold the text of the token until it ends.
        return _table_of(pool).refresh_async(_Key(key), timeout, read_rejected(rejected))

    @staticmethod
    @holds_secrets
    def source(pool: PoolRef, key: Hashable) -> PoolSource:
        """Return a `TokenSource` for a key, which adapters take wherever they take a manager. Nothing is started by this.

        Args:
            pool: The pool's ref or name; it need not run yet.
            key: The key, which need not have a manager yet.
        """
        return PoolSource(pool, key)

    # --- callbacks: on the pool's thread -------------------------------------------------------------------------------

    def __init__(self, settings: _Settings) -> None:
        """Prepare; runs on the starter's thread."""
        super().__init__(max_restarts=_ALWAYS, max_seconds=1.0)
        self._settings = settings
        self._predecessor = starting_predecessor()
        self._sweep_at: float | None = None

    @classmethod
    def _launch(cls, settings: _Settings) -> pykka.ActorRef[Any]:
        return super(DynamicSupervisor, cls).start_link(settings, name=settings.name)

    def on_start(self) -> None:
        """Take over the table that a predecessor of the same name left."""
        self._table = table = _take_table(self.actor_ref, self._settings, self._predecessor)
        when_ended_for_good(self.actor_ref, table.ended)

    def on_continue(self) -> None:
        """Start the members again that the predecessor had; in a forked child each is made anew at its first use."""
        if self._table.is_forked:
            return
        for member in list(self._table.members.values()):
            self._start_again(member)
        for key, options in list(self._table.given.items()):
            if key not in self._table.members:
                self._add(Member(key, self._table.name_of(key), options))

    def on_terminate(self, reason: Reason) -> None:
        """Stop all members; after an end for good, forget them."""
        super().on_terminate(reason)
        if is_orderly(reason) and not ends_for_restart(self.actor_ref):
            self._table.close(self.actor_ref)

    def on_receive(self, message: Any) -> Any:
        """Look for idle members, or do what a supervisor does."""
        if isinstance(message, Sweep):
            return self._sweep()
        if isinstance(message, Member):
            return self._start_again(message)
        return super().on_receive(message)

    def _start_again(self, member: Member) -> None:
        if self._table.members.get(member.key) is not member:
            return
        if member.cell.closed:
            member.options = self._table.given.get(member.key, member.options)
        if isinstance(self._begin(member), AlreadyStarted):  # its last incarnation is ending
            send_after(AGAIN_S, self.actor_ref, member)

    def _put(self, wanted: Member) -> Any:
        """Add a member, or have it try other options."""
        table, present = self._table, self._table.live(wanted.key)
        if present is None:
            answer = self._add(wanted)
            if not isinstance(answer, Member):
                return answer
        else:
            answer, cell = present, present.cell
            is_tried = cell.candidate is not None and not cell.candidate.closed
            if is_tried or cell.options != wanted.options:
                cell.offer(Candidate(cell, wanted.options, cell.clock() + PUT_S))
        table.given[wanted.key] = wanted.options
        return answer

    def _add(self, wanted: Member) -> Any:
        """Start a member, unless there is one by now; the error where that cannot be."""
        table, present = self._table, self._table.live(wanted.key)
        if present is not None:
            return present
        most = table.settings.max_size
        table.members.pop(wanted.key, None)
        while most is not None and len(table.members) >= most:
            unused = table.longest_unused()
            if unused is None:
                return PoolFull(f"all {most} managers of the pool {table.label} are waited for (max_size)")
            self._let_go(unused)
        return self._begin(wanted)

    def _begin(self, member: Member) -> Any:
        table = self._table
        spec: ChildSpec[Any] = ChildSpec(
            member.name, TokenManager.launch, (member.options,), restart="transient", shutdown=5.0, name=member.name,
            backoff=_BACKOFF,
        )  # fmt: skip
        try:
            ref = self._start_child(spec)
        except SupervisionError as error:
            return error.with_traceback(None)
        cell = cell_of(ref)
        if cell is None:  # it has ended already
            return ManagerNotRunning(member.name)
        cell.group, member.cell, member.used_at = table.label, cell, cell.clock()
        table.members[member.key] = member
        table.note(member)
        self._sweep_later()
        return member

    def _remove(self, key: _Key) -> Member | None:
        table = self._table
        was_put = table.given.pop(key.value, None) is not None
        member = table.members.pop(key.value, None)
        if member is None:
            return Member(key.value, "", None) if was_put else None  # type: ignore[arg-type]
        self._cancel_restart(member)
        return member

    def _let_go(self, member: Member) -> None:
        """Have a member end, and do not wait for that."""
        self._table.members.pop(member.key, None)
        ref = member.cell.ref
        if ref is None or not ref.is_alive():
            self._cancel_restart(member)
            member.cell.close(None)
            return
        with contextlib.suppress(CallTimeout, NoProcess, ServerDied):
            stop_with(ref, SHUTDOWN, 0.0)

    def _cancel_restart(self, member: Member) -> None:
        ref = member.cell.ref
        if ref is not None and not ref.is_alive():
            with contextlib.suppress(ChildNotFound):
                self._terminate_ref(ref)

    # --- unused members -----------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._sweep_at = None
        idle_s, table = self._table.settings.idle_seconds, self._table
        assert idle_s is not None
        while (unused := table.longest_unused(before=table.clock() - idle_s)) is not None:
            self._let_go(unused)
        self._sweep_later()

    def _sweep_later(self) -> None:
        idle_s, table = self._table.settings.idle_seconds, self._table
        if idle_s is None or self._sweep_at is not None or not table.queue:
            return
        clock = table.clock
        self._sweep_at = table.queue[0][0] + idle_s
        delay_s = max(0.0, self._sweep_at - clock())
        send = getattr(clock, "send_after", None)  # a clock made for tests
        if send is not None:
            send(delay_s, self.actor_ref, Sweep())
        else:
            send_after(real_delay_s(clock, delay_s), self.actor_ref, Sweep())


class Sweep:
    """A pool's message to itself: end the members that have not been used for long enough."""

    __slots__ = ()


class PoolSource(TokenSource):
    """A `TokenSource` for one key of a pool: it starts the key's manager where there is none."""

    __slots__ = ("_key", "_pool")

    def __init__(self, pool: PoolRef, key: Hashable) -> None:
        """Bind to a key; the pool need not run yet.

        Args:
            pool: The pool's ref or name.
            key: The key.
        """
        if name_in(pool) is None and not isinstance(pool, pykka.ActorRef):
            raise TypeError(f"pool: expected the ref or the name of a TokenPool, got {type(pool).__name__}")
        hash(key)
        self._pool, self._key = pool, key

    @property
    def server(self) -> str:
        """The name of the key's manager, as it is, or would be."""
        with contextlib.suppress(ManagerNotRunning):
            return _table_of(self._pool).name_of(self._key)
        return f"{name_in(self._pool) or 'pool'}/{fingerprint_of(self._key)}"

    def access_token(self, timeout: float = 5.0) -> str:
        """Return the text of a valid access token; arguments and errors as for `TokenPool.get_access_token`."""
        return TokenPool.get_access_token(self._pool, self._key, timeout=timeout)

    def __call__(self, timeout: float = 5.0) -> str:
        """Return the text of a valid access token, as `access_token` does."""
        return TokenPool.get_access_token(self._pool, self._key, timeout=timeout)

    def token(self, timeout: float = 5.0) -> TokenResponse:
        """Return a valid token; arguments and errors as for `TokenPool.get_token`."""
        return TokenPool.get_token(self._pool, self._key, timeout=timeout)

    async def aaccess_token(self, timeout: float = 5.0) -> str:
        """Do what `access_token` does, in a task of asyncio or trio."""
        return await TokenPool.aget_access_token(self._pool, self._key, timeout=timeout)

    async def atoken(self, timeout: float = 5.0) -> TokenResponse:
        """Do what `token` does, in a task of asyncio or trio."""
        return await TokenPool.aget_token(self._pool, self._key, timeout=timeout)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PoolSource cannot be pickled: its key may be a secret; make it anew with TokenPool.source")

    def __repr__(self) -> str:
        return f"PoolSource({self._pool!s}, {fingerprint_of(self._key)})"


# --- what belongs to the name -----------------------------------------------------------------------------------------


class _Settings:
    """What a pool was started with. It shows nothing: there may be secrets among the options."""

    __slots__ = ("defaults", "factory", "idle_seconds", "max_size", "name")

    def __init__(
        self,
        factory: Factory | None,
        name: str | None,
        max_size: int | None,
        idle_seconds: float | None,
        defaults: dict[str, Any],
    ) -> None:
        self.factory, self.name, self.max_size, self.idle_seconds = factory, name, max_size, idle_seconds
        self.defaults = defaults


class Member:
    """A key, and its manager.

    Attributes:
        key: The key.
        name: The manager's.
        options: Those that it was started with.
        cell: The manager's; it serves a token also while the manager is being restarted.
        used_at: Reading of its clock when it was read last. Any reader's thread sets it: the last one is right enough.
    """

    __slots__ = ("cell", "key", "name", "options", "used_at")
    cell: Cell

    def __init__(self, key: Any, name: str, options: Options) -> None:
        self.key, self.name, self.options = key, name, options
        self.cell, self.used_at = _NOT_STARTED, 0.0

    @property
    def is_in_use(self) -> bool:
        """Whether somebody waits for its token, or is told of each new one."""
        cell, candidate = self.cell, self.cell.candidate
        return bool(cell.waiting or cell.subscriptions or (candidate is not None and candidate.waiting))

    def __repr__(self) -> str:
        return f"Member({self.name})"


_NOT_STARTED = Cell(None, None, default_clock)
_NOT_STARTED.close(None)


class _Key:
    """A key in a message, which shows nothing of it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class KeyStart:
    """One call of the factory for a key, and those that wait for what comes of it; any thread.

    A reader puts its waiter in and *then* looks if there is an outcome; the worker stores the outcome and *then* looks at the
    waiters: whichever comes second sees the other.
    """

    __slots__ = ("outcome", "waiters")

    def __init__(self) -> None:
        self.waiters: dict[ThreadWaiter | TaskWaiter, None] = {}
        self.outcome: Member | Exception | None = None

    def add(self, waiter: ThreadWaiter | TaskWaiter) -> None:
        """Wait for the outcome."""
        self.waiters[waiter] = None
        if self.outcome is not None:
            waiter.resolve(_DONE)

    def finish(self, outcome: Member | Exception) -> None:
        """It has ended; the first outcome stands."""
        if self.outcome is None:
            self.outcome = outcome
        for waiter in list(self.waiters):
            waiter.resolve(_DONE)


_DONE: Any = object()


class _Table:
    """What a pool knows, across its incarnations. The pool's thread adds and takes out; any thread looks."""

    __slots__ = (
        "__weakref__",
        "closed",
        "given",
        "is_forked",
        "label",
        "members",
        "numbers",
        "queue",
        "ref",
        "settings",
        "starts",
    )  # fmt: skip

    def __init__(self, settings: _Settings, label: str) -> None:
        self.label = label
        self.members: dict[Any, Member] = {}
        self.given: dict[Any, Options] = {}  # what was put, by key
        self.starts: dict[Any, KeyStart] = {}
        self.queue: list[
            tuple[float, int, Member]
        ] = []  # a heap of when each was used at the soonest; the pool's thread only
        self.numbers = itertools.count()
        self.closed = self.is_forked = False
        self.settings = settings
        self.ref: Ref | None = None

    # --- readers ------------------------------------------------------------------------------------------------------

    def live(self, key: Any) -> Member | None:
        """The key's member, unless it has ended for good."""
        member = self.members.get(key)
        return None if member is None or member.cell.closed else member

    def wait(self, key: _Key, timeout: float, min_validity: float) -> TokenResponse:
        """Get a token, waiting for the factory and the provider if need be."""
        check_wait(timeout, min_validity)
        ends_at = time.monotonic() + timeout
        while True:
            member = self.found(key, ends_at)
            member.used_at = member.cell.clock()
            try:
                return wait_for_token(member.name, max(0.0, ends_at - time.monotonic()), min_validity)
            except ManagerNotRunning:
                if self._is_over(key, member, ends_at):
                    raise

    async def wait_async(self, key: _Key, timeout: float, min_validity: float) -> TokenResponse:
        """Do what `wait` does, in a task."""
        check_wait(timeout, min_validity)
        ends_at = time.monotonic() + timeout
        while True:
            member = await self.found_async(key, ends_at)
            member.used_at = member.cell.clock()
            try:
                return await wait_for_token_async(member.name, max(0.0, ends_at - time.monotonic()), min_validity)
            except ManagerNotRunning:
                if self._is_over(key, member, ends_at):
                    raise

    async def refresh_async(self, key: _Key, timeout: float, rejected: Secret | None) -> None:
        """Wait for a refresh, in a task."""
        check_wait(timeout, 0.0)
        ends_at = time.monotonic() + timeout
        member = await self.found_async(key, ends_at)
        await refresh_now_async(member.name, max(0.0, ends_at - time.monotonic()), rejected)

    def _is_over(self, key: _Key, member: Member, ends_at: float) -> bool:
        """Whether the member that has just ended is not followed by another in time: it was let go as this read began."""
        return self.live(key.value) is member or self.closed or time.monotonic() >= ends_at

    def found(self, key: _Key, ends_at: float) -> Member:
        """The key's member; its start is waited for."""
        member = self.live(key.value)
        if member is not None:
            return member
        begun, left_s = self._begun(key), ends_at - time.monotonic()
        if begun.outcome is None and left_s > 0 and not is_current(self.ref):
            waiter = ThreadWaiter(0.0, 0.0, wants_refresh=False)
            try:
                begun.add(waiter)
                waiter.wait(left_s)
            finally:
                begun.waiters.pop(waiter, None)
        return _member_of(begun)

    async def found_async(self, key: _Key, ends_at: float) -> Member:
        """Do what `found` does, in a task."""
        member = self.live(key.value)
        if member is not None:
            return member
        begun, left_s = self._begun(key), ends_at - time.monotonic()
        if begun.outcome is None and left_s > 0:
            waiter = TaskWaiter(0.0, 0.0, wants_refresh=False)
            try:
                begun.add(waiter)
                await waiter.wait(left_s)
            finally:
                begun.waiters.pop(waiter, None)
        return _member_of(begun)

    # --- starts ------------------------------------------------------------------------------------------------------

    def _begun(self, key: _Key) -> KeyStart:
        """The key's start; a new one begins where there is none."""
        if self.settings.factory is None and key.value not in self.given:
            raise UnknownKey
        begun = KeyStart()
        under_way = self.starts.setdefault(key.value, begun)
        if under_way is begun:
            try:
                FACTORY_WORKERS.value.submit(
                    begun, functools.partial(self._call, key, begun), late=functools.partial(self._late, key, begun)
                )
            except RuntimeError as error:  # the process has no thread left, or is going down
                self._finish(key, begun, NoTokenError(f"no thread for the factory: {error}"))
        return under_way

    def _call(self, key: _Key, begun: KeyStart) -> None:
        """Call the factory, and start what comes of it. On a worker's thread; raises nothing."""
        try:
            member = self._member_for(key.value)
            if begun.outcome is None:  # else it has come too late
                outcome: Member | Exception = self.begin(member, TokenPool._add, time.monotonic() + START_S)
            else:
                return
        except (OIDCActorError, SupervisionError) as error:
            outcome = error.with_traceback(None)
        except BaseException as error:  # noqa: BLE001 - of the pool's own code; those who wait must hear of it
            outcome = NoTokenError(f"the manager could not be started: {type(error).__name__}")
        self._finish(key, begun, outcome)

    def _member_for(self, key: Any) -> Member:
        put, factory = self.given.get(key), self.settings.factory
        if put is not None or factory is None:
            if put is None:
                raise UnknownKey
            return Member(key, self.name_of(key), put)
        try:
            options = factory(key)
        except UnknownKey:
            raise
        except BaseException as error:  # noqa: BLE001 - of the user's; its text may quote the key
            at, name = raised_at(error), type(error).__name__
            log("factory_failed", manager=self.name_of(key), issuer="", attempt=0, error=name, at=at)
            raise NoTokenError(f"the pool's factory raised {name}", cause=error.with_traceback(None)) from None
        if options is None:
            raise UnknownKey
        if not isinstance(options, Mapping):
            raise ConfigError(
                f"expected the factory to return a dict of options, got {type(options).__name__}", ("factory",)
            )
        return self.member(key, options)

    def _late(self, key: _Key, begun: KeyStart) -> None:
        self._finish(key, begun, NoTokenError(f"the pool's factory has not returned in {FACTORY_S:g} s"))

    def _finish(self, key: _Key, begun: KeyStart, outcome: Member | Exception) -> None:
        if self.starts.get(key.value) is begun:
            self.starts.pop(key.value, None)
        begun.finish(outcome)

    # --- the pool -----------------------------------------------------------------------------------------------------

    def member(self, key: Any, options: Mapping[str, Any]) -> Member:
        """A member that is to be started; raises ``ConfigError``."""
        name = self.name_of(key)
        checked = check_options({**self.settings.defaults, **_without_name(options), "name": name})
        return Member(key, name, checked)

    def begin(self, member: Member, operation: Callable[..., Any], ends_at: float) -> Member:
        """Have the pool add a member; one of its name that is still ending is waited for."""
        while True:
            answer = self.ask(operation, member)
            if isinstance(answer, Member):
                return answer
            if not isinstance(answer, AlreadyStarted) or time.monotonic() >= ends_at:
                raise answer
            _end(answer.ref, max(0.0, ends_at - time.monotonic()))

    def ask(self, operation: Callable[..., Any], *args: Any) -> Any:
        """Have the pool do something; in a forked child it is made anew first."""
        try:
            return ask(self._pool(), TokenPool, operation, *args, timeout=START_S)
        except (NoProcess, ServerDied):
            raise ManagerNotRunning(self.label) from None

    def _pool(self) -> Ref:
        ref = self.ref
        if self.is_forked and (ref is None or not ref.is_alive()):
            with _lock.value:
                ref = self.ref
                if ref is None or not ref.is_alive():
                    ref = TokenPool._launch(self.settings)
        if ref is None:
            raise NoProcess(self.label)
        return ref

    def name_of(self, key: Any) -> str:
        """The name of a key's manager."""
        return f"{self.label}/{fingerprint_of(key)}"

    @property
    def clock(self) -> Clock:
        """What its members' uses are readings of."""
        return self.settings.defaults.get("clock") or default_clock

    def note(self, member: Member) -> None:
        """Keep in mind when a member was used, where that matters."""
        if self.settings.max_size is None and self.settings.idle_seconds is None:
            return
        if len(self.queue) > 2 * len(self.members) + 64:  # most of it is of members that are gone
            self.queue = [(one.used_at, next(self.numbers), one) for one in self.members.values() if one is not member]
            heapq.heapify(self.queue)
        heapq.heappush(self.queue, (member.used_at, next(self.numbers), member))

    def longest_unused(self, before: float = float("inf")) -> Member | None:
        """Take out the member that has not been used for longest, and not since a moment; ``None`` where there is none.

        What the heap says of a member is when it was used at the soonest. One that was used since goes back with the right time.
        """
        in_use: list[tuple[float, int, Member]] = []
        found = None
        while self.queue and self.queue[0][0] <= before and found is None:
            noted, number, member = heapq.heappop(self.queue)
            if self.members.get(member.key) is not member:
                continue
            if member.is_in_use:
                in_use.append((max(member.used_at, self.clock()), number, member))
            elif member.used_at > noted:
                heapq.heappush(self.queue, (member.used_at, number, member))
            else:
                found = member
        for one in in_use:
            heapq.heappush(self.queue, one)
        return found

    # --- ends ---------------------------------------------------------------------------------------------------------

    def ended(self, ref: Ref, asked: bool) -> None:
        """The pool has ended and is not restarted."""
        self.close(ref)

    def close(self, ref: Ref) -> None:
        """Forget everything, unless another incarnation has the table."""
        if self.ref is not ref or self.closed:
            return
        self.closed = True
        if self.settings.name is not None and _by_name.get(self.settings.name) is self:
            _by_name.pop(self.settings.name, None)
        self.members, self.given, self.queue = {}, {}, []
        starts, self.starts = self.starts, {}
        for begun in starts.values():
            begun.finish(ManagerNotRunning(self.label))


_by_name: dict[str, _Table] = {}
_by_ref: weakref.WeakKeyDictionary[Ref, _Table] = weakref.WeakKeyDictionary()
_lock = PerProcess(threading.RLock)  # guards that a forked child makes a pool anew once
_unnamed = itertools.count(1)


def _take_table(ref: Ref, settings: _Settings, predecessor: Ref | None) -> _Table:
    """The table of a pool that starts: its predecessor's, or a new one."""
    table = None if settings.name is None else _by_name.get(settings.name)
    if table is None and predecessor is not None:
        table = _by_ref.get(predecessor)
    if table is None or table.closed:
        table = _Table(settings, settings.name or f"pool#{next(_unnamed)}")
    table.settings, table.ref = settings, ref
    _by_ref[ref] = table
    if settings.name is not None:
        _by_name[settings.name] = table
    return table


def _member(pool: PoolRef, key: Any) -> Member | None:
    """The key's member, where there is one now. It raises nothing: the frame that calls it has the key."""
    try:
        table = _by_name.get(pool) if isinstance(pool, str) else _by_ref.get(pool)
        return None if table is None else table.members.get(key)
    except TypeError:  # one of the two is none that can be
        return None


def _table_of(pool: PoolRef) -> _Table:
    table = _by_name.get(pool) if isinstance(pool, str) else None
    if table is not None:
        return table
    name = name_in(pool)
    if name is not None:
        table = _by_name.get(name)
    elif isinstance(pool, pykka.ActorRef):
        table = _by_ref.get(pool)
        if table is None and pool.is_alive() and not issubclass(pool.actor_class, TokenPool):
            raise TypeError(
                f"pool: expected the ref or the name of a TokenPool, got that of {pool.actor_class.__name__}"
            )
    else:
        raise TypeError(f"pool: expected the ref or the name of a TokenPool, got {type(pool).__name__}")
    if table is None or table.closed:
        raise ManagerNotRunning(pool)
    return table


def fingerprint_of(key: Any) -> str:
    """What a key is called where it may be read: a hash under a key of this process, which no other process can make."""
    text = f"{type(key).__name__}:{key!r}"
    return blake2b(text.encode("utf-8", "surrogatepass"), key=_FINGERPRINT_KEY, digest_size=8).hexdigest()


def _settings(factory: Any, name: Any, max_size: Any, idle_seconds: Any, defaults: dict[str, Any]) -> _Settings:
    if factory is not None and not callable(factory):
        raise ConfigError(f"expected a function from a key to options, got {type(factory).__name__}", ("factory",))
    if getattr(getattr(factory, "__code__", None), "co_flags", 0) & 0x80:
        raise ConfigError(
            "expected a plain function, got a coroutine function: it runs on a thread of its own", ("factory",)
        )
    if name is not None and (not isinstance(name, str) or not name):
        raise ConfigError(f"expected a non-empty text or None, got {name!r}", ("name",))
    if max_size is not None and (not isinstance(max_size, int) or isinstance(max_size, bool) or max_size < 1):
        raise ConfigError(f"expected a whole number of at least 1 or None, got {max_size!r}", ("max_size",))
    if idle_seconds is not None and not (is_seconds(idle_seconds) and idle_seconds > 0):
        raise ConfigError(f"expected finite seconds above 0 or None, got {idle_seconds!r}", ("idle_seconds",))
    if defaults:
        _check_defaults(defaults)
    return _Settings(factory, name, max_size, idle_seconds, dict(defaults))


@holds_secrets
def _check_defaults(defaults: dict[str, Any]) -> None:
    """Refuse what is wrong by itself; what is missing the members' own options may bring."""
    made_up: dict[str, Any] = (
        {} if "auth" in defaults else {"auth": {"type": "oidc_client_credentials", "client_id": "x"}}
    )
    if "issuer_url" not in defaults and "oidc_config" not in defaults:
        made_up["issuer_url"] = "https://x.example"
    custom = getattr(defaults.get("auth"), "asks_provider", True) is False
    check_options({**defaults, **({} if custom else made_up)})


def _without_name(options: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("name") is not None:
        raise ConfigError("expected none: the pool names its managers", ("name",))
    return {name: value for name, value in options.items() if name != "name"}


def _member_of(begun: KeyStart) -> Member:
    outcome = begun.outcome
    if outcome is None:
        raise NoTokenError("no token yet: the manager is being started")
    if isinstance(outcome, Member):
        return outcome
    if isinstance(
        outcome, NoTokenError
    ):  # each reader gets its own, because a raised one collects its reader's traceback
        raise NoTokenError(str(outcome), cause=outcome.cause)
    if isinstance(outcome, ConfigError):
        raise ConfigError(outcome.problem, outcome.option)
    if isinstance(outcome, OIDCActorError):
        raise type(outcome)(*outcome.args) from None
    raise NoTokenError(f"the manager could not be started: {outcome}", cause=outcome)


def _end(ref: Ref, timeout: float) -> None:
    """Have a member end, and wait for that."""
    with contextlib.suppress(NoProcess, ServerDied):
        stop_with(ref, SHUTDOWN, timeout)


def _fork() -> None:
    """In a forked child no pool runs: each is made anew when a key is added, and each member at its first use."""
    for table in {*_by_name.values(), *_by_ref.values()}:
        table.is_forked, table.starts = True, {}


in_forked_child(_fork)
