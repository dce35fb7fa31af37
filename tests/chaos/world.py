"""What a scenario acts on: a provider behind a proxy, a clock, managers; and its notes of what it measured."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from chaos.backends import Backend, Scripted, credentials, user
from chaos.diary import Diary, basic
from chaos.readers import Herd, Readers
from chaos.scenario import Check, Row

from oidc_actor import OIDCConfig, Password, TokenManager, TokenResponse
from oidc_actor.reading.cell import by_name
from oidc_actor.testing import ManualClock, Provider
from supervision import NoProcess

DEADLINE_S = 10.0
MOST_TICKS = 5000

_numbers = itertools.count(1)


class World:
    """One scenario's world.

    Args:
        backend: The provider and its proxy.
        clock: The test's clock.
        row: Where the notes go.
        diary: Hears what is said meanwhile.
    """

    def __init__(self, backend: Backend, clock: ManualClock, row: Row, diary: Diary) -> None:
        self.backend = backend
        self.proxy = backend.proxy
        self._requests_before = backend.proxy.exchanges
        self.clock = clock
        self.lifetime_s = row.scenario.lifetime_s
        self._row = row
        self._managers: list[str] = []
        self._stops: list[Callable[[], object]] = []
        self._secrets: set[str] = {backend.client_secret, backend.password}
        self._secrets |= basic(backend.client_id, backend.client_secret)
        self._seen: dict[str, float] = {}  # when a token was first seen, by the clock; written by any thread
        self._diary = diary

    # --- managers -----------------------------------------------------------------------------------------------------

    def options(self, auth: object = None, *, discover: bool = False, **options: Any) -> dict[str, Any]:
        """The options of a manager of this world; by default it knows the endpoint, so that each request is for a token."""
        known: dict[str, Any] = {"issuer_url": self.proxy.url} if discover else {"oidc_config": self.config}
        return {
            "auth": auth or credentials(self.backend),
            "name": f"chaos.{next(_numbers)}",
            "clock": self.clock,
            "rng": random.Random(len(self._managers)),
            "timeout_seconds": 5.0,
            **known,
            **options,
        }

    def manager(self, auth: object = None, **options: Any) -> str:
        """Start a manager; its name."""
        chosen = self.options(auth, **options)
        TokenManager.start_link(**chosen)
        return self.adopt(chosen["name"])

    def adopt(self, name: str) -> str:
        """Keep an eye on a manager that was started elsewhere."""
        self._managers.append(name)
        TokenManager.subscribe(name, self._learn)
        return name

    def ready_manager(self, auth: object = None, **options: Any) -> str:
        """Start a manager and wait for its first token; its name."""
        name = self.manager(auth, **options)
        TokenManager.get_token(name, timeout=DEADLINE_S)
        self.settle(name)
        return name

    def user(self) -> Password:
        """Credentials whose tokens come with refresh tokens."""
        return user(self.backend)

    @property
    def config(self) -> OIDCConfig:
        """The provider's metadata, as far as needed."""
        return OIDCConfig(issuer=self.proxy.url, token_endpoint=f"{self.proxy.url}/token")

    @property
    def provider(self) -> Provider:
        """The embedded provider, in rows that are played with no other."""
        assert isinstance(self.backend, Scripted)
        return self.backend.provider

    @property
    def requests(self) -> int:
        """How many requests have come to the proxy."""
        return self.proxy.exchanges - self._requests_before

    def wait_for_requests(self, count: int) -> None:
        """Wait until that many requests have come in all."""
        came = self.proxy.wait_for_exchanges(self._requests_before + count, timeout_s=DEADLINE_S)
        assert came, f"{self.requests} requests came, not {count}"

    def later(self, stop: Callable[[], object]) -> None:
        """Have something stopped before the managers are."""
        self._stops.append(stop)

    def keep_secret(self, *secrets: str) -> None:
        """Texts that must not be in any log line."""
        self._secrets.update(secrets)

    def overhear(self, text: str) -> None:
        """What another process of this world has said."""
        self._diary.hear(text)

    # --- time ---------------------------------------------------------------------------------------------------------

    def settle(self, *names: str) -> None:
        """Wait until no manager has a request under way."""
        for name in names or self._managers:
            self.eventually(lambda name=name: not TokenManager.health(name).refreshing, "the end of the request")

    def pass_time(self, seconds: float, *, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Let time pass as it does when nothing is wrong with it: each tick comes when it is due, and has its time."""
        goal = self.clock() + seconds
        for _ in range(MOST_TICKS):
            self.settle()
            meanwhile()
            left, due = goal - self.clock(), self.clock.next_in_s
            if left <= 0 and (due is None or due > 0):
                return
            self.clock.advance(max(0.0, left if due is None else min(due, left)))
        raise AssertionError(f"a hot loop: more than {MOST_TICKS} ticks in {seconds} s")

    def until_attempt(self) -> None:
        """Let time pass until the next tick, and wait for what comes of it."""
        self.settle()
        self.clock.advance(self.clock.next_in_s or 0.0)
        self.settle()

    def until_refresh_starts(self, name: str) -> None:
        """Let time pass until a request is under way; the proxy must hold it."""
        before = self.requests
        for _ in range(MOST_TICKS):
            self.clock.advance(self.clock.next_in_s or 0.0)
            TokenManager.health(name)  # answered after the tick
            if TokenManager.health(name).refreshing:
                self.wait_for_requests(before + 1)
                return
        raise AssertionError("no request was made")

    @staticmethod
    def eventually(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
        """Wait until something that other threads do has happened."""
        never, deadline = threading.Event(), time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {timeout_s} s"
            never.wait(0.001)

    # --- readers ------------------------------------------------------------------------------------------------------

    def readers(self, name: str, *, threads: int = 4, timeout_s: float = 0.0) -> Readers:
        """Threads that read while a block runs."""
        return Readers(self, name, threads=threads, timeout_s=timeout_s)

    @staticmethod
    def herd(count: int, ask: Callable[[], Any]) -> Herd:
        """Threads that ask at once."""
        return Herd(count, ask)

    @staticmethod
    def waiting(name: str) -> int:
        """How many callers the manager knows to be waiting."""
        state = by_name[name].state
        return 0 if state is None else len(state.waiters)

    def lived_out(self, token: str, now: float) -> bool:
        """Whether a token had ended at that reading of the clock: by its own word, or by its lifetime since it was first seen."""
        known = self.backend.lived_out(token, now)
        if known is not None:
            return known
        return now - self._seen.setdefault(token, self.clock()) >= self.lifetime_s

    def _learn(self, token: TokenResponse) -> None:
        self._seen.setdefault(token.access_token, self.clock())
        self.keep_secret(token.access_token, *filter(None, (token.refresh_token, token.id_token)))

    # --- notes --------------------------------------------------------------------------------------------------------

    def check(self, what: str, measured: object, kept: object) -> None:
        """Note what was measured, and whether it keeps the promise."""
        self._row.checks.append(Check(what, str(measured), bool(kept)))

    def expect(self, what: str, outcome: str, kept: object) -> None:
        """Note that something came out as expected, or did not."""
        self.check(what, outcome if kept else f"not {outcome}", kept)

    def check_reads(self, readers: Readers) -> None:
        """Note that reads went on and none failed."""
        first = f", first: {readers.failed[0]}" if readers.failed else ""
        self.check(
            "failed reads", f"{len(readers.failed)} of {readers.reads}{first}", not readers.failed and readers.reads
        )

    def close(self) -> None:
        """Stop everything, then see that nothing secret was logged."""
        self.backend.heal()
        self.proxy.up()
        for stop in reversed(self._stops):
            stop()
        for name in self._managers:
            with contextlib.suppress(NoProcess):
                TokenManager.stop(name)
        told = self._diary.told(list(self._secrets))  # a listener may still be told of a token
        self.check("secrets in all that was said at DEBUG", len(told), not told)
