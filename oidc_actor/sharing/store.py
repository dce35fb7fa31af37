"""What a store of shared tokens is asked, and what it answers: `TokenStore`, the protocol that a store of one's own implements.

A store keeps one record for each key. What it is given is sealed text, which it cannot open and must not print; a key that
tells nothing; and fingerprints. Every method is one atomic step at the store. All times are the store's own, in whole
milliseconds since any moment: hosts need not agree on the time, only the store with itself.

**Claim before send.** A manager claims before it asks the provider. Of all that claim at a time one is granted, and it is handed
the refresh token, *which the record then no longer offers*. So no two processes redeem one refresh token, however long one of
them is paused. The lease of a claim gives liveness only: when its holder dies another one is granted after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, TypeAlias

from oidc_actor.values.secrets import Secret, StoredSecret
from supervision.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """A manager's wish to be the one that asks the provider.

    Attributes:
        claimant: Random text, a new one for each claim.
        not_after_ms: The store does nothing when its clock is past this: a claim that was stuck on its way must not be granted to
            a manager that has given it up.
        known_gen: The generation of the manager's token, 0 without one. Only a newer token is of use to it.
        need_ms: How long a newer token must still live to be of use.
        rejected: The fingerprint of a token that is of no use, or ``None``.
        lease_ms: How long the grant holds, unless it is renewed.
        login: The sealed refresh token that the credentials were configured with; ``None`` where the grant can be repeated, so
            that no refresh token is the only way to a token.
        quarantine_ms: How long a record must have been missing before ``login`` may be redeemed: it may have been lost, and other
            members may be about to put it back. The store counts that, and anew where it is emptied meanwhile.
        may_try: Whether a login that may have been spent already is to be tried now: once, and never again.
        unheard: The claimant of an earlier claim whose answer the manager never heard, so that it sent nothing; or ``None``.
        adopts_only: Whether only a newer token is asked for, and nothing is to be granted.
    """

    claimant: str
    not_after_ms: int
    known_gen: int = 0
    need_ms: int = 0
    rejected: str | None = None
    lease_ms: int = 3000
    login: Secret | None = None
    quarantine_ms: int = 0
    may_try: bool = False
    unheard: str | None = None
    adopts_only: bool = False


@dataclass(frozen=True, slots=True)
class Newer:
    """The record has a token that is of use: no request is needed.

    Attributes:
        gen: Its generation.
        token: It, sealed.
        expires_ms: When it ends.
        fingerprint: Its fingerprint.
        login: The sealed refresh token that the record offers, or has handed out: for a record that is lost to be put back.
            ``None`` where it has none.
        now_ms: The store's clock.
    """

    gen: int
    token: Secret
    expires_ms: int
    fingerprint: str
    login: Secret | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class Occupied:
    """Another one is at it, or it is too early: ask again.

    Attributes:
        until_ms: When to ask again at the latest; it may be worth asking sooner where a lease may end by a new token.
        why: ``"lease"``: another manager is asking the provider. ``"down"``: another one has failed, and waits on behalf of all.
            ``"doubtful"``: the login may have been spent, and is not to be tried yet. ``"missing"``: there is no record, or one
            that was just put back: other members may be about to put back a newer one. ``"free"``: nothing else was asked for
            than a newer token.
        now_ms: The store's clock.
    """

    until_ms: int
    why: Literal["lease", "down", "doubtful", "missing", "free"]
    now_ms: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The manager alone is to ask the provider now.

    Attributes:
        fence: Grows with each grant; what is shared under an older one is refused.
        refresh_token: What to redeem, sealed; ``None`` for the credentials' own grant.
        doubtful: Whether that refresh token may have been spent already by a holder that was lost.
        now_ms: The store's clock.
    """

    fence: int
    refresh_token: Secret | None
    doubtful: bool
    now_ms: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The login was redeemed by a holder that was lost, and tried once more since: only a new login helps.

    Attributes:
        now_ms: The store's clock.
    """

    now_ms: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """Hold a lease for longer, while the provider is being asked.

    Attributes:
        claimant: The holder.
        fence: Its fence.
        not_after_ms: As for `Claim`.
        lease_ms: How long from now.
        taken: The refresh token that was handed out under this lease: a record that is lost meanwhile is put back with it.
        doubtful: As it was granted.
    """

    claimant: str
    fence: int
    not_after_ms: int
    lease_ms: int = 3000
    taken: Secret | None = None
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """A token that a holder has got, for all.

    Attributes:
        claimant: The holder.
        fence: Its fence.
        not_after_ms: As for `Claim`.
        token: The token, sealed.
        expires_ms: When it ends, by the store's clock.
        fingerprint: Its fingerprint.
        refresh_token: What is to be redeemed next, sealed; ``None`` for the credentials' own grant.
        keep_ms: How long the record is worth keeping after the token's end.
    """

    claimant: str
    fence: int
    not_after_ms: int
    token: Secret
    expires_ms: int
    fingerprint: str
    refresh_token: Secret | None = None
    keep_ms: int = 600_000


@dataclass(frozen=True, slots=True)
class Shared:
    """It is stored.

    Attributes:
        gen: Its generation.
        now_ms: The store's clock.
    """

    gen: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Another one was granted since, and what that one has or gets counts.

    Attributes:
        now_ms: The store's clock.
    """

    now_ms: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A holder has no token: the lease ends, and all wait together.

    Attributes:
        claimant: The holder.
        fence: Its fence.
        not_after_ms: As for `Claim`.
        login: What has become of the refresh token that was handed out: ``"intact"`` (it was not redeemed, and is offered
            again), ``"doubtful"`` (the provider may have redeemed it), ``"refused"`` (it is of no use any more).
        wait_ms: How long no member is granted; 0 where the next may go at once.
    """

    claimant: str
    fence: int
    not_after_ms: int
    login: Literal["intact", "doubtful", "refused"]
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a member knows of a record that the store has lost.

    Attributes:
        gen: The generation of its token.
        not_after_ms: As for `Claim`.
        token: The token, sealed; ``None`` where only the login is put back.
        expires_ms: When it ends.
        fingerprint: Its fingerprint.
        login: The sealed refresh token that it saw last, where that is the only way to a token. ``None`` else: one that can be
            had anew is not put back.
        keep_ms: As for `Share`.
        quarantine_ms: How long it is offered to none, while a holder that has redeemed it may put back what it knows.
    """

    gen: int
    not_after_ms: int
    token: Secret | None
    expires_ms: int
    fingerprint: str
    login: Secret | None = None
    keep_ms: int = 600_000
    quarantine_ms: int = 0


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look has seen.

    Attributes:
        gens: The generation of each key's record, in the order of the keys; 0 where there is none.
        now_ms: The store's clock.
    """

    gens: tuple[int, ...]
    now_ms: int


ClaimAnswer: TypeAlias = Newer | Occupied | Granted | Lost


class TokenStore(Protocol):
    """A store of shared tokens.

    Its methods block for at most a second or so, are called by worker threads, several at a time, and raise `StoreError` and
    nothing else. The three steps of a method, look, decide, write, are one: no other call comes in between.
    `oidc_actor.sharing.records` decides; `oidc_actor.testing.check_store` checks a store against it.

    Attributes:
        namespace: What keeps fleets apart that use one store.
        host: Where the store is, for people, without credentials.
        keys: What records are sealed with, as `oidc_actor.sharing.sealing.read_keys` gives it; empty for a store that only its
            owner can read.
    """

    @property
    def keys(self) -> Sequence[StoredSecret]:
        """The keys that records are sealed with."""

    @property
    def namespace(self) -> str:
        """What keeps fleets apart that use one store."""

    @property
    def host(self) -> str:
        """Where the store is, for people, without credentials."""

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        """Grant a claim, or say why not.

        Args:
            key: The record's name.
            claim: What is wanted.

        Raises:
            StoreError: The store could not be asked, or too late.
        """

    def renew(self, key: str, renewal: Renewal, /) -> bool:
        """Hold a lease for longer; false where another one was granted since.

        Args:
            key: The record's name.
            renewal: Whose lease, and for how long.

        Raises:
            StoreError: The store could not be asked, or too late.
        """

    def share(self, key: str, share: Share, /) -> Shared | Overtaken:
        """Store a token for all.

        Args:
            key: The record's name.
            share: The token, and under which grant it was got.

        Raises:
            StoreError: The store could not be asked, or too late.
        """

    def give_up(self, key: str, give_up: GiveUp, /) -> None:
        """End a lease without a token; nothing is done where another one was granted since.

        Args:
            key: The record's name.
            give_up: Whose lease, and how long all are to wait.

        Raises:
            StoreError: The store could not be asked, or too late.
        """

    def restore(self, key: str, restoration: Restoration, /) -> bool:
        """Put back a record that was lost; false where one is there that is as new.

        Args:
            key: The record's name.
            restoration: What was in it.

        Raises:
            StoreError: The store could not be asked, or too late.
        """

    def look(self, keys: Sequence[str], /) -> Looked:
        """See which records are there, and what the store's clock says.

        Args:
            keys: The records' names, at most 500; none for the clock only.

        Raises:
            StoreError: The store could not be asked.
        """


class Listening(Protocol):
    """What hears of new tokens for the managers of one process, on a thread of its own."""

    def hear_of(self, keys: Iterable[str], /) -> None:
        """Hear of these keys, and of no others, soon. Must not block.

        Args:
            keys: The records' names.
        """

    def close(self) -> None:
        """Hear of nothing more. Must not block."""


class AnnouncingStore(TokenStore, Protocol):
    """A store whose members tell each other of new tokens, so that they need not wait for the next look. `listen` is optional.

    What is heard proves nothing, and may be lost: it has the store looked at once more, a little earlier.
    """

    def listen(self, heard: Callable[[str, int], None], /) -> Listening | None:
        """Begin to hear, once for each process; ``None`` where this store does not announce anything. Must not block.

        Args:
            heard: Called on the listening's thread with a record's name and the generation of its token; it does not block.
        """


class KnowingStore(TokenStore, Protocol):
    """A store that can tell whether a missing record may be put back: a new login need not wait. `is_known` is optional."""

    def is_known(self, key: str, /) -> bool:
        """Whether a member that lives has had a token from the record, or may have; asked where there is no record.

        Args:
            key: The record's name.

        Raises:
            StoreError: The store could not be asked.
        """


_METHODS = ("claim", "renew", "share", "give_up", "restore", "look")


def is_store(value: object) -> bool:
    """Whether that has all that a `TokenStore` has."""
    has_rest = isinstance(getattr(value, "keys", None), Sequence) and isinstance(getattr(value, "namespace", None), str)
    return has_rest and all(callable(getattr(value, name, None)) for name in _METHODS)
