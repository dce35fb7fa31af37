"""What has ended is let go: no thread of ours keeps the last thing it did in hand while it waits for the next."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest

from supervision import Server, call, cast, send_after, stop

DEADLINE_S = 10.0


class Echo(Server):
    """Answers with what it is asked."""

    def on_receive(self, message: Any) -> Any:
        return message


def is_gone(actor: weakref.ref[Any]) -> bool:
    """Whether it is collected before the deadline."""
    never, deadline = threading.Event(), time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        gc.collect()
        if actor() is None:
            return True
        never.wait(0.01)
    return False


@pytest.mark.parametrize("runtime", ["pool", "thread"])
def test_an_actor_that_has_ended_is_collected(runtime: str) -> None:
    kind = type("Ended", (Echo,), {"runtime": runtime})
    ref = kind.start_link()
    actor = weakref.ref(ref)
    assert call(ref, "hello") == "hello"
    cast(ref, "bye")
    stop(ref)
    del ref
    assert is_gone(actor)


def test_an_actor_that_had_a_timer_is_collected() -> None:
    heard = threading.Event()

    class Alarmed(Server):
        def on_receive(self, message: Any) -> None:
            heard.set()

    ref = Alarmed.start_link()
    actor = weakref.ref(ref)
    send_after(0.01, ref, "ring")
    assert heard.wait(DEADLINE_S)
    stop(ref)
    del ref
    assert is_gone(actor)
