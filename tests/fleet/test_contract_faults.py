"""`check_store` finds what is wrong with a store: faults planted in one that keeps the contract."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from oidc_actor.sharing.records import Record
from oidc_actor.sharing.store import (
    Claim,
    ClaimAnswer,
    GiveUp,
    Granted,
    Looked,
    Newer,
    Overtaken,
    Renewal,
    Restoration,
    Share,
    Shared,
)
from oidc_actor.testing.memory_store import MemoryStore
from oidc_actor.testing.store_contract import check_store


class GrantsTwice(MemoryStore):
    """Whose leases hold nobody off."""

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        self.records[key] = replace(self._record(key), lease=None)
        return super().claim(key, claim)


class OffersTwice(MemoryStore):
    """That still offers what it has handed out."""

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        answer = super().claim(key, claim)
        if isinstance(answer, Granted) and answer.refresh_token is not None:
            self.records[key] = replace(self._record(key), refresh_token=answer.refresh_token, taken=None)
        return answer


class LosesTheFence(MemoryStore):
    """That forgets with a share under which fence it came."""

    def share(self, key: str, share: Share, /) -> Shared | Overtaken:
        answer = super().share(key, share)
        self.records[key] = replace(self._record(key), fence=0)
        return answer


class NeverLate(MemoryStore):
    """That carries a claim out however late it comes."""

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        return super().claim(key, replace(claim, not_after_ms=2**53))


class SharesLate(MemoryStore):
    def share(self, key: str, share: Share, /) -> Shared | Overtaken:
        return super().share(key, replace(share, not_after_ms=2**53))


class RenewsLate(MemoryStore):
    def renew(self, key: str, renewal: Renewal, /) -> bool:
        return super().renew(key, replace(renewal, not_after_ms=2**53))


class GivesUpLate(MemoryStore):
    def give_up(self, key: str, give_up: GiveUp, /) -> None:
        super().give_up(key, replace(give_up, not_after_ms=2**53))


class RestoresLate(MemoryStore):
    def restore(self, key: str, restoration: Restoration, /) -> bool:
        return super().restore(key, replace(restoration, not_after_ms=2**53))


class Overwrites(MemoryStore):
    """Whose share writes over what a newer grant is about to bring."""

    def share(self, key: str, share: Share, /) -> Shared | Overtaken:
        return super().share(key, replace(share, fence=max(share.fence, self._record(key).fence)))


class LooksWrong(MemoryStore):
    """Whose look gives the generations in another order."""

    def look(self, keys: Sequence[str], /) -> Looked:
        looked = super().look(keys)
        return replace(looked, gens=looked.gens[::-1])


class LooksOld(MemoryStore):
    """Whose look does not see the last change."""

    def look(self, keys: Sequence[str], /) -> Looked:
        looked = super().look(keys)
        return replace(looked, gens=tuple(gen and gen - 1 for gen in looked.gens))


class RestoresOlder(MemoryStore):
    """That takes an older token back."""

    def restore(self, key: str, restoration: Restoration, /) -> bool:
        found = self._record(key)
        self.records[key] = replace(found, gen=min(found.gen, restoration.gen - 1))
        return super().restore(key, restoration)


class RenewsForAll(MemoryStore):
    """That renews whatever lease there is."""

    def renew(self, key: str, renewal: Renewal, /) -> bool:
        super().renew(key, renewal)
        return True


class GivesNothingBack(MemoryStore):
    """That forgets what is given back unredeemed."""

    def give_up(self, key: str, give_up: GiveUp, /) -> None:
        super().give_up(key, replace(give_up, login="doubtful"))


class HandsOutTheRejected(MemoryStore):
    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        return super().claim(key, replace(claim, rejected=None))


class HandsOutTheNearlyOver(MemoryStore):
    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        return super().claim(key, replace(claim, need_ms=0))


class TriesAgainAndAgain(MemoryStore):
    """That hands a login out a third time."""

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        self.records[key] = replace(self._record(key), tried=False)
        return super().claim(key, claim)


class AnswersHalf(MemoryStore):
    """That leaves out the login beside a newer token."""

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        answer = super().claim(key, claim)
        return replace(answer, login=None) if isinstance(answer, Newer) else answer


class InSteps(MemoryStore):
    """Whose claim is two steps: all that come at a time read before one of them writes."""

    def __init__(self) -> None:
        super().__init__()
        self._together = threading.Barrier(8)

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        if not claim.claimant.startswith("race"):
            return super().claim(key, claim)
        before = self._record(key)
        self._together.wait(10)
        with self._lock:
            self.records[key] = before
        return super().claim(key, claim)


class Forgets(MemoryStore):
    """That keeps no record for as long as it is to."""

    def _record(self, key: str) -> Record:
        found = super()._record(key)
        return found if found.token is not None or found.lease is not None else Record()


FAULTY: list[Callable[[], Any]] = [
    GrantsTwice,
    OffersTwice,
    LosesTheFence,
    NeverLate,
    SharesLate,
    RenewsLate,
    GivesUpLate,
    RestoresLate,
    Overwrites,
    LooksWrong,
    LooksOld,
    RestoresOlder,
    RenewsForAll,
    GivesNothingBack,
    HandsOutTheRejected,
    HandsOutTheNearlyOver,
    TriesAgainAndAgain,
    AnswersHalf,
    InSteps,
    Forgets,
]


@pytest.mark.parametrize("faulty", FAULTY)
def test_a_fault_is_found_as_the_check_is_by_default(faulty: Callable[[], Any]) -> None:
    store = faulty()
    with pytest.raises(AssertionError):
        check_store(lambda: store)


def test_each_from_the_factory_is_to_be_the_same_store() -> None:
    with pytest.raises(AssertionError, match="of 8 claims at a time 8 were granted"):
        check_store(MemoryStore)


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(AssertionError, match="expected the six methods of a TokenStore"):
        check_store(object)  # type: ignore[arg-type]
