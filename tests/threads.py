"""Work on other threads, and waiting for what they do: always within a deadline."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

DEADLINE_S = 10.0


def eventually(condition: Callable[[], object], what: str = "the condition", *, deadline_s: float = DEADLINE_S) -> None:
    """Wait for what no event tells of, until it holds."""
    never = threading.Event()
    for _ in range(int(deadline_s / 0.002)):
        if condition():
            return
        never.wait(0.002)
    raise AssertionError(f"{what} did not come about within {deadline_s} s")


def in_background(work: Callable[[], Any]) -> threading.Thread:
    """Begin the work on a thread of its own."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def run(*works: Callable[[], Any]) -> Iterator[list[BaseException]]:
    """Run each on a thread of its own; at the end of ``with`` all are done, and none has raised."""
    raised: list[BaseException] = []

    def guarded(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [in_background(lambda work=work: guarded(work)) for work in works]
    yield raised
    for thread in threads:
        thread.join(3 * DEADLINE_S)
        assert not thread.is_alive(), "hangs"
    assert not raised, raised


def elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns on another thread, which no supervisor's or server's handler runs on."""
    returned: list[Any] = []
    with run(lambda: returned.append(function(*args))):
        pass
    return returned[0]
