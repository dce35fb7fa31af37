"""What a resource server says of the token in its challenges (RFC 9110 section 11.6.1), and what would mend it. Pure.

A request is sent again at most once for a nonce, once for a token in place of a refused one, and once for one that is allowed or
says more. That last wish comes with a 401 or a 403:

==================================  ==============================================================================================
error                               what the next token is asked for
==================================  ==============================================================================================
``insufficient_scope``              the scopes that are named, besides those that were asked for (RFC 6750 section 3.1)
``insufficient_claims``             the claims that are named; also beside ``invalid_token`` (Microsoft Entra ID)
``insufficient_user_authentication``  ``acr_values`` and ``max_age`` (RFC 9470 section 3)
==================================  ==============================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TypeAlias

from oidc_actor.adapters.authorization import Authorization, Proof
from oidc_actor.credentials.dpop import nonce_of, read_nonce
from oidc_actor.credentials.parameters import MOST_STEP_UP, StepUp, parse_scopes, read_claims_parameter
from oidc_actor.values.errors import ConfigError
from supervision.frozen import dataclass

Challenge: TypeAlias = tuple[str, dict[str, str]]
"""A scheme and its parameters; both names in lower case."""

_GAP = re.compile(r"[ \t,]*")
_PARAMETER = re.compile(
    r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z-]+))"""
)
_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
_WORD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+=*")  # a scheme, or the token68 that some have in place of parameters


def challenges(field: str) -> list[Challenge]:
    """Read one ``WWW-Authenticate`` field, as far as it can be read.

    Args:
        field: Its value; may hold several challenges.

    Returns:
        The challenges, in order. Of a parameter that is repeated the first value counts.
    """
    found: list[Challenge] = []
    position = 0
    while True:
        gap = _GAP.match(field, position)
        position = position if gap is None else gap.end()
        parameter = _PARAMETER.match(field, position)
        if parameter is not None and found:
            name, quoted, plain = parameter.groups()
            found[-1][1].setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            position = parameter.end()
            continue
        word = _WORD.match(field, position)
        if word is None:
            return found
        # A scheme begins the field or follows a comma; what follows a scheme and a space is its token68.
        if not found or (gap is not None and "," in gap[0]):
            found.append((word[0].lower(), {}))
        position = word.end()


def refuses_token(fields: Iterable[str], scheme: str = "bearer") -> bool:
    """Tell whether a 401 is about the token that came with the request (RFC 6750 section 3, RFC 9449 section 7.1).

    Args:
        fields: The values of its ``WWW-Authenticate`` fields.
        scheme: What the token was sent as: ``"bearer"`` or ``"dpop"``.

    Returns:
        ``True`` for a challenge of that scheme with ``invalid_token``, and for challenges of it none of which names an error:
        section 3.1 has a server leave the code out where it saw no token, and many leave it out always. ``True`` also
        where a Bearer challenge says ``invalid_token`` of a DPoP token. ``False`` for another error, such as
        ``insufficient_scope`` or ``invalid_dpop_proof``, which no new token cures, and where there is no challenge of that
        scheme at all: such an answer does not speak of such tokens.
    """
    told = _errors(fields)
    errors = {error for one, error in told if one == scheme}
    return ("bearer", "invalid_token") in told or "invalid_token" in errors or errors == {None}


def wanted_step_up(fields: Iterable[str], token: str, scheme: str = "bearer") -> StepUp | None:
    """Read what the token lacks for a request, where it is good as such.

    Args:
        fields: The values of the ``WWW-Authenticate`` fields of a 401 or 403.
        token: The token that it answers: a challenge that repeats it, in whichever parameter, is not believed.
        scheme: What the token was sent as: ``"bearer"`` or ``"dpop"``.

    Returns:
        What is wanted; ``None`` where nothing is that can be asked for.
    """
    wanted: StepUp | None = None
    for field in fields:
        if len(field) > MOST_STEP_UP or token in field:
            continue
        for one, parameters in challenges(field):
            found = _step_up_in(parameters) if one in (scheme, "bearer") else None
            wanted = found if wanted is None or found is None else wanted.union(found)
    return wanted


def _step_up_in(parameters: Mapping[str, str]) -> StepUp | None:
    error, claims = parameters.get("error"), parameters.get("claims")
    if error == "insufficient_scope":
        try:
            scopes = parse_scopes(parameters.get("scope"))
        except ConfigError:  # of characters that no scope has
            return None
        return StepUp(scopes=scopes) if scopes else None
    if error in ("insufficient_claims", "invalid_token") and claims is not None:
        read = read_claims_parameter(claims)
        return None if read is None else StepUp(claims=read)
    if error != "insufficient_user_authentication":
        return None
    acr_values, age = parameters.get("acr_values", ""), parameters.get("max_age", "")
    named = acr_values if _SCOPES.fullmatch(acr_values) else None
    max_age = int(age) if age.isascii() and age.isdigit() and len(age) < 10 else None
    return None if named is None and max_age is None else StepUp(acr_values=named, max_age=max_age)


def wants_nonce(fields: Iterable[str]) -> bool:
    """Tell whether a 401 asks for a proof with the nonce that it brings (RFC 9449 section 9), which says nothing of the token.

    Args:
        fields: The values of its ``WWW-Authenticate`` fields.
    """
    return ("dpop", "use_dpop_nonce") in _errors(fields)


def refuses_proof(fields: Iterable[str]) -> bool:
    """Tell whether a 401 is about the proof itself (RFC 9449 section 7.1), and neither about the token nor a nonce.

    Args:
        fields: The values of its ``WWW-Authenticate`` fields.
    """
    return ("dpop", "invalid_dpop_proof") in _errors(fields)


def _errors(fields: Iterable[str]) -> set[tuple[str, str | None]]:
    return {(scheme, parameters.get("error")) for field in fields for scheme, parameters in challenges(field)}


class Remedy(Enum):
    """What the next try has that the last one had not."""

    TOKEN = "another token"  # noqa: S105 - a remedy's name
    STEP_UP = "a token that is allowed or says more"
    NONCE = "a proof with the nonce that the server asks for"
    PROOF = "a proof, which a library did not take along on a redirect"


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """A 401 or 403 to a request with a token of ours.

    Attributes:
        status: Which of the two.
        method: The request's method.
        url: Its address.
        authorization: What it was sent with.
        proof: The value of ``DPoP`` that it was sent with; ``None`` where it had none.
        challenges: The values of the answer's ``WWW-Authenticate`` fields.
        nonce: What its ``DPoP-Nonce`` gives; ``None`` where there is none.
        step_up: What the token lacks, where it is good as such; ``None`` where it is not, or the program refuses to ask for that.
    """

    status: int
    method: str
    url: str
    authorization: Authorization
    proof: Proof | None
    challenges: Sequence[str]
    nonce: str | None
    step_up: StepUp | None = None

    @classmethod
    def read(
        cls, status: int, method: str, url: str, sent: Mapping[str, str], challenges: Sequence[str], nonce: str | None
    ) -> Unauthorized:
        """Make one from what a client library gives.

        Args:
            status: The answer's status, 401 or 403.
            method: The request's method.
            url: Its address.
            sent: Its header fields, with a token of ours.
            challenges: The values of the answer's ``WWW-Authenticate`` fields.
            nonce: The value of its ``DPoP-Nonce``; ``None`` where there is none.
        """
        proof = None if "DPoP" not in sent else Proof(sent["DPoP"])
        value = Authorization(sent["Authorization"])
        scheme = "dpop" if Authorization.needs_proof(value) else "bearer"
        step_up = wanted_step_up(challenges, value.token, scheme)
        return cls(status, method, url, value, proof, challenges, read_nonce(nonce), step_up)

    @property
    def remedy(self) -> Remedy | None:
        """What would mend it; ``None`` where nothing that we have would."""
        if self.step_up is not None:
            return Remedy.STEP_UP
        if self.status != 401:
            return None
        if not Authorization.needs_proof(self.authorization):
            return Remedy.TOKEN if refuses_token(self.challenges) else None
        if self.proof is None:  # also where it refuses the token
            return Remedy.PROOF
        if wants_nonce(self.challenges):
            return Remedy.NONCE if self.nonce not in {None, nonce_of(self.proof)} else None
        return Remedy.TOKEN if refuses_token(self.challenges, "dpop") else None


class Tries:
    """The tries of one request, on one thread or task."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        self._spent: set[Remedy] = set()

    def remedy(self, refused: Unauthorized) -> Remedy | None:
        """Say what to send the request again with.

        Args:
            refused: The 401 or 403 to the last try.

        Returns:
            The remedy, each once; ``None`` where the caller gets the answer. `Remedy.PROOF` is given as often as a redirect loses
            the proof: the library bounds the number of redirects.
        """
        found = refused.remedy
        if found is None or found in self._spent:
            return None
        if found is not Remedy.PROOF:
            self._spent.add(found)
        return found
