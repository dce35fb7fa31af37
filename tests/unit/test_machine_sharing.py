"""The manager's decisions about the store that it shares, row by row: what must never be asked of it, or of the provider."""

import pytest
from machine_driver import Driver

from oidc_actor.machine import sharing
from oidc_actor.machine.effects import Claim, FullGrant, RestoreRecord, ShareToken
from oidc_actor.machine.events import (
    ClaimFailed,
    ClaimGranted,
    ClaimOccupied,
    ClockJumped,
    HeldLease,
    LookFailed,
    RecordNamed,
    RecordSeen,
    Refresh,
    ShareFailed,
    TokenAdopted,
    TokenShared,
)
from oidc_actor.machine.schedule import refusal
from oidc_actor.machine.state import Rules, Sharing
from oidc_actor.machine.transitions import adopt
from oidc_actor.values.errors import StoreError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse

UNANSWERED = StoreError("no answer")


class Member(Driver):
    """A machine with a store."""

    def __init__(self, *, own: bool) -> None:
        rules = Rules(discovers=False, own_refresh_token=own)
        super().__init__(rules=rules, sharing=Sharing())

    @property
    def numbers(self) -> tuple[int, int]:
        assert self.state.attempt is not None
        return self.state.attempt.number, self.state.attempt.request

    @property
    def knows(self) -> Sharing:
        assert self.state.sharing is not None
        return self.state.sharing

    @property
    def claim(self) -> Claim:
        assert self.state.attempt is not None
        assert isinstance(self.state.attempt.grant, Claim)
        return self.state.attempt.grant

    def granted(self, fence: int = 1, refresh_token: str = "r0") -> "Member":
        lease = HeldLease(
            f"c{fence}", fence, self.now + 3.0, Secret(refresh_token), at=self.now, store_ms=1000, key="k"
        )
        self.do(ClaimGranted(*self.numbers, self.now, lease))
        return self

    def occupied(self, why: str) -> "Member":
        self.do(ClaimOccupied(*self.numbers, self.now, self.now, why))  # type: ignore[arg-type]
        return self

    def adopts(self, text: str, gen: int, lifetime_s: float = 20.0) -> "Member":
        parsed = ParsedToken(TokenResponse(text, expires_in=lifetime_s), lifetime_s, "expires_in")
        self.do(TokenAdopted(*self.numbers, self.now, parsed, self.now + lifetime_s, gen))
        return self

    def until_it_claims(self) -> "Member":
        while self.state.attempt is None:
            self.tick()
        return self


def redeemed(*, own: bool = True) -> Member:
    """A member that has redeemed the login, and could not store what came."""
    member = Member(own=own)
    member.start()
    member.granted().sent().succeeds("a", 20.0, refresh_token="r1")
    assert member.of(ShareToken)
    member.do(ShareFailed(1, UNANSWERED))
    return member


def test_a_login_that_is_not_stored_yet_is_not_claimed_as_the_spent_one() -> None:
    """The store still has the token that was redeemed: a claim of this very member's would be granted it, to be tried."""
    member = redeemed()
    member.do(Refresh(None, Secret("a")))  # no token is left, so that a doubtful login would be tried at once
    member.until_it_claims()
    assert member.claim.adopts_only
    member.occupied("free")
    assert member.state.attempt is None
    assert member.state.refresh_timer is not None
    assert member.state.refresh_timer > member.now  # and it does not ask again at once
    member.do(TokenShared(1, 7)).wait(1.0)
    member.until_it_claims()
    assert not member.claim.adopts_only


def test_a_rejected_token_is_not_shared_but_what_came_with_it_is() -> None:
    member = redeemed()
    member.do(Refresh(None, Secret("a")))
    while not member.of(ShareToken):
        member.tick()
    (shared,) = member.of(ShareToken)
    assert shared.refresh_token == Secret("r1")
    assert shared.expires_at == shared.lease.at  # it has ended by the store's clock, and is left out


def test_a_token_that_is_rejected_while_its_manager_is_down_is_not_adopted_again() -> None:
    member = Member(own=False)
    member.start()
    member.adopts("a", 5)
    state = adopt(member.state, under_way=False, rejected=True)
    successor = Driver(state, now=member.now + 2.0).start()
    assert successor.fetch is not None
    assert isinstance(successor.fetch.grant, Claim)
    assert successor.fetch.grant.rejected == Secret("a")


def test_a_new_login_begins_and_gets_nothing_of_the_old_one() -> None:
    member = Member(own=True)
    member.start()
    member.do(RecordNamed("old"))
    member.granted(5).sent().succeeds("a", 20.0, refresh_token="r1")
    member.do(TokenShared(5, 5))
    member.until_it_claims()
    member.do(RecordNamed("new"))
    assert not member.occupied("missing").of(RestoreRecord)
    assert not member.do(RecordSeen(0)).of(RestoreRecord)
    assert member.until_it_claims().claim.known_gen == 0


def test_a_record_is_put_back_under_the_name_that_it_was_known_by() -> None:
    member = Member(own=False)
    member.start()
    member.do(RecordNamed("k"))
    member.adopts("a", 5)
    (restored,) = member.do(RecordSeen(0)).of(RestoreRecord)
    assert restored.key == "k"


def test_a_member_whose_claim_finds_no_record_puts_it_back_and_claims_again_after_the_quarantine() -> None:
    member = Member(own=True)
    member.start()
    member.do(RecordNamed("k"))
    member.adopts("a", 7, 20.0)
    member.until_it_claims()
    (restored,) = member.occupied("missing").of(RestoreRecord)
    assert (restored.gen, restored.key) == (7, "k")
    asked_at = member.now
    assert member.until_it_claims().now == asked_at + sharing.PUT_BACK_S
    assert not member.occupied("missing").of(RestoreRecord)  # it has been put back


def test_a_login_is_put_back_as_the_store_had_it_also_where_its_token_was_rejected() -> None:
    for rejected in (False, True):
        member = redeemed()
        if rejected:
            member.do(Refresh(None, Secret("a")))
        member.do(TokenShared(1, 7, Secret("sealed")))
        (restored,) = member.do(RecordSeen(0)).of(RestoreRecord)
        assert restored.login == Secret("sealed")
        assert (restored.token is None) is rejected


def test_what_is_not_stored_yet_is_stored_when_a_look_shows_that_the_store_is_back() -> None:
    """Before another member has put back the login that was spent."""
    member = redeemed()
    assert member.of(ShareToken) == []
    assert member.do(RecordSeen(0)).of(ShareToken)


def test_a_wish_that_comes_while_only_a_newer_token_is_asked_for_is_not_lost() -> None:
    for answer in ("none is newer", "one is"):
        member = Member(own=False)
        member.start()
        member.adopts("a", 5)
        member.wait(2.0).do(RecordSeen(6))
        assert member.claim.adopts_only
        reader = member.refresh()
        if answer == "one is":
            member.adopts("b", 6, 30.0)
            assert member.state.attempt is None
            assert not member.state.wanted
            continue
        member.occupied("free").until_it_claims()
        assert not member.claim.adopts_only
        member.granted(7).sent().succeeds("b", 20.0)
        assert reader.outcomes == [member.state.token]


def test_a_token_that_the_wall_clock_has_outlived_is_displaced_by_any_newer_one() -> None:
    member = Member(own=False)
    member.start()
    member.adopts("a", 5, 300.0)
    member.wait(10.0).do(ClockJumped(1000.0, turn_at=member.now))
    member.until_it_claims()
    assert member.claim.need_s < 60.0
    member.adopts("b", 6, 100.0)
    assert member.state.token is not None
    assert member.state.token.access_token == "b"


def test_a_reader_is_told_of_the_quarantine() -> None:
    member = Member(own=True)
    member.start()
    member.join(5.0)
    member.occupied("missing")
    told = refusal(member.state, member.now).message
    assert "the store of shared tokens has no record of this login" in told


def test_a_store_that_answers_looks_only_leaves_a_member_that_has_no_token_alone() -> None:
    """One that is full is such a one: that a look was answered does not make the failed claims undone."""
    member = Member(own=False)
    member.start()
    for _ in range(4):
        assert isinstance(member.claim, Claim)
        member.do(ClaimFailed(*member.numbers, member.now, UNANSWERED))
        member.wait(sharing.ALONE_S / 4).do(RecordSeen(0)).until_it_claims()
    member.do(ClaimFailed(*member.numbers, member.now, UNANSWERED))
    assert member.fetch is not None
    assert isinstance(member.fetch.grant, FullGrant)


def test_a_member_whose_store_is_known_not_to_answer_goes_alone_at_once() -> None:
    member = Member(own=False)
    member.start()
    member.adopts("a", 5)
    member.do(LookFailed(UNANSWERED)).wait(sharing.ALONE_S)
    member.do(Refresh(None, Secret("a"))).until_it_claims()
    member.do(ClaimFailed(*member.numbers, member.now, UNANSWERED))
    assert member.fetch is not None
    assert isinstance(member.fetch.grant, FullGrant)


def test_a_newer_token_that_could_not_be_asked_for_is_asked_for_after_the_next_look() -> None:
    member = Member(own=False)
    member.start()
    member.adopts("a", 5)
    for _ in range(2):
        member.wait(2.0).do(RecordSeen(6))
        assert member.claim.adopts_only
        member.do(ClaimFailed(*member.numbers, member.now, UNANSWERED))
        assert member.state.attempt is None


def test_a_store_that_answers_looks_only_is_no_news_each_time() -> None:
    """What is asked of it and not done shows that it is not back, whatever looks say; each look has it asked again at once."""
    member = redeemed()
    assert member.reports == ["store_failed"]
    for _ in range(3):
        assert member.do(RecordSeen(0)).of(ShareToken)
        assert member.knows.error is not None
        assert not member.reports
        assert not member.do(ShareFailed(1, UNANSWERED)).reports
    # The only login is with this member, which adopts at most.
    member.do(Refresh(None, Secret("a"))).until_it_claims()
    assert member.claim.adopts_only
    assert "store_back" not in member.occupied("free").reports
    assert member.do(TokenShared(1, 7)).reports == ["store_back"]


def test_a_claim_that_fails_tells_once_however_many_looks_are_answered() -> None:
    member = Member(own=True)
    member.start()
    assert member.do(ClaimFailed(*member.numbers, member.now, UNANSWERED)).reports == ["store_failed"]
    for _ in range(3):
        member.do(RecordSeen(0))
        assert "store_back" not in member.reports
        assert member.state.attempt is not None, "each look has it claim again at once"
        assert not member.do(ClaimFailed(*member.numbers, member.now, UNANSWERED)).reports
    member.do(RecordSeen(0))
    assert member.occupied("lease").reports == ["store_back"]


def test_the_first_read_of_a_new_login_ends_in_time() -> None:
    """A reader that says nothing of its patience has 5 s: the login is redeemed with the last second to spare, and not later."""
    member = Member(own=True)
    member.start()
    reader, began = member.join(5.0), member.now
    begins_at = began + sharing.QUARANTINE_S
    while member.now < begins_at:
        member.do(ClaimOccupied(*member.numbers, member.now, begins_at, "missing")).until_it_claims()
    assert member.now == pytest.approx(begins_at)
    assert begins_at <= began + 4.0
    member.granted().sent().succeeds("a", 20.0, refresh_token="r1")
    assert isinstance(reader.outcomes[0], TokenResponse)
