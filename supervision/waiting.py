"""How long threading can wait: it refuses more than ``threading.TIMEOUT_MAX`` seconds, which is no reason to fail."""

from __future__ import annotations

import threading
from typing import overload

__all__ = ["LONGEST_S", "waitable"]

LONGEST_S = threading.TIMEOUT_MAX - 1.0  # whoever adds it to a clock and subtracts again may end up a little above


@overload
def waitable(seconds: float) -> float: ...
@overload
def waitable(seconds: None) -> None: ...
def waitable(seconds: float | None) -> float | None:
    """The seconds, or as many as a wait can take; ``None`` stays no limit at all."""
    return None if seconds is None else min(seconds, LONGEST_S)
