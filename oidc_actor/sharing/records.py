"""What a store does with a record: each of `TokenStore`'s methods as a function from a record to a record and an answer. Pure.

The stores carry these steps out atomically, each in its own way: under a lock, under a file lock, or as a script in the server,
which says the same in Lua. A step whose time is past (``not_after_ms``) changes nothing, and is an error.

==================  ===============================================================================================
a refresh token is  when
==================  ===============================================================================================
offered             it came with a token that was shared; or the holder that had it has given it back unredeemed
taken               a claim was granted: it is with the holder, and here only in case that is lost
tried               the holder was lost, and another one has been given it, once: no third one is
==================  ===============================================================================================

A refresh token that is only one way of several is not tried twice at all: the next holder uses the other way.

**Quarantine.** A record that is not there may have been lost, and what a member puts in its place may be older than what another
one knows, which has just redeemed that. So a login is handed out only when what was put back, or the note that nothing was, has
stood for a while. Where the store loses that too, the while begins anew for all members.
"""

from __future__ import annotations

from dataclasses import replace

from oidc_actor.sharing.store import (
    Claim,
    ClaimAnswer,
    GiveUp,
    Granted,
    Lost,
    Newer,
    Occupied,
    Overtaken,
    Renewal,
    Restoration,
    Share,
    Shared,
)
from oidc_actor.values.errors import StoreError
from oidc_actor.values.secrets import Secret
from supervision.frozen import dataclass

KEPT_MS = 10 * 60 * 1000
LOGIN_KEPT_MS = 90 * 24 * 3600 * 1000
"""Milliseconds that a record is kept after its token's end, or after a grant; the second where it has the only login."""

AGAIN_MS = 1000
"""Milliseconds after which a claim may be made again that was too early for another reason than a lease."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Until when no other claim is granted.

    Attributes:
        claimant: The holder; empty where it has given up, and all wait.
        until_ms: Its end.
        length_ms: How long it was at most when it was made: one that has longer to go was made by a clock that was set back.
    """

    claimant: str
    until_ms: int
    length_ms: int

    def holds(self, now_ms: int) -> bool:
        """Whether it has not ended."""
        return now_ms < self.until_ms <= now_ms + self.length_ms


@dataclass(frozen=True, slots=True)
class Record:
    """What a store keeps of one key.

    Attributes:
        gen: The generation of the token, which grows with each; 0 before the first.
        fence: The fence of the last grant; 0 before the first.
        token: The token, sealed, or ``None``.
        expires_ms: When it ends.
        fingerprint: Its fingerprint, empty without one.
        refresh_token: The refresh token that is offered, sealed, or ``None``.
        taken: One that was offered and handed out, or ``None``.
        taker: The claimant that has it; empty where that is unknown.
        tried: Whether ``taken`` was handed out once more.
        lease: The present or last lease, or ``None``.
        quarantine_ms: Until when no login is handed out; 0 where nothing is known to have been lost.
        keep_until_ms: When the record is of no use any more.
    """

    gen: int = 0
    fence: int = 0
    token: Secret | None = None
    expires_ms: int = 0
    fingerprint: str = ""
    refresh_token: Secret | None = None
    taken: Secret | None = None
    taker: str = ""
    tried: bool = False
    lease: Lease | None = None
    quarantine_ms: int = 0
    keep_until_ms: int = 0

    @property
    def is_missing(self) -> bool:
        """Whether there is no record."""
        return not (self.gen or self.fence)


def claim(record: Record, asked: Claim, now_ms: int) -> tuple[Record, ClaimAnswer]:
    """Grant a claim, or say why not."""
    _in_time(asked.not_after_ms, now_ms)
    if asked.unheard is not None:
        record = _as_if_unasked(record, asked.unheard)
    token = record.token
    if (
        token is not None
        and record.gen > asked.known_gen
        and record.expires_ms - now_ms > asked.need_ms
        and record.fingerprint != asked.rejected
    ):
        login = record.refresh_token or record.taken
        return record, Newer(record.gen, token, record.expires_ms, record.fingerprint, login, now_ms)
    if asked.adopts_only:
        return record, Occupied(now_ms, "free", now_ms)
    lease = record.lease
    if lease is not None and lease.holds(now_ms):
        return record, Occupied(lease.until_ms, "lease" if lease.claimant else "down", now_ms)
    return _grant(record, asked, now_ms)


def _grant(record: Record, asked: Claim, now_ms: int) -> tuple[Record, ClaimAnswer]:
    if asked.login is not None:
        record, until_ms = _in_quarantine(record, asked, now_ms)
        if now_ms < until_ms:
            return record, Occupied(until_ms, "missing", now_ms)
    handed_out, doubtful = record.refresh_token, False
    if handed_out is not None:
        record = replace(record, refresh_token=None, taken=handed_out, taker=asked.claimant, tried=False)
    elif asked.login is None:
        record = replace(record, taken=None, taker="", tried=False)
    elif record.is_missing:
        record = replace(record, taken=asked.login, taker=asked.claimant)
    elif record.tried:
        return record, Lost(now_ms)
    elif not asked.may_try:
        return record, Occupied(now_ms + AGAIN_MS, "doubtful", now_ms)
    else:
        # A record without any refresh token was put back by a member that had seen none: then it is the configured one.
        handed_out, doubtful = record.taken or asked.login, True
        record = replace(record, taken=handed_out, taker=asked.claimant, tried=True)
    fence = max(now_ms, record.fence + 1)
    lease = Lease(asked.claimant, now_ms + asked.lease_ms, asked.lease_ms)
    if record.fingerprint == asked.rejected:
        record = replace(record, token=None, fingerprint="", expires_ms=0)
    kept_ms = KEPT_MS if asked.login is None else LOGIN_KEPT_MS
    keep_until_ms = max(record.keep_until_ms, lease.until_ms + kept_ms)
    return (
        replace(record, fence=fence, lease=lease, quarantine_ms=0, keep_until_ms=keep_until_ms),
        Granted(fence, handed_out, doubtful, now_ms),
    )


def _in_quarantine(record: Record, asked: Claim, now_ms: int) -> tuple[Record, int]:
    """Until when a login is not handed out, which a record that is missing has noted from now on."""
    if not record.is_missing and record.gen < asked.known_gen:  # older than what the claimant knows, and is to put back
        return record, now_ms + AGAIN_MS
    length_ms = asked.quarantine_ms
    is_unset = record.is_missing and not record.quarantine_ms
    if is_unset or record.quarantine_ms > now_ms + length_ms:  # the second: the store's clock was set back
        keep_until_ms = max(record.keep_until_ms, now_ms + length_ms + KEPT_MS)
        record = replace(record, quarantine_ms=now_ms + length_ms, keep_until_ms=keep_until_ms)
    return record, record.quarantine_ms


def _as_if_unasked(record: Record, claimant: str) -> Record:
    """Take back a grant whose answer was never heard: nothing was sent under it."""
    lease = None if record.lease is not None and record.lease.claimant == claimant else record.lease
    return replace(_given_back(record, claimant), lease=lease)


def _given_back(record: Record, claimant: str) -> Record:
    if record.taken is None or record.taker != claimant or record.refresh_token is not None:
        return record
    if record.tried:  # it may have been spent before, and may be tried again as it was to be
        return replace(record, taker="", tried=False)
    return replace(record, refresh_token=record.taken, taken=None, taker="")


def renew(record: Record, asked: Renewal, now_ms: int) -> tuple[Record, bool]:
    """Hold a lease for longer; a record that was lost meanwhile is put back as far as its holder knows it."""
    _in_time(asked.not_after_ms, now_ms)
    has_ended = record.fence == asked.fence and (record.lease is None or record.lease.claimant != asked.claimant)
    if record.fence > asked.fence or has_ended:
        return record, False
    if record.fence < asked.fence:
        record = replace(record, fence=asked.fence, taken=asked.taken, taker=asked.claimant, tried=asked.doubtful)
        record = replace(record, refresh_token=None, quarantine_ms=0)
    lease = Lease(asked.claimant, now_ms + asked.lease_ms, asked.lease_ms)
    kept_ms = KEPT_MS if asked.taken is None else LOGIN_KEPT_MS
    keep_until_ms = max(record.keep_until_ms, lease.until_ms + kept_ms)
    return replace(record, lease=lease, keep_until_ms=keep_until_ms), True


def share(record: Record, asked: Share, now_ms: int) -> tuple[Record, Shared | Overtaken]:
    """Store a token, and the refresh token that is offered next; a token that has ended meanwhile is left out."""
    _in_time(asked.not_after_ms, now_ms)
    if record.fence > asked.fence:
        return record, Overtaken(now_ms)
    if record.fingerprint == asked.fingerprint and record.taker != asked.claimant and record.lease is None:
        return record, Shared(record.gen, now_ms)  # it was stored before, and the answer was lost
    lives = asked.expires_ms > now_ms
    gen = max(now_ms, record.gen + 1)
    record = Record(
        gen=gen,
        fence=asked.fence,
        token=asked.token if lives else None,
        expires_ms=asked.expires_ms if lives else 0,
        fingerprint=asked.fingerprint if lives else "",
        refresh_token=asked.refresh_token,
        keep_until_ms=max(asked.expires_ms, now_ms) + asked.keep_ms,
    )
    return record, Shared(gen, now_ms)


def give_up(record: Record, asked: GiveUp, now_ms: int) -> Record:
    """End a lease without a token."""
    _in_time(asked.not_after_ms, now_ms)
    if record.fence != asked.fence:
        return record
    if asked.login == "intact":
        record = _given_back(record, asked.claimant)
    elif asked.login == "refused":
        record = replace(record, tried=True)
    lease = Lease("", now_ms + asked.wait_ms, asked.wait_ms) if asked.wait_ms else None
    keep_until_ms = max(record.keep_until_ms, now_ms + asked.wait_ms + KEPT_MS)
    return replace(record, lease=lease, keep_until_ms=keep_until_ms)


def restore(record: Record, asked: Restoration, now_ms: int) -> tuple[Record, bool]:
    """Put back a record that was lost."""
    _in_time(asked.not_after_ms, now_ms)
    has_login = record.refresh_token is not None or record.taken is not None
    if record.gen > asked.gen or (record.gen == asked.gen and (has_login or asked.login is None)):
        return record, False
    is_held = record.lease is not None and bool(record.lease.claimant) and record.lease.holds(now_ms)
    record = replace(record, gen=asked.gen)
    if asked.token is not None and asked.expires_ms > now_ms:
        record = replace(record, token=asked.token, expires_ms=asked.expires_ms, fingerprint=asked.fingerprint)
    # What came with a newer token is newer than what is here. Not under a lease: its holder may be redeeming that very one.
    if asked.login is not None and not is_held and asked.login != record.taken:
        record = replace(record, refresh_token=asked.login, taken=None, taker="", tried=False)
        record = replace(record, quarantine_ms=now_ms + asked.quarantine_ms)
    keep_until_ms = max(record.keep_until_ms, asked.expires_ms + asked.keep_ms)
    return replace(record, keep_until_ms=keep_until_ms), True


def _in_time(not_after_ms: int, now_ms: int) -> None:
    if now_ms > not_after_ms:
        raise StoreError("the store was reached too late, and has done nothing", sent=False)
