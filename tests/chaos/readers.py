"""Those who use a manager: threads that read all the time, and herds that ask at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from oidc_actor import NoTokenError, TokenManager

if TYPE_CHECKING:
    from chaos.world import World

JOIN_S = 20.0
PAUSE_S = 0.0005


class Readers:
    """Threads that read a manager's token, by source and by name in turn, and look at each that they get.

    Args:
        world: Where they live.
        server: The manager.
        threads: How many.
        timeout_s: How long each read may wait; with 0 it must find a token there.
    """

    def __init__(self, world: World, server: Any, *, threads: int = 4, timeout_s: float = 0.0) -> None:
        self._world = world
        self._server = server
        self._timeout_s = timeout_s
        self._over = threading.Event()
        self._reads = [0] * threads
        self._failed: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"chaos-reader-{number}", daemon=True)
            for number in range(threads)
        ]

    @property
    def reads(self) -> int:
        """How many reads there were."""
        return sum(self._reads)

    @property
    def failed(self) -> list[str]:
        """One text for each that raised, or brought a token that had ended before it began."""
        return list(self._failed)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(JOIN_S)
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        self._failed += [f"{name} hangs" for name in stuck]

    def _run(self, number: int) -> None:
        source = TokenManager.source(self._server)
        while not self._over.wait(PAUSE_S):
            # Before the read: the clock may be advanced at any moment, and a token that ends during the read is none's fault.
            before = self._world.clock()
            try:
                if self._reads[number] % 2:
                    token = source.access_token(timeout=self._timeout_s)
                else:
                    token = TokenManager.get_access_token(self._server, timeout=self._timeout_s)
            except Exception as error:
                self._failed.append(f"{type(error).__name__}: {error}")
            else:
                if self._world.lived_out(token, before):
                    self._failed.append(f"an expired token at {before:.3f}")
            self._reads[number] += 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What one of a herd got: a value or an error, after so many seconds."""

    value: Any
    error: BaseException | None
    took_s: float


class Herd:
    """Threads that all ask at once.

    Args:
        count: How many.
        ask: What each does.
    """

    def __init__(self, count: int, ask: Callable[[], Any]) -> None:
        self._gate = threading.Barrier(count + 1)
        self._ask = ask
        self._answers: list[Answer] = []
        self._threads = [threading.Thread(target=self._run, name="chaos-herd", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        self._gate.wait(JOIN_S)

    def answers(self) -> list[Answer]:
        """What they got, once all have it; those that hang have none."""
        deadline = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return list(self._answers)

    def wait_until_answered(self, count: int, timeout_s: float = JOIN_S) -> bool:
        """Wait until that many have their answer."""
        never = threading.Event()
        deadline = time.monotonic() + timeout_s
        while len(self._answers) < count and time.monotonic() < deadline:
            never.wait(0.001)
        return len(self._answers) >= count

    def _run(self) -> None:
        self._gate.wait(JOIN_S)
        began = time.perf_counter()
        value, error = None, None
        try:
            value = self._ask()
        except Exception as raised:
            error = raised
        self._answers.append(Answer(value, error, time.perf_counter() - began))


def read_times_s(read: Callable[[], object], count: int) -> list[float]:
    """How long each of so many reads took, sorted."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        read()
        times.append(time.perf_counter() - began)
    return sorted(times)


def refused(name: str, timeout: float = 0.0, **more: Any) -> NoTokenError | None:
    """What a caller is told who gets no token; `None` if it gets one."""
    try:
        TokenManager.get_token(name, timeout=timeout, **more)
    except NoTokenError as error:
        return error
    return None
