"""What is wrong with an answer, made fit to be shown: OAuth's codes as they are, all else redacted (RFC 6749 section 5.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oidc_actor.protocol.bodies import read_error_object
from oidc_actor.protocol.dates import retry_after_s
from oidc_actor.protocol.redaction import is_guessable, presentable
from oidc_actor.transport import Response
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.secrets import Secret, secret_problem

_KNOWN_CODES = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "invalid_token",
        "unsupported_token_type",
        "invalid_dpop_proof",
        "use_dpop_nonce",
        "access_denied",
        "server_error",
        "temporarily_unavailable",
        "slow_down",
        "authorization_pending",
        "expired_token",
    }
)
_TOKENS = ("access_token", "refresh_token", "id_token")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a response. Fit to be shown.

    Attributes:
        problem: What was expected, and what came.
        error: The OAuth error code, or ``None`` where there is none.
        description: The provider's own words, redacted, or ``None`` where there are none.
    """

    problem: str
    error: str | None = None
    description: str | None = None


def read_fault(response: Response, sent: Collection[Secret], wanted: str) -> Fault:
    """Read a refusal.

    Args:
        response: Any response that is not what was wanted.
        sent: What it may repeat and no error may show.
        wanted: What was.

    Returns:
        What is wrong.
    """
    members = read_error_object(response)
    secrets = (*sent, *tokens_in(members))
    error = _code(members.get("error"), secrets)
    told = members.get("error_description")
    description = presentable(told, secrets) if isinstance(told, str) and told else None
    problem = ": ".join(dict.fromkeys(part for part in (error, description) if part))  # what is withheld, once
    return Fault(problem or status_problem(response.status, wanted), error, description)


def tokens_in(members: Mapping[str, Any]) -> tuple[Secret, ...]:
    """Find the tokens in a body: a bad one may hold some all the same, which must not come into the error's text either.

    What is too short to be a token is taken for none, so that it does not withhold the rest of the answer.
    """
    texts = [str(members[name]) for name in _TOKENS if secret_problem(members.get(name)) is None]
    return tuple(Secret(text) for text in texts if not is_guessable(text))


def _code(code: object, secrets: Collection[Secret]) -> str | None:
    if not isinstance(code, str) or not code:
        return None
    # A weak secret such as "client" must not hide what the code says.
    return code if code in _KNOWN_CODES else presentable(code, secrets)


def status_problem(status: int, wanted: str) -> str:
    """Say that an answer with this status brought nothing of what was wanted."""
    if 300 <= status < 400:
        return f"expected {wanted}, got a redirect, which is never followed; configure the address it should go to"
    return f"expected {wanted}, got neither" if " or " in wanted else f"expected {wanted}, got none"


def check_revoked(response: Response, *, now_wall: float, sent_secrets: Iterable[Secret] = ()) -> None:
    """Read the answer to a revocation request (RFC 7009 section 2.2): a token that nobody knows any more is no error.

    Args:
        response: What came back.
        now_wall: Seconds since the epoch when the request was started.
        sent_secrets: What the answer may repeat and no error may show.

    Raises:
        TokenRequestError: Where the response is anything but a success.
    """
    if response.status in {200, 204}:
        return
    fault = read_fault(response, tuple(sent_secrets), "a success or an OAuth error")
    raise TokenRequestError(
        f"revocation failed: HTTP {response.status}: {fault.problem}",
        status=response.status,
        error=fault.error,
        error_description=fault.description,
        retry_after_s=retry_after_s(response, now_wall=now_wall),
    )
