"""How long threading can wait, in how many turns the main thread does it, and what interrupts it there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from opcode import opmap
from types import FrameType
from typing import overload

__all__ = ["LONGEST_S", "TURN_S", "in_turns", "is_interrupt", "waitable"]

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


def is_interrupt(error: BaseException, *, strictly: bool = False) -> bool:
    """Whether a signal handler has raised an exception: it is meant for the program, and passes through everything of ours.

    Python runs signal handlers on the main thread alone, between any two instructions, and hands each the frame that it
    interrupts; so the handler's own frame is known by having the frame before it as an argument. Python's own handler of
    Ctrl-C is written in C and leaves no frame; a ``KeyboardInterrupt`` on the main thread counts as its.

    Args:
        error: what was caught, in the frame that called what raised it or further out.
        strictly: whether a ``KeyboardInterrupt`` that a ``raise`` statement has raised is somebody's own.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return False
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        interrupted, step = step.tb_frame, step.tb_next
        if _was_handed(interrupted, step.tb_frame):
            return True
    if not strictly or step is None:
        return isinstance(error, KeyboardInterrupt)
    raised = step.tb_frame.f_code.co_code[step.tb_lasti] == opmap["RAISE_VARARGS"]
    return isinstance(error, KeyboardInterrupt) and not raised


def _was_handed(interrupted: FrameType, frame: FrameType) -> bool:
    values = frame.f_locals.values()
    return any(value is interrupted or (type(value) is tuple and interrupted in value[1:2]) for value in values)
