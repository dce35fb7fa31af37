"""What a reader loads: a token and its deadline, as one value that never changes."""

from __future__ import annotations

import math
from typing import Protocol

from oidc_actor.sealed import Sealed, put
from oidc_actor.tokens import TokenResponse


class Snapshot(Sealed):
    """A token as readers see it. It changes once at most: when the token is withdrawn its deadline is past.

    Attributes:
        text: The access token's text; never shown.
        deadline: Reading of the manager's clock when the token ends.
        token: The token.
        ahead_s: How far the wall clock was ahead of the manager's when the token's request started.
    """

    __slots__ = ("_unclaimed", "ahead_s", "deadline", "text", "token")
    _unclaimed: list[None]
    text: str
    deadline: float
    token: TokenResponse | None
    ahead_s: float

    def __init__(self, token: TokenResponse | None, deadline: float, ahead_s: float = 0.0) -> None:
        put(self, text="" if token is None else token.access_token, deadline=deadline, token=token, ahead_s=ahead_s)
        put(self, _unclaimed=[] if token is None else [None])

    def withdraw(self) -> bool:
        """Let no reader have the token any more; true for the first call only.

        It is this very snapshot that ends, so that the withdrawal cannot hit a newer one that is published at the same moment.
        """
        put(self, deadline=-math.inf)  # first: whoever is second must not read it any more either
        try:
            self._unclaimed.pop()
        except IndexError:
            return False
        return True

    def __repr__(self) -> str:
        return f"Snapshot({self.token!r}, deadline={self.deadline})"


EMPTY = Snapshot(None, -math.inf)


class _Shelf(Protocol):
    snapshot: Snapshot
    withdrawn: TokenResponse | None


def withdraw(cell: _Shelf, text: str) -> bool:
    """Take the published token of a manager back if it is that very one; whether it was, and this call did it. Any thread."""
    snapshot = cell.snapshot
    if snapshot.token is None or snapshot.text != text:
        return False
    # The mark comes first: a handler that interrupts this here, before the manager has been told, waits for a new token, and the
    # manager sees by the mark why. A successor may publish the same token anew at this moment: it stores the new snapshot and
    # then looks for the mark; here the look at the newest snapshot comes after the mark: one of the two sees the other.
    cell.withdrawn = snapshot.token
    is_first = snapshot.withdraw()
    newest = cell.snapshot
    if newest.token is snapshot.token:
        newest.withdraw()
    return is_first
