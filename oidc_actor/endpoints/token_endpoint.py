"""The token endpoint: read the secrets, send, and once more where what the provider refused can be mended at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field, replace
from secrets import token_urlsafe
from typing import TypeAlias

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.dpop import DPoPKey, nonce_of, read_nonce
from oidc_actor.credentials.keys import Signer, require_jose, secret_signer
from oidc_actor.credentials.overlap import Overlap
from oidc_actor.credentials.parameters import WHAT_A_FIELD_HOLDS, is_field_value
from oidc_actor.protocol.error_response import refusal_advice
from oidc_actor.protocol.redaction import presentable
from oidc_actor.protocol.response_fields import provider_now, read_error_object
from oidc_actor.protocol.token_request import (
    SentSecrets,
    address_of,
    build_token_request,
    chosen_method,
    client_claims,
    is_timely,
    secrets_in,
    sent_in,
    staleness,
)
from oidc_actor.protocol.token_response import DEFAULT_LIFETIME_S, parse_token
from oidc_actor.transport import NoAnswer, Request, Response, Transport, TransportError, UnusableCertificate
from oidc_actor.values.errors import ConfigError, ProviderError, SecretUnavailable, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, StoredSecret, holds_secrets, resolve_secret
from oidc_actor.values.tokens import ParsedToken
from supervision.frozen import dataclass

_ABOUT_STATEMENTS = frozenset({"invalid_client", "invalid_grant", "invalid_request", "invalid_dpop_proof"})
"""OAuth error codes by which providers refuse a statement that is out of date (RFC 7521, RFC 8693, RFC 9449)."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What one request to a token endpoint is made with, the same request once more included.

    Attributes:
        transport: What performs it.
        config: The provider's metadata, already checked.
        auth: The credentials.
        refresh_token: What to redeem in place of the full grant; ``None`` for the full grant.
        timeout_s: Seconds for all of it; reading secrets and signing is not part of it.
        default_lifetime_s: Seconds a token is taken to live where nothing says.
        known: Further secrets that no error may show: tokens that the provider has given out before.
        sending: Called before the request is sent, each time, and before the token's ``issued_at`` is taken.
        tries_one: Whether, of two client secrets (`Overlap`), one only is tried: a slow probe.
        statement: Gets the statement of an `IdentityAssertion` from the identity provider, for one request; ``None`` for other
            credentials.
    """

    transport: Transport = field(repr=False)
    config: OIDCConfig
    auth: Credentials
    refresh_token: Secret | None = None
    timeout_s: float = 10.0
    default_lifetime_s: float = DEFAULT_LIFETIME_S
    known: tuple[Secret, ...] = ()
    sending: Callable[[], object] | None = field(default=None, repr=False)
    tries_one: bool = False
    statement: Callable[[], Secret] | None = field(default=None, repr=False)


@holds_secrets
def request_token(asked: TokenRequest) -> ParsedToken:
    """Request a token on the calling thread. Secrets are read from their sources first, here.

    What the provider refused for a reason that can be mended at once (it wants a nonce, a statement is out of date, the client
    has another secret) is sent once more, at most once for each reason.

    Args:
        asked: What to request it with.

    Returns:
        The token, its lifetime counted from the start of the request, and what that is read from. Where the response has no
        refresh token, the redeemed one is kept.

    Raises:
        ConfigError: Where the DPoP key is left to a manager, and there is none.
        SecretUnavailable: Where a secret cannot be read; nothing was sent.
        IdentityProviderError: Where the identity provider of an `IdentityAssertion` gives no statement.
        TokenRequestError: Where the provider refuses, answers nonsense, or cannot be reached.
    """
    if asked.auth.dpop is True:
        problem = "expected a DPoPKey where no manager makes one: its tokens are of no use without the key"
        raise ConfigError(problem, ("dpop",))
    left_s = asked.timeout_s
    sent = _send(asked, time.time(), None, left_s)
    remedies = [_sign_with_nonce, _sign_in_time, _take_other_secret]
    while (left_s := left_s - sent.took_s) > 0:
        mended = next(((remedy, again) for remedy in remedies if (again := remedy(asked, sent)) is not None), None)
        if mended is None:
            break
        remedies.remove(mended[0])
        try:
            sent = _send(asked, *mended[1], left_s, sent.hidden)
        except SecretUnavailable:
            if (
                mended[0] is _take_other_secret
            ):  # it is not there yet, or not any more: the refusal of the first one stands
                break
            raise
    parsed = parse_token(
        sent.response,
        now_wall=sent.sent_wall,
        sent_secrets=sent.hidden,
        default_lifetime_s=asked.default_lifetime_s,
        grant_type=asked.auth.grant_type,
        refreshing=asked.refresh_token is not None,
        advice=lambda: _advice(asked, sent.secrets),
        may_be_no_access_token=asked.auth.may_be_no_access_token,
        bearer_names=asked.auth.accept_token_types,
    )
    if isinstance(asked.auth.client_secret, Overlap) and sent.secrets.which is not None:
        asked.auth.client_secret.ask_first(sent.secrets.which)
    if asked.refresh_token is None or parsed.token.refresh_token is not None:
        return parsed
    return replace(parsed, token=parsed.token.with_refresh_token(asked.refresh_token.reveal()))


@dataclass(frozen=True, slots=True)
class Sent:
    """A token request that was sent, and its response.

    Attributes:
        signed_wall: The time that its statements were signed for, in seconds since the epoch.
        sent_wall: When it was sent, in seconds since the epoch by this machine's clock.
        took_s: Seconds until the response had come.
        secrets: The secrets that were read for it.
        hidden: What no error may show: those that were sent, and others that are known.
        response: The response.
        brought_nonce: Whether that brought a DPoP nonce other than the one that was sent.
    """

    signed_wall: float
    sent_wall: float
    took_s: float
    secrets: SentSecrets
    hidden: tuple[Secret, ...]
    response: Response
    brought_nonce: bool


_Again: TypeAlias = tuple[float, int | None]
"""How a request is sent once more: the time that statements are signed for, and which of two client secrets."""


def _advice(asked: TokenRequest, secrets: SentSecrets) -> str | None:
    method = chosen_method(asked.config, asked.auth)
    return refusal_advice(asked.config, asked.auth, method, secrets.client_secret, secrets.client_assertion)


def _send(
    asked: TokenRequest,
    signed_wall: float,
    which: int | None,
    timeout_s: float,
    before: tuple[Secret, ...] = (),
) -> Sent:
    """Send the request, with everything read and signed anew: assertions and proofs are taken once.

    Args:
        asked: What it is made with.
        signed_wall: The time that statements are signed for.
        which: Of two client secrets the one to send; ``None`` for the one that is asked first.
        timeout_s: Seconds for it.
        before: What was sent before in this attempt, and no error may show.
    """
    grant_secret = asked.refresh_token
    if grant_secret is None and asked.statement is not None:
        grant_secret = asked.statement()
    secrets = read_secrets(asked.config, asked.auth, refresh_token=grant_secret, now_wall=signed_wall, which=which)
    refreshing = asked.refresh_token is not None
    request = build_token_request(asked.config, asked.auth, secrets, refreshing=refreshing, timeout_s=timeout_s)
    hidden = (*sent_in(request, secrets), *(before or asked.known))
    # In this order: a manager counts the token's life from the reading that it takes in `sending`, so that it gives the token to
    # no reader after the end that the token itself shows, which counts from `sent_wall`.
    if asked.sending is not None:
        asked.sending()
    sent_wall, began = time.time(), time.monotonic()
    response = perform(asked.transport, request, hidden, TokenRequestError)
    took_s = time.monotonic() - began
    if isinstance(asked.auth.client_secret, Overlap) and secrets.which is not None and refuses_client(response):
        asked.auth.client_secret.ask_first(1 - secrets.which)
    return Sent(signed_wall, sent_wall, took_s, secrets, hidden, response, _keep_nonce(asked.auth, request, response))


def _keep_nonce(auth: Credentials, request: Request, response: Response) -> bool:
    if not isinstance(auth.dpop, DPoPKey):
        return False
    nonce = read_nonce(response.header("DPoP-Nonce"))
    # Compared with what was sent, not with what is known: managers that share a key may all be asked at once.
    return auth.dpop.note_nonce(request.url, nonce) and nonce != nonce_of(request.headers["DPoP"])


def _sign_with_nonce(_: TokenRequest, sent: Sent) -> _Again | None:
    """Sign anew, because the provider wants its nonce in the proof (RFC 9449 section 8); or ``None``."""
    is_wanted = sent.brought_nonce and _code(sent.response) == "use_dpop_nonce"
    return (sent.signed_wall, sent.secrets.which) if is_wanted else None


def _sign_in_time(asked: TokenRequest, sent: Sent) -> _Again | None:
    """Sign anew, because a statement is out of date by the provider's clock, which then counts; or ``None``.

    A file may have been replaced since it was read, and this machine's clock may be off.
    """
    if _code(sent.response) not in _ABOUT_STATEMENTS:
        return None
    at = provider_now(sent.response, now_wall=sent.sent_wall)
    statements = sent.secrets.signed(of_grant=asked.refresh_token is None and asked.auth.trades_token)
    return None if all(is_timely(one, at=at) for one in statements) else (at, sent.secrets.which)


def _take_other_secret(asked: TokenRequest, sent: Sent) -> _Again | None:
    """Send the client's other secret, because the first was refused; or ``None``."""
    which = sent.secrets.which
    if which is None or asked.tries_one or not refuses_client(sent.response):
        return None
    return sent.signed_wall, 1 - which


def refuses_client(response: Response) -> bool:
    """Whether a response says that the client's secret is wrong; Keycloak calls such a client unauthorized, with status 401."""
    code = _code(response)
    return code == "invalid_client" or (code == "unauthorized_client" and response.status == 401)


def _code(response: Response) -> str | None:
    if response.status not in {400, 401}:
        return None
    code = read_error_object(response).get("error")
    return code if isinstance(code, str) else None  # JSON may hold what cannot be hashed there


def perform(
    transport: Transport, request: Request, secrets: tuple[Secret, ...], failure: type[ProviderError]
) -> Response:
    """Send one HTTP request on the calling thread. The frame of every caller holds secrets.

    Args:
        transport: What performs the request.
        request: The request.
        secrets: What no error may show.
        failure: The type of error for no response.

    Returns:
        The response.

    Raises:
        ProviderError: Where none came.
    """
    try:
        response: object = transport(request)
    except UnusableCertificate as error:  # which says nothing of the provider, and is watched for
        raise SecretUnavailable(str(error), option="client_certificate", sent=False) from None
    except NoAnswer as error:
        raise failure(f"no answer: {error}", sent=error.sent) from None
    except TransportError as error:  # of an injected transport
        raise failure(f"no answer: {presentable(str(error), secrets)}", sent=error.sent) from None
    except Exception as error:  # noqa: BLE001 - an injected transport; its own text may quote the request
        raise failure(f"no answer: the transport raised {type(error).__name__} for {request!r}") from None
    if not isinstance(response, Response):
        raise failure(f"no answer: expected a Response from the transport, got {type(response).__name__}")
    return response


def read_secrets(
    config: OIDCConfig, auth: Credentials, *, refresh_token: Secret | None, now_wall: float, which: int | None = None
) -> SentSecrets:
    """Read and sign what one token request needs; callables run on the calling thread.

    Args:
        config: The provider's metadata, with a token endpoint.
        auth: The credentials.
        refresh_token: What to redeem in place of the full grant; ``None`` for the full grant.
        now_wall: Seconds since the epoch.
        which: Of two client secrets (`Overlap`) the one to send; ``None`` for the one that is asked first.

    Returns:
        The secrets. Of a client secret that only signs, the assertion is sent in its place.

    Raises:
        SecretUnavailable: Where one cannot be had now, or has expired. Retryable.
    """
    certificate = auth.client_certificate
    for file in () if certificate is None else certificate.sources:
        if file.version() is None:
            problem = f"client_certificate cannot be read: {str(file.path)!r}: no such file"
            raise SecretUnavailable(problem, option="client_certificate", sent=False)
    headers = _further_headers(auth)
    client_secret = None
    if isinstance(auth.client_secret, Overlap):
        which, client_secret = auth.client_secret.read(which)
    elif auth.client_secret is not None:
        client_secret = resolve_secret(auth.client_secret, "client_secret")
    return SentSecrets(
        client_secret,
        refresh_token or _grant_secret(auth, now_wall),
        (*secrets_in(auth), *(value for name, value in headers if not _is_text(auth, name))),
        client_assertion=_client_assertion(config, auth, client_secret, now_wall),
        actor_token=None
        if refresh_token is not None
        else _signed_elsewhere(auth.actor_secret, "actor_token", now_wall),
        dpop_proof=_dpop_proof(config, auth, now_wall),
        headers=headers,
        which=which,
    )


def _further_headers(auth: Credentials) -> tuple[tuple[str, Secret], ...]:
    found = []
    for name, source in (auth.request_headers or {}).items():
        label = f"request_headers: {name}"
        value = resolve_secret(source, label)
        if not is_field_value(value):
            problem = f"{label} cannot be sent: {WHAT_A_FIELD_HOLDS}, got another text"
            raise SecretUnavailable(problem, option=label, sent=False)
        found.append((name, value))
    return tuple(found)


def _is_text(auth: Credentials, name: str) -> bool:
    """Whether a header field was given as a text, which need be no secret."""
    return auth.request_headers is not None and isinstance(auth.request_headers[name], Secret)


def _dpop_proof(config: OIDCConfig, auth: Credentials, now_wall: float) -> Secret | None:
    if not isinstance(auth.dpop, DPoPKey):
        return None
    config.require("dpop_signing_alg_values_supported")
    accepted, url = config.dpop_signing_alg_values_supported, address_of(config, auth)
    return auth.dpop.proof("POST", url, now_wall=now_wall, jti=token_urlsafe(16), accepted=accepted)


def _grant_secret(auth: Credentials, now_wall: float) -> Secret | None:
    if auth.trades_token:
        return _signed_elsewhere(auth.grant_secret, auth.grant_field or "", now_wall)
    return None if auth.grant_secret is None else resolve_secret(auth.grant_secret, auth.grant_type)


def _client_assertion(
    config: OIDCConfig, auth: Credentials, client_secret: Secret | None, now_wall: float
) -> Secret | None:
    method = chosen_method(config, auth)
    if method == "private_key_jwt" and auth.client_assertion is not None:
        return _signed_elsewhere(auth.client_assertion, "client_assertion", now_wall)
    if method not in ("private_key_jwt", "client_secret_jwt"):
        return None
    claims = client_claims(auth, config, now_wall=now_wall, jti=token_urlsafe(16))
    signer = _signer(config, auth, client_secret)
    header = {} if auth.private_key is None else auth.private_key.header()
    signed = signer if isinstance(signer, str) else signer.sign(claims, header)
    if isinstance(signed, str):
        raise SecretUnavailable(f"client_assertion: {signed}", sent=False)
    return signed


def _signer(config: OIDCConfig, auth: Credentials, client_secret: Secret | None) -> Signer | str:
    if auth.private_key is not None:
        config.require("token_endpoint_auth_signing_alg_values_supported")
        return auth.private_key.signer(config.token_endpoint_auth_signing_alg_values_supported)
    assert client_secret is not None
    try:
        require_jose("the provider takes client_secret_jwt only, which")
    except ConfigError as error:
        return str(error)
    return secret_signer(client_secret)


def _signed_elsewhere(source: StoredSecret | None, name: str, now_wall: float) -> Secret | None:
    """Read a token that another party has signed. A token that has expired by its own ``exp`` is not sent."""
    if source is None:
        return None
    token = resolve_secret(source, name)
    problem = staleness(token, now_wall=now_wall)
    if problem is not None:
        raise SecretUnavailable(f"{name}: {problem}", sent=False)
    return token
