"""What a pool knows: its members, what was put, and the starts that are under way; a table that outlives the pool's crash.

The pool's thread alone adds members and takes them out. Readers look without a lock, and wait here where a key has no member yet.
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
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import pykka

from oidc_actor.manager.log import log, raised_at
from oidc_actor.manager.options import Options, check_options
from oidc_actor.manager.workers import WorkerPool
from oidc_actor.reading.cell import Cell, Ref
from oidc_actor.reading.directory import ManagerNotRunning
from oidc_actor.reading.waiters import TaskWaiter, ThreadWaiter
from oidc_actor.reading.waiting_reads import (
    check_wait,
    refresh_now_async,
    wait_for_token,
    wait_for_token_async,
)
from oidc_actor.values.clock import Clock, default_clock, is_seconds
from oidc_actor.values.errors import ConfigError, NoTokenError, OIDCActorError
from oidc_actor.values.secrets import Sealed, Secret, holds_secrets, put
from oidc_actor.values.tokens import TokenResponse
from supervision import AlreadyStarted, DynamicSupervisor, NoProcess
from supervision.calls import stop_with
from supervision.errors import ServerDied, SupervisionError
from supervision.exits import SHUTDOWN, Reason
from supervision.process.registry import is_current, name_in
from supervision.runtime.per_process import PerProcess, in_forked_child
from supervision.runtime.timer_thread import call_later
from supervision.supervising import ask

PoolRef: TypeAlias = Ref | str
"""What names a pool: its ref, or its name."""

Factory: TypeAlias = Callable[[Any], Mapping[str, Any] | None]
"""Gives the options for a key, over the pool's own; ``None`` for a key that it does not know."""

FACTORY_S = 30.0
"""Seconds after which a factory that has not returned is left behind, with its thread."""

START_S = 30.0
"""Seconds for which a start waits until the pool has started its manager."""

_FINGERPRINT_KEY: Final = secrets.token_bytes(16)

FACTORY_WORKERS = PerProcess(lambda: WorkerPool("oidc-actor-pool", threads=32, per_lane=1, patience_s=FACTORY_S))
"""Run factories; a lane is the start of a key."""

START_WORKERS = PerProcess(lambda: WorkerPool("oidc-actor-pool-put", threads=8, per_lane=1, patience_s=FACTORY_S))
"""Start what was put again, which waits for no factory."""


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


class Settings:
    """What a pool was started with. It shows nothing: there may be secrets among the options."""

    __slots__ = ("defaults", "factory", "idle_seconds", "max_size", "name", "name_of")

    def __init__(
        self,
        factory: Factory | None,
        name: str | None,
        max_size: int | None,
        idle_seconds: float | None,
        defaults: dict[str, Any],
        name_of: Callable[[Any], str] | None,
    ) -> None:
        self.factory, self.name, self.max_size, self.idle_seconds = factory, name, max_size, idle_seconds
        self.defaults, self.name_of = defaults, name_of


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


class Key(Sealed):
    """A key in a message or in a frame, which shows nothing of it."""

    __slots__ = ("value",)
    value: Any

    def __init__(self, value: Any) -> None:
        """Hide a key.

        Args:
            value: The key.
        """
        put(self, value=value)

    def __repr__(self) -> str:
        return "Key(***)"


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


class Table:
    """What a pool knows, across its incarnations. The pool's thread adds and takes out; any thread looks."""

    __slots__ = (
        "__weakref__", "add", "closed", "given", "is_forked", "label", "launch", "members", "numbers", "queue", "ref",
        "settings", "starts",
    )  # fmt: skip

    def __init__(self, settings: Settings, label: str) -> None:
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
        # The pool's own, which this module must not know: how it adds a member, and how it is started.
        self.add: Callable[..., Any]
        self.launch: Callable[[Settings], Ref]

    # --- readers ------------------------------------------------------------------------------------------------------

    @holds_secrets
    def live(self, key: Any) -> Member | None:
        """The key's member, unless it has ended for good."""
        member = self.members.get(key)
        return None if member is None or member.cell.closed else member

    def wait(self, key: Key, timeout: float, min_validity: float) -> TokenResponse:
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

    async def wait_async(self, key: Key, timeout: float, min_validity: float) -> TokenResponse:
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

    async def refresh_async(self, key: Key, timeout: float, rejected: Secret | None) -> None:
        """Wait for a refresh, in a task."""
        check_wait(timeout, 0.0)
        ends_at = time.monotonic() + timeout
        member = await self.found_async(key, ends_at)
        await refresh_now_async(member.name, max(0.0, ends_at - time.monotonic()), rejected)

    def _is_over(self, key: Key, member: Member, ends_at: float) -> bool:
        """Whether the member that has just ended is not followed by another in time: it was let go as this read began."""
        return self.live(key.value) is member or self.closed or time.monotonic() >= ends_at

    def found(self, key: Key, ends_at: float) -> Member:
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

    async def found_async(self, key: Key, ends_at: float) -> Member:
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

    def _begun(self, key: Key) -> KeyStart:
        """The key's start; a new one begins where there is none."""
        if self.settings.factory is None and key.value not in self.given:
            raise UnknownKey
        begun = KeyStart()
        under_way = self.starts.setdefault(key.value, begun)
        if under_way is begun:
            # Not on this thread: a signal handler or a finalizer that reads may have interrupted it amid the workers' lock.
            try:
                call_later(0.0, functools.partial(self._submit, key, begun))
            except RuntimeError as error:  # the process has no thread left, or is going down
                self._finish(key, begun, NoTokenError(f"no thread for the factory: {error}"))
        return under_way

    def _submit(self, key: Key, begun: KeyStart) -> None:
        """Have a worker see to a start. On the timer thread."""
        workers = START_WORKERS if key.value in self.given else FACTORY_WORKERS
        try:
            workers.value.submit(
                begun, functools.partial(self._call, key, begun), late=functools.partial(self._late, key, begun)
            )
        except RuntimeError as error:
            self._finish(key, begun, NoTokenError(f"no thread for the factory: {error}"))

    def _call(self, key: Key, begun: KeyStart) -> None:
        """Call the factory, and start what comes of it. On a worker's thread; raises nothing."""
        try:
            member = self._member_for(key.value)
            if begun.outcome is None:  # else it has come too late
                outcome: Member | Exception = self.begin(member, self.add, time.monotonic() + START_S)
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

    def _late(self, key: Key, begun: KeyStart) -> None:
        self._finish(key, begun, NoTokenError(f"the pool's factory has not returned in {FACTORY_S:g} s"))

    def _finish(self, key: Key, begun: KeyStart, outcome: Member | Exception) -> None:
        if self.starts.get(key.value) is begun:
            self.starts.pop(key.value, None)
        begun.finish(outcome)

    # --- the pool -----------------------------------------------------------------------------------------------------

    def member(self, key: Any, options: Mapping[str, Any]) -> Member:
        """A member that is to be started; raises ``ConfigError``."""
        name = self.name_of(key)
        checked = check_options({**self.settings.defaults, **without_name(options), "name": name})
        return Member(key, name, checked)

    def begin(self, member: Member, operation: Callable[..., Any], ends_at: float) -> Member:
        """Have the pool add a member; one of its name that is still ending is waited for."""
        while True:
            answer = self.ask(operation, member)
            if isinstance(answer, Member):
                return answer
            if not isinstance(answer, AlreadyStarted) or time.monotonic() >= ends_at:
                raise answer
            if any(one.name == member.name and one.key != member.key for one in list(self.members.values())):
                raise ConfigError(
                    "expected keys that differ in their hash or their repr, got two that do not", ("key",)
                )
            end_member(answer.ref, max(0.0, ends_at - time.monotonic()))

    def ask(self, operation: Callable[..., Any], *args: Any) -> Any:
        """Have the pool do something; in a forked child it is made anew first."""
        try:
            return ask(self._pool(), DynamicSupervisor, operation, *args, timeout=START_S)
        except (NoProcess, ServerDied):
            raise ManagerNotRunning(self.label) from None

    def _pool(self) -> Ref:
        ref = self.ref
        if self.is_forked and (ref is None or not ref.is_alive()):
            with _lock.value:
                ref = self.ref
                if ref is None or not ref.is_alive():
                    ref = self.launch(self.settings)
        if ref is None:
            raise NoProcess(self.label)
        return ref

    def name_of(self, key: Any) -> str:
        """The name of a key's manager."""
        name_of = self.settings.name_of
        return f"{self.label}/{fingerprint_of(key)}" if name_of is None else name_of(key)

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

    def owner_ended(self, ref: Ref, reason: Reason) -> None:
        """The pool has ended: one that has for good has said so in its end hook, and after a crash a successor may come."""

    def not_restarted(self, ref: Ref, asked: bool) -> None:
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


_by_name: dict[str, Table] = {}
_by_ref: weakref.WeakKeyDictionary[Ref, Table] = weakref.WeakKeyDictionary()
_lock = PerProcess(threading.RLock)  # guards that a forked child makes a pool anew once
_unnamed = itertools.count(1)


def take_table(ref: Ref, settings: Settings, predecessor: Ref | None) -> Table:
    """The table of a pool that starts: its predecessor's, or a new one."""
    table = None if settings.name is None else _by_name.get(settings.name)
    if table is None and predecessor is not None:
        table = _by_ref.get(predecessor)
    if table is None or table.closed:
        table = Table(settings, settings.name or f"pool#{next(_unnamed)}")
    table.settings, table.ref = settings, ref
    _by_ref[ref] = table
    if settings.name is not None:
        _by_name[settings.name] = table
    return table


def member_at(pool: PoolRef, key: Any) -> Member | None:
    """The key's member, where there is one now. It raises nothing: the frame that calls it has the key."""
    try:
        table = _by_name.get(pool) if isinstance(pool, str) else _by_ref.get(pool)
        return None if table is None else table.members.get(key)
    except TypeError:  # one of the two is none that can be
        return None


def table_of(pool: PoolRef) -> Table:
    """The table of a pool; raises ``ManagerNotRunning``, or ``TypeError`` for what names no pool."""
    table = _by_name.get(pool) if isinstance(pool, str) else None
    if table is not None:
        return table
    name = name_in(pool)
    if name is not None:
        table = _by_name.get(name)
    elif isinstance(pool, pykka.ActorRef):
        table = _by_ref.get(pool)
        if table is None and pool.is_alive():  # it is none that has a table
            raise TypeError(
                f"pool: expected the ref or the name of a TokenPool, got that of {pool.actor_class.__name__}"
            )
    else:
        raise TypeError(f"pool: expected the ref or the name of a TokenPool, got {type(pool).__name__}")
    if table is None or table.closed:
        raise ManagerNotRunning(pool)
    return table


def fingerprint_of(key: Any) -> str:
    """What a key is called where it may be read: a hash under a key of this process, which no other process can make.

    Neither the key's `repr` nor its hash does alone. Keys that hide a secret (pydantic's ``SecretStr``, a field with
    ``repr=False``) all look alike, and -1 hashes as -2 does.
    """
    text = f"{type(key).__name__}:{hash(key)}:{key!r}"
    return blake2b(text.encode("utf-8", "surrogatepass"), key=_FINGERPRINT_KEY, digest_size=8).hexdigest()


def check_settings(factory: Any, name: Any, max_size: Any, idle_seconds: Any, defaults: dict[str, Any]) -> Settings:
    """Check what a pool is to be started with; raises ``ConfigError``."""
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
    defaults = dict(defaults)
    name_of = defaults.pop("_name_of", None)  # private: gives the name of a key's manager, where keys are no secrets
    if defaults:
        _check_defaults(defaults)
    return Settings(factory, name, max_size, idle_seconds, defaults, name_of)


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


def without_name(options: Mapping[str, Any]) -> dict[str, Any]:
    """A member's options, which must not name it; raises ``ConfigError``."""
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


def end_member(ref: Ref, timeout: float) -> None:
    """Have a member end, and wait for that."""
    with contextlib.suppress(NoProcess, ServerDied):
        stop_with(ref, SHUTDOWN, timeout)


def _fork() -> None:
    """In a forked child no pool runs: each is made anew when a key is added, and each member at its first use."""
    for table in {*_by_name.values(), *_by_ref.values()}:
        table.is_forked, table.starts = True, {}


in_forked_child(_fork)
