"""The two kinds of provider that the rows are played with, each behind a `FaultProxy` and with the same handles."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from chaos.scenario import NPM, SCRIPTED, Scenario
from integration.node_provider import CLIENTS, USER, NodeProvider
from integration.node_provider import running as running_node

from oidc_actor import ClientCredentials, Password
from oidc_actor.testing import Endpoint, FaultProxy, ManualClock, Provider
from oidc_actor.testing.script import error_answer

Secrets = set[str]


class Backend(Protocol):
    """A provider and the proxy before it, for one scenario."""

    name: str
    proxy: FaultProxy
    client_id: str
    client_secret: str
    username: str
    password: str
    scopes: tuple[str, ...]

    def fail(self) -> None:
        """Give no tokens until `heal`, by whatever a broken provider does."""

    def heal(self) -> None:
        """Work again."""

    def fail_next(
        self,
        n: int | None,
        *,
        status: int,
        error: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        endpoint: Endpoint = "token",
    ) -> None:
        """Answer the next requests with that instead, as `Provider.fail_next` does."""

    def answer_next(
        self,
        n: int | None,
        *,
        changes: Mapping[str, Any] | None = None,
        omit: Sequence[str] = (),
        endpoint: Endpoint = "token",
    ) -> None:
        """Answer the next requests not quite truly, as `Provider.answer_next` does."""

    def move_token_endpoint(self, path: str) -> None:
        """Have it elsewhere from now on, and say so in the metadata."""

    def arrived(self, endpoint: Endpoint) -> int:
        """How many requests an endpoint has had in this scenario."""

    def wall(self) -> float:
        """Its clock, in seconds since the epoch."""

    def refused_refreshes(self) -> int:
        """How many redeemed refresh tokens it has refused."""

    def full_grants(self) -> int:
        """How many tokens it gave for credentials, not for a refresh token."""

    def lived_out(self, token: str, now: float) -> bool | None:
        """Whether that token has ended by a reading of the test's clock; `None` if the token does not say."""


def credentials(backend: Backend, secret: object = None) -> ClientCredentials:
    """The first client, with another secret if need be."""
    return ClientCredentials(backend.client_id, secret or backend.client_secret)


def user(backend: Backend) -> Password:
    """The first user, whose tokens come with refresh tokens."""
    return Password(backend.username, backend.password, backend.client_id, backend.client_secret, scopes=backend.scopes)


class Scripted:
    """The embedded provider, on the test's clock."""

    name = SCRIPTED
    scopes: tuple[str, ...] = ()

    def __init__(self, provider: Provider, proxy: FaultProxy, clock: ManualClock) -> None:
        self.provider = provider
        self.proxy = proxy
        self._clock = clock
        self.client_id, self.client_secret = provider.client_id, provider.client_secret
        self.username, self.password = provider.username, provider.password

    def fail(self) -> None:
        self.provider.fail_next(None, status=503)
        self.provider.fail_next(None, status=503, endpoint="discovery")

    def heal(self) -> None:
        self.provider.heal()
        self.proxy.heal()

    def fail_next(self, n: int | None, **answer: Any) -> None:
        self.provider.fail_next(n, **answer)

    def answer_next(self, n: int | None, **answer: Any) -> None:
        self.provider.answer_next(n, **answer)

    def move_token_endpoint(self, path: str) -> None:
        self.provider.token_path = path

    def arrived(self, endpoint: Endpoint) -> int:
        return self.provider.token_requests if endpoint == "token" else self.provider.discovery_requests

    def wall(self) -> float:
        return self._clock.wall()

    def refused_refreshes(self) -> int:
        return self.provider.refresh_tokens_reused

    def full_grants(self) -> int:
        grants = self.provider.token_requests_by_grant
        return grants.get("password", 0) + grants.get("client_credentials", 0)

    def lived_out(self, token: str, now: float) -> bool | None:
        parts = token.split(".")
        if len(parts) != 3:
            return None
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return claims["exp"] <= now + self._clock.wall() - self._clock()


class Npm:
    """The certified npm `oidc-provider`, which is one process for all scenarios and has a clock of its own.

    What it would never answer comes from the gateway before it.
    """

    name = NPM
    scopes = ("openid", "offline_access")

    def __init__(self, provider: NodeProvider, proxy: FaultProxy) -> None:
        self._provider = provider
        self.proxy = proxy
        client = CLIENTS["client_secret_basic"]
        self.client_id, self.client_secret = str(client["client_id"]), str(client["client_secret"])
        self.username, self.password = USER["name"], USER["password"]
        self._before = provider.stats()

    def fail(self) -> None:
        self.fail_next(None, status=503)
        self.fail_next(None, status=503, endpoint="discovery")

    def heal(self) -> None:
        self._provider.forget_script()
        self.proxy.heal()

    def fail_next(
        self,
        n: int | None,
        *,
        status: int,
        error: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        endpoint: Endpoint = "token",
    ) -> None:
        canned = error_answer(status, error, None, headers, body)
        raw = base64.b64encode(canned.body).decode()
        self._provider.script(endpoint=endpoint, n=n, status=status, headers=dict(canned.headers), body=raw)

    def answer_next(
        self,
        n: int | None,
        *,
        changes: Mapping[str, Any] | None = None,
        omit: Sequence[str] = (),
        endpoint: Endpoint = "token",
    ) -> None:
        self._provider.script(endpoint=endpoint, n=n, changes=dict(changes or {}), omit=list(omit))

    def move_token_endpoint(self, path: str) -> None:
        self._provider.move_token_endpoint(path)
        self.answer_next(None, changes={"token_endpoint": f"{self.proxy.url}{path}"}, endpoint="discovery")

    def arrived(self, endpoint: Endpoint) -> int:
        return self._provider.stats().arrived[endpoint] - self._before.arrived[endpoint]

    def wall(self) -> float:
        return time.time()

    def refused_refreshes(self) -> int:
        return self._provider.stats().error.get("refresh_token", 0) - self._before.error.get("refresh_token", 0)

    def full_grants(self) -> int:
        now, before = self._provider.stats().success, self._before.success
        return sum(now.get(grant, 0) - before.get(grant, 0) for grant in ("password", "client_credentials"))

    def lived_out(self, token: str, now: float) -> bool | None:
        return None


class Stages:
    """Where the scenarios are played: providers that are started when they are needed, and stopped at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._npm: tuple[NodeProvider, FaultProxy] | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def backend(self, kind: str, scenario: Scenario, clock: ManualClock) -> Iterator[Backend]:
        """The provider of that kind, with tokens of the scenario's lifetime."""
        if kind == SCRIPTED:
            with self._scripted(scenario, clock) as scripted:
                yield scripted
            return
        provider, proxy = self._node()
        provider.set_token_lifetime(scenario.lifetime_s)
        try:
            yield Npm(provider, proxy)
        finally:
            provider.forget_script()
            provider.move_token_endpoint(None)
            proxy.heal()
            proxy.reset_open()
            proxy.up()

    @contextmanager
    def _scripted(self, scenario: Scenario, clock: ManualClock) -> Iterator[Scripted]:
        with (
            Provider(token_lifetime_s=scenario.lifetime_s, clock=clock.wall) as provider,
            FaultProxy(provider.listen_url) as proxy,
        ):
            provider.public_url = proxy.url
            yield Scripted(provider, proxy, clock)

    def _node(self) -> tuple[NodeProvider, FaultProxy]:
        if self._npm is None:
            proxy = self._stack.enter_context(FaultProxy())
            provider = self._stack.enter_context(running_node(public_url=proxy.url))
            proxy.target = provider.listen_url
            self._npm = provider, proxy
        return self._npm
