"""The store that members share, as the managers of this process ask it: each call on a thread of the worker pool.

One `StoreClient` serves all managers of a process that have the same store: one view of its clock, one circuit breaker, one look
at their records every 1.6 s: at all of them, or at the next 400. Where one is missing that was there, all are looked at. None of
the functions that the pool runs raises anything, and no reader's thread comes here.

**A claim.** The manager notes in its cell that it expects the answer (`Cell.expect`) and submits the job. The answer goes
into the cell, as a token does: a successor of a manager that crashed finds it there. Where it is not expected any more, a
grant is given back at once: nothing was sent under it.

**A login.** Where the refresh token is the only way to a token, the one that was redeemed is of no use any more, and this process
alone has its successor until that is stored. So a manager that is stopped waits for it, and so does the interpreter at its exit:
a process that ends in good order loses no login.

**The store's clock.** A call says until when, by the store's own clock, it may be carried out. So a stopped server that
goes on later does not grant what was given up long since. What that clock says is known from the answer before; where it is not
known, or a call has failed, it is asked for first.

**Deadlines.** A lease and an adopted token end by the manager's clock: what they still have to go by the store's, counted from
the moment before the store was asked. So the time that the call took makes both end early, and never late.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import IdentityAssertion, RefreshToken
from oidc_actor.endpoints.custom import Custom
from oidc_actor.endpoints.identity_provider import name_of
from oidc_actor.machine import sharing
from oidc_actor.machine.effects import Claim, Fetch, GiveUpLease, RenewLease, RestoreRecord, ShareToken
from oidc_actor.machine.events import (
    NEVER,
    ClaimFailed,
    ClaimGranted,
    ClaimOccupied,
    FetchFailed,
    HeldLease,
    LeaseLost,
    LeaseRenewed,
    LoginLost,
    LookFailed,
    OfRequest,
    RecordNamed,
    RecordSeen,
    ShareFailed,
    TokenAdopted,
    TokenOvertaken,
    TokenShared,
)
from oidc_actor.manager.log import log, store_count_of
from oidc_actor.manager.options import Options
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.reading.cell import Cell
from oidc_actor.sharing import store as asked
from oidc_actor.sharing.records import KEPT_MS, LOGIN_KEPT_MS
from oidc_actor.sharing.sealing import Sealer, read_token, token_content
from oidc_actor.sharing.store import (
    Granted,
    Listening,
    Looked,
    Lost,
    Newer,
    Occupied,
    Overtaken,
    Shared,
    TokenStore,
)
from oidc_actor.values.clock import wall_ahead_s, wall_clock
from oidc_actor.values.errors import SecretUnavailable, StoreError
from oidc_actor.values.secrets import Secret, holds_secrets, resolve_secret
from oidc_actor.values.tokens import ParsedToken
from supervision.frozen import dataclass
from supervision.runtime.per_process import PerProcess
from supervision.runtime.timer_thread import call_later

T = TypeVar("T")

PATIENCE_S = 1.5
"""Seconds after its submission until which a store may carry a call out."""

CLOSE_S = 0.5
"""Seconds between two looks at a record that has a new login."""

MOST_KEYS = 400
"""Records that one call sees, and one look: beyond that looks take turns, so that many managers cost no more than these."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 1.0
"""Seconds after a failed call until the store is asked again, at first and at most."""

HUNG_S = 2.0
"""Seconds after which a call is taken for one that may never return."""

MOST_HUNG = 4
"""Calls that have not returned beyond which no other is made: each has a thread of the pool, and so would the next."""

LONGEST_WAIT_S = 600.0
"""Seconds for which a store is believed at most when it says that a claim is of no use."""

SETTLE_S = 2.0
"""Seconds for which an end waits, of a manager or of the process, until a login is stored that was redeemed."""

DIFFERS_S = 5.0
"""Seconds between the end of a token by the store's clock and by this machine's beyond which a warning is logged."""


@dataclass(eq=False)
class Member:
    """One manager, as the client of its store knows it.

    Attributes:
        key: What its record is called; empty before its first claim.
        unheard: The claimant of a claim whose answer has not come, or of a grant that was given back in vain; or ``None``.
    """

    key: str = ""
    unheard: str | None = None

    def heard(self, claimant: str) -> bool:
        """What has become of that claim is known. A later one may be under way: an answer can come after it was given up."""
        is_last = self.unheard == claimant
        if is_last:
            self.unheard = None
        return is_last


class StoreClient:
    """One store, as the managers of this process use it. Any thread."""

    def __init__(self, store: TokenStore) -> None:
        """Connect to nothing yet.

        Args:
            store: The store.
        """
        self.store = store
        self.sealer = Sealer(store.keys)
        self._members: WeakKeyDictionary[Cell, Member] = WeakKeyDictionary()
        self._clock: tuple[int, float] | None = None  # the store's, and this process's at that moment
        self._failures = 0
        self._closed_at = 0.0  # when the store may be asked again
        self._probed_at = NEVER  # since when a call has been under way that tries whether it answers again
        self._under_way: dict[object, float] = {}  # the calls, each since when
        self._error = StoreError("the store has not been asked yet", sent=False)
        self._looks = False
        self._turn = 0  # the first manager that the next look sees; written by looks alone, and so is the next
        self._was_away = False
        self._listening: Listening | None = None
        self._announced: set[str] = set()  # keys that an early look is to see
        self._closely: dict[str, float] = {}  # keys that are looked at more often, each until when
        # Guards all above but the first two. Never held while the store is asked or a manager is told something.
        self._lock = threading.Lock()

    def member(self, cell: Cell) -> Member:
        """What is kept of a manager."""
        with self._lock:
            return self._members.setdefault(cell, Member())

    def forget(self, cell: Cell) -> None:
        """A manager asks this store no more, or for another record."""
        with self._lock:
            self._members.pop(cell, None)

    def move(self, cell: Cell, to: Cell) -> None:
        """What is kept of a manager is kept for another cell from now on."""
        with self._lock:
            member = self._members.pop(cell, None)
            if member is not None:
                self._members[to] = member

    @holds_secrets
    def ask(self, call: Callable[[TokenStore, int], T], cell: Cell | None = None) -> T:
        """Ask the store, unless it is known not to answer.

        Args:
            call: Asks it, given the store and until when, by the store's clock, it may carry the call out.
            cell: The manager on whose behalf, which counts the call; ``None`` for a look, which is on behalf of all.

        Raises:
            StoreError: It did not answer, now or a moment ago.
        """
        call_number = object()
        with self._lock:
            self._refuse_many_hung()
            now = time.monotonic()
            if self._failures and (now - self._probed_at < HUNG_S or now < self._closed_at):
                raise StoreError(str(self._error), sent=False)
            self._probed_at = self._under_way[call_number] = now
        try:
            answer = call(self.store, self._not_after_ms())
            _check(answer)
        except BaseException as error:  # noqa: BLE001 - of a user's store; a failure of this call only
            if cell is not None:
                cell.count(store_count_of("failed"))
            raise self._failed(error) from None
        finally:
            with self._lock:
                del self._under_way[call_number]
        if cell is not None:
            cell.count(store_count_of("answered"))
        self._answered(getattr(answer, "now_ms", None))
        return answer

    def refuse_hung(self) -> None:
        """Make no call that would wait for a thread which none gives back.

        Raises:
            StoreError: Too many calls have not returned.
        """
        with self._lock:
            self._refuse_many_hung()

    def _refuse_many_hung(self) -> None:
        if len(self._under_way) < MOST_HUNG:
            return
        late_at = time.monotonic() - HUNG_S
        hung = sum(began < late_at for began in self._under_way.values())
        if hung >= MOST_HUNG:
            raise StoreError(f"{hung} earlier calls have not returned", sent=False)

    def _not_after_ms(self) -> int:
        known = self._clock
        if known is None:
            began, looked = time.monotonic(), self.store.look(())
            _check(looked)
            known = self._clock = looked.now_ms, began
        store_ms, at = known
        return store_ms + round(1000 * (time.monotonic() - at + PATIENCE_S))

    def _failed(self, error: BaseException) -> StoreError:
        known = error if isinstance(error, StoreError) else StoreError(f"the store raised {type(error).__name__}")
        with self._lock:
            pause_s = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2.0 ** min(self._failures, 10))
            self._failures += 1
            self._closed_at = time.monotonic() + pause_s * random.uniform(0.5, 1.0)
            self._probed_at, self._clock, self._error = NEVER, None, known
        known.__cause__ = known.__context__ = None
        return known.with_traceback(None)

    def _answered(self, now_ms: int | None) -> None:
        with self._lock:
            self._failures, self._probed_at = 0, NEVER
            if now_ms is not None:
                self._clock = now_ms, time.monotonic()

    # --- looks --------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """See that there are looks, for as long as there are managers. After a manager's key is known."""
        with self._lock:
            if self._looks:
                return
            self._looks = True
        self._listen()
        self._look_later()

    def _look_later(self) -> None:
        every_s = sharing.LOOK_S
        if self._failures:  # it is soon known that the store is back, and what waits is stored
            every_s /= 2
        try:
            call_later(every_s * random.uniform(0.9, 1.1), self._look_soon)
        except RuntimeError:  # no thread for timers can be had: the next claim tries again
            self._looks = False

    def _look_soon(self) -> None:
        try:
            HTTP_WORKERS.value.submit(self, self._look)
        except RuntimeError:
            self._look_later()

    def _look(self) -> None:
        with self._lock:
            known = self._known()
            self._looks = bool(known)
            first = self._turn if self._turn < len(known) else 0
            after = self._turn = first + MOST_KEYS
        self._listen()
        try:
            is_lost = self._see(known[first:after])
            if is_lost or self._was_away:  # what has lost one record may have lost all
                self._see([*known[:first], *known[after:]])
            self._was_away = False
        except StoreError as error:
            self._was_away = True
            _tell_unseen(known, error)
        if known:
            self._look_later()

    def _known(self) -> list[tuple[Cell, Member]]:
        """The managers that have not ended, and have a record. Under the lock."""
        return [(cell, member) for cell, member in self._members.items() if member.key and not cell.closed]

    def _see(self, known: list[tuple[Cell, Member]]) -> bool:
        """Look at the records of these managers, and tell them; whether one is missing that was there.

        Raises:
            StoreError: The store did not answer.
        """
        is_lost = False
        for first in range(0, len(known), MOST_KEYS):
            some = known[first : first + MOST_KEYS]
            keys = list(dict.fromkeys(member.key for _, member in some))
            looked = self.ask(lambda store, _, keys=keys: _looked(store, keys))  # type: ignore[misc]
            gens = dict(zip(keys, looked.gens, strict=True))
            for cell, member in some:
                gen = gens.get(member.key, 0)
                is_lost = is_lost or _is_lost(cell, member, gen)
                _tell(cell, member, gen)
        return is_lost

    # --- news ---------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Hear of the tokens of all managers, where the store has such news; of nothing more after the last manager."""
        listen = getattr(self.store, "listen", None)
        if listen is None:
            return
        with self._lock:
            keys = {member.key for _, member in self._known()}
            try:
                if keys and self._listening is None:
                    self._listening = listen(self._heard)
                if keys and self._listening is not None:
                    self._listening.hear_of(keys)
                elif self._listening is not None:
                    self._listening.close()
                    self._listening = None
            except Exception:  # noqa: BLE001 - of a user's store: the looks go on
                self._listening = None

    def _heard(self, key: str, gen: int) -> None:
        """Another member has a new token: look at that record now. On the listening's thread."""
        with self._lock:
            if key in self._announced or not any(_is_news(cell, gen) for cell, one in self._known() if one.key == key):
                return
        self._look_at({key})

    def watch_closely(self, key: str) -> None:
        """Look at a record more often that has a new login, until others have seen it: were it lost, they know a spent one."""
        with self._lock:
            is_first = not self._closely
            self._closely[key] = time.monotonic() + 1.5 * sharing.LOOK_S * max(1.0, len(self._members) / MOST_KEYS)
        if is_first:
            self._look_closely_later()

    def _look_closely_later(self) -> None:
        try:
            call_later(CLOSE_S, self._look_closely)
        except RuntimeError:  # no thread for timers can be had: the looks go on
            with self._lock:
                self._closely.clear()

    def _look_closely(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._closely = {key: until for key, until in self._closely.items() if until > now}
            keys = set(self._closely)
        if keys:
            self._look_at(keys)
            self._look_closely_later()

    def _look_at(self, keys: set[str]) -> None:
        """See some records now, on a thread of the pool."""
        with self._lock:
            is_first = not self._announced
            self._announced |= keys
        if is_first:
            try:
                HTTP_WORKERS.value.submit(self, self._look_early)
            except RuntimeError:  # no thread can be had: the next look sees it
                with self._lock:
                    self._announced.clear()

    def _look_early(self) -> None:
        with self._lock:
            keys, self._announced = self._announced, set()
            known = [(cell, member) for cell, member in self._known() if member.key in keys]
        try:
            self._see(known)
        except StoreError as error:
            _tell_unseen(known, error)


def _is_news(cell: Cell, gen: int) -> bool:
    """Whether a generation is newer than what a manager has, or is just storing."""
    known = None if cell.state is None else cell.state.sharing
    return known is not None and known.unshared is None and gen > known.gen


def _is_lost(cell: Cell, member: Member, gen: int) -> bool:
    known = None if cell.state is None else cell.state.sharing
    return known is not None and known.key == member.key and gen < known.gen


def _looked(store: TokenStore, keys: list[str]) -> Looked:
    looked = _expect(store.look(keys), Looked)
    if len(looked.gens) != len(keys):
        raise StoreError(
            f"the store gave an answer that is none: {len(looked.gens)} generations of {len(keys)} records"
        )
    return looked


def _is_whole(value: object) -> bool:
    return type(value) is int and abs(value) < 2**53


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, Secret)


_IS: dict[str, Callable[[Any], bool]] = {
    "gens": lambda value: isinstance(value, tuple) and all(_is_whole(gen) and gen >= 0 for gen in value),
    "token": lambda value: isinstance(value, Secret),
    "refresh_token": _is_text_or_none,
    "login": _is_text_or_none,
    "fingerprint": lambda value: isinstance(value, str),
    "doubtful": lambda value: isinstance(value, bool),
    "why": lambda value: value in ("lease", "down", "doubtful", "missing", "free"),
}


def _check(answer: object) -> None:
    """See that an answer is what it says: a store may be a user's, and what it gets wrong must not get as far as a manager.

    Raises:
        StoreError: It is not.
    """
    if isinstance(answer, Newer | Occupied | Granted | Lost | Shared | Overtaken | Looked):
        for name in answer.__dataclass_fields__:
            if not _IS.get(name, _is_whole)(getattr(answer, name)):
                raise StoreError(f"the store gave an answer that is none: {type(answer).__name__}.{name}")


def _expect(answer: T, *kinds: type) -> T:
    """An answer of one of those kinds.

    Raises:
        StoreError: It is another.
    """
    if not isinstance(answer, kinds):
        raise StoreError(f"the store gave an answer that is none: {type(answer).__name__}")
    return answer


def _tell(cell: Cell, member: Member, gen: int) -> None:
    """Tell a manager of its record where that is not as it knows it."""
    state = cell.state
    if state is None or state.sharing is None or state.sharing.key != member.key:
        return
    if state.sharing.error is not None or gen < state.sharing.gen or _is_news(cell, gen):
        cell.tell(RecordSeen(gen))


def _tell_unseen(known: list[tuple[Cell, Member]], error: StoreError) -> None:
    """Tell managers that the store cannot be asked, where they do not know: health is to say so before a token is wanted."""
    for cell, _ in known:
        state = cell.state
        if state is not None and state.sharing is not None and state.sharing.error is None:
            cell.tell(LookFailed(error))


_clients: PerProcess[WeakKeyDictionary[Any, StoreClient]] = PerProcess(WeakKeyDictionary)
_lock: PerProcess[Any] = PerProcess(threading.Lock)  # guards the above; nothing else is locked under it


def client_of(store: TokenStore) -> StoreClient:
    """The client of a store in this process; stores that compare equal share one."""
    with _lock.value:
        found = _clients.value.get(store)
        if found is None:
            found = _clients.value[store] = StoreClient(store)
        return found


class _Logins:
    """The logins that this process has taken from a store: each until its successor is stored, or it is given back."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, int], float] = {}  # when its lease ends at the latest, by record and fence
        self._changed = threading.Condition()  # guards the above; notified when one is back

    def taken(self, lease: HeldLease) -> None:
        """A lease has been granted, or renewed."""
        with self._changed:
            self._until[lease.key, lease.fence] = time.monotonic() + sharing.LEASE_S

    def returned(self, lease: HeldLease) -> None:
        """What came under a lease is stored, or it is given up."""
        with self._changed:
            if self._until.pop((lease.key, lease.fence), None) is not None:
                self._changed.notify_all()

    def settle(self, key: str | None = None) -> None:
        """Wait for those of a record, or for all, while their leases hold; for `SETTLE_S` at most."""
        ends_at = time.monotonic() + SETTLE_S
        with self._changed:
            while (now := time.monotonic()) < ends_at:
                held = [until for (of, _), until in self._until.items() if until > now and key in (None, of)]
                if not held:
                    return
                self._changed.wait(min(ends_at, *held) - now)


_logins: PerProcess[_Logins] = PerProcess(_Logins)


def settle_all() -> None:
    """Wait for all logins that are to be stored; at the interpreter's exit, on its main thread: the daemon threads still run."""
    _logins.value.settle()


# --- what a record is called ------------------------------------------------------------------------------------------


def record_key(options: Options, login: Secret | None) -> str:
    """What the record of a manager is called in its store: all that shapes a token is in it, and no secret.

    Args:
        options: The manager's.
        login: The configured refresh token, where there is no other way to a token: a new login is a new record.
    """
    auth, config = options.auth, options.oidc_config
    shape: list[Any] = [
        options.issuer_url or (config and config.token_endpoint),
        auth.grant_type,
        auth.client_id,
        getattr(auth, "username", None),
        sorted(auth.scopes),
        _several(auth.audience),
        _several(auth.resource),
        None if auth.extra is None else sorted(auth.extra.items()),
        auth.client_auth,
        getattr(auth, "requested_token_type", None),
        auth.dpop.thumbprint() if isinstance(auth.dpop, DPoPKey) else None,
        _certificate(auth),
        options.store_key,
        None if login is None else hashlib.sha256(login.reveal().encode()).hexdigest(),
    ]
    if isinstance(auth, Custom):
        shape.append(["custom", auth.identity])
    if isinstance(auth, IdentityAssertion):  # another identity provider's user of the same name is another person
        shape.append(["identity provider", name_of(auth.identity_provider)])
    if auth.request_headers is not None:  # as ``extra``; what a source fetches changes, and is a secret
        headers = auth.request_headers.items()
        shape.append(
            sorted((name.lower(), value.reveal() if isinstance(value, Secret) else "") for name, value in headers)
        )
    told = json.dumps(shape, separators=(",", ":"), default=list).encode()
    return base64.b32encode(hashlib.sha256(told).digest()).decode().lower()[:26]


def _several(given: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What was given as one text or as several: the same token, and so the same record."""
    return (given,) if isinstance(given, str) else given


def _certificate(auth: Credentials) -> str | None:
    """The certificate that tokens are bound to."""
    if auth.client_certificate is None:
        return None
    try:
        return hashlib.sha256(auth.client_certificate.cert_file.read_bytes()).hexdigest()
    except OSError as error:
        raise SecretUnavailable(f"client_certificate: {error}", option="client_certificate") from None


# --- on a worker's thread ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caller:
    """The manager for which the store is asked, and what it is asked; on a worker's thread, but for `settle`."""

    client: StoreClient
    cell: Cell
    options: Options
    log: Callable[..., None]

    def ask(self, call: Callable[[TokenStore, int], T]) -> T:
        """Ask the store on behalf of the manager, as `StoreClient.ask`.

        Args:
            call: Asks it.

        Raises:
            StoreError: It did not answer, now or a moment ago.
        """
        return self.client.ask(call, self.cell)

    def tell(self, message: object) -> None:
        """Send the manager a message, unless it has gone on with other options, and another record, since."""
        if self.cell.options == self.options:
            self.cell.tell(message)

    @property
    def is_login(self) -> bool:
        """Whether the refresh token that the record keeps is the only way to a token."""
        return isinstance(self.options.auth, RefreshToken)

    @property
    def kept_ms(self) -> int:
        """How long its record is kept after its token's end."""
        return LOGIN_KEPT_MS if self.is_login else KEPT_MS

    def claim(self, effect: Fetch, wanted: Claim, release: Callable[[], None]) -> None:
        """Claim, and put the answer into the manager's cell.

        Args:
            effect: The request, whose numbers the answer repeats.
            wanted: What is claimed.
            release: Called where the provider is not going to be asked: another manager may probe it.
        """
        cell, client = self.cell, self.client
        if not cell.expects(effect.attempt, effect.request):
            release()
            return
        at = cell.clock()
        certificate = self.options.auth.client_certificate
        if certificate is not None:  # before it is read: the record is that of its tokens
            cell.versions = cell.versions and cell.versions[0], certificate.version()
        try:
            event = _answer(self, effect, wanted, at)
        except StoreError as error:
            event = ClaimFailed(effect.attempt, effect.request, at, error.with_traceback(None))
        except SecretUnavailable as error:
            error.__cause__ = error.__context__ = None
            event = FetchFailed(effect.attempt, effect.request, at, error.with_traceback(None))
        except BaseException as error:  # noqa: BLE001 - of a user's source of a secret
            unknown = StoreError(f"the claim raised {type(error).__name__}", sent=False)
            event = ClaimFailed(effect.attempt, effect.request, at, unknown)
        if not isinstance(event, ClaimGranted | ClaimFailed):
            release()
        delivered = cell.deliver(event)
        if not delivered and isinstance(event, ClaimGranted):
            self.give_up(GiveUpLease(event.lease, "intact"))
        client.watch()

    def renew(self, effect: RenewLease) -> None:
        """Renew a lease, and tell the manager."""
        lease, at = effect.lease, self.cell.clock()
        length_ms = round(1000 * sharing.LEASE_S)
        try:
            held = self.ask(
                lambda store, late: _expect(
                    store.renew(
                        lease.key,
                        asked.Renewal(lease.claimant, lease.fence, late, length_ms, lease.sealed, lease.doubtful),
                    ),
                    bool,
                )
            )
        except StoreError:  # the lease ends, or the next renewal comes in time
            return
        if self.is_login:
            (_logins.value.taken if held else _logins.value.returned)(lease)
        self.tell(LeaseRenewed(lease.fence, at + sharing.LEASE_S) if held else LeaseLost(lease.fence))

    def share(self, effect: ShareToken) -> None:
        """Share a token, and tell the manager."""
        lease = effect.lease
        try:
            given = _to_share(self, effect)
            answer = self.ask(
                lambda store, late: _expect(
                    store.share(lease.key, replace(given, not_after_ms=late)), Shared, Overtaken
                )
            )
        except StoreError as error:
            self.tell(ShareFailed(lease.fence, error.with_traceback(None)))
        except SecretUnavailable as error:  # a key of the store's
            self.tell(ShareFailed(lease.fence, StoreError(str(error), sent=False)))
        else:
            _logins.value.returned(lease)
            if isinstance(answer, Overtaken):
                self.tell(TokenOvertaken(lease.fence))
                return
            self.tell(TokenShared(lease.fence, answer.gen, given.refresh_token))
            if self.is_login:
                self.client.watch_closely(lease.key)

    def share_late(self, lease: HeldLease, parsed: ParsedToken, expires_at: float) -> None:
        """Share a token that came after its manager had been stopped, or had given it up: it may be the only way on."""
        text = parsed.token.refresh_token if self.options.auth.asks_provider else None
        refresh_token = None if text is None else Secret(text)
        keeps = refresh_token is None and (self.is_login or lease.refresh_token is not None)
        self.share(ShareToken(lease, parsed.token, expires_at, parsed.lifetime_s, refresh_token, keeps))

    def give_up(self, effect: GiveUpLease) -> None:
        """Give a lease up; where the store does not answer, it ends by itself, and the next claim says that nothing was sent."""
        lease, wait_ms = effect.lease, round(1000 * effect.wait_s)
        member = self.client.member(self.cell)
        if effect.login == "intact" and member.unheard is None:
            member.unheard = lease.claimant
        with contextlib.suppress(StoreError):
            self.ask(
                lambda store, late: store.give_up(
                    lease.key, asked.GiveUp(lease.claimant, lease.fence, late, effect.login, wait_ms)
                )
            )
            member.heard(lease.claimant)
        _logins.value.returned(lease)

    def restore(self, effect: RestoreRecord) -> None:
        """Put a record back that the store has lost; where that fails, the next look finds it missing again."""
        key, ends_at = effect.key, effect.expires_at

        def ask(store: TokenStore, late: int) -> bool:
            left_s = ends_at - self.cell.clock() if effect.token is not None else 0.0
            expires_ms = late + round(1000 * (left_s - PATIENCE_S))
            return store.restore(key, replace(given, not_after_ms=late, expires_ms=expires_ms))

        try:
            given = _to_restore(self, effect, key)
            self.ask(ask)
        except (StoreError, SecretUnavailable):
            return

    def settle(self) -> None:
        """Wait until the login is stored that a manager has redeemed, where that is its only one; on the manager's thread."""
        _logins.value.settle(self.client.member(self.cell).key)


def caller_of(options: Options, cell: Cell) -> Caller | None:
    """A manager as those know it that ask its store; ``None`` without a store."""
    if options.store is None:
        return None
    client, state = client_of(options.store), cell.state
    if state is not None and state.sharing is not None and state.sharing.key:  # of a forked child, its parent's
        client.member(cell).key = state.sharing.key
        client.watch()
    name = cell.name or f"#{cell.number}"

    def report(event: str, attempt: int, **fields: object) -> None:
        cell.count(event)
        log(event, manager=name, issuer=options.issuer, attempt=attempt, **fields)

    return Caller(client, cell, options, report)


@holds_secrets
def _answer(
    caller: Caller, effect: Fetch, wanted: Claim, at: float, *, unread: bool = False, is_new: bool = False
) -> Any:
    client, cell, options = caller.client, caller.cell, caller.options
    own = options.auth.grant_secret if caller.is_login else None
    login = None if own is None else resolve_secret(own, "refresh_token")
    member = client.member(cell)
    key = member.key = record_key(options, login)
    wanted = _of_record(cell, wanted, key)
    claimant = secrets.token_hex(8)
    given = asked.Claim(
        claimant,
        0,
        wanted.known_gen,
        round(1000 * wanted.need_s),
        None if wanted.rejected is None else fingerprint16(wanted.rejected.reveal()),
        round(1000 * sharing.LEASE_S),
        None if login is None else client.sealer.seal({"refresh_token": login.reveal()}, key),
        0 if is_new else round(1000 * sharing.QUARANTINE_S),
        wanted.may_try,
        member.unheard,
        wanted.adopts_only,
    )
    ahead_s, numbers = wall_ahead_s(cell.clock), (effect.attempt, effect.request)
    asked_at = at

    def ask(store: TokenStore, late: int) -> asked.ClaimAnswer:
        nonlocal asked_at
        # Only now: what came before, a connection's making too, is not to shorten a token's life.
        asked_at = cell.clock()
        if not wanted.adopts_only:
            member.unheard = claimant
        return _expect(store.claim(key, replace(given, not_after_ms=late)), Newer, Occupied, Granted, Lost)

    try:
        answer = caller.ask(ask)
    except StoreError as error:
        if not error.sent and member.heard(claimant):  # nothing was granted, and what was to be taken back still is
            member.unheard = given.unheard
        raise
    member.heard(claimant)
    now = cell.clock()
    if isinstance(answer, Newer):
        adopted = _adopted(caller, answer, key, asked_at, ahead_s, numbers)
        if adopted is None and unread:
            raise StoreError("the store gives a record that cannot be read for one that is newer")
        return adopted or _answer(caller, effect, replace(wanted, known_gen=answer.gen), cell.clock(), unread=True)
    if isinstance(answer, Occupied):
        if answer.why == "missing" and not is_new and _is_new(caller, key):
            return _answer(caller, effect, wanted, cell.clock(), is_new=True)
        wait_s = min(max(0.0, (answer.until_ms - answer.now_ms) / 1000), LONGEST_WAIT_S)
        return ClaimOccupied(*numbers, at, now + wait_s, answer.why)
    if isinstance(answer, Lost):
        return LoginLost(*numbers, at)
    return _granted(caller, answer, given, login, key, asked_at, now, numbers)


def _of_record(cell: Cell, wanted: Claim, key: str) -> Claim:
    """What is claimed, without what the manager knows of another login's record."""
    state = cell.state
    known = "" if state is None or state.sharing is None else state.sharing.key
    if known == key:
        return wanted
    cell.tell(RecordNamed(key))
    return replace(wanted, known_gen=0)


def _is_new(caller: Caller, key: str) -> bool:
    """Whether no member that lives has had the record, so that none is going to put it back. Few stores can tell."""
    state, is_known = caller.cell.state, getattr(caller.client.store, "is_known", None)
    knows = state is not None and state.sharing is not None and state.sharing.key == key and state.sharing.gen
    return is_known is not None and not knows and not caller.ask(lambda store, _: is_known(key))


def _adopted(
    caller: Caller, newer: Newer, key: str, at: float, ahead_s: float, numbers: tuple[int, int]
) -> TokenAdopted | None:
    content = caller.client.sealer.open(newer.token, key)
    left_s = (newer.expires_ms - newer.now_ms) / 1000
    parsed = None if content is None else read_token(content, left_s, wall_clock())
    if content is None or parsed is None:
        caller.log("record_unreadable", numbers[0])
        return None
    left_s = min(left_s, parsed.lifetime_s)
    issued_at = content.get("issued_at")
    if isinstance(issued_at, int | float):
        differs_s = issued_at + parsed.lifetime_s - wall_clock() - left_s
        if abs(differs_s) > DIFFERS_S:
            caller.log("store_clock_differs", numbers[0], differs_s=round(differs_s, 1))
    return TokenAdopted(*numbers, at, parsed, at + left_s, newer.gen, newer.login, ahead_s)


def _granted(
    caller: Caller,
    granted: Granted,
    given: asked.Claim,
    login: Secret | None,
    key: str,
    at: float,
    now: float,
    numbers: tuple[int, int],
) -> OfRequest:
    sealed = granted.refresh_token or given.login
    lease = HeldLease(
        given.claimant, granted.fence, at + sharing.LEASE_S, None, sealed, granted.doubtful, now, granted.now_ms, key
    )
    if caller.is_login:
        _logins.value.taken(lease)
    content = caller.client.sealer.open(granted.refresh_token, key)
    text = None if content is None else content.get("refresh_token")
    if granted.refresh_token is not None and not isinstance(text, str):
        caller.log("record_unreadable", numbers[0])
        if caller.is_login:  # what it holds may be the only login, and one of the keys that are missing here opens it
            caller.give_up(GiveUpLease(lease, "intact"))
            raise StoreError(
                "the record's refresh token cannot be opened with the keys that are configured", sent=False
            )
    # The configured one as it was when the record was named: its file may change before it is sent.
    redeems = Secret(text) if isinstance(text, str) and text else login
    return ClaimGranted(*numbers, at, replace(lease, refresh_token=redeems))


def fingerprint16(text: str) -> str:
    """What a token is known by in a store: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@holds_secrets
def _to_share(caller: Caller, effect: ShareToken) -> asked.Share:
    lease, token, sealer = effect.lease, effect.token, caller.client.sealer
    offered = lease.sealed if effect.keeps else None
    if effect.refresh_token is not None:
        offered = sealer.seal({"refresh_token": effect.refresh_token.reveal()}, lease.key)
    sealed = sealer.seal(token_content(token, effect.lifetime_s), lease.key)
    expires_ms = lease.store_ms + round(1000 * (effect.expires_at - lease.at))
    named = fingerprint16(token.access_token)
    return asked.Share(lease.claimant, lease.fence, 0, sealed, expires_ms, named, offered, caller.kept_ms)


@holds_secrets
def _to_restore(caller: Caller, effect: RestoreRecord, key: str) -> asked.Restoration:
    token, sealer = effect.token, caller.client.sealer
    sealed = None if token is None else sealer.seal(token_content(token, effect.lifetime_s), key)
    named = "" if token is None else fingerprint16(token.access_token)
    quarantine_ms = round(1000 * sharing.PUT_BACK_S)
    return asked.Restoration(effect.gen, 0, sealed, 0, named, effect.login, caller.kept_ms, quarantine_ms)
