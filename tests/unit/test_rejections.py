"""How soon a rejection of a token is answered, and whom it takes the token from."""

import itertools

import pytest

from oidc_actor.machine import invalidation
from oidc_actor.machine.invalidation import MOST_ORIGINS, Verdict
from oidc_actor.machine.state import Heard, Origins

pytestmark = pytest.mark.P6

A, B = "https://a.example:443", "https://b.example:443"


class Node:
    """A manager's memory, whose rejections are answered when they are due."""

    def __init__(self) -> None:
        self.origins: Origins = {}
        self.now = 1000.0
        self.tokens = itertools.count(1)
        self.token = next(self.tokens)
        self.came_at = 0.0

    def accepts(self, origin: str = A) -> None:
        self.origins = invalidation.note_accepted(self.origins, origin, str(self.token))

    def rejects(self, origin: str = A) -> Verdict:
        self.origins, verdict = invalidation.judge(
            self.origins, origin, str(self.token), self.now, age_s=self.now - self.came_at
        )
        return verdict

    def answered(self, verdict: Verdict) -> float:
        """A new token comes when the rejection is due; how long that took."""
        waited_s = max(0.0, verdict.due_at - self.now)
        self.now += waited_s
        self.token, self.came_at = next(self.tokens), self.now
        return waited_s


def test_rejections_that_go_on_are_answered_at_growing_intervals() -> None:
    node, waits = Node(), []
    for _ in range(13):
        node.accepts()
        waits.append(node.answered(node.rejects()))
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_it_makes_no_difference_how_long_after_the_answer_the_next_one_comes_within_the_interval() -> None:
    node, began, answers = Node(), 1000.0, []
    for _ in range(7):
        node.accepts()
        node.answered(node.rejects())
        answers.append(node.now - began)
        node.now += 0.9
    assert answers == [0, 1, 3, 7, 15, 31, 63]


@pytest.mark.parametrize(
    ("answers", "interval_s", "quiet"),
    [
        (5, 16, {29.9: 16, 30: 8, 60: 4, 90: 2, 120: 1, 149: 1, 150: 0}),
        (8, 128, {127.9: 128, 128: 64, 192: 32, 224: 16, 254: 8, 374: 0}),
    ],
)
def test_the_interval_comes_back_by_half_for_each_such_period_without_a_rejection(
    answers: int, interval_s: float, quiet: dict[float, float]
) -> None:
    node = Node()
    for _ in range(answers):
        node.accepts()
        node.answered(node.rejects())
    assert node.origins[A].interval_s == interval_s
    for quiet_s, expected in quiet.items():
        assert invalidation._interval_now_s(node.origins[A], node.now + quiet_s) == expected


@pytest.mark.parametrize("every_s", [0.5, 1, 1.5, 3, 10, 20])
def test_a_bad_node_that_is_asked_now_and_then_is_answered_ever_more_slowly(every_s: float) -> None:
    node, answers, due_at = Node(), 0, None
    while node.now < 1600:
        if due_at is not None and due_at <= node.now:
            node.token, node.came_at, due_at = next(node.tokens), due_at, None
        if due_at is None:
            node.accepts()
            due_at, answers = node.rejects().due_at, answers + 1
        else:
            node.rejects()
        node.now += every_s
    assert answers <= 11


def test_a_true_revocation_a_minute_after_another_is_answered_at_once() -> None:
    node = Node()
    for _ in range(3):
        node.accepts()
        assert node.answered(node.rejects()) == 0
        node.now += 60


def test_a_hundred_rejections_of_one_token_are_one() -> None:
    node = Node()
    first, *others = [node.rejects() for _ in range(100)]
    assert first == Verdict(1000, is_news=True, rejects=True)
    assert set(others) == {Verdict(1000, is_news=False, rejects=False)}


def test_rejections_while_the_answer_is_waited_for_keep_the_interval_up() -> None:
    node = Node()
    for _ in range(5):
        node.accepts()
        node.answered(node.rejects())
    node.accepts()
    due_at = node.rejects().due_at
    for _ in range(16):
        node.now += 1
        assert not node.rejects().is_news
    assert node.now == due_at
    node.answered(node.rejects())
    node.accepts()
    assert node.rejects().due_at == node.now + 32


def test_who_accepts_no_token_at_all_waits_the_longest_interval() -> None:
    node = Node()
    assert node.answered(node.rejects()) == 0
    assert node.answered(node.rejects()) == 300
    assert node.answered(node.rejects()) == 300
    node.accepts()
    assert node.answered(node.rejects()) < 300


def test_who_accepts_the_token_after_all_waits_its_own_interval_only() -> None:
    node = Node()
    node.answered(node.rejects())
    assert node.rejects().due_at == node.now + 300
    node.accepts()  # a good node has it
    assert node.rejects().due_at == node.now + 1


@pytest.mark.parametrize(("age_s", "accepted", "rejects"), [(2, False, True), (1.9, False, False), (60, True, False)])
def test_a_young_token_and_one_that_this_origin_has_accepted_are_not_taken_back(
    age_s: float, accepted: bool, rejects: bool
) -> None:
    node = Node()
    node.came_at = node.now - age_s
    node.accepts(B)
    if accepted:
        node.accepts()
    assert node.rejects() == Verdict(node.now, True, rejects)


def test_a_rejection_that_goes_on_takes_nothing_back_however_old_the_token_is() -> None:
    node = Node()
    assert node.rejects().rejects
    node.answered(Verdict(node.now, True, True))
    node.now += 3600
    assert not node.rejects().rejects  # it has accepted none, and others have


def test_one_origin_says_nothing_about_another() -> None:
    node = Node()
    for _ in range(6):
        node.accepts()
        node.answered(node.rejects())
    assert node.rejects(B).due_at == node.now


def test_the_memory_is_bounded_and_the_oldest_goes() -> None:
    node = Node()
    node.rejects(A)
    for number in range(10 * MOST_ORIGINS):
        node.accepts(f"https://{number}.example:443")
        if number < MOST_ORIGINS:
            node.accepts(A)
    assert len(node.origins) == MOST_ORIGINS
    assert A not in node.origins
    assert node.origins[f"https://{10 * MOST_ORIGINS - 1}.example:443"] == Heard(accepted="1", has_accepted=True)
