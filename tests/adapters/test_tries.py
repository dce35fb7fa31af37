"""What a 401 is answered with, and how often."""

from __future__ import annotations

import pytest

from oidc_actor.adapters.challenges import Remedy, Tries, Unauthorized
from oidc_actor.credentials.dpop import DPoPKey

URL = "https://api.example.com/items"
KEY = DPoPKey()
WITH_OLD = KEY.proof("GET", URL, now_wall=1.0, jti="j", nonce="old").reveal()
WITHOUT = KEY.proof("GET", URL, now_wall=1.0, jti="j").reveal()
REFUSED, ASKED = 'DPoP error="invalid_token"', 'DPoP error="use_dpop_nonce"'
BOUND = {"Authorization": "DPoP t"}


def answer(sent: dict[str, str], challenge: str, nonce: str | None = None) -> Unauthorized:
    return Unauthorized.read(401, "GET", URL, sent, [challenge], nonce)


@pytest.mark.parametrize(
    ("proof", "challenge", "nonce", "remedy"),
    [
        (WITHOUT, ASKED, "new", Remedy.NONCE),
        (WITH_OLD, ASKED, "new", Remedy.NONCE),
        (WITH_OLD, ASKED, "old", None),
        (WITHOUT, ASKED, None, None),
        (WITHOUT, ASKED, "no nonce", None),
        (WITHOUT, ASKED, "n" * 1025, None),
        (WITHOUT, REFUSED, "new", Remedy.TOKEN),
        (WITHOUT, 'DPoP error="invalid_dpop_proof"', "new", None),
        (None, 'DPoP error="invalid_dpop_proof"', None, Remedy.PROOF),
        (None, REFUSED, None, Remedy.PROOF),
    ],
)
def test_a_401_to_a_bound_token(proof: str | None, challenge: str, nonce: str | None, remedy: Remedy | None) -> None:
    sent = BOUND if proof is None else {**BOUND, "DPoP": proof}
    assert answer(sent, challenge, nonce).remedy is remedy


@pytest.mark.parametrize(
    ("challenge", "remedy"), [("Bearer", Remedy.TOKEN), (ASKED, None), (REFUSED, None), ("Basic", None)]
)
def test_a_401_to_a_bearer_token(challenge: str, remedy: Remedy | None) -> None:
    assert answer({"Authorization": "Bearer t"}, challenge, "new").remedy is remedy


def test_each_remedy_is_used_once_but_for_the_proof_that_a_redirect_loses() -> None:
    tries, sent = Tries(), {**BOUND, "DPoP": WITHOUT}
    asked = [(sent, ASKED), (sent, REFUSED), (sent, ASKED), (sent, REFUSED), (BOUND, REFUSED), (BOUND, REFUSED)]
    found = [tries.remedy(answer(what, challenge, "new")) for what, challenge in asked]
    assert found == [Remedy.NONCE, Remedy.TOKEN, None, None, Remedy.PROOF, Remedy.PROOF]


def test_nothing_of_it_is_shown() -> None:
    shown = repr(answer({**BOUND, "DPoP": WITHOUT}, ASKED, "new"))
    assert WITHOUT not in shown
    assert "DPoP t" not in shown
