"""Timers that a test holds in its hand, and the crashes that set them."""

from typing import Any

from probes import Scripted, die, ref_of, states

from supervision import Backoff, cast

BOOM = Scripted("boom")


class Pending:
    """A timer that the test holds in its hand."""

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
