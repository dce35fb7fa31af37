"""Whatever happens in whatever order and at whatever time, the promises P2 to P6 and P8 hold.

A few long examples here; ten thousand shorter ones in CI, which sets `OIDC_ACTOR_EXAMPLES`.
"""

import os
import random
from dataclasses import replace

import pytest
from fakes import AUTH
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, INVALID_GRANT, Reader

from oidc_actor.credentials.parameters import StepUp
from oidc_actor.machine.effects import (
    AskPermission,
    CancelTick,
    Discover,
    Effect,
    Fetch,
    Publish,
    Redeem,
    Reject,
    Reply,
    ScheduleTick,
    VerifyResource,
    Withhold,
)
from oidc_actor.machine.events import (
    NEVER,
    Accepted,
    Allowed,
    BreakerClosed,
    CertificateRenewed,
    CheckNow,
    ClockJumped,
    Denied,
    Event,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    ProbeFailed,
    Refresh,
    Refusal,
    Rejected,
    SecretsChecked,
    SourceRenewed,
    Started,
    Tick,
    Wait,
)
from oidc_actor.machine.failure_policy import RetryPolicy
from oidc_actor.machine.health import health_of
from oidc_actor.machine.schedule import (
    after_failure,
    awaits_probe,
    denied_until,
    earliest_at,
    next_attempt_at,
    refresh_point,
)
from oidc_actor.machine.state import Rules, State, is_out_of_reach, is_valid, is_withheld
from oidc_actor.machine.transitions import adopt, step
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, SecretUnavailable, TokenRequestError
from oidc_actor.values.resource_metadata import ResourceMetadata
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse

ERRORS = [
    DOWN,
    INVALID_CLIENT,
    INVALID_GRANT,
    SecretUnavailable("missing"),
    TokenRequestError("timed out", sent=True),
    TokenRequestError("HTTP 503", status=503),
    TokenRequestError("HTTP 429", status=429, retry_after_s=30.0),
    TokenRequestError("HTTP 404", status=404),
    TokenRequestError("HTTP 502", status=502, retry_after_s=2.0),
    TokenRequestError("HTTP 200: not JSON", status=200),
]
times = st.one_of(st.floats(0, 3), st.floats(0, 400), st.floats(0, 10_000))


# Preconditions by name: old releases of Hypothesis parse this file at each look at a lambda, which took most of the time.
def has_timer(machine: "Machine") -> bool:
    return machine.timer is not None


def is_trading(machine: "Machine") -> bool:
    return machine.trades


def is_fetching(machine: "Machine") -> bool:
    return machine.fetch is not None


def has_not_sent(machine: "Machine") -> bool:
    return machine.fetch is not None and not machine.sent


class Machine(RuleBasedStateMachine):
    """The machine against a random provider, random readers and a random clock."""

    @initialize(
        seed=st.integers(),
        discovers=st.booleans(),
        has_files=st.booleans(),
        buffer=st.floats(0, 600),
        interval=st.sampled_from([0.0, 1.0, 5.0]),
        trades=st.booleans(),
        verifies=st.booleans(),
    )
    def begin(
        self, seed: int, discovers: bool, has_files: bool, buffer: float, interval: float, trades: bool, verifies: bool
    ) -> None:
        self.trades = trades
        self.rng = random.Random(seed)
        rules = Rules(
            RetryPolicy(),
            interval,
            discovers=discovers,
            watches_files=has_files,
            verifies_resource=verifies,
        )
        self.state = State(None if discovers else CONFIG, AUTH, None, buffer, rules=rules)
        self.now = 1000.0
        self.fetch: Fetch | None = None
        self.sent = False
        self.last_attempt = NEVER
        self.last_post = NEVER
        self.floor = self.asked_at = self.failed_at = NEVER
        self.readers: set[Reader] = set()
        self.published: Publish | None = None
        self.timer: float | None = None
        self.spent: set[str] = set()
        self.tokens = 0
        self.ahead = 0.0
        self.denial: Denied | None = None
        self.do(Started())

    # --- what may happen ----------------------------------------------------------------------------------------------

    @rule(seconds=times)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(has_timer)
    @rule(late=st.floats(0, 2))
    def tick(self, late: float) -> None:
        assert self.timer is not None
        self.now = max(self.now, self.timer + late)
        self.timer = None
        self.do(Tick())

    @rule(early=st.just(None))
    def spurious_tick(self, early: None) -> None:
        self.timer = None  # a tick that comes early is used up
        self.do(Tick())

    @rule(timeout=times, min_validity=st.sampled_from([0.0, 0.0, 10.0, 200.0]))
    def join(self, timeout: float, min_validity: float) -> None:
        reader = Reader(self.now + timeout, min_validity)
        self.readers.add(reader)
        self._asks(min_validity)
        self.do(Wait(reader))

    @rule(timeout=times, rejects=st.sampled_from(["no", "current", "other"]), waits=st.booleans())
    def refresh(self, timeout: float, rejects: str, waits: bool) -> None:
        token = self.state.token
        rejected = {"no": None, "current": Secret(token.access_token) if token else None, "other": Secret("x")}[rejects]
        reader = Reader(self.now + timeout, wants_refresh=True) if waits else None
        if reader is not None:
            self.readers.add(reader)
        self.do(Refresh(reader, rejected))

    @rule(
        timeout=times,
        origin=st.sampled_from(["a", "b"]),
        current=st.booleans(),
        does=st.sampled_from(["accepts", "rejects", "waits"]),
        step_up=st.sampled_from([None, None, StepUp(("a",)), StepUp(("b",), max_age=5), StepUp(claims="{}")]),
    )
    def says(self, timeout: float, origin: str, current: bool, does: str, step_up: StepUp | None) -> None:
        token = Secret(self.state.token.access_token if current and self.state.token else "x")
        if does == "waits":
            reader = Reader(self.now + timeout, rejected=Rejected(origin, token, step_up))
            self.readers.add(reader)
            self._asks()
            self.do(Wait(reader))
        else:
            self.do(Rejected(origin, token, step_up) if does == "rejects" else Accepted(origin, token))

    @rule(by=st.floats(-10, 10_000), turn=st.floats(0, 60))
    def clock_jumps(self, by: float, turn: float) -> None:
        self.ahead += by
        self.do(ClockJumped(self.ahead, self.now + turn))

    @rule(min_validity=st.sampled_from([0.0, 50.0]), asks=st.booleans())
    def check_now(self, min_validity: float, asks: bool) -> None:
        if asks:
            self._asks(min_validity)
        self.do(CheckNow(min_validity, asks))

    @rule(within=st.floats(0, 10))
    def circuit_closed(self, within: float) -> None:
        self.do(BreakerClosed(within))

    @rule()
    def probe_failed(self) -> None:
        self.do(ProbeFailed())

    @rule(changed=st.booleans())
    def secrets_checked(self, changed: bool) -> None:
        self.do(SecretsChecked(changed))

    @rule()
    def certificate_renewed(self) -> None:
        self.do(CertificateRenewed())

    @precondition(is_trading)
    @rule()
    def source_renewed(self) -> None:
        self.do(SourceRenewed())

    @precondition(has_not_sent)
    @rule()
    def sends(self) -> None:
        assert self.fetch is not None
        self.sent = True
        self.last_attempt = max(self.last_attempt, self.now)
        if not isinstance(self.fetch.grant, Discover | VerifyResource):
            self.last_post = self.last_attempt
        self.do(FetchStarted(self.fetch.attempt, self.fetch.request, self.now))

    @precondition(is_fetching)
    @rule(lifetime=st.floats(0.01, 4000), rotates=st.booleans(), took=st.floats(0, 5))
    def succeeds(self, lifetime: float, rotates: bool, took: float) -> None:
        fetch = self._ended()
        at = self.now
        self.now += took
        self.failed_at = self.now  # if the token has expired by now
        if isinstance(fetch.grant, Discover | VerifyResource):
            found = CONFIG if isinstance(fetch.grant, Discover) else ResourceMetadata("https://api.example")
            self.do(FetchSucceeded(fetch.attempt, fetch.request, at, found))
            return
        self.tokens += 1
        if isinstance(fetch.grant, Redeem) and rotates:
            self.spent.add(fetch.grant.refresh_token.reveal())
        token = TokenResponse(
            f"t{self.tokens}", expires_in=lifetime, refresh_token=f"r{self.tokens}" if rotates else None
        )
        self.do(
            FetchSucceeded(
                fetch.attempt, fetch.request, at, ParsedToken(token, lifetime, "expires_in"), None, self.ahead
            )
        )

    @precondition(is_fetching)
    @rule(error=st.sampled_from(ERRORS), took=st.floats(0, 15), again=st.none() | times)
    def fails(self, error: TokenRequestError, took: float, again: float | None) -> None:
        fetch = self._ended()
        self.now += took
        lost = error.sent and error.status in {None, 200, 502} and not isinstance(error, SecretUnavailable)
        if isinstance(fetch.grant, Redeem) and lost:
            self.spent.add(fetch.grant.refresh_token.reveal())  # redeemed, and the answer was lost
        found: OIDCActorError = error
        if isinstance(fetch.grant, Discover | VerifyResource):
            found = DiscoveryError("no answer")
        token = self.state.token
        if isinstance(found, TokenRequestError) and found.retry_after_s:
            refused = isinstance(fetch.grant, Redeem) and found.status == 400
            self.floor = self.floor if refused else max(self.floor, self.now + found.retry_after_s)
        self.failed_at = self.now
        self.do(FetchFailed(fetch.attempt, fetch.request, self.now, found, None if again is None else self.now + again))
        assert self.state.token is token  # P4

    @rule(wait_s=times, by_provider=st.booleans(), probing=st.booleans())
    def the_next_attempt_is_denied(self, wait_s: float, by_provider: bool, probing: bool) -> None:
        self.denial = Denied(wait_s, by_provider, probing and not by_provider)

    @rule(attempt=st.integers(0, 3), request=st.integers(0, 3))
    def a_late_result_comes(self, attempt: int, request: int) -> None:
        if self.fetch is not None and (attempt, request) == (self.fetch.attempt, self.fetch.request):
            return
        before = self.state.token, self.state.attempt
        token = ParsedToken(TokenResponse("late"), 100.0, "expires_in")
        if self.fetch is not None:
            self.do(FetchSucceeded(attempt, request, self.now, token))
            assert (self.state.token, self.state.attempt) == before

    @rule(under_way=st.booleans(), rejected=st.booleans())
    def crashes(self, under_way: bool, rejected: bool) -> None:
        if self.fetch is not None and not under_way:
            if isinstance(self.fetch.grant, Redeem):
                self.spent.add(self.fetch.grant.refresh_token.reveal())
            self.fetch = None
        self.state = adopt(self.state, under_way=under_way, rejected=rejected)
        self.timer = None
        self.do(Started())
        for reader in [reader for reader in self.readers if not reader.outcomes]:
            self.do(Wait(reader))

    # --- what must hold -----------------------------------------------------------------------------------------------

    def do(self, event: Event) -> None:
        self.state, effects = step(self.state, event, self.now, self.rng)
        for effect in effects:
            self._check(effect, event)
        assert self.state.is_asking == any(isinstance(effect, AskPermission) for effect in effects)
        if self.state.is_asking:
            self.do(self._answer(event))
        for reader in [reader for reader in self.readers if reader.outcomes]:
            assert len(reader.outcomes) == 1
            self.readers.discard(reader)

    def _check(self, effect: Effect, event: Event) -> None:
        if isinstance(effect, Fetch):
            self._check_fetch(effect)
        elif isinstance(effect, Publish):
            assert effect.expires_at > self.now  # P2
            self.published = effect
        elif isinstance(effect, Withhold):
            assert isinstance(event, ClockJumped)
            # Where a second jump comes at the very end of the ten seconds, the token is given back in the same step.
            assert self.now < self.state.withheld_until <= self.now + 10 or not is_withheld(self.state)
        elif isinstance(effect, Reject):
            said = event.waiter.rejected if isinstance(event, Wait) else event
            assert isinstance(said, Refresh | Rejected)
            rejected = said.token if isinstance(said, Rejected) else said.rejected
            assert rejected is not None
            assert rejected.reveal() == effect.token.access_token
        elif isinstance(effect, Reply):
            for waiter in effect.waiters:
                assert isinstance(waiter, Reader)
                waiter.resolve(effect.outcome)
                if isinstance(effect.outcome, TokenResponse) and not waiter.wants_refresh:
                    assert effect.outcome is self.state.token
                    assert not is_withheld(self.state)
                    assert self.state.expires_at - waiter.min_validity_s > self.now  # P2
                else:
                    assert isinstance(effect.outcome, TokenResponse | Refusal)
        elif isinstance(effect, ScheduleTick):
            assert effect.delay_s >= 0
            self.timer = self.now + effect.delay_s
        elif isinstance(effect, CancelTick):
            self.timer = None

    def _check_fetch(self, fetch: Fetch) -> None:
        assert self.fetch is None  # P3
        if fetch.request == 1:
            # P6. What sent nothing for want of a token to trade is repeated at once when there is one.
            least = self.last_post if self.trades else self.last_attempt
            assert self.now >= least + self.state.rules.min_interval_s
            assert self.now >= self.floor
            self.last_attempt = self.now
        if isinstance(fetch.grant, Redeem):
            assert fetch.grant.refresh_token.reveal() not in self.spent  # P8
        self.fetch, self.sent = fetch, False

    @invariant()
    def it_goes_on(self) -> None:
        if not hasattr(self, "state"):
            return
        assert (self.state.attempt is None) == (self.fetch is None)
        assert self.state.attempt is not None or self.timer is not None  # P5
        if self.state.attempt is None and not self.state.watching:
            assert self.timer == self.state.refresh_timer or abs(self.timer - self.state.refresh_timer) < 1e-6
        assert self.state.token is None or self.published is not None

    @invariant()
    def its_health_is_sound(self) -> None:
        if not hasattr(self, "state"):
            return
        health = health_of(self.state, self.now)
        assert health.ready == (health.state in {"fresh", "stale"})
        assert health.refreshing == (health.next_attempt_in_s is None)
        assert (health.last_error is None) == (health.consecutive_failures == 0)

    @invariant()
    def nobody_waits_for_what_cannot_help(self) -> None:
        if not hasattr(self, "state") or self.state.attempt is not None or self.state.checking:
            return
        due = earliest_at(self.state) if awaits_probe(self.state, self.now) else next_attempt_at(self.state)
        for waiter in self.state.waiters:
            given_back = waiter.rejected is None and is_withheld(self.state) and self.state.withheld_until
            assert min(due, given_back or due) <= waiter.deadline or waiter.deadline < self.now

    @invariant()
    def whoever_asks_in_vain_does_not_wait_long_for_the_next_attempt(self) -> None:
        if not hasattr(self, "state") or self.state.attempt is not None or self.state.blocked:
            return
        longest_s = self.state.rules.retry.asked_maximum_s
        if self.now - self.asked_at <= longest_s and self.state.failures and not is_valid(self.state, self.now):
            assert self.state.wanted or after_failure(self.state) <= self.failed_at + longest_s
            assert denied_until(self.state) <= self.now or (self.state.denial and self.state.denial.asked)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if hasattr(self, "state"):
            assert self.readers <= set(self.state.waiters)

    def _answer(self, event: Event) -> Allowed | Denied:
        denial, self.denial = self.denial, None
        if denial is None or isinstance(event, Denied):
            return Allowed()
        until = self.now + denial.until
        if denial.by_provider:
            self.floor = max(self.floor, until)
        return replace(denial, until=until)

    def _asks(self, min_validity: float = 0.0) -> None:
        if not is_valid(self.state, self.now) and not is_out_of_reach(self.state, min_validity):
            self.asked_at = self.now

    def _ended(self) -> Fetch:
        assert self.fetch is not None
        fetch, self.fetch = self.fetch, None
        return fetch


TestMachine = Machine.TestCase
EXAMPLES = int(os.environ.get("OIDC_ACTOR_EXAMPLES", "150"))
TestMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=50 if EXAMPLES < 1000 else 20, deadline=None)
TestMachine.pytestmark = [
    pytest.mark.P2,
    pytest.mark.P3,
    pytest.mark.P4,
    pytest.mark.P5,
    pytest.mark.P6,
    pytest.mark.P8,
]


@given(
    st.floats(0, 1e6),
    st.floats(0.01, 1e9),
    st.floats(0, 60),
    st.integers(),
)
@settings(max_examples=300)
def test_the_refresh_point_lies_within_its_bounds(buffer: float, lifetime: float, interval: float, seed: int) -> None:
    at = refresh_point(buffer, 0.0, lifetime, interval, random.Random(seed))
    latest = max(lifetime - min(buffer, lifetime / 2), interval)
    earliest = max(lifetime - min(buffer, lifetime / 2) - lifetime / 10, interval)
    assert earliest * (1 - 1e-9) <= at <= latest
