"""How often a refusal is worth a new token."""

from __future__ import annotations

from oidc_actor.adapters.complaints import Complaints

A, B = "https://a.example:443", "https://b.example:443"


def test_everybody_may_complain_about_the_same_token() -> None:
    complaints = Complaints()
    assert all(complaints.admit(A, "Bearer 1") for _ in range(100))


def test_who_refuses_the_replacement_too_is_believed_until_it_accepts_a_token() -> None:
    complaints = Complaints()
    assert complaints.admit(A, "Bearer 1")
    assert not complaints.admit(A, "Bearer 2")
    assert not complaints.admit(A, "Bearer 3")
    complaints.accepted(B)
    assert not complaints.admit(A, "Bearer 4")
    complaints.accepted(A)
    assert complaints.admit(A, "Bearer 4")


def test_one_origin_says_nothing_about_another() -> None:
    complaints = Complaints()
    assert complaints.admit(A, "Bearer 1")
    assert complaints.admit(B, "Bearer 2")


def test_the_memory_is_bounded() -> None:
    complaints = Complaints()
    for number in range(10_000):
        assert complaints.admit(f"https://{number}.example:443", "Bearer 1")
    assert len(complaints._refused) <= 256
