"""Several machines that share one store, in virtual time: store, network and provider are models, and fail at random."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fakes import AUTH
from machine_driver import CONFIG, Reader

from oidc_actor.machine import effects, events
from oidc_actor.machine.events import Event, HeldLease
from oidc_actor.machine.sharing import LEASE_S, LOOK_S, PUT_BACK_S, QUARANTINE_S
from oidc_actor.machine.state import Rules, Sharing, State, is_valid
from oidc_actor.machine.transitions import adopt, step
from oidc_actor.manager.shared_store import CLOSE_S
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
)
from oidc_actor.values.errors import StoreError, TokenRequestError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse

SEED = Secret("seed")
STORE_TIMEOUT_S = 0.5
REQUEST_TIMEOUT_S = 3.0
UNANSWERED = StoreError("no answer")
UNSENT = TokenRequestError("the lease is over", sent=False)
TIMED_OUT = TokenRequestError("no answer", sent=True)
REFUSED = TokenRequestError("HTTP 400: invalid_grant", status=400, error="invalid_grant", retryable=False)


@dataclass
class Faults:
    """What goes wrong, as probabilities for each message, or for each second.

    Attributes:
        loses: That a store's answer is lost after it was asked; as often it is never asked.
        times_out: That a provider's answer is lost.
        crashes: That an incarnation crashes and is restarted, for each member and second.
        dies: That a process is killed and another one started, for each member and second.
        cuts: That a member is cut off from the store for some seconds, for each member and second.
        cut_s: How long that is at most.
        flushes: That the store loses the record, for each second.
        refuses: That the provider is down, for each request.
        late: That a store carries a call out late, and that its answer comes when it has been given up.
        steps: That the store's clock is set by an hour or a day, back or forward, for each second.
        fails_over: That the store loses what it was told in the last second, for each second.
        kills: That a process ends when it has just sent a request.
        cuts_holders: That a member is cut off from the store when it has just sent a request.
        rejects: That a resource server rejects a member's token, for each member and second.
    """

    loses: float = 0.0
    times_out: float = 0.0
    crashes: float = 0.0
    dies: float = 0.0
    cuts: float = 0.0
    cut_s: float = 15.0
    flushes: float = 0.0
    refuses: float = 0.0
    late: float = 0.0
    steps: float = 0.0
    fails_over: float = 0.0
    rejects: float = 0.0
    kills: float = 0.0
    cuts_holders: float = 0.0


class Provider:
    """Issues tokens, rotates refresh tokens, and notes each that it sees a second time."""

    def __init__(self, lifetime_s: float) -> None:
        self.lifetime_s = lifetime_s
        self.numbers = itertools.count(1)
        self.valid = {SEED.reveal()}
        self.seen: Counter[str] = Counter()
        self.requests = 0
        self.revoked = 0

    def answer(self, redeems: Secret | None) -> ParsedToken | TokenRequestError:
        self.requests += 1
        if redeems is not None:
            text = redeems.reveal()
            self.seen[text] += 1
            if text not in self.valid:
                self.revoked += 1
                return REFUSED
            self.valid.discard(text)
        number = next(self.numbers)
        self.valid.add(f"r{number}")
        token = TokenResponse(f"t{number}", expires_in=self.lifetime_s, refresh_token=f"r{number}")
        return ParsedToken(token, self.lifetime_s, "expires_in")


@dataclass(eq=False)
class Member:
    """One process with one manager."""

    world: World
    number: int
    state: State
    life: int = 0
    incarnation: int = 0
    tick_at: float | None = None
    cut_until: float = 0.0
    unheard: str | None = None
    valid_until: float = 0.0
    rejected: set[str] = field(default_factory=set)
    calls: int = 0
    told: list[str] = field(default_factory=list)

    def do(self, event: Event) -> None:
        world = self.world
        todo: list[Event] = [event]
        while todo:
            self.state, wanted = step(self.state, todo.pop(0), world.now, world.rng)
            for effect in wanted:
                known = self.handle(effect)
                if known is not None:
                    todo.append(known)

    def later(self, delay_s: float, do: Callable[[], None], *, of_incarnation: bool = False) -> None:
        """Do something in a while, unless the process has ended by then; or the incarnation."""
        life, incarnation = self.life, self.incarnation

        def if_alive() -> None:
            if self.life == life and (not of_incarnation or self.incarnation == incarnation):
                do()

        self.world.at(self.world.now + delay_s, if_alive)

    def handle(self, effect: Any) -> Event | None:
        if isinstance(effect, effects.AskPermission):
            return events.Allowed()
        HANDLERS[type(effect)](self, effect)
        return None

    def schedule_tick(self, effect: effects.ScheduleTick) -> None:
        self.tick_at = at = self.world.now + effect.delay_s
        self.later(effect.delay_s, lambda: self.tick(at), of_incarnation=True)

    def cancel_tick(self, effect: effects.CancelTick) -> None:
        self.tick_at = None

    def publish(self, effect: effects.Publish) -> None:
        assert effect.expires_at >= self.valid_until or self.world.now >= self.valid_until, "a live token is displaced"
        assert effect.token.access_token not in self.rejected, "a rejected token is shown again"
        self.valid_until = effect.expires_at

    def report(self, effect: effects.Report) -> None:
        self.told.append(effect.event)

    def take_back(self, effect: effects.Reject) -> None:
        self.valid_until = 0.0

    def reply(self, effect: effects.Reply) -> None:
        for waiter in effect.waiters:
            waiter.resolve(effect.outcome)

    def tick(self, at: float) -> None:
        if self.tick_at == at:
            self.tick_at = None
            self.do(events.Tick())

    def reject(self) -> None:
        token = self.state.token
        if token is not None and self.world.now < self.valid_until:
            self.rejected.add(token.access_token)
            self.valid_until = 0.0
            if self.world.chance(0.7):
                self.do(events.Refresh(None, Secret(token.access_token)))
            else:  # it crashes before it hears of it
                self.crash(rejected=True)

    # --- the provider -------------------------------------------------------------------------------------------------

    def fetch(self, effect: effects.Fetch) -> None:
        if isinstance(effect.grant, effects.Claim):
            self.claim(effect, effect.grant)
            return
        self.later(self.world.delay(), lambda: self.send(effect))

    def expects(self, effect: effects.Fetch) -> bool:
        attempt = self.state.attempt
        return attempt is not None and (attempt.number, attempt.request) == (effect.attempt, effect.request)

    def send(self, effect: effects.Fetch) -> None:
        """On a worker's thread: an incarnation may have crashed meanwhile, and its successor waits for the same."""
        world, at = self.world, self.world.now
        if not self.expects(effect):
            return
        assert self.state.attempt is not None
        lease = self.state.attempt.lease
        if lease is not None and lease.until <= at:
            self.do(events.FetchFailed(effect.attempt, effect.request, at, UNSENT))
            return
        world.begins(self, lease)
        self.do(events.FetchStarted(effect.attempt, effect.request, at))
        grant = effect.grant
        redeems = grant.refresh_token if isinstance(grant, effects.Redeem) else SEED if world.own else None
        if world.chance(world.faults.refuses):
            self.later(world.delay(), lambda: self.came(effect, at, TokenRequestError("HTTP 503", status=503)))
            return

        def served() -> None:
            world.requests.append(world.now)
            if world.chance(world.faults.cuts_holders):
                self.cut_until = world.now + world.rng.uniform(1, world.faults.cut_s)
            if world.chance(world.faults.kills):
                self.die()
            result = world.provider.answer(redeems)
            lost = world.chance(world.faults.times_out)
            self.later(
                REQUEST_TIMEOUT_S if lost else world.delay(),
                lambda: self.came(effect, at, TIMED_OUT if lost else result),
            )

        world.at(world.now + world.delay(), served)  # also where this process has ended by then

    def came(self, effect: effects.Fetch, at: float, result: ParsedToken | TokenRequestError) -> None:
        self.world.leases.pop(self, None)
        if not self.expects(effect):
            return
        if isinstance(result, ParsedToken):
            self.do(events.FetchSucceeded(effect.attempt, effect.request, at, result))
        else:
            self.do(events.FetchFailed(effect.attempt, effect.request, at, result))

    # --- the store ----------------------------------------------------------------------------------------------------

    def ask_store(
        self, do: Callable[[int], Any], then: Callable[[Any, float], None], failed: Callable[[], None]
    ) -> None:
        """One call: it is carried out a little later, whatever becomes of this process, and its answer may be lost."""
        world, asked_at = self.world, self.world.now
        is_cut, is_late = world.now < self.cut_until, world.chance(world.faults.late)
        loses, arrives = world.chance(world.faults.loses) or is_cut, world.chance(0.5) and not is_cut
        self.calls += 1

        def reached() -> None:
            try:
                answer = do(world.ms())
            except StoreError:
                if not loses and not is_late:
                    self.later(world.delay(), failed)
                return
            if is_late and not is_cut:
                self.later(world.rng.uniform(0, 2), lambda: then(answer, asked_at))
            elif not loses:
                self.later(world.delay(), lambda: then(answer, asked_at))

        if arrives or not loses:
            world.at(world.now + (world.rng.uniform(0, 3) if is_late else world.delay()), reached)
        if loses or is_late:
            self.later(STORE_TIMEOUT_S, failed)

    def claim(self, effect: effects.Fetch, asked: effects.Claim) -> None:
        world = self.world
        claimant, unheard = f"m{self.number}.{next(world.numbers)}", self.unheard
        claim = Claim(
            claimant,
            world.ms() + round(1000 * STORE_TIMEOUT_S),
            asked.known_gen,
            round(1000 * asked.need_s),
            None if asked.rejected is None else asked.rejected.reveal(),
            round(1000 * LEASE_S),
            SEED if world.own else None,
            round(1000 * QUARANTINE_S),
            asked.may_try,
            unheard,
            asked.adopts_only,
        )
        number, request = effect.attempt, effect.request

        def reached(now_ms: int) -> Any:
            world.record, answer = records.claim(world.record, claim, now_ms)
            self.may_be_granted(answer)
            if isinstance(answer, Granted) and answer.doubtful and answer.refresh_token is not None:
                world.tried.add(answer.refresh_token.reveal())
            return answer

        def then(answer: Any, at: float) -> None:
            if self.unheard == claimant:
                self.unheard = None
            if self.expects(effect):
                self.do(self.claimed(effect, claim, answer, at))
            elif isinstance(answer, Granted):
                lease = HeldLease(claimant, answer.fence, at, None, None, answer.doubtful, world.now, answer.now_ms)
                self.give_up(effects.GiveUpLease(lease, "intact"))

        if not asked.adopts_only:
            self.unheard = claimant

        def failed() -> None:
            if self.expects(effect):
                self.do(events.ClaimFailed(number, request, world.now, UNANSWERED))

        self.ask_store(reached, then, failed)

    def may_be_granted(self, answer: Any) -> None:
        known = self.state.sharing
        if self.world.own and isinstance(answer, Granted) and known is not None:
            assert known.unshared is None, "a holder claims the login that it has redeemed itself"

    def claimed(self, effect: effects.Fetch, claim: Claim, answer: Any, at: float) -> Event:
        world, number, request = self.world, effect.attempt, effect.request
        match answer:
            case Newer():
                lifetime_s = world.provider.lifetime_s
                parsed = ParsedToken(
                    TokenResponse(answer.token.reveal(), expires_in=lifetime_s), lifetime_s, "expires_in"
                )
                expires_at = at + (answer.expires_ms - answer.now_ms) / 1000
                return events.TokenAdopted(number, request, at, parsed, expires_at, answer.gen, answer.login)
            case Occupied():
                until = world.now + (answer.until_ms - answer.now_ms) / 1000
                return events.ClaimOccupied(number, request, at, until, answer.why)
            case Granted():
                sealed, until = answer.refresh_token or claim.login, at + LEASE_S
                redeems, doubtful = answer.refresh_token, answer.doubtful
                lease = HeldLease(
                    claim.claimant, answer.fence, until, redeems, sealed, doubtful, world.now, answer.now_ms
                )
                return events.ClaimGranted(number, request, at, lease)
            case _:
                return events.LoginLost(number, request, at)

    def renew(self, effect: effects.RenewLease) -> None:
        world, lease = self.world, effect.lease
        late = world.ms() + round(1000 * STORE_TIMEOUT_S)
        asked = Renewal(lease.claimant, lease.fence, late, round(1000 * LEASE_S), lease.sealed, lease.doubtful)

        def reached(now_ms: int) -> bool:
            world.record, held = records.renew(world.record, asked, now_ms)
            return held

        def then(held: bool, at: float) -> None:
            self.do(events.LeaseRenewed(lease.fence, at + LEASE_S) if held else events.LeaseLost(lease.fence))

        self.ask_store(reached, then, lambda: None)

    def share(self, effect: effects.ShareToken) -> None:
        world, lease = self.world, effect.lease
        expires_ms = lease.store_ms + round(1000 * (effect.expires_at - lease.at))
        offered = lease.sealed if effect.keeps else effect.refresh_token
        text = effect.token.access_token
        late = world.ms() + round(1000 * STORE_TIMEOUT_S)
        asked = Share(lease.claimant, lease.fence, late, Secret(text), expires_ms, text, offered)

        def reached(now_ms: int) -> Any:
            world.record, answer = records.share(world.record, asked, now_ms)
            return answer

        def then(answer: Any, at: float) -> None:
            if not isinstance(answer, Shared):
                self.do(events.TokenOvertaken(lease.fence))
                return
            self.do(events.TokenShared(lease.fence, answer.gen, offered))
            for number in range(1, round(1.5 * LOOK_S / CLOSE_S) + 1) if world.own else ():
                self.later(number * CLOSE_S, self.look)

        self.ask_store(reached, then, lambda: self.do(events.ShareFailed(lease.fence, UNANSWERED)))

    def give_up(self, effect: effects.GiveUpLease) -> None:
        world, lease = self.world, effect.lease
        late = world.ms() + round(1000 * STORE_TIMEOUT_S)
        asked = GiveUp(lease.claimant, lease.fence, late, effect.login, round(1000 * effect.wait_s))

        def reached(now_ms: int) -> None:
            world.record = records.give_up(world.record, asked, now_ms)

        def then(answer: Any, at: float) -> None:
            if self.unheard == lease.claimant:
                self.unheard = None

        if effect.login == "intact" and self.unheard is None:
            self.unheard = lease.claimant
        self.ask_store(reached, then, lambda: None)

    def restore(self, effect: effects.RestoreRecord) -> None:
        world, left_s = self.world, effect.expires_at - self.world.now
        text = "" if effect.token is None else effect.token.access_token
        late = world.ms() + round(1000 * STORE_TIMEOUT_S)
        asked = Restoration(
            effect.gen, late, Secret(text) if text else None, world.ms() + round(1000 * left_s), text, effect.login
        )
        asked = replace(asked, quarantine_ms=round(1000 * PUT_BACK_S))

        def reached(now_ms: int) -> None:
            world.record, _ = records.restore(world.record, asked, now_ms)

        self.ask_store(reached, lambda answer, at: None, lambda: None)

    def look(self) -> None:
        world = self.world

        def then(gen: int, at: float) -> None:
            known = self.state.sharing
            assert known is not None
            if gen != known.gen or known.error is not None:
                self.do(events.RecordSeen(gen))

        self.ask_store(lambda now_ms: world.record.gen, then, lambda: self.do(events.LookFailed(UNANSWERED)))

    # --- ends ---------------------------------------------------------------------------------------------------------

    def crash(self, *, rejected: bool = False) -> None:
        """The incarnation ends; its successor takes over, and a request that was sent goes on."""
        self.incarnation += 1
        self.tick_at = None
        attempt = self.state.attempt
        was_sent = attempt is not None and attempt.lease is not None and self.state.posted_at >= attempt.lease.at
        under_way = attempt is not None and (was_sent or self.world.chance(0.7))
        self.state = adopt(self.state, under_way=under_way, rejected=rejected)
        self.do(events.Started())

    def die(self) -> None:
        """The process ends, and another one is started in its place."""
        self.life += 1
        self.incarnation += 1
        self.tick_at, self.unheard, self.valid_until = None, None, 0.0
        self.rejected = set()
        self.state = self.world.first_state()
        self.do(events.Started())


HANDLERS: dict[type, Callable[[Member, Any], None]] = {
    effects.Fetch: Member.fetch,
    effects.ScheduleTick: Member.schedule_tick,
    effects.CancelTick: Member.cancel_tick,
    effects.Publish: Member.publish,
    effects.Reject: Member.take_back,
    effects.Reply: Member.reply,
    effects.Report: Member.report,
    effects.RenewLease: Member.renew,
    effects.ShareToken: Member.share,
    effects.GiveUpLease: Member.give_up,
    effects.RestoreRecord: Member.restore,
}


class World:
    """The members, the store, the provider, and time."""

    def __init__(self, seed: int, members: int, *, own: bool, faults: Faults, lifetime_s: float = 20.0) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.own, self.faults = own, faults
        self.numbers = itertools.count(1)
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.record = Record()
        self.ahead_ms = 0
        self.earlier = Record()
        self.leases: dict[Member, float] = {}
        self.began_together = 0
        self.flushed = 0
        self.tried: set[str] = set()
        self.requests: list[float] = []
        self.provider = Provider(lifetime_s)
        self.members = [Member(self, number, self.first_state()) for number in range(members)]
        for member in self.members:
            self.at(self.now + self.rng.uniform(0, 1), lambda member=member: member.do(events.Started()))  # type: ignore[misc]
            self.every(LOOK_S, member.look)
            self.every(1.0, lambda member=member: self.harm(member))  # type: ignore[misc]
        self.every(1.0, self.harm_store)

    def first_state(self) -> State:
        rules = Rules(discovers=False, own_refresh_token=self.own)
        return State(CONFIG, AUTH, None, 60.0, rules=rules, sharing=Sharing())

    def ms(self) -> int:
        return round(self.now * 1000) + self.ahead_ms

    def begins(self, member: Member, lease: HeldLease | None) -> None:
        """A request is sent, under a lease or alone."""
        if lease is not None:
            self.began_together += any(until > self.now for other, until in self.leases.items() if other is not member)
            self.leases[member] = lease.until

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    def delay(self) -> float:
        return self.rng.uniform(0.001, 0.03)

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (when, next(self.numbers), do))

    def every(self, seconds: float, do: Callable[[], None]) -> None:
        def again() -> None:
            do()
            self.at(self.now + seconds * self.rng.uniform(0.9, 1.1), again)

        self.at(self.now + self.rng.uniform(0, seconds), again)

    def harm(self, member: Member) -> None:
        if self.chance(self.faults.crashes):
            member.crash()
        if self.chance(self.faults.rejects):
            member.reject()
        if self.chance(self.faults.dies):
            member.die()
        if self.chance(self.faults.cuts) and self.now > member.cut_until + 10.0:
            member.cut_until = self.now + self.rng.uniform(1, self.faults.cut_s)

    def flush(self) -> None:
        """The store loses all."""
        self.record = Record()
        self.flushed += 1

    def harm_store(self) -> None:
        if self.chance(self.faults.fails_over):
            self.record = self.earlier
            self.flushed += 1
        self.earlier = self.record
        if self.chance(self.faults.steps):
            self.ahead_ms += self.rng.choice([-86_400_000, -3_600_000, 3_600_000, 86_400_000])
        if self.chance(self.faults.flushes):
            self.flush()

    def run(self, seconds: float) -> World:
        end = self.now + seconds
        while self.heap and self.heap[0][0] <= end:
            self.now, _, do = heapq.heappop(self.heap)
            do()
        self.now = end
        return self

    def heal(self) -> World:
        """Nothing goes wrong any more."""
        self.faults = Faults()
        for member in self.members:
            member.cut_until = 0.0
        return self

    def join(self, member: Member, timeout: float) -> Reader:
        reader = Reader(self.now + timeout)
        member.do(events.Wait(reader))
        return reader

    @property
    def served(self) -> list[bool]:
        return [is_valid(member.state, self.now) for member in self.members]

    def seen_too_often(self) -> dict[str, int]:
        """Refresh tokens that the provider has seen more often than once, and than a doubtful one may be tried."""
        return {text: times for text, times in self.provider.seen.items() if times > 1 + (text in self.tried)}


__all__ = ["Faults", "World", "replace"]
