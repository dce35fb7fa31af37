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
import time
from collections.abc import Coroutine, Hashable
from typing import Any, NoReturn

import pykka

from oidc_actor.machine.health import Health, health_of
from oidc_actor.manager.options import check_replacing
from oidc_actor.manager.token_manager import TokenManager
from oidc_actor.pool.members import (
    START_S,
    Factory,
    Key,
    Member,
    PoolFull,
    PoolRef,
    Settings,
    UnknownKey,
    check_settings,
    end_member,
    fingerprint_of,
    member_at,
    table_of,
    take_table,
    without_name,
)
from oidc_actor.reading.cell import Candidate
from oidc_actor.reading.directory import ManagerNotRunning, cell_of
from oidc_actor.reading.token_source import TokenSource
from oidc_actor.reading.waiting_reads import (
    check_wait,
    read_rejected,
    refresh_now,
    refresh_soon,
)
from oidc_actor.values.clock import real_delay_s
from oidc_actor.values.secrets import holds_secrets
from oidc_actor.values.tokens import TokenResponse
from supervision import AlreadyStarted, Backoff, CallTimeout, ChildNotFound, ChildSpec, DynamicSupervisor, NoProcess
from supervision.calls import send_after, stop_with
from supervision.errors import ServerDied, SupervisionError
from supervision.exits import SHUTDOWN, Reason, Restart, is_orderly
from supervision.monitors import ends_for_restart, keep_for_successor
from supervision.process.registry import name_in, starting_predecessor

PUT_S = 10.0
"""Seconds, by the member's clock, after which options that were put hold although no answer has come."""

AGAIN_S = 0.05
"""Seconds after which a pool that was restarted tries again to start a member whose last incarnation is still ending."""

_OF_SPEC = ("shutdown", "significant", "start_timeout", "backoff")
_ALWAYS = 10**9  # restarts within a second: a member's backoff bounds its own, and no member's count against another's
_BACKOFF = Backoff(initial=0.1, maximum=30.0)


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
        settings = check_settings(factory, name, max_size, idle_seconds, defaults)
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
            **defaults: As for `start_link`; and the other fields of a ``ChildSpec``, such as ``shutdown`` and ``backoff``.

        Returns:
            The specification; nothing has started.

        Raises:
            ConfigError: An argument is wrong.
        """
        fields = {one: defaults.pop(one) for one in _OF_SPEC if one in defaults}
        settings = check_settings(factory, name, max_size, idle_seconds, defaults)
        fields = {"restart": restart, "shutdown": "infinity", "type": "supervisor", "name": name, **fields}
        return ChildSpec(name or "TokenPool" if id is None else id, cls._launch, (settings,), {}, **fields)

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
        table = table_of(pool)
        try:
            present = table.live(key)
            if present is None:
                wanted = table.member(key, options)
            else:
                given = {**table.settings.defaults, **options}
                wanted = Member(key, present.name, check_replacing(without_name(given), present.cell.options))
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
        table = table_of(pool)
        member = table.ask(TokenPool._remove, Key(key))
        if member is None:
            raise UnknownKey
        ref = member.cell.ref
        member.cell.close(None) if ref is None or not ref.is_alive() else end_member(ref, timeout)

    @staticmethod
    def keys(pool: PoolRef) -> list[Any]:
        """Return the keys that have a manager now.

        Args:
            pool: The pool's ref or name.

        Raises:
            ManagerNotRunning: No such pool runs.
        """
        return [key for key, member in list(table_of(pool).members.items()) if not member.cell.closed]

    @staticmethod
    def health(pool: PoolRef) -> dict[Any, Health]:
        """Return how each manager is doing, by its key; no manager is asked, so that 10,000 take no longer than a blink.

        Args:
            pool: The pool's ref or name.

        Raises:
            ManagerNotRunning: No such pool runs.
        """
        found = {}
        for key, member in list(table_of(pool).members.items()):
            state = member.cell.state
            if state is not None and not member.cell.closed:
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
        member = member_at(pool, key)
        if member is not None and not min_validity:
            cell = member.cell
            snapshot, now = cell.snapshot, cell.clock()
            if now < snapshot.deadline and snapshot.token is not None:
                member.used_at = now
                return snapshot.token
        hidden, key = Key(key), None  # what is raised below shows the variables of this frame to some loggers
        return table_of(pool).wait(hidden, timeout, min_validity)

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
        member = member_at(pool, key)
        if member is not None and not min_validity:
            cell = member.cell
            snapshot, now = cell.snapshot, cell.clock()
            if now < snapshot.deadline:
                member.used_at = now
                return snapshot.text
        hidden, key = Key(key), None
        return table_of(pool).wait(hidden, timeout, min_validity).access_token

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
        member = member_at(pool, key)
        if member is not None and not min_validity:
            cell = member.cell
            snapshot, now = cell.snapshot, cell.clock()
            if now < snapshot.deadline and snapshot.token is not None:
                member.used_at = now
                return snapshot.token
        hidden, key = Key(key), None  # what is raised below shows the variables of this frame to some loggers
        return await table_of(pool).wait_async(hidden, timeout, min_validity)

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
        member = member_at(pool, key)
        if member is not None and not min_validity:
            cell = member.cell
            snapshot, now = cell.snapshot, cell.clock()
            if now < snapshot.deadline:
                member.used_at = now
                return snapshot.text
        hidden, key = Key(key), None
        return (await table_of(pool).wait_async(hidden, timeout, min_validity)).access_token

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
        table, secret = table_of(pool), read_rejected(rejected)
        if wait:
            check_wait(timeout, 0.0)
            ends_at = time.monotonic() + timeout
            refresh_now(table.found(Key(key), ends_at).name, max(0.0, ends_at - time.monotonic()), secret)
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
        return table_of(pool).refresh_async(Key(key), timeout, read_rejected(rejected))

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

    def __init__(self, settings: Settings) -> None:
        """Prepare; runs on the starter's thread."""
        super().__init__(max_restarts=_ALWAYS, max_seconds=1.0)
        self._settings = settings
        self._predecessor = starting_predecessor()
        self._sweep_at: float | None = None

    @classmethod
    def _launch(cls, settings: Settings) -> pykka.ActorRef[Any]:
        return super(DynamicSupervisor, cls).start_link(settings, name=settings.name)

    def on_start(self) -> None:
        """Take over the table that a predecessor of the same name left."""
        self._table = table = take_table(self.actor_ref, self._settings, self._predecessor)
        table.add, table.launch = TokenPool._add, TokenPool._launch
        keep_for_successor(self.actor_ref, table)

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

    def _remove(self, key: Key) -> Member | None:
        table = self._table
        was_put = table.given.pop(key.value, None) is not None
        member = table.members.pop(key.value, None)
        if member is None:
            return Member(key.value, "", None) if was_put else None  # type: ignore[arg-type]
        self._cancel_restart(member)
        return member

    def _let_go(self, member: Member) -> None:
        """Have a member end, and do not wait for that."""
        table, cell = self._table, member.cell
        table.members.pop(member.key, None)
        if member.key in table.given and cell.candidate is None and cell.options is not None:
            table.given[member.key] = (
                cell.options
            )  # options that were put and refused are not what it starts with again
        ref = cell.ref
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
            table = table_of(self._pool)
            member = table.live(self._key)  # equal keys, such as 1 and True, may look different
            return table.name_of(self._key) if member is None else member.name
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
