"""Handlers that stay in until a test lets them go."""

import threading
from collections.abc import Callable
from typing import Any

from probes import DEADLINE_S


class Gate:
    """A handler that is in, until it is let go."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self, actor: Any = None) -> str:
        self.entered.set()
        assert self.leave.wait(DEADLINE_S)
        return "late"

    def await_entry(self) -> None:
        assert self.entered.wait(DEADLINE_S)


def in_background(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
