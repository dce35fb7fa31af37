"""What a store does with a record, and that no order of steps, losses and crashes hands out a refresh token twice."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from oidc_actor.sharing import records
from oidc_actor.sharing.records import Record
from oidc_actor.sharing.store import (
    Claim,
    GiveUp,
    Granted,
    Lost,
    Newer,
    Occupied,
    Overtaken,
    Renewal,
    Restoration,
    Share,
    Shared,
)
from oidc_actor.values.errors import StoreError
from oidc_actor.values.secrets import Secret

LATE = 10**9


def granted(record: Record, asked: Claim, now_ms: int) -> tuple[Record, Granted]:
    record, answer = records.claim(record, asked, now_ms)
    assert isinstance(answer, Granted), answer
    return record, answer


def shared(claimant: str, fence: int, **given: object) -> Share:
    values: dict[str, object] = {"token": Secret("t"), "expires_ms": 60_000, "fingerprint": "f", **given}
    return Share(claimant, fence, LATE, **values)  # type: ignore[arg-type]


def test_of_two_claims_one_is_granted_and_the_other_waits_for_its_lease() -> None:
    record, answer = granted(Record(), Claim("a", LATE), 5000)
    assert (answer.fence, answer.refresh_token, answer.doubtful) == (5000, None, False)
    _, second = records.claim(record, Claim("b", LATE), 5001)
    assert second == Occupied(8000, "lease", 5001)
    _, third = granted(record, Claim("b", LATE), 8000)
    assert third.fence == 8000


def test_where_only_a_newer_token_is_asked_for_nothing_is_granted() -> None:
    asked = Claim("a", LATE, adopts_only=True)
    assert records.claim(Record(), asked, 5000) == (Record(), Occupied(5000, "free", 5000))


def test_what_was_shared_is_adopted_by_the_others_and_needs_no_request() -> None:
    record, grant = granted(Record(), Claim("a", LATE), 5000)
    record, answer = records.share(record, shared("a", grant.fence, refresh_token=Secret("r1")), 5100)
    assert answer == Shared(5100, 5100)
    _, newer = records.claim(record, Claim("b", LATE, need_ms=1000), 5200)
    assert newer == Newer(5100, Secret("t"), 60_000, "f", Secret("r1"), 5200)


@pytest.mark.parametrize("lacks", [{"known_gen": 5100}, {"need_ms": 54_800}, {"rejected": "f"}])
def test_a_token_that_is_of_no_use_is_not_adopted(lacks: dict[str, int | str]) -> None:
    record, grant = granted(Record(), Claim("a", LATE), 5000)
    record, _ = records.share(record, shared("a", grant.fence, refresh_token=Secret("r1")), 5100)
    record, answer = granted(record, replace(Claim("b", LATE), **lacks), 5200)  # type: ignore[arg-type]
    assert answer.refresh_token == Secret("r1")
    assert record.refresh_token is None
    assert (record.token is None) is ("rejected" in lacks)


def test_a_refresh_token_that_was_handed_out_is_offered_to_no_other() -> None:
    record, grant = granted(Record(), Claim("a", LATE), 5000)
    record, _ = records.share(record, shared("a", grant.fence, refresh_token=Secret("r1")), 5100)
    record, _ = granted(record, Claim("b", LATE, known_gen=5100), 5200)
    _, third = granted(record, Claim("c", LATE, known_gen=5100), 9000)
    assert third.refresh_token is None


def test_a_refresh_token_that_was_not_redeemed_is_offered_again() -> None:
    record, grant = granted(Record(), Claim("a", LATE), 5000)
    record, _ = records.share(record, shared("a", grant.fence, refresh_token=Secret("r1")), 5100)
    record, second = granted(record, Claim("b", LATE, known_gen=5100), 5200)
    record = records.give_up(record, GiveUp("b", second.fence, LATE, "intact", wait_ms=2000), 5300)
    _, waits = records.claim(record, Claim("c", LATE, known_gen=5100), 5400)
    assert waits == Occupied(7300, "down", 5400)
    _, third = granted(record, Claim("c", LATE, known_gen=5100), 7300)
    assert third.refresh_token == Secret("r1")


class TestALogin:
    """A refresh token that is the only way to a token."""

    OWN = Claim("a", LATE, login=Secret("seed"))

    def test_begins_with_the_configured_one(self) -> None:
        record, grant = granted(Record(), self.OWN, 5000)
        assert (grant.refresh_token, grant.doubtful) == (None, False)
        assert record.taken == Secret("seed")

    def test_does_not_begin_while_a_lost_record_may_be_put_back(self) -> None:
        asked = replace(self.OWN, quarantine_ms=5000)
        record, answer = records.claim(Record(), asked, 5000)
        assert answer == Occupied(10_000, "missing", 5000)
        _, answer = records.claim(Record(), asked, 9999)  # the store has lost that too
        assert answer == Occupied(14_999, "missing", 9999)
        assert records.claim(record, replace(asked, claimant="b"), 9999)[1] == Occupied(10_000, "missing", 9999)
        granted(record, asked, 10_000)

    def test_waits_no_longer_where_the_store_s_clock_was_set_back(self) -> None:
        asked = replace(self.OWN, quarantine_ms=5000)
        record, _ = records.claim(Record(), asked, 500_000)
        record, answer = records.claim(record, asked, 1000)
        assert answer == Occupied(6000, "missing", 1000)
        granted(record, asked, 6000)

    def test_is_not_handed_out_as_an_older_store_has_it(self) -> None:
        """After a failover that has forgotten the last second."""
        record, grant = granted(Record(), self.OWN, 5000)
        record, _ = records.share(record, shared("a", grant.fence, refresh_token=Secret("r1")), 5100)
        _, answer = records.claim(record, replace(self.OWN, known_gen=6000), 7000)
        assert answer == Occupied(8000, "missing", 7000)

    def test_that_may_be_spent_is_tried_once_and_only_when_asked_for(self) -> None:
        record, _ = granted(Record(), self.OWN, 5000)
        later = replace(self.OWN, claimant="b")
        waiting, answer = records.claim(record, later, 9000)
        assert answer == Occupied(10_000, "doubtful", 9000)
        assert waiting == record  # no lease, and no higher fence: the first holder may still share
        record, second = granted(record, replace(later, may_try=True), 9000)
        assert (second.refresh_token, second.doubtful) == (Secret("seed"), True)
        _, lost = records.claim(record, replace(later, claimant="c", may_try=True), 20_000)
        assert lost == Lost(20_000)

    def test_is_saved_by_a_late_share_of_the_first_holder(self) -> None:
        record, first = granted(Record(), self.OWN, 5000)
        record, _ = records.claim(record, replace(self.OWN, claimant="b"), 9000)
        record, answer = records.share(record, shared("a", first.fence, refresh_token=Secret("r1")), 9500)
        assert isinstance(answer, Shared)
        assert record.refresh_token == Secret("r1")

    def test_that_was_refused_is_lost(self) -> None:
        record, grant = granted(Record(), self.OWN, 5000)
        record = records.give_up(record, GiveUp("a", grant.fence, LATE, "refused"), 5100)
        _, answer = records.claim(record, replace(self.OWN, claimant="b", may_try=True), 5200)
        assert answer == Lost(5200)

    def test_of_a_claim_whose_answer_was_lost_is_offered_again(self) -> None:
        record, _ = granted(Record(), self.OWN, 5000)
        record, answer = granted(record, replace(self.OWN, claimant="a2", unheard="a"), 5100)
        assert (answer.refresh_token, answer.doubtful) == (Secret("seed"), False)

    def test_that_comes_back_is_handed_out_after_its_quarantine(self) -> None:
        asked = Restoration(7000, LATE, Secret("t"), 60_000, "f", login=Secret("r1"), quarantine_ms=2000)
        record, done = records.restore(Record(), asked, 8000)
        assert done
        _, newer = records.claim(record, replace(self.OWN, need_ms=1), 8100)
        assert isinstance(newer, Newer)
        waiting = replace(self.OWN, known_gen=7000, quarantine_ms=5000, may_try=True)
        assert records.claim(record, waiting, 8100) == (record, Occupied(10_000, "missing", 8100))
        _, goes_on = granted(record, waiting, 10_000)
        assert (goes_on.refresh_token, goes_on.doubtful) == (Secret("r1"), False)

    def test_that_comes_back_is_replaced_by_a_newer_one_and_waits_anew(self) -> None:
        asked = Restoration(7000, LATE, Secret("t"), 60_000, "f", login=Secret("r1"), quarantine_ms=2000)
        record, _ = records.restore(Record(), asked, 8000)
        record, _ = records.restore(record, replace(asked, gen=7500, login=Secret("r2")), 9000)
        assert (record.refresh_token, record.quarantine_ms) == (Secret("r2"), 11_000)

    def test_whose_holder_had_put_it_back_before_it_was_lost_is_still_doubtful(self) -> None:
        record, grant = granted(Record(), self.OWN, 5000)
        record, _ = records.renew(Record(), Renewal("a", grant.fence, LATE, taken=Secret("r1")), 6000)
        asked = Restoration(4000, LATE, Secret("t"), 60_000, "f", login=Secret("r1"), quarantine_ms=2000)
        record, _ = records.restore(record, asked, 10_000)
        _, answer = granted(record, replace(self.OWN, known_gen=4000, may_try=True), 20_000)
        assert (answer.refresh_token, answer.doubtful) == (Secret("r1"), True)


def test_a_holder_that_was_overtaken_shares_nothing() -> None:
    record, first = granted(Record(), Claim("a", LATE), 5000)
    record, second = granted(record, Claim("b", LATE), 9000)
    kept, answer = records.share(record, shared("a", first.fence), 9100)
    assert answer == Overtaken(9100)
    assert kept == record
    assert records.renew(record, Renewal("a", first.fence, LATE), 9100) == (record, False)
    assert records.give_up(record, GiveUp("a", first.fence, LATE, "intact"), 9100) == record
    assert second.fence > first.fence


def test_a_renewed_lease_holds_longer() -> None:
    record, grant = granted(Record(), Claim("a", LATE), 5000)
    record, held = records.renew(record, Renewal("a", grant.fence, LATE), 7000)
    assert held
    _, answer = records.claim(record, Claim("b", LATE), 9999)
    assert isinstance(answer, Occupied)


def test_a_record_that_is_lost_under_a_lease_is_put_back_by_the_holder() -> None:
    record, grant = granted(Record(), Claim("a", LATE, login=Secret("seed")), 5000)
    record, held = records.renew(Record(), Renewal("a", grant.fence, LATE, taken=Secret("seed")), 6000)
    assert held
    _, answer = records.claim(record, Claim("b", LATE, login=Secret("seed"), may_try=True), 6100)
    assert isinstance(answer, Occupied)
    record, answer = records.share(record, shared("a", grant.fence, refresh_token=Secret("r1")), 6200)  # type: ignore[assignment]
    assert isinstance(answer, Shared)


def test_a_share_whose_answer_was_lost_is_not_stored_twice() -> None:
    record, grant = granted(Record(), Claim("a", LATE), 5000)
    record, first = records.share(record, shared("a", grant.fence), 5100)
    assert records.share(record, shared("a", grant.fence), 5200) == (record, replace(first, now_ms=5200))


def test_a_token_that_has_ended_is_not_shared_but_what_is_redeemed_next_is() -> None:
    record, grant = granted(Record(), Claim("a", LATE), 5000)
    record, answer = records.share(record, shared("a", grant.fence, expires_ms=5100, refresh_token=Secret("r1")), 5100)
    assert isinstance(answer, Shared)
    assert (record.token, record.refresh_token) == (None, Secret("r1"))


def test_a_clock_that_is_set_back_ends_a_lease_and_not_the_order() -> None:
    record, first = granted(Record(), Claim("a", LATE), 500_000)
    _, second = granted(record, Claim("b", LATE), 5000)
    assert second.fence == first.fence + 1


@pytest.mark.parametrize("step", ["claim", "renew", "share", "give_up", "restore"])
def test_what_comes_too_late_is_not_done(step: str) -> None:
    asked = {
        "claim": Claim("a", 10),
        "renew": Renewal("a", 1, 10),
        "share": replace(shared("a", 1), not_after_ms=10),
        "give_up": GiveUp("a", 1, 10, "intact"),
        "restore": Restoration(1, 10, Secret("t"), 60_000, "f"),
    }
    with pytest.raises(StoreError, match="too late"):
        getattr(records, step)(Record(), asked[step], 11)


def test_what_is_sealed_is_not_shown() -> None:
    record, grant = granted(Record(), Claim("a", LATE, login=Secret("sealed-login")), 5000)
    record, _ = records.share(
        record, shared("a", grant.fence, token=Secret("sealed-token"), refresh_token=Secret("sealed-next")), 5100
    )
    _, newer = records.claim(record, Claim("b", LATE), 5200)
    assert "sealed-" not in repr([record, grant, newer, Claim("a", LATE, login=Secret("sealed-login"))])


# --- random histories -------------------------------------------------------------------------------------------------


@dataclass
class Holder:
    """One claim that was granted, and how far its holder has come."""

    claimant: str
    grant: Granted
    redeems: Secret
    got: Secret | None = None
    has_sent: bool = False


class Histories(RuleBasedStateMachine):
    """Several members with one login, a provider that rotates it, and a store; answers get lost, members die or pause."""

    holders: Bundle[Holder] = Bundle("holders")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000
        self.numbers = itertools.count(1)
        self.record = Record()
        self.valid = Secret("0")
        self.seen: Counter[Secret] = Counter()
        self.tried: set[Secret] = set()
        self.was_lost = False

    @rule(target=holders, may_try=st.booleans(), is_heard=st.booleans())
    def claims(self, may_try: bool, is_heard: bool) -> Holder | object:
        claimant = f"c{next(self.numbers)}"
        asked = Claim(claimant, LATE, known_gen=self.record.gen, login=Secret("0"), may_try=may_try)
        self.record, answer = records.claim(self.record, asked, self.now)
        if isinstance(answer, Granted) and not is_heard:  # nothing is sent, and the next claim of this member says so
            again = replace(asked, claimant=claimant + "again", unheard=claimant)
            self.record, answer = records.claim(self.record, again, self.now + 1)
            assert isinstance(answer, Granted)
            claimant = again.claimant
        if not isinstance(answer, Granted):
            self.was_lost = self.was_lost or isinstance(answer, Lost)
            return Holder("nobody", Granted(0, None, False, self.now), Secret("none"), has_sent=True)
        redeems = answer.refresh_token or Secret("0")
        if answer.doubtful:
            assert redeems not in self.tried
            self.tried.add(redeems)
        return Holder(claimant, answer, redeems)

    @rule(holder=holders)
    def sends(self, holder: Holder) -> None:
        if holder.has_sent or holder.grant.fence < self.record.fence:  # its lease is over, which it looks at before
            return
        holder.has_sent = True
        self.seen[holder.redeems] += 1
        if holder.redeems == self.valid:
            holder.got = self.valid = Secret(str(next(self.numbers)))

    @rule(holder=consumes(holders), is_told=st.booleans())
    def shares(self, holder: Holder, is_told: bool) -> None:
        if holder.got is not None and is_told:
            asked = shared(holder.claimant, holder.grant.fence, refresh_token=holder.got, fingerprint=holder.claimant)
            self.record, _ = records.share(self.record, replace(asked, expires_ms=self.now + 9000), self.now)

    @rule(holder=consumes(holders))
    def gives_up(self, holder: Holder) -> None:
        if holder.claimant != "nobody" and holder.got is None:
            login = "intact" if not holder.has_sent else "refused"
            if login == "intact":
                self.tried.discard(holder.redeems)
            asked = GiveUp(holder.claimant, holder.grant.fence, LATE, login)
            self.record = records.give_up(self.record, asked, self.now)

    @rule(holder=consumes(holders))
    def dies(self, holder: Holder) -> None:
        pass

    @rule(ms=st.sampled_from([1, 1000, 4000]))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    @invariant()
    def no_refresh_token_is_sent_twice_but_the_one_that_was_tried(self) -> None:
        for token, times in self.seen.items():
            assert times <= 1 + (token in self.tried)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
