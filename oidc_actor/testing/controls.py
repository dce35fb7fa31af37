"""`Controls`: what a test can change in a running provider, and what it can count."""

from __future__ import annotations

from collections.abc import Mapping

from oidc_actor.testing.grants import Policy
from oidc_actor.testing.script import Endpoint, Fault, Script, oauth_fault
from oidc_actor.testing.state import Store


class Controls:
    """The part of `Provider` that scripts and counts; any thread may use it, before, during and after its life.

    Args:
        policy: How tokens are given out.
        delay_s: Seconds that every answer takes; assign to change it.
    """

    def __init__(self, policy: Policy, delay_s: float) -> None:
        self.delay_s = delay_s
        self._policy = policy
        self._script = Script()
        self._store = Store()

    @property
    def token_lifetime_s(self) -> float:
        """Life of the access tokens to come, in seconds."""
        return self._policy.token_lifetime_s

    @token_lifetime_s.setter
    def token_lifetime_s(self, value: float) -> None:
        self._policy.token_lifetime_s = value

    @property
    def rotation(self) -> bool:
        """Whether each refresh brings a new refresh token and spends the old one."""
        return self._policy.rotation

    @rotation.setter
    def rotation(self, value: bool) -> None:
        self._policy.rotation = value

    @property
    def reuse_detection(self) -> bool:
        """Whether a spent refresh token that comes back ends its family."""
        return self._policy.reuse_detection

    @reuse_detection.setter
    def reuse_detection(self, value: bool) -> None:
        self._policy.reuse_detection = value

    @property
    def clock_skew_s(self) -> float:
        """How many seconds its clock is ahead of this machine's."""
        return self._policy.clock_skew_s

    @clock_skew_s.setter
    def clock_skew_s(self, value: float) -> None:
        self._policy.clock_skew_s = value

    def fail_next(
        self,
        n: int | None = 1,
        *,
        status: int = 503,
        error: str | None = None,
        error_description: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        endpoint: Endpoint = "token",
    ) -> None:
        """Answer the next requests with an error instead.

        Args:
            n: How many requests; `None` means all of them until `heal`.
            status: HTTP status.
            error: OAuth error code for a JSON body; without it (and without `body`) the body is HTML, as a proxy's is.
            error_description: Goes with `error`.
            headers: Further headers, `{"Retry-After": "30"}` for one.
            body: The body itself, for anything else.
            endpoint: Which endpoint fails.
        """
        self._script.queue(endpoint, oauth_fault(status, error, error_description, headers, body), n)

    def lose_next(self, n: int = 1, *, endpoint: Endpoint = "token") -> None:
        """Carry out the next `n` requests, but break the connection instead of answering them."""
        self._script.queue(endpoint, Fault(lost=True), n)

    def heal(self) -> None:
        """Forget every fault that was scripted and not used."""
        self._script.clear()

    def revoke_refresh_tokens(self) -> None:
        """Forget every refresh token that was given out: each is `invalid_grant` from now on."""
        self._store.revoke_refresh_tokens()

    @property
    def token_requests(self) -> int:
        """How many requests the token endpoint has had, answered or not."""
        return self._script.arrived("token")

    @property
    def token_requests_by_grant(self) -> dict[str, int]:
        """The same, by `grant_type`."""
        return self._script.grants()

    @property
    def discovery_requests(self) -> int:
        """How many requests the discovery document has had."""
        return self._script.arrived("discovery")

    @property
    def tokens_issued(self) -> int:
        """How many access tokens it has made, those of lost answers included."""
        return self._script.issued()

    @property
    def refresh_tokens_reused(self) -> int:
        """How many times a spent refresh token came back."""
        return self._store.reuses

    def wait_for_requests(self, count: int, *, timeout_s: float, endpoint: Endpoint = "token") -> bool:
        """Wait until an endpoint has had `count` requests in all; `False` at the deadline (seconds)."""
        return self._script.wait_for(endpoint, count, timeout_s)
