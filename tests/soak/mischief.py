"""What goes wrong in a soak: something every few milliseconds, by chance, and mended after a while."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from soak.town import RETRY_AFTER_S, Site, Tenant, Town
from soak.watch import wall

from oidc_actor import NoTokenError, TokenManager
from supervision import NoProcess, Supervisor, kill, whereis

PAUSE_S = (0.002, 0.04)
OUTAGE_S = (0.1, 3.0)


class Mischief:
    """A thread that breaks things in a town.

    Args:
        town: Where.
        seed: For what is left to chance.
    """

    def __init__(self, town: Town, seed: int) -> None:
        self._town = town
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._repairs: list[tuple[float, Callable[[], object]]] = []
        self._thread = threading.Thread(target=self._run, name="soak-mischief", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Break nothing any more; what is broken stays so."""
        self._over.set()
        self._thread.join(30)
        if self._thread.is_alive():
            self._town.findings.broke("the mischief hangs")

    def _run(self) -> None:
        while not self._over.wait(self._chance.uniform(*PAUSE_S)):
            self._repair()
            deed = self._chance.choice(DEEDS)
            self._town.findings.count(deed.__name__.strip("_"))
            try:
                deed(self)
            except (NoProcess, NoTokenError):
                continue  # it is being restarted, or has no token to reject
            except Exception as error:
                self._town.findings.broke(f"{deed.__name__}: {type(error).__name__}: {error}")

    def _repair(self) -> None:
        now = time.monotonic()
        due = [mend for at, mend in self._repairs if at <= now]
        self._repairs = [(at, mend) for at, mend in self._repairs if at > now]
        for mend in due:
            mend()

    def _for_a_while(self, mend: Callable[[], object]) -> None:
        self._repairs.append((time.monotonic() + self._chance.uniform(*OUTAGE_S), mend))

    def _site(self) -> Site:
        return self._chance.choice(self._town.sites)

    def _tenant(self) -> Tenant:
        return self._chance.choice(self._town.tenants)

    # --- deeds --------------------------------------------------------------------------------------------------------

    def _network(self) -> None:
        proxy, n = self._site().proxy, self._chance.randint(1, 3)
        after = self._chance.choice([None, 0, 5, 150])
        faults: list[Callable[[], None]] = [
            lambda: proxy.cut(n, after_bytes=after),
            lambda: proxy.reset(n, after_bytes=after),
            lambda: proxy.stall(n, after_bytes=after),
            lambda: proxy.drip(n, chunk_bytes=20, interval_s=0.05),
            lambda: proxy.truncate(n, body_bytes=self._chance.randint(0, 200)),
            lambda: proxy.corrupt(n, part=self._chance.choice(["head", "body"])),
            lambda: proxy.delay(self._chance.uniform(0, 1), n),
            proxy.reset_open,
            proxy.cut_open,
        ]
        self._chance.choice(faults)()

    def _network_outage(self) -> None:
        proxy = self._site().proxy
        break_it = self._chance.choice([proxy.down, proxy.refuse, lambda: proxy.stall(None), lambda: proxy.reset(None)])
        break_it()
        self._for_a_while(lambda: (proxy.heal(), proxy.up()))

    def _provider(self) -> None:
        provider, n = self._site().provider, self._chance.randint(1, 3)
        status = self._chance.choice([400, 401, 404, 429, 500, 502, 503, 504])
        headers = {"Retry-After": str(int(RETRY_AFTER_S))} if status == 429 else None
        faults: list[Callable[[], None]] = [
            lambda: provider.fail_next(n, status=status, headers=headers),
            lambda: provider.fail_next(n, status=200, body=self._chance.choice(["", "[]", "{}", "<html>", "\x00"])),
            lambda: provider.fail_next(n, status=503, endpoint="discovery"),
            lambda: provider.lose_next(n),
            lambda: provider.answer_next(n, delay_s=self._chance.uniform(0, 1)),
            lambda: provider.answer_next(n, rotation=False),
            lambda: provider.answer_next(n, omit=["expires_in"]),
            provider.revoke_refresh_tokens,
        ]
        self._chance.choice(faults)()

    def _provider_outage(self) -> None:
        provider = self._site().provider
        if self._chance.random() < 0.5:
            provider.down()
            self._for_a_while(provider.up)
        else:
            provider.fail_next(None, status=503)
            self._for_a_while(provider.heal)

    def _kill(self) -> None:
        for _ in range(self._chance.choice([1, 1, 1, 5])):
            ref = whereis(self._tenant().name)
            if ref is not None:
                kill(ref)

    def _impatience(self) -> None:
        name = self._tenant().name
        for _ in range(self._chance.randint(1, 20)):
            TokenManager.force_refresh(name)

    def _rejection(self) -> None:
        tenant = self._tenant()
        life, name = tenant.life, tenant.name
        rejected = TokenManager.get_access_token(name, timeout=0)
        tenant.note(rejected, life)
        self._town.rejected[rejected] = wall() + 1e9  # from when on is known only afterwards
        TokenManager.force_refresh(name, rejected=rejected)
        self._town.rejected[rejected] = wall()
        while len(self._town.rejected) > 200:
            self._town.rejected.pop(next(iter(self._town.rejected)))

    def _stop_and_start(self) -> None:
        tenant = self._tenant()
        tenant.stopped = True
        tenant.life += 1
        tenant.best = ("", 0.0)
        try:
            Supervisor.terminate_child(self._town.supervisor, tenant.name)
            tenant.site.transport.start_anew(tenant.name)
            Supervisor.restart_child(self._town.supervisor, tenant.name)
        finally:
            tenant.life += 1
            tenant.best = ("", 0.0)
            tenant.stopped = False

    def _listen(self) -> None:
        def listener(_: object) -> None:
            self._town.findings.count("tokens heard of")
            if self._chance.random() < 0.1:
                raise RuntimeError("a listener's own fault")

        subscription = TokenManager.subscribe(self._tenant().name, listener)
        self._for_a_while(subscription.cancel)

    def _health(self) -> None:
        health = TokenManager.health(self._tenant().name)
        if health.ready != (health.state in {"fresh", "stale"}):
            self._town.findings.broke(f"a health that contradicts itself: {health}")


DEEDS = (
    *[Mischief._network] * 8,
    Mischief._network_outage,
    *[Mischief._provider] * 8,
    Mischief._provider_outage,
    *[Mischief._kill] * 30,
    *[Mischief._impatience] * 6,
    *[Mischief._rejection] * 6,
    *[Mischief._stop_and_start] * 3,
    *[Mischief._listen] * 2,
    *[Mischief._health] * 3,
)
