"""`Controls`: what a test can change in a running provider, and what it can count."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from oidc_actor.testing.policy import Policy
from oidc_actor.testing.script import Endpoint, Script, Turn, error_answer
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
        delay_s: float = 0.0,
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
            delay_s: Seconds the answer takes, besides the provider's own `delay_s`.
            endpoint: Which endpoint fails.
        """
        canned = error_answer(status, error, error_description, headers, body)
        self._script.queue(endpoint, Turn(delay_s, canned), n)

    def lose_next(self, n: int | None = 1, *, delay_s: float = 0.0, endpoint: Endpoint = "token") -> None:
        """Carry out the next `n` requests, but break the connection instead of answering them."""
        self._script.queue(endpoint, Turn(delay_s, lost=True), n)

    def answer_next(
        self,
        n: int | None = 1,
        *,
        delay_s: float = 0.0,
        token_lifetime_s: float | None = None,
        rotation: bool | None = None,
        reuse_detection: bool | None = None,
        changes: Mapping[str, Any] | None = None,
        omit: Collection[str] = (),
        endpoint: Endpoint = "token",
    ) -> None:
        """Answer the next requests truly, but not quite like the others.

        Args:
            n: How many requests; `None` means all of them until `heal`.
            delay_s: Seconds the answer takes, besides the provider's own `delay_s`.
            token_lifetime_s: Life of the access token; `None` leaves it at the provider's.
            rotation: Whether a refresh rotates; `None` leaves it at the provider's.
            reuse_detection: Whether a spent refresh token ends its family; `None` leaves it at the provider's.
            changes: Members of the JSON answer that are not what they should be, `{"expires_in": "soon"}` for one.
            omit: Members of the JSON answer that are missing.
            endpoint: Which endpoint answers so.
        """
        given = {"token_lifetime_s": token_lifetime_s, "rotation": rotation, "reuse_detection": reuse_detection}
        policy = {name: value for name, value in given.items() if value is not None}
        turn = Turn(delay_s, policy=policy, changes=dict(changes or {}), omit=tuple(omit))
        self._script.queue(endpoint, turn, n)

    def heal(self) -> None:
        """Forget all that was scripted and not used."""
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
    def tokens_revoked(self) -> int:
        """How many tokens clients have revoked, of either kind."""
        return self._store.revocations

    @property
    def refresh_tokens_reused(self) -> int:
        """How many times a spent refresh token came back."""
        return self._store.reuses

    def wait_for_requests(self, count: int, *, timeout_s: float, endpoint: Endpoint = "token") -> bool:
        """Wait until an endpoint has had `count` requests in all; `False` at the deadline (seconds)."""
        return self._script.wait_for(endpoint, count, timeout_s)
