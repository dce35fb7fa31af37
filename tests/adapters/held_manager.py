"""A manager whose time and whose requests are in the test's hands."""

from __future__ import annotations

import itertools
import threading

from adapters.api import DEADLINE_S

from oidc_actor import ClientCredentials, TokenManager, TokenResponse
from oidc_actor.http.client import shared_transport
from oidc_actor.reading.directory import locate
from oidc_actor.testing import ManualClock, Provider
from oidc_actor.transport import Request, Response

LIFETIME_S = 600.0
_numbers = itertools.count()


class Gate:
    """A transport that holds requests back until it is told to let go."""

    def __init__(self) -> None:
        self._through = shared_transport()
        self._open = threading.Event()
        self.sent: list[Request] = []

    def __call__(self, request: Request, /) -> Response:
        self.sent.append(request)
        assert self._open.wait(DEADLINE_S), "a request was held back and never let go"
        return self._through(request)

    def shut(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()


class Held:
    """A manager whose time passes when the test says so, and whose requests go out once it lets them."""

    def __init__(self, provider: Provider, *, bound: bool = False, name: str | None = None) -> None:
        self.name = name or f"adapters.{next(_numbers)}"
        self.clock = ManualClock()
        self.gate = Gate()
        self._heard = threading.Semaphore(0)  # one for each new token
        self.ref = TokenManager.start_link(
            name=self.name,
            issuer_url=provider.issuer_url,
            auth=ClientCredentials(provider.client_id, provider.client_secret, dpop=bound),
            clock=self.clock,
            transport=self.gate,
        )
        TokenManager.subscribe(self.name, self._hear)

    def _hear(self, token: TokenResponse) -> None:
        self._heard.release()

    def wait_for_token(self) -> str:
        """The text of the next new token, once it is there."""
        assert self._heard.acquire(timeout=DEADLINE_S), "no new token came"
        return self.token

    def refresh(self) -> str:
        """Let the refresh point pass; the text of the new token."""
        self.clock.advance(LIFETIME_S - 55)
        return self.wait_for_token()

    @property
    def token(self) -> str:
        return TokenManager.get_access_token(self.name, timeout=DEADLINE_S)

    @property
    def waiting(self) -> int:
        """How many wait for a token."""
        return len(locate(self.name).waiting)
