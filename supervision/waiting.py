"""How long threading can wait, and in how many turns the main thread does it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import overload

__all__ = ["LONGEST_S", "TURN_S", "in_turns", "waitable"]

LONGEST_S = threading.TIMEOUT_MAX - 1.0  # whoever adds it to a clock and subtracts again may end up a little above

TURN_S = 1.0
"""Seconds after which Ctrl-C is dealt with, at the latest."""


@overload
def waitable(seconds: float) -> float: ...
@overload
def waitable(seconds: None) -> None: ...
def waitable(seconds: float | None) -> float | None:
    """The seconds, or as many as a wait can take; ``None`` stays no limit at all.

    threading refuses more than ``threading.TIMEOUT_MAX`` seconds, which is no reason to fail.
    """
    return None if seconds is None else min(seconds, LONGEST_S)


def in_turns(wait: Callable[[float], bool], seconds: float | None) -> bool:
    """Wait; on the main thread in turns.

    A signal that arrives just before a wait of CPython's begins does not wake it: its handler, Ctrl-C's
    ``KeyboardInterrupt`` too, would run when the wait is over. Only the main thread runs handlers.

    Args:
        wait: waits for at most so many seconds, and returns whether what it waits for is there; it stays there.
        seconds: how long in all, ``None`` for ever.

    Returns:
        Whether it is there.
    """
    left_s = LONGEST_S if seconds is None else max(0.0, waitable(seconds))
    if left_s <= TURN_S or threading.get_ident() != threading.main_thread().ident:
        return wait(left_s)
    ends_at = time.monotonic() + left_s
    while not wait(min(left_s, TURN_S)):
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            return False
    return True
