"""Error responses (RFC 6749 section 5.2), made fit to be shown: OAuth's codes as they are, all else redacted.

Where a client was refused and the provider's metadata tell why, the error says what to change. It says so then and not before:
metadata are known to list less than a provider takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from oidc_actor.credentials.credentials import ASSERTING, METHODS, Credentials
from oidc_actor.protocol.redaction import is_guessable, presentable
from oidc_actor.protocol.response_fields import jwt_part, read_error_object, read_object, retry_after_s, status_problem
from oidc_actor.transport import Response
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, has_space_at_an_end, holds_secrets, secret_problem
from supervision.frozen import dataclass

KNOWN_CODES = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "invalid_target", "invalid_token", "unsupported_token_type", "invalid_dpop_proof",
        "use_dpop_nonce", "access_denied", "server_error", "temporarily_unavailable", "slow_down",
        "authorization_pending", "expired_token",
    }
)  # fmt: skip
_TOKENS = ("access_token", "refresh_token", "id_token")


PERMANENT_ERRORS = frozenset({"invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type"})
"""OAuth error codes (RFC 6749 section 5.2) that no retry cures: something must change first."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What is wrong with a response. Fit to be shown.

    Attributes:
        problem: What was expected, and what came.
        error: The OAuth error code, or ``None`` where there is none.
        description: The provider's own words, redacted, or ``None`` where there are none.
    """

    problem: str
    error: str | None = None
    description: str | None = None

    def as_error(
        self, what: str, response: Response, *, now_wall: float, permanent: bool = False, hint: str = ""
    ) -> TokenRequestError:
        """Make the error to raise.

        Args:
            what: What was requested.
            response: The response.
            now_wall: Seconds since the epoch when the request was started.
            permanent: Whether something must change before a retry can succeed.
            hint: What follows the provider's own words.
        """
        return TokenRequestError(
            f"{what} failed: HTTP {response.status}: {self.problem}{hint}",
            status=response.status,
            error=self.error,
            error_description=self.description,
            retryable=not permanent,
            retry_after_s=retry_after_s(response, now_wall=now_wall),
        )


def read_error_response(response: Response, sent: Collection[Secret], wanted: str) -> ErrorResponse:
    """Read a refusal.

    Args:
        response: Any response that is not what was wanted.
        sent: What it may repeat and no error may show.
        wanted: What the response should have held.

    Returns:
        What is wrong.
    """
    members = read_error_object(response)
    secrets = (*sent, *tokens_in(members))
    error = _code(members.get("error"), secrets)
    told = members.get("error_description")
    description = presentable(told, secrets) if isinstance(told, str) and told else None
    problem = ": ".join(dict.fromkeys(part for part in (error, description) if part))  # what is withheld, once
    return ErrorResponse(problem or status_problem(response.status, wanted), error, description)


def tokens_in(members: Mapping[str, Any]) -> tuple[Secret, ...]:
    """Find the tokens in a body: a bad one may hold some all the same, which must not come into the error's text either.

    What is too short to be a token is taken for none, so that it does not withhold the rest of the response.
    """
    texts = [str(members[name]) for name in _TOKENS if secret_problem(members.get(name)) is None]
    return tuple(Secret(text) for text in texts if not is_guessable(text))


def _code(code: object, secrets: Collection[Secret]) -> str | None:
    if not isinstance(code, str) or not code:
        return None
    # A weak secret such as "client" must not hide what the code says.
    return code if code in KNOWN_CODES else presentable(code, secrets)


def is_permanent(error: str | None, *, status: int | None, grant_type: str, refreshing: bool) -> bool:
    """Say whether a refused token request stays refused until something changes.

    Args:
        error: The OAuth error code, or ``None`` where the response held none.
        status: The HTTP status, or ``None`` where no response came.
        grant_type: The ``grant_type`` of the credentials' full grant.
        refreshing: Whether the request redeemed a refresh token in place of that full grant. Its refusal says
            nothing about the full grant, unless the client itself is unknown.

    Returns:
        ``True`` for the codes of `PERMANENT_ERRORS`, and for ``invalid_grant`` where what was refused is the user's
        password or the configured refresh token. Every 5xx is transient, also where its body names a permanent error.
    """
    if status is not None and status >= 500:
        return False
    if refreshing:
        return error == "invalid_client"
    if error == "invalid_grant":
        return grant_type in {"password", "refresh_token"}
    return error in PERMANENT_ERRORS


@holds_secrets
def check_revoked(response: Response, *, now_wall: float, sent_secrets: Iterable[Secret] = ()) -> None:
    """Read the response to a revocation request (RFC 7009 section 2.2): a token that is unknown is no error.

    Args:
        response: What came back.
        now_wall: Seconds since the epoch when the request was started.
        sent_secrets: What the response may repeat and no error may show.

    Raises:
        TokenRequestError: Where the response is anything but a success.
    """
    if response.status in {200, 204}:
        return
    found = read_error_response(response, tuple(sent_secrets), "a success or an OAuth error")
    raise found.as_error("revocation", response, now_wall=now_wall)


_NEEDS = {
    "client_secret_basic": ("client_secret", "a client_secret"),
    "client_secret_post": ("client_secret", "a client_secret"),
    "client_secret_jwt": ("client_secret", "a client_secret"),
    "private_key_jwt": ("has_key", "a private_key or client_assertion"),
    "tls_client_auth": ("client_certificate", "a client_certificate"),
    "self_signed_tls_client_auth": ("client_certificate", "a client_certificate"),
    "none": ("client_id", "nothing but a client_id"),
}
"""By method, the attribute of `Credentials` that it takes, and what that is."""

SPACES = "{} begins or ends with white space, which was sent too: is it meant? (one newline at the end of a file is left out)"


def refusal_advice(
    config: OIDCConfig, auth: Credentials, method: str, client_secret: Secret | None, client_assertion: Secret | None
) -> str | None:
    """Compare what a client sent with what the provider's metadata list (RFC 8414 section 2); look at the ends of its secret.

    Args:
        config: The provider's metadata.
        auth: The client's credentials.
        method: The client authentication method that was used.
        client_secret: The secret that was sent, or signed with; ``None`` for none.
        client_assertion: The assertion that was sent; ``None`` for none.

    Returns:
        A phrase for the end of an error, or ``None`` where nothing speaks against it. Of the metadata it shows only
        names that are known.
    """
    spaced = client_secret is not None and has_space_at_an_end(client_secret)
    told = (
        SPACES.format("the client_secret") if spaced else None,
        _about_metadata(config, auth, method, client_assertion),
    )
    return "; ".join(one for one in told if one is not None) or None


def _about_metadata(config: OIDCConfig, auth: Credentials, method: str, assertion: Secret | None) -> str | None:
    listed = config.token_endpoint_auth_methods_supported
    if listed and method not in listed:
        return _about_methods(method, auth, [one for one in METHODS if one in listed])
    algorithms = config.token_endpoint_auth_signing_alg_values_supported
    used = _algorithm_of(assertion) if method in ASSERTING else None
    if algorithms and used is not None and used not in algorithms:
        known = [one for one in algorithms if one.isalnum() and len(one) < 10]
        return f"its metadata list signatures by {', '.join(known) or 'others'}, not by {used}"
    return None


def _about_methods(method: str, auth: Credentials, listed: Sequence[str]) -> str:
    if not listed:
        return f"its metadata do not list {method}, nor any other method that there is here"
    possible = [one for one in listed if one != "none" and getattr(auth, _NEEDS[one][0])]
    needs = dict.fromkeys(_NEEDS[one][1] for one in listed)  # each once, in their order
    fix = f"try client_auth={possible[0]!r}" if possible else f"give the credentials {', or '.join(needs)}"
    return f"its metadata list {', '.join(listed)}, not {method}: {fix}"


def _algorithm_of(assertion: Secret | None) -> str | None:
    header = None if assertion is None else read_object(jwt_part(assertion.reveal(), 0))
    found = None if header is None or isinstance(header, str) else header.get("alg")
    return found if isinstance(found, str) and found.isalnum() and len(found) < 10 else None
