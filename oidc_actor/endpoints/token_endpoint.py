"""A token request, and the same once more where what the provider refused can be mended at once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import token_urlsafe

from oidc_actor.credentials.dpop import DPoPKey, nonce_of, read_nonce
from oidc_actor.credentials.grants import Credentials, JWTBearer
from oidc_actor.credentials.jws import Signer, require_jose, secret_signer
from oidc_actor.protocol.bodies import read_error_object
from oidc_actor.protocol.dates import provider_now
from oidc_actor.protocol.error_response import refusal_advice
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.protocol.redaction import presentable
from oidc_actor.protocol.token_request import (
    SentSecrets,
    address_of,
    chosen_method,
    client_claims,
    is_timely,
    secrets_in,
    sent_in,
    staleness,
    token_request,
)
from oidc_actor.protocol.token_response import DEFAULT_LIFETIME_S, ParsedToken, parse_token
from oidc_actor.transport import NoAnswer, Request, Response, Transport, TransportError
from oidc_actor.values.errors import ConfigError, ProviderError, SecretUnavailable, TokenRequestError
from oidc_actor.values.secrets import Secret, StoredSecret, resolve_secret

_ABOUT_STATEMENTS = frozenset({"invalid_client", "invalid_grant", "invalid_request", "invalid_dpop_proof"})
"""OAuth error codes by which providers refuse a statement that is out of date (RFC 7521, RFC 8693, RFC 9449)."""


def exchange_token(
    transport: Transport,
    config: OIDCConfig,
    auth: Credentials,
    *,
    refresh_token: Secret | None = None,
    timeout_s: float,
    default_lifetime_s: float = DEFAULT_LIFETIME_S,
    known: tuple[Secret, ...] = (),
    sending: Callable[[], object] | None = None,
) -> ParsedToken:
    """Run one token exchange on the calling thread. Secrets are read from their sources first, here.

    Args:
        transport: What performs the request.
        config: The provider's metadata, already checked.
        auth: The credentials.
        refresh_token: What to redeem in place of the full grant; ``None`` for the full grant. A response without a
            refresh token keeps the one that was redeemed.
        timeout_s: Seconds for the whole exchange; reading the secrets is not part of it.
        default_lifetime_s: Seconds a token is taken to live where nothing says.
        known: Further secrets that no error may show: tokens that the provider has given out before.
        sending: Called before each request is sent, and before the token's ``issued_at`` is taken.

    Returns:
        The token, its lifetime counted from the start of the request, and who says so.

    Raises:
        ConfigError: Where the DPoP key is left to a manager, and there is none.
        SecretUnavailable: Where a secret cannot be read; nothing was sent.
        TokenRequestError: Where the provider refuses, answers nonsense, or cannot be reached.
    """
    if auth.dpop is True:
        raise ConfigError(
            "dpop: expected a DPoPKey where no manager makes one: its tokens are of no use without the key"
        )
    turn = converse(transport, config, auth, refresh_token, timeout_s=timeout_s, known=known, sending=sending)
    return _understood(turn, auth, refresh_token, default_lifetime_s)


def converse(
    transport: Transport,
    config: OIDCConfig,
    auth: Credentials,
    refresh_token: Secret | None,
    *,
    timeout_s: float,
    known: tuple[Secret, ...] = (),
    sending: Callable[[], object] | None = None,
) -> Turn:
    """Send a token request, and again with a nonce or with fresh statements if that is what it lacks.

    Args:
        transport: What performs the requests.
        config: The provider's metadata.
        auth: The credentials.
        refresh_token: What to redeem in place of the full grant; ``None`` for the full grant.
        timeout_s: Seconds for all requests together; reading and signing is not part of it.
        known: Secrets that no error may show, besides those that are sent.
        sending: Called before each request is sent, and before its time is taken.

    Returns:
        The last request, with its answer.

    Raises:
        SecretUnavailable: A secret cannot be had now, or has expired.
    """
    ask = functools.partial(_ask, transport, config, auth, refresh_token, known, sending)
    turn, left_s = ask(time.time(), timeout_s), timeout_s
    remedies = [_sign_with_nonce, _sign_in_time]
    # What the provider refused for a reason that can be mended now is sent once more, at most once for each reason.
    while (left_s := left_s - turn.took_s) > 0:
        mended = next(((remedy, at) for remedy in remedies if (at := remedy(turn)) is not None), None)
        if mended is None:
            break
        remedies.remove(mended[0])
        turn = ask(mended[1], left_s)
    return turn


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of an exchange, and what came of it.

    Attributes:
        signed_wall: The time that its statements were signed for, in seconds since the epoch.
        sent_wall: When it was sent, in seconds since the epoch by this machine's clock.
        took_s: Seconds until its end.
        hidden: What no error may show: the secrets that were sent, and others that are known.
        statements: Those that were sent and have a time in them.
        response: The answer, or why there is none.
        brought_nonce: Whether it brought a DPoP nonce other than the one that was sent.
        advice: Finds out what to change where the client was refused, or ``None``.
    """

    signed_wall: float
    sent_wall: float
    took_s: float
    hidden: tuple[Secret, ...]
    statements: tuple[Secret, ...]
    response: Response | ProviderError
    brought_nonce: bool
    advice: Callable[[], str | None]


def _ask(
    transport: Transport,
    config: OIDCConfig,
    auth: Credentials,
    refresh_token: Secret | None,
    known: tuple[Secret, ...],
    sending: Callable[[], object] | None,
    signed_wall: float,
    timeout_s: float,
) -> Turn:
    """Send one token request, with everything read and signed anew: assertions and proofs are taken once."""
    refreshing = refresh_token is not None
    secrets = gather(config, auth, refresh_token=refresh_token, now_wall=signed_wall)
    request = token_request(config, auth, secrets, refreshing=refreshing, timeout_s=timeout_s)
    hidden = (*sent_in(request, secrets), *known)
    if sending is not None:
        sending()
    sent_wall, began = time.time(), time.monotonic()
    response = perform(transport, request, hidden, TokenRequestError)
    took_s = time.monotonic() - began
    statements = secrets.signed(of_grant=not refreshing and auth.trades_token)
    brought_nonce, advice = (
        _keep_nonce(auth, request, response),
        functools.partial(refusal_advice, config, auth, secrets),
    )
    return Turn(signed_wall, sent_wall, took_s, hidden, statements, response, brought_nonce, advice)


def _keep_nonce(auth: Credentials, request: Request, response: Response | ProviderError) -> bool:
    if not isinstance(auth.dpop, DPoPKey) or not isinstance(response, Response):
        return False
    nonce = read_nonce(response.header("DPoP-Nonce"))
    # Compared with what was sent, not with what is known: managers that share a key may all be asked at once.
    return auth.dpop.note_nonce(request.url, nonce) and nonce != nonce_of(request.headers["DPoP"])


def _sign_with_nonce(turn: Turn) -> float | None:
    """The time to sign anew for, because the provider wants its nonce in the proof (RFC 9449 section 8), or ``None``."""
    return turn.signed_wall if turn.brought_nonce and _code(turn) == "use_dpop_nonce" else None


def _sign_in_time(turn: Turn) -> float | None:
    """The time to sign anew for, because a statement is out of date by the provider's clock, which then counts; or ``None``.

    A file may have been replaced since it was read, and this machine's clock may be off.
    """
    if not isinstance(turn.response, Response) or _code(turn) not in _ABOUT_STATEMENTS:
        return None
    at = provider_now(turn.response, now_wall=turn.sent_wall)
    return None if all(is_timely(one, at=at) for one in turn.statements) else at


def _code(turn: Turn) -> str | None:
    response = turn.response
    if not isinstance(response, Response) or response.status not in {400, 401}:
        return None
    code = read_error_object(response).get("error")
    return code if isinstance(code, str) else None  # JSON may hold what cannot be hashed there


def perform(
    transport: Transport, request: Request, secrets: tuple[Secret, ...], failure: type[ProviderError]
) -> Response | ProviderError:
    """Run one exchange on the calling thread. It raises nothing: the frames below a transport's error hold what was sent.

    Args:
        transport: What performs the request.
        request: The request.
        secrets: What no error may show.
        failure: The type of error for no answer.

    Returns:
        The answer, or why there is none.
    """
    try:
        response: object = transport(request)
    except NoAnswer as error:
        return failure(f"no answer: {error}", sent=error.sent)
    except TransportError as error:  # of an injected transport
        return failure(f"no answer: {presentable(str(error), secrets)}", sent=error.sent)
    except Exception as error:  # noqa: BLE001 - an injected transport; its own text may quote the request
        return failure(f"no answer: the transport raised {type(error).__name__} for {request!r}")
    if isinstance(response, Response):
        return response
    return failure(f"no answer: expected a Response from the transport, got {type(response).__name__}")


def answered(outcome: Response | ProviderError) -> Response:
    """Raise what `perform` returned in place of a response."""
    if isinstance(outcome, ProviderError):
        raise outcome
    return outcome


def _understood(turn: Turn, auth: Credentials, refresh_token: Secret | None, default_lifetime_s: float) -> ParsedToken:
    parsed = parse_token(
        answered(turn.response),
        now_wall=turn.sent_wall,
        sent_secrets=turn.hidden,
        default_lifetime_s=default_lifetime_s,
        grant_type=auth.grant_type,
        refreshing=refresh_token is not None,
        advice=turn.advice,
        may_be_no_access_token=auth.may_be_no_access_token,
    )
    if refresh_token is None or parsed.token.refresh_token is not None:
        return parsed
    return replace(parsed, token=parsed.token.with_refresh_token(refresh_token.reveal()))


def gather(config: OIDCConfig, auth: Credentials, *, refresh_token: Secret | None, now_wall: float) -> SentSecrets:
    """Read and sign what one token request needs; callables run on the calling thread.

    Args:
        config: The provider's metadata, with a token endpoint.
        auth: The credentials.
        refresh_token: What to redeem in place of the full grant; ``None`` for the full grant.
        now_wall: Seconds since the epoch.

    Returns:
        The secrets. Of a client secret that only signs, the assertion is sent in its place.

    Raises:
        SecretUnavailable: Where one cannot be had now, or has expired. Retryable.
    """
    certificate = auth.client_certificate
    for file in () if certificate is None else certificate.sources:
        if file.version() is None:
            raise SecretUnavailable(f"client_certificate cannot be read: {str(file.path)!r}: no such file", sent=False)
    return SentSecrets(
        None if auth.client_secret is None else resolve_secret(auth.client_secret, "client_secret"),
        refresh_token or _grant_secret(auth, now_wall),
        secrets_in(auth),
        client_assertion=_client_assertion(config, auth, now_wall),
        actor_token=None if refresh_token is not None else _foreign(auth.actor_secret, "actor_token", now_wall),
        dpop_proof=_dpop_proof(config, auth, now_wall),
    )


def _dpop_proof(config: OIDCConfig, auth: Credentials, now_wall: float) -> Secret | None:
    if not isinstance(auth.dpop, DPoPKey):
        return None
    config.require("dpop_signing_alg_values_supported")
    accepted, url = config.dpop_signing_alg_values_supported, address_of(config, auth)
    return auth.dpop.proof("POST", url, now_wall=now_wall, jti=token_urlsafe(16), accepted=accepted)


def _grant_secret(auth: Credentials, now_wall: float) -> Secret | None:
    if auth.trades_token:
        return _foreign(auth.grant_secret, "assertion" if isinstance(auth, JWTBearer) else "subject_token", now_wall)
    return None if auth.grant_secret is None else resolve_secret(auth.grant_secret, auth.grant_type)


def _client_assertion(config: OIDCConfig, auth: Credentials, now_wall: float) -> Secret | None:
    method = chosen_method(config, auth)
    if method == "private_key_jwt" and auth.client_assertion is not None:
        return _foreign(auth.client_assertion, "client_assertion", now_wall)
    if method not in ("private_key_jwt", "client_secret_jwt"):
        return None
    claims = client_claims(auth, config, now_wall=now_wall, jti=token_urlsafe(16))
    signer = _signer(config, auth)
    header = {} if auth.private_key is None else auth.private_key.header()
    signed = signer if isinstance(signer, str) else signer.sign(claims, header)
    if isinstance(signed, str):
        raise SecretUnavailable(f"client_assertion: {signed}", sent=False)
    return signed


def _signer(config: OIDCConfig, auth: Credentials) -> Signer | str:
    if auth.private_key is not None:
        config.require("token_endpoint_auth_signing_alg_values_supported")
        return auth.private_key.signer(config.token_endpoint_auth_signing_alg_values_supported)
    assert auth.client_secret is not None
    try:
        require_jose("the provider takes client_secret_jwt only, which")
    except ConfigError as error:
        return str(error)
    return secret_signer(resolve_secret(auth.client_secret, "client_secret"))


def _foreign(source: StoredSecret | None, name: str, now_wall: float) -> Secret | None:
    """Read a token that somebody else has signed. One that says itself that it has expired is not sent."""
    if source is None:
        return None
    token = resolve_secret(source, name)
    problem = staleness(token, now_wall=now_wall)
    if problem is not None:
        raise SecretUnavailable(f"{name}: {problem}", sent=False)
    return token
