"""What a test holds until it lets go: a handler, a timer, a busy supervisor, a restart between two of its attempts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from children import Scripted, World, die, ref_of, states
from threads import DEADLINE_S

from supervision import Backoff, ChildSpec, DynamicSupervisor, cast
from supervision.supervising import Operation, Raised
from supervision.tree import copies

BOOM = Scripted("boom")


class Gate:
    """A handler that does not return until it is let go; ``with`` makes sure of that."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.left = threading.Event()
        self._go = threading.Event()
        self.then: Callable[[Any], Any] = lambda _: "late"

    def __call__(self, actor: Any = None) -> Any:
        self.entered.set()
        try:
            assert self._go.wait(DEADLINE_S)
            return self.then(actor)
        finally:
            self.left.set()

    def grip(self, ref: Any) -> None:
        """Have an actor enter it."""
        ref.tell(self)
        self.await_entry()

    def grip_operation(self, sup: Any) -> None:
        """Have a supervisor enter it, as if something unforeseen blocked there."""
        sup.tell(Operation(self))
        self.await_entry()

    def await_entry(self) -> None:
        assert self.entered.wait(DEADLINE_S)

    def go(self) -> None:
        self._go.set()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.go()
        if self.entered.is_set():
            assert self.left.wait(DEADLINE_S)


class Pending:
    """A timer that fires when the test says so."""

    def __init__(self, delay_s: float, server: Any, message: Any) -> None:
        self.delay_s, self._server, self._message = delay_s, server, message
        self.cancelled = False

    def cancel(self) -> bool:
        self.cancelled = True
        return True

    def fire(self) -> None:
        """Deliver it, cancelled or not: a supervisor must not depend on the timer's being final."""
        cast(self._server, self._message)


class Timers(list[Pending]):
    def __call__(self, delay_s: float, server: Any, message: Any) -> Pending:
        self.append(Pending(delay_s, server, message))
        return self[-1]

    @property
    def delays(self) -> list[float]:
        return [timer.delay_s for timer in self]


def exactly(**fields: Any) -> Backoff:
    return Backoff(**{"initial": 1.0, "maximum": 8.0, "jitter": 0, **fields})


def fall(sup: Any, child_id: Any, timers: Timers) -> None:
    """Crash a child, and wait until its supervisor has set the timer."""
    before = len(timers)
    die(ref_of(sup, child_id), BOOM)
    assert states(sup)[child_id] == "restarting"
    assert len(timers) == before + 1


def _on_its_thread(kind: Any, operation: str) -> Callable[..., Any]:
    """What a supervisor's thread does for a function of the client API."""
    if operation == "tree":
        return copies
    if operation == "terminate_child" and issubclass(kind, DynamicSupervisor):
        operation = "terminate_ref"
    found: Callable[..., Any] = getattr(kind, f"_{operation}")
    return found


class Post:
    """Messages to a supervisor that is being held: they stand in its mailbox in the order they were sent."""

    def __init__(self, sup: Any) -> None:
        self._sup = sup

    def send(self, operation: str, *arguments: Any) -> Callable[[], Any]:
        """Send a request; returns a function that waits for the answer, or raises what the API would."""
        future = self._sup.ask(Operation(_on_its_thread(self._sup.actor_class, operation), arguments), block=False)

        def answer() -> Any:
            value = future.get(timeout=DEADLINE_S)
            if isinstance(value, Raised):
                raise value.error
            return value

        return answer


@contextlib.contextmanager
def held(sup: Any) -> Iterator[Post]:
    """Keep a supervisor busy (it starts a child that never comes up), so that messages pile up in its mailbox."""
    entered, leave = threading.Event(), threading.Event()

    def busy() -> None:
        entered.set()
        assert leave.wait(DEADLINE_S)
        raise Scripted("held")

    post = Post(sup)
    answer = post.send("start_child", ChildSpec(object(), busy, restart="temporary"))
    assert entered.wait(DEADLINE_S)
    try:
        yield post
    finally:
        leave.set()
        with contextlib.suppress(Exception):
            answer()


@contextlib.contextmanager
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
