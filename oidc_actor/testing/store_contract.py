"""The contract of a store of shared tokens, for stores of one's own: `check_store`."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from oidc_actor.sharing import records
from oidc_actor.sharing.records import Record
from oidc_actor.sharing.store import (
    Claim,
    GiveUp,
    Granted,
    Newer,
    Occupied,
    Renewal,
    Restoration,
    Share,
    Shared,
    TokenStore,
    is_store,
)
from oidc_actor.values.errors import StoreError
from oidc_actor.values.secrets import Secret

FAR_MS = 10**9
LONG_MS = 100_000
TOLERANCE_MS = 1000
"""Milliseconds by which two readings of the store's clock in a row may differ, on a slow machine."""


def check_store(factory: Callable[[], TokenStore], *, histories: int = 5, steps: int = 60, seed: int = 1) -> None:
    """Check a store against the contract: random histories are played on it and on a model, and must give the same answers.

    Args:
        factory: Makes a store. It is called a few times; all that it makes must be the same store. A namespace for this check is
            best: records of its own are left behind.
        histories: How many are played, each on a key of its own.
        steps: How many steps each has.
        seed: What makes the histories; another seed makes others.

    Raises:
        AssertionError: An answer is wrong; the text has the history up to there.
        StoreError: The store could not be asked.
    """
    store = factory()
    assert is_store(store), "expected the six methods of a TokenStore, keys and namespace"
    for number in range(histories):
        _History(
            store, f"check-{seed}-{number}-{random.getrandbits(40):010x}", random.Random(seed * 1000 + number)
        ).play(steps)
    _check_others(factory, store)


class _History:
    """One random history on one key; what is right is what `oidc_actor.sharing.records` does."""

    def __init__(self, store: TokenStore, key: str, rng: random.Random) -> None:
        self._store, self._key, self._rng = store, key, rng
        self._model = Record()
        self._granted: list[tuple[Claim, Granted]] = []
        self._told: list[str] = []
        self._claims = self._tokens = 0

    def play(self, steps: int) -> None:
        for _ in range(steps):
            self._rng.choice(
                [self._claim, self._claim, self._share, self._give_up, self._renew, self._restore, self._look]
            )()

    def _late(self) -> int:
        return self._now() + FAR_MS

    def _now(self) -> int:
        return self._store.look(()).now_ms

    def _agree(self, step: str, got: Any, expected: Any) -> None:
        self._told.append(f"{step}: {got!r}")
        assert _alike(got, expected), "\n".join([*self._told, f"expected {expected!r}"])

    def _claim(self) -> None:
        rng, known = self._rng, self._model
        self._claims += 1
        earlier = self._granted[-1][0].claimant if self._granted and rng.random() < 0.3 else None
        claim = Claim(
            f"c{self._claims}",
            self._late(),
            rng.choice([0, known.gen, known.gen + 1]),
            rng.choice([0, 1000, LONG_MS * 2]),
            rng.choice([None, known.fingerprint or None]),
            rng.choice([0, LONG_MS]),
            rng.choice([None, Secret("login")]),
            rng.choice([0, LONG_MS]),
            rng.random() < 0.5,
            earlier,
            rng.random() < 0.2,
        )
        answer = self._store.claim(self._key, claim)
        self._model, expected = records.claim(self._model, claim, answer.now_ms)
        self._agree(f"claim {claim}", answer, expected)
        if isinstance(answer, Granted):
            self._granted.append((claim, answer))

    def _holder(self) -> tuple[Claim, Granted] | None:
        return self._rng.choice(self._granted[-3:]) if self._granted else None

    def _share(self) -> None:
        holder = self._holder()
        if holder is None:
            return
        self._tokens += self._rng.random() < 0.8
        claim, granted = holder
        now_ms, rng = self._now(), self._rng
        refresh_token = Secret(f"r{self._tokens}") if rng.random() < 0.7 else None
        share = Share(
            claim.claimant,
            granted.fence,
            now_ms + FAR_MS,
            Secret(f"t{self._tokens}"),
            now_ms + rng.choice([-5000, LONG_MS]),
            f"f{self._tokens}",
            refresh_token,
            LONG_MS,
        )
        answer = self._store.share(self._key, share)
        self._model, expected = records.share(self._model, share, answer.now_ms)
        self._agree(f"share {share}", answer, expected)

    def _give_up(self) -> None:
        holder = self._holder()
        if holder is None:
            return
        rng = self._rng
        given_up = GiveUp(
            holder[0].claimant,
            holder[1].fence,
            self._late(),
            rng.choice(["intact", "doubtful", "refused"]),
            rng.choice([0, 0, LONG_MS]),
        )
        self._told.append(f"give up {given_up}")
        self._store.give_up(self._key, given_up)
        self._model = records.give_up(self._model, given_up, self._now())

    def _renew(self) -> None:
        holder = self._holder()
        if holder is None:
            return
        renewal = Renewal(holder[0].claimant, holder[1].fence, self._late(), LONG_MS, Secret("r0"))
        got = self._store.renew(self._key, renewal)
        self._model, expected = records.renew(self._model, renewal, self._now())
        self._agree(f"renew {renewal}", got, expected)

    def _restore(self) -> None:
        rng, now_ms = self._rng, self._now()
        gen = max(1, self._model.gen + rng.choice([-1, 0, 1000]))
        login = rng.choice([None, Secret("r0")])
        restoration = Restoration(gen, now_ms + FAR_MS, Secret("t0"), now_ms + LONG_MS, "f0", login, LONG_MS)
        restoration = replace(restoration, quarantine_ms=rng.choice([0, 0, LONG_MS]))
        got = self._store.restore(self._key, restoration)
        self._model, expected = records.restore(self._model, restoration, self._now())
        self._agree(f"restore {restoration}", got, expected)

    def _look(self) -> None:
        looked = self._store.look([self._key, f"{self._key}-none"])
        self._agree("look", looked.gens, (self._model.gen, 0))


def _alike(got: Any, expected: Any) -> bool:
    if isinstance(got, Occupied) and isinstance(expected, Occupied):
        near = abs(got.until_ms - expected.until_ms) <= TOLERANCE_MS
        return near and replace(got, until_ms=0) == replace(expected, until_ms=0)
    return bool(got == expected)


def _check_others(factory: Callable[[], TokenStore], store: TokenStore) -> None:
    """What needs two threads, or time that is past."""
    key = f"check-{random.getrandbits(60):015x}"
    _check_late(store, key)
    answers: list[Any] = []
    begin = threading.Barrier(8)

    def race(number: int) -> None:
        begin.wait(10)
        answers.append(factory().claim(key, Claim(f"race-{number}", store.look(()).now_ms + FAR_MS, lease_ms=LONG_MS)))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    granted = [answer for answer in answers if isinstance(answer, Granted)]
    assert len(granted) == 1, f"of 8 claims at a time {len(granted)} were granted; expected 1"
    assert len(answers) == len(threads), f"of 8 claims at a time {len(answers)} were answered"
    secret = Secret("sealed")
    holder = next(answer for answer in answers if isinstance(answer, Granted))
    fences = holder.fence, holder.now_ms
    assert store.renew(key, Renewal("nobody", fences[0] - 1, fences[1] + FAR_MS)) is False
    for number in range(8):
        share = Share(
            f"race-{number}", holder.fence, fences[1] + FAR_MS, secret, fences[1] + LONG_MS, "f", None, LONG_MS
        )
        shared = store.share(key, share)
        assert isinstance(shared, Shared)
    found = factory().claim(key, Claim("reader", fences[1] + FAR_MS))
    assert isinstance(found, Newer)
    assert found.token == secret


def _check_late(store: TokenStore, key: str) -> None:
    """Nothing is carried out whose time is past: its caller has given it up."""
    now_ms = store.look(()).now_ms
    past_ms, far_ms, secret = now_ms - 1, now_ms + FAR_MS, Secret("sealed")
    kept = f"{key}-late"
    granted = store.claim(kept, Claim("holder", far_ms, lease_ms=LONG_MS))
    assert isinstance(granted, Granted), f"the first claim of a record: {granted!r}"
    fence = granted.fence
    steps: dict[str, Callable[[], object]] = {
        "claim": lambda: store.claim(key, Claim("late", past_ms)),
        "renewal": lambda: store.renew(kept, Renewal("holder", fence, past_ms)),
        "share": lambda: store.share(kept, Share("holder", fence, past_ms, secret, far_ms, "f")),
        "give-up": lambda: store.give_up(kept, GiveUp("holder", fence, past_ms, "intact")),
        "restoration": lambda: store.restore(kept, Restoration(now_ms, past_ms, secret, far_ms, "f")),
    }
    for what, step in steps.items():
        try:
            step()
        except StoreError:
            continue
        raise AssertionError(f"a {what} whose time is past was carried out")
    assert store.look([key, kept]).gens == (0, 0), "what came too late has changed a record"
    held = store.claim(kept, Claim("next", far_ms))
    assert isinstance(held, Occupied), f"a claim beside a lease, given up too late: {held!r}"
