"""Finalizers, which the garbage collector runs on any thread at any moment, and our locks."""

from typing import Any

import pytest
from actors import Pooled
from threads import DEADLINE_S, eventually

from supervision import (
    call,
    cast,
    kill,
    monitor,
    register,
    send_after,
    unregister,
)
from supervision.process import registry


class _Collects:
    """In the place of a lock: whoever takes it has the garbage collector run, with a finalizer that takes it, too."""

    def __init__(self, lock: Any, finalizer: Any) -> None:
        self._lock = lock
        self._finalizer = finalizer

    def __enter__(self) -> None:
        self._lock.acquire()
        finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer()

    def __exit__(self, *_raised: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("what", ["register", "kill"])
def test_a_finalizer_inside_our_locks_does_not_deadlock(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ref, other = Pooled.start_link(), Pooled.start_link()
    handled: list[Any] = []

    def last_words() -> None:
        cast(ref, lambda _: handled.append("last words"))
        register("late", other)
        unregister("late")

    for lock in ("mailbox", "names"):
        with monkeypatch.context() as patch:
            if lock == "names":
                patch.setattr(registry._names.value, "lock", _Collects(registry._names.value.lock, last_words))
            else:
                ref.actor_inbox.lock = _Collects(ref.actor_inbox.lock, last_words)
            {
                "register": lambda lock=lock: register(lock, ref),
                "kill": lambda: kill(ref),
            }[what]()
    if what != "kill":
        assert call(ref, 1) == 1
        assert handled


def test_a_finalizer_that_casts_registers_and_cancels_does_not_deadlock() -> None:
    """The garbage collector may run it at any allocation, also of ours, and on a thread that is just at work on them."""
    import gc

    ref = Pooled.start_link(name="it")
    handled: list[Any] = []

    class Garbage:
        def __init__(self) -> None:
            self.me = self
            self.timer = send_after(1_000, ref, "never")

        def __del__(self) -> None:
            cast(ref, lambda _: handled.append("last words"))
            self.timer.cancel()
            send_after(0, "it", lambda _: handled.append("last words"))
            unregister("nobody")

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(300):
            Garbage()
            cast("it", lambda _: handled.append("message"))
            send_after(1_000, ref, "never").cancel()
            register(f"{number}", ref)
            monitor(ref, lambda _: None)
    finally:
        gc.set_threshold(*before)

    def are_handled() -> bool:
        gc.collect()  # again: it does nothing while another thread is in a collection
        return handled.count("message") == 300 and handled.count("last words") == 600

    eventually(are_handled, deadline_s=6 * DEADLINE_S)
