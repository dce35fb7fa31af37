"""Where outages are played: real managers, a provider and a proxy of this process, and a clock that stands still.

Two kinds of time meet here. The managers go by a `ManualClock`; requests, answers and mailboxes take real time. The one rule is
that the clock goes on only when nothing is under way in real time: no message waits, and each request that was sent is *parked*.
It has been carried out by then, over a real connection, and waits on its worker's thread for as long as it takes by the clock. So
the outcome never depends on how fast this machine is.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import pykka

from oidc_actor import (
    ClientCredentials,
    NoTokenError,
    OIDCConfig,
    Password,
    RefreshToken,
    TokenManager,
    oidc,
)
from oidc_actor.cli.rehearsal.outages import Kind, Outage, Played, just_before_s, planned_for, worse
from oidc_actor.http.client import RequestsTransport
from oidc_actor.machine.forecast import Plan
from oidc_actor.machine.state import METADATA_AGE_S
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.reading.token_source import TokenSource
from oidc_actor.sharing import store as asked
from oidc_actor.testing import FaultProxy, ManualClock, MemoryStore, Provider
from oidc_actor.transport import Request, Response, TransportError

REAL_TIMEOUT_S = 30.0
"""Real seconds for what takes milliseconds: a request to this process's own provider, or a manager's way to its next wait."""

HOLE_S = 0.02
"""Real seconds that a request into a black hole is given: no answer comes, however long it waits."""

LOOK_S = 0.0003
MOST_READS = 600  # of one member in one outage; the moments before an answer come on top
READ_EVERY_S = 1.0

HAIR_S = 0.005
"""How much sooner an outage begins than a refresh that it is to meet: a member's token may end that much earlier by rounding."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a provider's answers are like.

    Attributes:
        expires_in: Whether they say how long the token lives.
        has_exp: Whether, where they do not, the token itself says.
        refresh_token: Whether a refresh token comes with it.
        token_type: What they call it.
    """

    expires_in: bool = True
    has_exp: bool = False
    refresh_token: bool = False
    token_type: str = "Bearer"  # noqa: S105 - a type's name

    @property
    def ages(self) -> bool:
        """Whether the provider can give a token that lives longer than the others."""
        return self.expires_in or self.has_exp


class Draws:
    """A manager's random source: the worst waits, or any."""

    def __init__(self, share: Callable[[int], float], early_s: dict[int, float]) -> None:
        """Say what is drawn.

        Args:
            share: For the waits after lost requests: the share of its range, by how many were lost before in a row.
            early_s: How much earlier than at the latest tokens are refreshed, by their numbers from 1; 0 for others.
        """
        self._share, self._early_s = share, early_s
        self.lost = self.tokens = 0

    def uniform(self, a: float, b: float, /) -> float:
        """Draw from a range."""
        if self.lost:
            return a + (b - a) * self._share(self.lost - 1)
        return min(b, a + self._early_s.get(self.tokens, 0.0))


class Stage:
    """A provider, the proxy before it, and the clock. Use it in a ``with`` statement, on one thread."""

    def __init__(
        self, plan: Plan, shape: Shape, *, members: int = 1, retry_after_s: float = 30.0, seed: int = 12
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            plan: What each manager is like.
            shape: What the provider's answers are like.
            members: How many managers there are; more than one share a store in this process's memory.
            retry_after_s: What ``Retry-After`` says, with HTTP 429.
            seed: What the second play of each outage draws its waits from.
        """
        self.plan, self.shape, self.members, self.retry_after_s = plan, shape, members, retry_after_s
        self.clock = ManualClock()
        self.proxy = FaultProxy()
        self.provider = Provider(token_lifetime_s=plan.lifetime_s, clock=self.clock.wall)
        self.rng = random.Random(seed)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        provider, proxy = self._running.enter_context(self.provider), self._running.enter_context(self.proxy)
        proxy.target = provider.listen_url
        provider.public_url = proxy.url
        self.be_well()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def play(self, outage: Outage) -> Played:
        """Play an outage with the worst waits and with random ones; the worse of the two is what counts."""
        shares: Sequence[Callable[[int], float]] = (outage.share, lambda _: self.rng.random())
        return worse([_Play(self, outage, share).run() for share in shares])

    def be_well(self) -> None:
        """End an outage: the provider answers again, as its shape is."""
        self.proxy.reset_open()  # what is held is not let through late
        self.proxy.heal()
        self.proxy.up()
        self.provider.heal()
        self.provider.answer_next(None, **self._answers())

    def fail(self, kind: Kind) -> None:
        """Begin an outage."""
        if kind == "refused":
            self.proxy.down()
        elif kind == "timeout":
            self.proxy.stall(None)
        else:
            headers = {"Retry-After": f"{self.retry_after_s:.3f}"} if kind == "429" else {}
            self.provider.fail_next(None, status=int(kind), headers=headers)
            self.provider.fail_next(None, status=int(kind), headers=headers, endpoint="discovery")

    def answer_once(self, lifetime_s: float) -> None:
        """Have the next token live so long."""
        self.provider.answer_next(1, token_lifetime_s=lifetime_s, **self._answers())

    def _answers(self) -> dict[str, Any]:
        shape = self.shape
        omit = [] if shape.expires_in else ["expires_in"]
        changes: dict[str, Any] = {"token_type": shape.token_type}
        if not shape.refresh_token and not self.plan.rules.own_refresh_token:
            omit.append("refresh_token")
        if not shape.ages:
            changes["access_token"] = "opaque"  # noqa: S105 - it says nothing of its end
        return {"changes": changes, "omit": omit}

    def options(self) -> dict[str, Any]:
        """A manager's options, but for its transport, its random source and its store."""
        plan, provider, rules = self.plan, self.provider, self.plan.rules
        config = OIDCConfig(issuer=provider.issuer_url, token_endpoint=provider.token_endpoint)
        where = {"issuer_url": provider.issuer_url} if rules.discovers else {"oidc_config": config}
        client: Any = provider.client_id, provider.client_secret
        auth: ClientCredentials | Password | RefreshToken = ClientCredentials(*client)
        if rules.own_refresh_token or self.shape.refresh_token:
            auth = Password(provider.username, provider.password, *client)
        if rules.own_refresh_token:
            login = oidc.get_token(config, auth).refresh_token
            assert login is not None, "the provider of this process gives one to a person"
            auth = RefreshToken(login, *client)
        return {
            "auth": auth,
            "clock": self.clock,
            "refresh_buffer_seconds": plan.buffer_s,
            "timeout_seconds": plan.timeout_s,
            "retry": rules.retry,
            "min_interval_seconds": rules.min_interval_s,
            **where,
        }


class _Line:
    """The requests of one manager: carried out at once, over a real connection, and heard of when they have taken their time."""

    def __init__(self, play: _Play, draws: Draws) -> None:
        self._play, self._draws = play, draws
        self._transport = RequestsTransport(
            trust_env=False
        )  # one each: managers of one transport share a circuit breaker

    def __call__(self, request: Request, /) -> Response:
        play, plan = self._play, self._play.plan
        is_hole = play.is_out and play.outage.kind == "timeout"
        real_s = HOLE_S if is_hole else REAL_TIMEOUT_S
        sent = Request(request.method, request.url, request.headers, request.body, real_s)
        play.sent()
        try:
            response = self._transport(sent)
        except TransportError:
            self._draws.lost += 1
            play.park(request.timeout_s if is_hole else 0.0)
            raise
        if response.status >= 400:
            self._draws.lost += 1
            play.park(plan.lost_s)
        else:
            play.park(plan.took_s)
        if request.method == "POST" and response.status == 200:
            self._draws.lost, self._draws.tokens = 0, self._draws.tokens + 1
            play.tokens += 1
        return response

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()


class _Store(MemoryStore):
    """A store in which no call comes too late: between two calls the clock may have gone on by an hour."""

    def claim(self, key: str, claim: asked.Claim, /) -> asked.ClaimAnswer:
        return super().claim(key, self._now(claim))

    def renew(self, key: str, renewal: asked.Renewal, /) -> bool:
        return super().renew(key, self._now(renewal))

    def share(self, key: str, share: asked.Share, /) -> asked.Shared | asked.Overtaken:
        return super().share(key, self._now(share))

    def give_up(self, key: str, give_up: asked.GiveUp, /) -> None:
        super().give_up(key, self._now(give_up))

    def restore(self, key: str, restoration: asked.Restoration, /) -> bool:
        return super().restore(key, self._now(restoration))

    def _now(self, call: Any) -> Any:
        return replace(call, not_after_ms=self._now_ms())


@dataclass(slots=True)
class _Reads:
    every_s: float
    next_at: float
    count: int = 0
    failed: int = 0
    first_failure_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Member:
    ref: pykka.ActorRef[TokenManager]
    source: TokenSource
    line: _Line


class _Play:
    """One outage, with one set of waits."""

    def __init__(self, stage: Stage, outage: Outage, share: Callable[[int], float]) -> None:
        self.stage, self.outage = stage, outage
        self.plan = planned_for(stage.plan, outage.kind, stage.retry_after_s)
        self.tokens = 0  # how many came
        self.is_out = False
        self._share = share
        self._members: list[_Member] = []
        self._store = _Store(clock=stage.clock.wall) if stage.members > 1 else None
        self._options = stage.options()
        self._requests = 0
        self._reads: _Reads | None = None
        self._numbers = itertools.count()
        # Guards what follows: requests that are parked, with when each is heard of. Workers add to it, and this play's thread
        # takes out.
        self._lock = threading.Lock()
        self._parked: list[tuple[float, int, threading.Event]] = []
        self._is_over = False

    # --- on the threads of workers ------------------------------------------------------------------------------------

    def sent(self) -> None:
        """Count a request that is about to be sent."""
        with self._lock:
            self._requests += 1

    def park(self, seconds: float) -> None:
        """Wait until so much time has passed by the clock."""
        if not seconds:
            return
        gate = threading.Event()
        with self._lock:
            if self._is_over:
                return
            heapq.heappush(self._parked, (self.stage.clock() + seconds, next(self._numbers), gate))
        gate.wait(REAL_TIMEOUT_S)

    # --- on the thread that plays -------------------------------------------------------------------------------------

    def run(self) -> Played:
        """Play it."""
        with self._ended():
            return self._run()

    def _run(self) -> Played:
        clock, outage, stage = self.stage.clock, self.outage, self.stage
        waits_for_one = outage.moment == "start"  # of several members one starts in the outage, the others before it
        begins_at, late_s = clock(), 0.0
        if not waits_for_one or stage.members > 1:
            begins_at, late_s = self._to_the_moment(stage.members - waits_for_one)
        stage.fail(outage.kind)
        self.is_out, before, ends_at = True, self._requests, begins_at + outage.length_s
        every_s = max(READ_EVERY_S, (outage.length_s + self._patience_s) / MOST_READS)
        self._reads = reads = _Reads(every_s, begins_at)
        if waits_for_one:
            self._start(1)
        self._pass_until(ends_at)
        stage.be_well()
        self.is_out = False
        is_well = self._pass_until(ends_at + self._patience_s, self._is_well)
        first_s = None if reads.first_failure_at is None else reads.first_failure_at - begins_at
        recovered_s = clock() - ends_at if is_well else None
        return Played(outage, reads.count, reads.failed, first_s, self._requests - before, recovered_s, late_s)

    def _start(self, count: int) -> None:
        """Start managers, which begin with their first request."""
        token = 3 if self.outage.moment == "expiry" else 2  # the number of the one that lives as the outage begins
        rng = self.stage.rng
        for _ in range(count):
            share = self._share if not self._members else lambda _: rng.random()
            draws = Draws(share, {token: self.outage.early_s})
            line = _Line(self, draws)
            ref = TokenManager.start_link(**self._options, store=self._store, transport=line, rng=draws)
            self._members.append(_Member(ref, TokenManager.source(ref), line))
        self._settle()

    def _to_the_moment(self, members: int) -> tuple[float, float]:
        """Start managers, and let time pass up to the outage; returns when that begins, and how much later than meant that is.

        The first token lives for so long that the metadata are a day old when the outage is met: they are asked for again then,
        and an attempt takes longest.
        """
        plan, outage, clock = self.plan, self.outage, self.stage.clock
        to_refresh_s = plan.lifetime_s - plan.lead_s
        if self.stage.shape.ages:
            lives = 2 if outage.moment == "expiry" else 1
            after_s = max(METADATA_AGE_S + 1 + outage.early_s - lives * to_refresh_s, to_refresh_s)
            self.stage.answer_once(after_s + min(plan.buffer_s, after_s))
        self._start(members)
        if not self._pass_until(clock() + 10 * (METADATA_AGE_S + plan.lifetime_s), self._has_second_token):
            raise TimeoutError("the managers did not get a second token from the provider of this process")
        # By what the manager makes of the answer: where the token's `exp` says how long it lives, that has whole seconds.
        health = TokenManager.health(self._members[0].ref)
        begins_at = clock() + (health.expires_in_s or 0.0) - just_before_s(plan)
        if outage.moment != "expiry":
            before_s = plan.longest_before_s / 2 if outage.before_s is None else outage.before_s
            begins_at = clock() + (health.refresh_in_s or 0.0) + outage.early_s - before_s - HAIR_S
        self._pass_until(begins_at)
        late_s = max(0.0, clock() - begins_at)
        return begins_at + late_s, late_s

    @property
    def _patience_s(self) -> float:
        return 2 * (self.plan.longest_loss_s + self.plan.timeout_s) + 30.0

    def _has_second_token(self) -> bool:
        if self.tokens < 2 or not self._is_well():
            return False
        return len({member.source.access_token(timeout=0) for member in self._members}) == 1

    def _is_well(self) -> bool:
        conditions = [TokenManager.health(member.ref) for member in self._members]
        return all(one.ready and not one.consecutive_failures and not one.refreshing for one in conditions)

    def _pass_until(self, goal: float, is_done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, from one moment at which something happens to the next, until something is so; returns whether it is."""
        clock = self.stage.clock
        self._settle()
        has_changed = True
        while not (has_changed and is_done()):
            now, reads, due_s = clock(), self._reads, clock.next_in_s
            if now >= goal:
                return False
            answer_at = self._next_answer_at()
            due_at = math.inf if due_s is None else now + due_s
            at = min(goal, due_at, answer_at, math.inf if reads is None else reads.next_at)
            clock.advance(max(0.0, at - now))
            # Also right before an answer is heard of: no gap is so short that no read falls into it.
            has_failed = reads is not None and at >= min(reads.next_at, answer_at) and self._read(reads)
            has_changed = self._hear_answers(at) or at >= due_at or has_failed
            if has_changed:
                self._settle()
        return True

    def _read(self, reads: _Reads) -> bool:
        """Have each member read a token; returns whether one got none."""
        now, failed = self.stage.clock(), 0
        for member in self._members:
            try:
                member.source.access_token(timeout=0)
            except NoTokenError:
                failed += 1
        reads.count += len(self._members)
        reads.failed += failed
        if failed and reads.first_failure_at is None:
            reads.first_failure_at = now
        while reads.next_at <= now:
            reads.next_at += reads.every_s
        return failed > 0

    # --- what is under way in real time -------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Wait until nothing is under way but what is parked, and each manager has heard all that it was told.

        A worker's job tells a manager its outcome before it counts as ended. So where no job is under way, and a manager has
        answered a call that was sent then, it knows the outcome of all jobs. It may have begun another one by that; then the
        marks differ, which every job changes.
        """
        while True:
            until = time.monotonic() + REAL_TIMEOUT_S
            while self._under_way():
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"a request to the provider of this process has not ended in {REAL_TIMEOUT_S:g} s"
                    )
                time.sleep(LOOK_S)
            before = self._marks()
            for member in self._members:
                TokenManager.health(member.ref)
            if not self._under_way() and self._marks() == before:
                return

    def _marks(self) -> tuple[int, int]:
        return self._requests, 0 if self._store is None else self._store.calls

    def _under_way(self) -> bool:
        with self._lock:
            return HTTP_WORKERS.value.under_way != len(self._parked)

    def _next_answer_at(self) -> float:
        with self._lock:
            return self._parked[0][0] if self._parked else math.inf

    def _hear_answers(self, now: float) -> bool:
        """Let go the requests whose time has passed; returns whether there was one."""
        has_any = False
        with self._lock:
            while self._parked and self._parked[0][0] <= now:
                heapq.heappop(self._parked)[2].set()
                has_any = True
        return has_any

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """At the end nothing goes on: no manager, no request, no fault."""
        try:
            yield
        finally:
            self.is_out = False
            self.stage.be_well()
            with self._lock:
                self._is_over = True
                for _, _, gate in self._parked:
                    gate.set()
                self._parked.clear()
            for member in self._members:
                TokenManager.stop(member.ref, timeout=REAL_TIMEOUT_S)
                member.line.close()
