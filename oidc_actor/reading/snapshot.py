"""What a reader loads: a token and its deadline, as one value that never changes."""

from __future__ import annotations

import math

from oidc_actor.sealed import Sealed, put
from oidc_actor.tokens import TokenResponse


class Snapshot(Sealed):
    """A token as readers see it.

    Attributes:
        text: The access token's text; never shown.
        deadline: Reading of the manager's clock when the token ends.
        token: The token.
        ahead_s: How far the wall clock was ahead of the manager's when the token's request started.
    """

    __slots__ = ("ahead_s", "deadline", "text", "token")
    text: str
    deadline: float
    token: TokenResponse | None
    ahead_s: float

    def __init__(self, token: TokenResponse | None, deadline: float, ahead_s: float = 0.0) -> None:
        put(self, text="" if token is None else token.access_token, deadline=deadline, token=token, ahead_s=ahead_s)

    def __repr__(self) -> str:
        return f"Snapshot({self.token!r}, deadline={self.deadline})"


EMPTY = Snapshot(None, -math.inf)
