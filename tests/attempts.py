"""A restart that fails and is tried again, held between two attempts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probes import DEADLINE_S, Post, Scripted, World, die, ref_of

BOOM = Scripted("boom")


@contextmanager
def between_attempts(world: World, sup: Any, child_id: str) -> Iterator[Post]:
    """Crash a child, hold the supervisor in the start of its next incarnation, and let that start fail at the end.

    What is posted meanwhile stands in the mailbox before the second attempt: it is served while the child is restarting.
    """
    entered, leave = threading.Event(), threading.Event()

    def held_start() -> None:
        entered.set()
        assert leave.wait(DEADLINE_S)
        world.gone(child_id)
        raise BOOM

    world.script(child_id, held_start)
    die(ref_of(sup, child_id), BOOM)
    assert entered.wait(DEADLINE_S)
    yield Post(sup)
    leave.set()
