"""What a request is sent again for, and how often: at most once for a nonce and once for a token. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from oidc_actor.adapters.authorization import Authorization, Proof
from oidc_actor.adapters.challenges import refuses_token, wants_nonce
from oidc_actor.credentials.dpop import nonce_of, read_nonce


class Remedy(Enum):
    """What the next try has that the last one had not."""

    TOKEN = "another token"  # noqa: S105 - a remedy's name
    NONCE = "a proof with the nonce that the server asks for"
    PROOF = "a proof, which a library did not take along on a redirect"


NONCE_FIELD = "DPoP-Nonce"
"""The response field that brings a nonce (RFC 9449 section 8)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 401 to a request with a token of ours.

    Attributes:
        method: The request's method.
        url: Its address.
        authorization: What it was sent with.
        proof: The value of ``DPoP`` that it was sent with; ``None`` where it had none.
        challenges: The values of the answer's ``WWW-Authenticate`` fields.
        nonce: What its ``DPoP-Nonce`` gives; ``None`` where there is none.
    """

    method: str
    url: str
    authorization: Authorization
    proof: Proof | None
    challenges: Sequence[str]
    nonce: str | None

    @property
    def remedy(self) -> Remedy | None:
        """What would mend it; ``None`` where nothing that we have would."""
        if not Authorization.needs_proof(self.authorization):
            return Remedy.TOKEN if refuses_token(self.challenges) else None
        if self.proof is None:  # whatever else it complains of
            return Remedy.PROOF
        if wants_nonce(self.challenges):
            return Remedy.NONCE if read_nonce(self.nonce) not in {None, nonce_of(self.proof)} else None
        return Remedy.TOKEN if refuses_token(self.challenges, "dpop") else None


def answer_to(
    method: str, url: str, sent: Mapping[str, str], challenges: Sequence[str], headers: Mapping[str, str]
) -> Answer:
    """Make an `Answer` of what a library gives.

    Args:
        method: The request's method.
        url: Its address.
        sent: Its header fields, with a token of ours.
        challenges: The values of the answer's ``WWW-Authenticate`` fields.
        headers: All of the answer's fields.
    """
    proof, nonce = sent.get("DPoP"), read_nonce(headers.get(NONCE_FIELD))
    return Answer(
        method, url, Authorization(sent["Authorization"]), None if proof is None else Proof(proof), challenges, nonce
    )


class Tries:
    """The tries of one request, on one thread or task."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        self._spent: set[Remedy] = set()

    def remedy(self, answer: Answer) -> Remedy | None:
        """Say what to send the request again with.

        Args:
            answer: The 401.

        Returns:
            The remedy, each once; ``None`` where the answer is the caller's. For a missing proof it is given as often as it is
            wanted: that follows a redirect, of which the library bounds the number.
        """
        found = answer.remedy
        if found is None or found in self._spent:
            return None
        if found is not Remedy.PROOF:
            self._spent.add(found)
        return found
