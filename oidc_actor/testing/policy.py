"""How the provider gives out tokens, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Policy:
    """How tokens are given out; a test may change it between two requests, or for one request alone.

    Attributes:
        token_lifetime_s: Life of an access token in seconds.
        rotation: Each refresh brings a new refresh token and spends the old one.
        reuse_detection: A spent refresh token that comes back ends its whole family.
        clock_skew_s: How many seconds the provider's clock is ahead of this machine's.
    """

    token_lifetime_s: float = 10.0
    rotation: bool = True
    reuse_detection: bool = True
    clock_skew_s: float = 0.0
