"""The memory argument of the read (`oidc_actor.reading.cell`), on threads that run at the same time where there is no GIL.

A snapshot is swapped as a whole by one attribute store. So the text that a reader returns is of the deadline that it compared:
never one that had expired when the read began, nor one that was rejected before that. The clock is a number that the writer sets.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Iterator

import pytest
from threads import run

from oidc_actor import OIDCActorError, TokenManager, TokenResponse
from oidc_actor.reading.cell import Cell, by_name
from oidc_actor.reading.token_source import TokenSource

READERS, READS = 4, 1_500


class Owner:
    """Publishes token ``n`` at the time ``3 n``. It ends at ``3 n + 2``, before the next is there; each third is rejected."""

    def __init__(self) -> None:
        self.now = self.rejected = 0
        self.done: list[None] = []
        self.cell = Cell("parallel", None, lambda: self.now)
        self.cell.set_owner(self, None)  # type: ignore[arg-type]  # no manager: whatever is not in the snapshot is an error
        by_name["parallel"] = self.cell

    def write(self) -> None:
        for number in itertools.count(1):
            if len(self.done) == READERS:
                return
            self.now = 3 * number
            self.cell.publish(self, TokenResponse(str(number)), 3 * number + 2)  # type: ignore[arg-type]
            self.now += 1
            if number % 3 == 0:
                self.cell.reject(str(number))
                self.rejected = number
            self.now += 1

    def read(self, how: Callable[[], str]) -> None:
        try:
            for _ in range(READS):
                self.read_one(how)
        finally:
            self.done.append(None)

    def read_one(self, how: Callable[[], str]) -> None:
        while True:
            began, rejected = self.now, self.rejected
            with contextlib.suppress(OIDCActorError):  # there was none
                number = int(how())
                assert began < 3 * number + 2, "it had expired"
                assert number != rejected, "it had been rejected"
                assert 3 * number <= self.now, "it is of the future"
                return


@pytest.fixture
def owner() -> Iterator[Owner]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    made = Owner()
    yield made
    made.cell.close(None)
    sys.setswitchinterval(before)


@pytest.mark.P2
def test_a_text_is_of_the_deadline_that_was_compared(owner) -> None:
    source = TokenSource("parallel")
    ways = [lambda: source.access_token(0), lambda: TokenManager.get_access_token("parallel", timeout=0)]
    with run(owner.write, *(functools.partial(owner.read, ways[number % 2]) for number in range(READERS))):
        pass
