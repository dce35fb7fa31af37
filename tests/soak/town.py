"""The managers of a soak, their providers, and the readers that live on their tokens."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from soak.watch import Findings, WatchedTransport, end_of, wall

from oidc_actor import ClientCredentials, NoTokenError, Password, RetryPolicy, TokenManager
from oidc_actor.testing import FaultProxy, Provider
from supervision import NoProcess, Supervisor

LIFETIME_S = 3.0
MIN_INTERVAL_S = 0.2
TIMEOUT_S = 0.5
RETRY = RetryPolicy(initial_s=0.05, maximum_s=1.0)
RETRY_AFTER_S = 1.0
RECOVERY_S = 30.0
PROVIDERS = 4
READERS = 6
READ_PAUSE_S = 0.0005
SLACK_S = 0.3
PATIENCE_S = 5.0


@dataclass
class Tenant:
    """One manager, and what is known of it from outside.

    Attributes:
        name: Its name, which is also its client's id.
        site: The provider it is for.
        options: Of its manager.
        best: The token seen of it that lives longest, with its end.
        life: Counts its orderly stops: what was seen before one does not count after it.
        stopped: Whether it is stopped just now.
    """

    name: str
    site: Site
    options: dict[str, Any] = field(repr=False)
    best: tuple[str, float] = ("", 0.0)
    life: int = 0
    stopped: bool = False

    def note(self, token: str, life: int) -> None:
        """A reader has seen a token."""
        end = end_of(token)
        if life == self.life and end > self.best[1]:
            self.best = token, end


@dataclass(frozen=True)
class Site:
    """A provider, the proxy before it, and what its managers speak through."""

    provider: Provider
    proxy: FaultProxy
    transport: WatchedTransport


class Town:
    """Everything that runs in a soak.

    Args:
        findings: Where broken promises go.
        managers: How many.
        seed: For what is left to chance.
    """

    def __init__(self, findings: Findings, managers: int, seed: int) -> None:
        self.findings = findings
        self.rejected: dict[str, float] = {}  # rejected tokens, and from when on nobody may be given them
        self._seed = seed
        self._stack = ExitStack()
        self._over = threading.Event()
        self.sites = [self._site() for _ in range(PROVIDERS)]
        self.tenants = [self._tenant(number) for number in range(managers)]
        specs = [TokenManager.child_spec(**tenant.options) for tenant in self.tenants]
        self.supervisor = Supervisor.start_link(specs, max_restarts=10**9, max_seconds=5.0)
        self._readers = [
            threading.Thread(target=self._read, args=(number,), name=f"soak-reader-{number}", daemon=True)
            for number in range(READERS)
        ]
        for reader in self._readers:
            reader.start()

    def _site(self) -> Site:
        provider = self._stack.enter_context(Provider(token_lifetime_s=LIFETIME_S, clock=wall))
        proxy = self._stack.enter_context(FaultProxy(provider.listen_url, hold_limit_s=5.0))
        provider.public_url = proxy.url
        return Site(provider, proxy, WatchedTransport(self.findings, MIN_INTERVAL_S))

    def _tenant(self, number: int) -> Tenant:
        site, name, secret = self.sites[number % PROVIDERS], f"soak.{number}", f"secret-{number}"
        site.provider.add_client(name, secret)
        provider = site.provider
        auth: object = ClientCredentials(name, secret)
        if number // PROVIDERS % 2:
            auth = Password(provider.username, provider.password, name, secret)
        options = {
            "name": name,
            "auth": auth,
            "issuer_url": provider.issuer_url,
            "transport": site.transport,
            "retry": RETRY,
            "min_interval_seconds": MIN_INTERVAL_S,
            "timeout_seconds": TIMEOUT_S,
            "rng": random.Random(self._seed + number),
        }
        return Tenant(name, site, options)

    # --- readers ------------------------------------------------------------------------------------------------------

    def _read(self, number: int) -> None:
        chance = random.Random(self._seed * 1000 + number)
        while not self._over.wait(READ_PAUSE_S):
            tenant = chance.choice(self.tenants)
            self._read_once(tenant, chance.choice(READS))

    def _read_once(self, tenant: Tenant, read: Callable[[str], str]) -> None:
        life, best, began = tenant.life, tenant.best, wall()
        try:
            token = read(tenant.name)
        except (NoTokenError, NoProcess) as error:
            self.findings.count("reads without a token")
            self._judge_refusal(tenant, life, best, error)
        except Exception as error:
            self.findings.broke(f"{tenant.name}: {type(error).__name__}: {error}")
        else:
            self.findings.count("reads")
            if end_of(token) <= began:
                self.findings.broke(f"{tenant.name}: a token {began - end_of(token):.3f} s after its end")
            if self.rejected.get(token, began) < began:
                self.findings.broke(
                    f"{tenant.name}: a token that was rejected {began - self.rejected[token]:.3f} s ago"
                )
            tenant.note(token, life)

    def _judge_refusal(self, tenant: Tenant, life: int, best: tuple[str, float], error: Exception) -> None:
        token, end = best
        # A token's life counts from the start of its request, which the provider answered later by up to the timeout.
        left_s = end - TIMEOUT_S - SLACK_S - wall()
        if (
            life != tenant.life or tenant.stopped or best != tenant.best
        ):  # a newer one may have come, or gone, meanwhile
            return
        if left_s > 0 and token not in self.rejected:
            self.findings.broke(f"{tenant.name}: {type(error).__name__} although a token lives {left_s:.3f} s more")
        elif isinstance(error, NoProcess):
            self._await_restart(tenant, life)

    def _await_restart(self, tenant: Tenant, life: int) -> None:
        """Its supervisor is just restarting it: a reader with patience finds it there."""
        try:
            TokenManager.get_token(tenant.name, timeout=PATIENCE_S)
        except NoProcess:
            if life == tenant.life and not tenant.stopped:
                self.findings.broke(f"{tenant.name}: no process, although its supervisor restarts it")
        except NoTokenError:
            return

    # --- the end ------------------------------------------------------------------------------------------------------

    def recovers(self) -> bool:
        """Whether every manager has a live token, once nothing is broken any more and some time has passed."""
        for site in self.sites:
            site.provider.up()
            site.provider.heal()
            site.proxy.heal()
            site.proxy.up()
        ends = wall() + RECOVERY_S
        for tenant in self.tenants:
            try:
                TokenManager.get_token(tenant.name, timeout=max(0.0, ends - wall()))
            except Exception as error:
                self.findings.broke(f"{tenant.name} does not recover: {type(error).__name__}: {error}")
        return wall() < ends

    def stop(self) -> None:
        """End everything."""
        self._over.set()
        for reader in self._readers:
            reader.join(10)
            if reader.is_alive():
                self.findings.broke(f"{reader.name} hangs")
        Supervisor.stop(self.supervisor, timeout=30)
        self._stack.close()


def _by_name(name: str) -> str:
    return TokenManager.get_access_token(name, timeout=0)


def _by_source(name: str) -> str:
    return TokenManager.source(name).access_token(timeout=0)


def _patiently(name: str) -> str:
    return TokenManager.get_token(name, timeout=0.2).access_token


READS = (_by_name, _by_name, _by_name, _by_source, _by_source, _patiently)
