"""The table and the code agree: each transition of a long random walk is in a row, and the walk meets each row in full."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fakes import AUTH, Fixed
from machine_driver import CONFIG, DOWN, INVALID_CLIENT, INVALID_GRANT, Reader

from oidc_actor.credentials.parameters import StepUp
from oidc_actor.machine import events, failure_policy, transitions
from oidc_actor.machine.effects import Claim, Discover, FullGrant, VerifyResource
from oidc_actor.machine.events import (
    Accepted,
    Allowed,
    BreakerClosed,
    CertificateRenewed,
    CheckNow,
    ClaimFailed,
    ClaimGranted,
    ClaimOccupied,
    ClockJumped,
    Denied,
    Event,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    HeldLease,
    LeaseLost,
    LeaseRenewed,
    LoginLost,
    LookFailed,
    OfTrial,
    ProbeFailed,
    RecordNamed,
    RecordSeen,
    Refresh,
    Rejected,
    Replacing,
    SecretsChecked,
    ShareFailed,
    SourceRenewed,
    Started,
    Tick,
    TokenAdopted,
    TokenOvertaken,
    TokenShared,
    TrialOverdue,
    Wait,
)
from oidc_actor.machine.state import Phase, Rules, Sharing, State
from oidc_actor.machine.transitions import TABLE, _Row, row_of, step
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, SecretUnavailable, StoreError, TokenRequestError
from oidc_actor.values.resource_metadata import ResourceMetadata
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse

EVENTS = 100_000
METADATA: dict[type[Any], Any] = {Discover: CONFIG, VerifyResource: ResourceMetadata("https://api.example")}
UNANSWERED = StoreError("no answer")
ERRORS: list[OIDCActorError] = [
    DOWN,
    INVALID_CLIENT,
    INVALID_GRANT,
    SecretUnavailable("missing"),
    TokenRequestError("HTTP 429", status=429, retry_after_s=5.0),
    TokenRequestError("HTTP 404", status=404),
]
METADATA_ERRORS: list[OIDCActorError] = [DiscoveryError("down"), DiscoveryError("busy", status=503, retry_after_s=3.0)]


@dataclass(frozen=True)
class Seen:
    """One transition: by which row of the table, from which phase to which."""

    number: int
    before: Phase
    after: Phase


class Walk:
    """A machine to which anything happens, in any phase."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now, self.tokens, self.ahead = 1000.0, 0, 0.0
        self.shares = seed >= 8
        verifies = seed % 5 == 2
        rules = Rules(
            discovers=bool(seed % 2) or verifies,
            watches_files=bool(seed % 3),
            own_refresh_token=self.shares and seed % 4 == 0,
            verifies_resource=verifies,
        )
        self.state = State(None if seed % 2 else CONFIG, AUTH, rules=rules, sharing=Sharing() if self.shares else None)
        self.first = self.state
        self.without_token: dict[Phase, State] = {}  # the last state of each phase that could be a trial's

    def of_trial(self) -> Event:
        trial = self.state.trial
        if trial is None:
            first = self.rng.choice([self.first, *self.without_token.values()])
            return Replacing(self.tokens, first, self.now, self.rng.choice(["try", "try", "try", "adopt", "keep"]))
        if self.rng.random() < 0.6:
            return TrialOverdue(self.rng.choice([trial.number, trial.number, -1]))
        attempt = trial.state.attempt
        if trial.state.is_asking:
            return OfTrial(trial.number, Allowed())
        if attempt is None:
            return OfTrial(trial.number, self.rng.choice([Started(), Tick(), CheckNow(), Wait(self.reader())]))
        if isinstance(attempt.grant, Claim):
            return OfTrial(trial.number, self.answer_of_store(attempt.number, attempt.request))
        numbers = (attempt.number, attempt.request, self.now)
        if self.rng.random() < 0.2:
            return OfTrial(trial.number, FetchFailed(*numbers, self.rng.choice([DOWN, INVALID_CLIENT])))
        result = METADATA.get(type(attempt.grant)) or self.token()
        return OfTrial(trial.number, FetchSucceeded(*numbers, result))

    def event(self) -> Event:
        if self.rng.random() < 0.2:
            return self.of_trial()
        if self.state.is_asking and self.rng.random() < 0.6:
            return self.rng.choice([Allowed(), Allowed(), self.denied()])
        attempt = self.state.attempt
        if attempt is not None and self.rng.random() < 0.5:
            number, request = attempt.number, attempt.request
            found = METADATA.get(type(attempt.grant))
            if isinstance(attempt.grant, Claim):
                return self.answer_of_store(number, request)
            if self.rng.random() < 0.2:
                return FetchStarted(number, request, self.now)
            if self.rng.random() < 0.4:
                error = self.rng.choice(ERRORS if found is None else METADATA_ERRORS)
                return FetchFailed(number, request, self.now, error)
            return FetchSucceeded(number, request, self.now, found or self.token())
        if self.shares and self.rng.random() < 0.3:
            return self.rng.choice(OF_STORE)(self)
        return self.rng.choice(ANYTHING)(self)

    def answer_of_store(self, number: int, request: int) -> Event:
        parsed = self.token()
        token = Secret("r0") if self.rng.random() < 0.5 else None
        lease = HeldLease("c", self.tokens, self.now + self.rng.choice([-1.0, 3.0, 3.0]), token, at=self.now)
        until = self.now + self.rng.uniform(0, 5)
        return self.rng.choice(
            [
                ClaimGranted(number, request, self.now, lease),
                ClaimGranted(number, request, self.now, lease),
                ClaimOccupied(number, request, self.now, until, "lease"),
                ClaimOccupied(number, request, self.now, until, "free"),
                TokenAdopted(number, request, self.now, parsed, self.now + parsed.lifetime_s, self.tokens),
                LoginLost(number, request, self.now),
                ClaimFailed(number, request, self.now, UNANSWERED),
                FetchFailed(number, request, self.now, self.rng.choice(ERRORS)),
            ]
        )

    def fence(self) -> int:
        known, attempt = self.state.sharing, self.state.attempt
        unshared = None if known is None else known.unshared
        lease = attempt.lease if attempt is not None else None if unshared is None else unshared.lease
        return 0 if lease is None else lease.fence

    def denied(self) -> Denied:
        return Denied(self.now + self.rng.uniform(0, 20), self.rng.random() < 0.3, self.rng.random() < 0.3)

    def token(self) -> ParsedToken:
        self.tokens += 1
        lifetime_s = self.rng.choice([0.0, 2.0, 30.0, 300.0])
        refresh_token = f"r{self.tokens}" if self.rng.random() < 0.5 else None
        return ParsedToken(TokenResponse(f"t{self.tokens}", refresh_token=refresh_token), lifetime_s, "expires_in")

    def text(self) -> Secret:
        return Secret(self.state.token.access_token if self.state.token else "other")

    def reader(self, **fields: Any) -> Reader:
        return Reader(self.now + self.rng.uniform(0, 10), **fields)

    def jump(self) -> ClockJumped:
        self.ahead += self.rng.uniform(0, 400)
        return ClockJumped(self.ahead, self.now + self.rng.uniform(0, 3))

    def stale(self, kind: type[Any], *rest: Any) -> Any:
        return kind(-1, self.rng.randint(1, 3), self.now, *rest)

    def steps(self, count: int) -> Iterator[Seen]:
        for _ in range(count):
            self.now += self.rng.choice([0.0, 0.0, 0.3, 3.0, 70.0, 4000.0])
            event, before = self.event(), self.state
            row, between = row_of(before, event), before.phase
            if row is not None:  # it is pure: decided here too, to see where it leads before the machine settles
                between = row.decide(before, event, self.now, Fixed(0.5)).phase
                yield Seen(NUMBERS[row.event, before.phase], before.phase, between)
            self.state, _ = step(before, event, self.now, self.rng)
            after = self.state
            if after.token is None and not after.is_asking and not after.blocked and after.trial is None:
                attempt = None if after.attempt is None else replace(after.attempt, number=-1000)
                self.without_token[after.phase] = after._replace(waiters=(), attempt=attempt, refreshes=0)
            if between != self.state.phase:
                yield Seen(NUMBERS[None, between], between, self.state.phase)


OF_STORE: list[Callable[[Walk], Event]] = [
    lambda walk: RecordNamed(walk.rng.choice(["k", "k", "l"])),
    lambda walk: RecordSeen(walk.rng.choice([0, walk.tokens + 1])),
    lambda walk: TokenShared(walk.fence(), walk.tokens),
    lambda walk: TokenOvertaken(walk.fence()),
    lambda walk: ShareFailed(walk.fence(), UNANSWERED),
    lambda walk: LookFailed(UNANSWERED),
    lambda walk: LeaseRenewed(walk.fence(), walk.now + 3.0),
    lambda walk: LeaseLost(walk.fence()),
]
NUMBERS = {(row.event, phase): number for number, row in enumerate(TABLE) for phase in row.phases}
ANYTHING: list[Callable[[Walk], Event]] = [
    lambda walk: Started(),
    lambda walk: Tick(),
    lambda walk: Tick(),
    lambda walk: CheckNow(walk.rng.choice([0.0, 100.0]), asks=walk.rng.random() < 0.5),
    lambda walk: Wait(walk.reader()),
    lambda walk: Refresh(walk.reader(wants_refresh=True)),
    lambda walk: Refresh(None, walk.text()),
    lambda walk: Rejected("https://a", walk.text()),
    lambda walk: Rejected("https://a", walk.text(), StepUp((f"s{walk.tokens}",))),
    lambda walk: Rejected(f"https://{walk.tokens}", walk.text(), StepUp(max_age=walk.tokens)),
    lambda walk: Accepted("https://a", walk.text()),
    lambda walk: SecretsChecked(walk.rng.random() < 0.5),
    lambda walk: CertificateRenewed(),
    lambda walk: SourceRenewed(),
    lambda walk: walk.jump(),
    lambda walk: BreakerClosed(walk.rng.uniform(0, 3)),
    lambda walk: ProbeFailed(),
    lambda walk: Allowed(),
    lambda walk: walk.denied(),
    lambda walk: walk.stale(FetchStarted),
    lambda walk: walk.stale(FetchSucceeded, walk.token()),
    lambda walk: walk.stale(FetchFailed, DOWN),
]


def walked(events: int = EVENTS) -> set[Seen]:
    return {seen for seed in range(16) for seen in Walk(seed).steps(events // 16)}


def disagreements(table: tuple[_Row, ...], seen: set[Seen]) -> set[str]:
    """What the code does that the table does not say, and what the table says that the code does not do."""
    said = {
        Seen(n, before, after)
        for n, row in enumerate(table)
        for before in row.phases
        for after in row.leads_to or before
    }
    undone = {f"row {one.number}: never in {one.before}" for one in said} - {
        f"row {one.number}: never in {one.before}" for one in seen
    }
    unreached = {f"row {one.number}: never to {one.after}" for one in said} - {
        f"row {one.number}: never to {one.after}" for one in seen
    }
    return {f"not said: {one}" for one in seen - said} | undone | unreached


@pytest.fixture(scope="module")
def seen() -> set[Seen]:
    return walked()


def test_table_and_code_agree(seen: set[Seen]) -> None:
    assert disagreements(TABLE, seen) == set()


def test_every_event_has_a_row() -> None:
    assert {row.event for row in TABLE} == {
        None,
        *(kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)),
    } - {Event, events.OfRequest}


def test_no_two_rows_are_about_the_same() -> None:
    about = [(phase, row.event) for row in TABLE for phase in row.phases]
    assert len(about) == len(set(about))


@pytest.mark.parametrize("number", range(len(TABLE)))
def test_a_wrong_row_is_found(number: int, seen: set[Seen]) -> None:
    row = TABLE[number]
    for phase in Phase.ANY:
        if row.leads_to == phase:
            continue  # without its only phase it would say something else altogether
        wrong = replace(row, leads_to=row.leads_to ^ phase)
        assert disagreements((*TABLE[:number], wrong, *TABLE[number + 1 :]), seen), f"{row.event}: {phase}"


@pytest.mark.parametrize(
    ("module", "name", "changed", "found"),
    [
        (transitions, "refuses_refresh_token", lambda error: False, "row 7: never to Phase.GRANTING"),
        (transitions, "_token_grant", lambda state, config: FullGrant(config), "row 4: never to Phase.REFRESHING"),
        (failure_policy, "retry_after_s", lambda error: 1.0, "row 5: never to Phase.DISCOVERING"),
    ],
)
def test_a_change_of_the_code_is_found(
    module: Any, name: str, changed: Any, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found not in disagreements(TABLE, walked(24_000))
    monkeypatch.setattr(module, name, changed)
    assert found in disagreements(TABLE, walked(24_000))


def test_so_is_a_function_that_ends_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "_end", lambda state, *_: state)
    assert f"not said: {Seen(6, Phase.REFRESHING, Phase.REFRESHING)}" in disagreements(TABLE, walked(24_000))
