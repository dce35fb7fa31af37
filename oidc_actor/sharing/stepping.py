"""The steps of a store that carries out each under a lock of its own making: what is the same in all such stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from oidc_actor.sharing import records
from oidc_actor.sharing.records import Record
from oidc_actor.sharing.store import Claim, ClaimAnswer, GiveUp, Overtaken, Renewal, Restoration, Share, Shared

T = TypeVar("T")


class SteppingStore(ABC):
    """Carries out the steps of `oidc_actor.sharing.records`. A subclass reads and writes records, and looks at them."""

    @abstractmethod
    def _step(self, key: str, do: Callable[[Record, int], tuple[Record, T]]) -> T:
        """Read a record, change it, write it; no other step on that record comes in between.

        Args:
            key: The record's name.
            do: What is done, given the record and the store's clock in milliseconds: the record as it is to be, and an answer.

        Raises:
            StoreError: The record cannot be read or written, or the step came too late.
        """

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        """Grant a claim, or say why not.

        Args:
            key: The record's name.
            claim: What is wanted.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        return self._step(key, lambda record, now_ms: records.claim(record, claim, now_ms))

    def renew(self, key: str, renewal: Renewal, /) -> bool:
        """Hold a lease for longer; false where another one was granted since.

        Args:
            key: The record's name.
            renewal: Whose lease, and for how long.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        return self._step(key, lambda record, now_ms: records.renew(record, renewal, now_ms))

    def share(self, key: str, share: Share, /) -> Shared | Overtaken:
        """Store a token for all.

        Args:
            key: The record's name.
            share: The token, and under which grant it was got.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        return self._step(key, lambda record, now_ms: records.share(record, share, now_ms))

    def give_up(self, key: str, give_up: GiveUp, /) -> None:
        """End a lease without a token; nothing is done where another one was granted since.

        Args:
            key: The record's name.
            give_up: Whose lease, and how long all are to wait.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        self._step(key, lambda record, now_ms: (records.give_up(record, give_up, now_ms), None))

    def restore(self, key: str, restoration: Restoration, /) -> bool:
        """Put back a record that was lost; false where one is there that is as new.

        Args:
            key: The record's name.
            restoration: What was in it.

        Raises:
            StoreError: The store could not be asked, or too late.
        """
        return self._step(key, lambda record, now_ms: records.restore(record, restoration, now_ms))
