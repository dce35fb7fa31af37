"""A stand-in for signals, exact and without their chance: a function runs at one chosen instruction of another."""

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

MOST = int(os.environ.get("OIDC_ACTOR_INTERRUPTIONS", "100"))
"""How many points of one piece of work are looked at; a million looks at each."""


def interrupted_at(point: int, work: Callable[[], object], handler: Callable[[], object]) -> bool:
    """Do the work, and run the handler on this thread just before the instruction of that number, as CPython runs a signal's.

    Args:
        point: Which instruction of Python code, counted from 0 in the order in which they run, whosever code it is.
        work: What is interrupted.
        handler: What interrupts it. Its own instructions do not count.

    Returns:
        Whether the work had that many instructions. What the handler raises comes out of the work.
    """
    left = point + 1

    def counts() -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            sys.settrace(None)
            handler()
        return left > 0

    _trace(work, counts)
    return left <= 0


def interrupted_everywhere(work: Callable[[], object], handler: Callable[[], object]) -> int:
    """Do the work again and again, each time interrupted some instructions later, until it has no more of them.

    For each point the work is traced once more, and what earlier tests left behind may make it long: at most `MOST` points are
    looked at, evenly spread over it.

    Returns:
        How often it was interrupted.
    """
    total = 0

    def counts() -> bool:
        nonlocal total
        total += 1
        return True

    _trace(work, counts)
    step = max(1, total // MOST)
    count = 0
    while count <= MOST and interrupted_at(count * step + step // 2, work, handler):
        count += 1
    return count


def _trace(work: Callable[[], object], instruction: Callable[[], bool]) -> None:
    """Do the work, and call a function before each of its instructions until that returns false."""
    goes_on = True

    def local(_frame: FrameType, event: str, _: Any) -> Any:
        nonlocal goes_on
        if goes_on and event == "opcode":
            goes_on = instruction()
        return local if goes_on else None

    def called(frame: FrameType, _event: str, _: Any) -> Any:
        if not goes_on:
            return None
        frame.f_trace = local  # Python 3.13 looks at the line below only where this is set
        frame.f_trace_opcodes = True
        return local

    before = sys.gettrace()
    sys.settrace(called)
    try:
        work()
    finally:
        sys.settrace(before)


_trace(lambda: None, lambda: True)  # Python 3.12 begins to trace instructions when it has once been asked to
