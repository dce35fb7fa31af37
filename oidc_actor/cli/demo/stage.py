"""The stage: an embedded provider, a supervisor with one token manager, and reader threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import supervision
from oidc_actor import ClientCredentials, NoTokenError, RetryPolicy, TokenManager, TokenResponse
from oidc_actor.cli.demo.promises import Pace
from oidc_actor.cli.demo.readers import Readers
from oidc_actor.testing import Provider
from oidc_actor.values.secrets import fingerprint

NAME = "demo.tokens"
READ_TIMEOUT_S = 20.0
START_TIMEOUT_S = 10.0
STEP_S = 0.01


class SceneStuckError(Exception):
    """Something the story waits for did not happen in time; the text says what."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the view shows at one moment.

    Attributes:
        fingerprint: Short name of the current token; `None` while there is no valid one.
        left_s: Life it has left, in seconds; 0 without one.
        state: The manager's health, or `restarting`.
        provider_up: Whether the provider accepts connections.
        reads: Reads so far.
        failed_reads: Those of them that failed.
        token_requests: Token requests that reached the provider.
        restarts: Restarts of the manager so far.
    """

    fingerprint: str | None
    left_s: float
    state: str
    provider_up: bool
    reads: int
    failed_reads: int
    token_requests: int
    restarts: int


class Stage:
    """Everything the story needs, started and stopped together.

    Args:
        pace: Lifetimes and intervals.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._ends = ExitStack()
        self.provider = Provider(client_id="demo", token_lifetime_s=pace.token_lifetime_s)
        self.readers = Readers(lambda: TokenManager.get_token(NAME, timeout=READ_TIMEOUT_S))
        self.restarts = 0
        self.provider_up = True

    def __enter__(self) -> Self:
        with self._ends as undo:
            undo.enter_context(self.provider)
            manager = TokenManager.child_spec(
                issuer_url=self.provider.issuer_url,
                auth=ClientCredentials(self.provider.client_id, self.provider.client_secret),
                name=NAME,
                min_interval_seconds=self._pace.min_interval_s,
                retry=RetryPolicy(initial_s=self._pace.retry_maximum_s / 2, maximum_s=self._pace.retry_maximum_s),
            )
            undo.callback(self.readers.join)
            supervisor = supervision.Supervisor.start_link([manager], max_restarts=10, name="demo.supervisor")
            undo.callback(supervision.Supervisor.stop, supervisor, timeout=5.0)
            TokenManager.get_token(NAME, timeout=START_TIMEOUT_S)
            self.readers.start()
            undo.callback(self.readers.end)
            self._ends = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def token(self) -> TokenResponse | None:
        """The current token, without waiting."""
        try:
            return TokenManager.get_token(NAME, timeout=0)
        except (NoTokenError, supervision.NoProcess):
            return None

    def left_s(self) -> float:
        """Life the current token has left; 0 without one."""
        token = self.token()
        ends = token.expires_at if token is not None else None
        return max(0.0, ends.timestamp() - time.time()) if ends is not None else 0.0

    def wait_until(self, happened: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for something; `SceneStuckError` at the deadline."""
        deadline = time.monotonic() + timeout_s
        never = threading.Event()
        while not happened():
            if time.monotonic() >= deadline:
                raise SceneStuckError(f"{what} did not happen within {timeout_s:.0f} s")
            never.wait(STEP_S)

    def provider_down(self) -> None:
        """Have the provider refuse connections."""
        self.provider_up = False
        self.provider.down()

    def provider_back(self) -> None:
        """Have it answer again."""
        self.provider.up()
        self.provider_up = True

    def crash(self, timeout_s: float) -> None:
        """Kill the manager's actor and wait for the supervisor's new one."""
        old = supervision.whereis(NAME)
        supervision.kill(NAME)
        self.wait_until(lambda: supervision.whereis(NAME) not in (None, old), timeout_s, "a restart")
        self.restarts += 1

    def sample(self) -> Sample:
        """What can be seen now; any thread may ask."""
        token = self.token()
        try:
            state: str = TokenManager.health(NAME).state
        except supervision.SupervisionError:
            state = "restarting"
        return Sample(
            fingerprint=fingerprint(token.access_token) if token is not None else None,
            left_s=self.left_s(),
            state=state,
            provider_up=self.provider_up,
            reads=self.readers.reads,
            failed_reads=self.readers.failed,
            token_requests=self.provider.token_requests,
            restarts=self.restarts,
        )
