"""A store of shared tokens in this process's memory, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from oidc_actor.sharing.records import Record
from oidc_actor.sharing.stepping import SteppingStore
from oidc_actor.sharing.store import (
    Looked,
)
from oidc_actor.values.secrets import StoredSecret

T = TypeVar("T")


class MemoryStore(SteppingStore):
    """A `oidc_actor.sharing.TokenStore` for the managers of one process: what a shared store does, without a server.

    It keeps texts as they are. Tests may read `records`, empty it, and set `error`, which every call raises then.

    Attributes:
        records: The records by their keys.
        error: What every call raises; ``None`` for none.
        calls: How many calls there were.
    """

    keys: Sequence[StoredSecret] = ()
    host = "memory"

    def __init__(self, namespace: str = "test", *, clock: Callable[[], float] = time.time) -> None:
        """Make an empty store.

        Args:
            namespace: What keeps fleets apart.
            clock: The store's clock, in seconds.
        """
        self.namespace = namespace
        self.records: dict[str, Record] = {}
        self.error: Exception | None = None
        self.calls = 0
        self._clock = clock
        self._lock = threading.Lock()  # guards the records; each call is one step under it

    def look(self, keys: Sequence[str], /) -> Looked:
        """See which records are there, and what the store's clock says.

        Args:
            keys: The records' names, at most 500; none for the clock only.

        Raises:
            StoreError: The store could not be asked.
        """
        with self._lock:
            self._begin()
            return Looked(tuple(self._record(key).gen for key in keys), self._now_ms())

    def _step(self, key: str, do: Callable[[Record, int], tuple[Record, T]]) -> T:
        with self._lock:
            self._begin()
            self.records[key], answer = do(self._record(key), self._now_ms())
            return answer

    def _begin(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error

    def _record(self, key: str) -> Record:
        found = self.records.get(key)
        return found if found is not None and found.keep_until_ms > self._now_ms() else Record()

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)
