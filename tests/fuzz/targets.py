"""What the fuzzer drives: each parser of foreign input with any bytes, and its promise.

The promise is the same everywhere: a value that keeps to its documentation, or a typed error; never another exception, no
secret that was sent and no token that came in what is said, and an end in bounded time.

Input is readable, so that a finding can be kept in `fuzz.seeds`: an answer is its status in a line, header fields in lines,
an empty line, and the body.
"""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from oidc_actor.adapters.challenges import challenges, refuses_token
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import JWTBearer
from oidc_actor.endpoints.other_endpoints import request_resource_metadata
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.protocol.device_authorization import DeviceAuthorization, read_device_authorization
from oidc_actor.protocol.error_response import check_revoked
from oidc_actor.protocol.metadata import parse_discovery
from oidc_actor.protocol.redaction import LONGEST_TEXT
from oidc_actor.protocol.response_fields import (
    LONGEST_WAIT_S,
    provider_now,
    read_claims,
    read_date,
    read_error_object,
    read_number,
    read_object,
    read_pairs,
    read_skew,
    retry_after_s,
)
from oidc_actor.protocol.token_response import LONGEST_LIFETIME_S, decide_lifetime, parse_token
from oidc_actor.secret_sources.github_actions import _read as read_github
from oidc_actor.transport import MAX_BODY_BYTES, Request, Response
from oidc_actor.values.errors import ConfigError, DiscoveryError, OIDCActorError, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig, check_config
from oidc_actor.values.secrets import Secret
from oidc_actor.values.urls import url_problem

Value = TypeVar("Value")
Failure = TypeVar("Failure", bound=OIDCActorError)

NOW = 1_800_000_000.0
ISSUER = "https://id.example"
SENT = ("hunter2-the-secret", "correct horse battery staple", 'p/w&"<ü>')
"""What has been sent: an identifier, a phrase with spaces, and what quoting changes."""

LEAST_TOKEN = 12
"""Characters from which on a token that came is looked for in an error: a shorter one may be part of any phrase."""

LONGEST_S = 2.0
"""Seconds of processor time that no input may take."""

_SENT = tuple(Secret(text) for text in SENT)
_KEY = DPoPKey()
_CONFIG = OIDCConfig(ISSUER, f"{ISSUER}/token")
_AUTH = JWTBearer(_SENT[1], "id", _SENT[0], dpop=DPoPKey())


def play(target: str, data: bytes) -> None:
    """Give a target its input; raises where it breaks its promise."""
    began = time.thread_time()
    TARGETS[target](data)
    took_s = time.thread_time() - began
    assert took_s < LONGEST_S, f"{took_s:.1f} s for {len(data)} bytes"


def answer_of(data: bytes) -> Response:
    """Read the input as an answer. Bytes without an empty line are a body with status 200."""
    head, found, body = data.partition(b"\n\n")
    if not found:
        return Response(200, {}, data)
    status, *lines = head.decode("latin-1").split("\n")
    fields = dict(line.partition(": ")[::2] for line in lines)
    return Response(int(status) if status.isascii() and status.isdigit() and len(status) < 5 else 200, fields, body)


def token_answer(data: bytes) -> None:
    """`parse_token`."""
    response = answer_of(data)
    found = outcome(
        lambda: parse_token(response, now_wall=NOW, sent_secrets=_SENT, refreshing=bool(len(data) % 2)),
        TokenRequestError,
    )
    if isinstance(found, TokenRequestError):
        assert found.status == response.status
        assert found.retry_after_s is None or 0 <= found.retry_after_s <= LONGEST_WAIT_S
        fit_to_be_shown(found, *SENT, *came_in(response, "access_token", "refresh_token", "id_token"))
        return
    token = found.token
    assert 0 < found.lifetime_s <= LONGEST_LIFETIME_S
    assert token.expires_at is not None
    for text in filter(None, (token.access_token, token.refresh_token, token.id_token)):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < LEAST_TOKEN or text not in repr(found)
    assert " " not in token.access_token
    assert token.token_type in ("Bearer", "DPoP")
    assert token.scope is None or token.scope.isprintable()


def token_request(data: bytes) -> None:
    """`request_token`: the answers to a request with a proof and an assertion, and to the tries that follow a refusal."""
    answers = [answer_of(part) for part in data.split(b"\n---\n")]
    asked: list[Request] = []

    def transport(request: Request) -> Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    redeemed = _SENT[0] if len(data) % 2 else None
    found = outcome(
        lambda: request_token(TokenRequest(transport, _CONFIG, _AUTH, refresh_token=redeemed, timeout_s=60.0)),
        TokenRequestError,
    )
    assert 1 <= len(asked) <= 3  # at most once more for a nonce, and once for a statement that is out of date
    assert len({request.headers["DPoP"] for request in asked}) == len(asked)
    if isinstance(found, TokenRequestError):
        came = [came_in(answer, "access_token", "refresh_token", "id_token") for answer in answers]
        fit_to_be_shown(found, *SENT, *(text for texts in came[len(asked) - 1 : len(asked)] for text in texts))
        return
    assert found.token.access_token


def revocation_answer(data: bytes) -> None:
    """`check_revoked`."""
    response = answer_of(data)
    found = outcome(lambda: check_revoked(response, now_wall=NOW, sent_secrets=_SENT), TokenRequestError)
    assert (found is None) == (response.status in (200, 204))
    if found is not None:
        fit_to_be_shown(found, *SENT, *came_in(response, "access_token", "refresh_token", "id_token"))


def discovery_answer(data: bytes) -> None:
    """`parse_discovery`."""
    response = answer_of(data)
    found = outcome(lambda: parse_discovery(response, ISSUER, now_wall=NOW), DiscoveryError)
    if isinstance(found, DiscoveryError):
        assert found.status == response.status
        assert found.retryable
        fit_to_be_shown(found)
        return
    assert found.issuer == ISSUER
    assert hash(found) == hash(found)
    assert check_config(found) is found


def resource_answer(data: bytes) -> None:
    """`request_resource_metadata`, at each address alike."""
    response, resource_url = answer_of(data), "https://api.example/mcp"
    asked: list[str] = []

    def transport(request: Request) -> Response:
        asked.append(request.url)
        return response

    found = outcome(
        lambda: request_resource_metadata(transport, resource_url, timeout_s=60.0, issuer_url=ISSUER), DiscoveryError
    )
    if isinstance(found, DiscoveryError):
        assert found.retryable
        assert found.status == response.status
        fit_to_be_shown(found)
        return
    metadata, url = found
    assert asked == [url]
    assert metadata.resource == resource_url
    assert ISSUER in {one.removesuffix("/") for one in metadata.authorization_servers or ()}
    assert hash(metadata) == hash(metadata)


def provider_metadata(data: bytes) -> None:
    """`OIDCConfig.from_metadata`, as a program calls it with a document of its own."""
    document, insecure = any_json(data), bool(len(data) % 2)
    found = outcome(lambda: check_config(OIDCConfig.from_metadata(document), allow_insecure_http=insecure), ConfigError)
    if isinstance(found, ConfigError):
        fit_to_be_shown(found)
        return
    assert url_problem(found.token_endpoint, allow_insecure_http=True) is None


def device_answer(data: bytes) -> None:
    """`read_device_authorization`."""
    response = answer_of(data)
    found = read_device_authorization(response, _SENT)
    if isinstance(found, str):
        fit_to_be_shown(TokenRequestError(found), *SENT, *came_in(response, "device_code"))
        return
    assert isinstance(found, DeviceAuthorization)
    assert found.user_code.isprintable()
    assert url_problem(found.verification_uri) is None
    assert found.verification_uri_complete is None or url_problem(found.verification_uri_complete) is None
    assert 0 < found.expires_in_s < math.inf
    assert 0 < found.interval_s < math.inf
    code = found.device_code.reveal()
    assert len(code) < LEAST_TOKEN or code in found.verification_uri or code not in repr(found)


def github_answer(data: bytes) -> None:
    """The answer of GitHub's ID token endpoint."""
    response = answer_of(data)
    found = read_github(response)
    if isinstance(found, str):
        fit_to_be_shown(TokenRequestError(found), *came_in(response, "value"))
    else:
        assert found.reveal()


def body(data: bytes) -> None:
    """`read_object` and its like."""
    found = read_object(data)
    if isinstance(found, str):
        assert found.isprintable()
        assert found.startswith("expected ")
    else:
        assert all(isinstance(name, str) for name in found)
        assert dict(read_pairs(data)) == found
    members = read_error_object(Response(400, {}, data))
    assert found == members or isinstance(found, str)


def lifetime(data: bytes) -> None:
    """`decide_lifetime`: the members of an answer, and an access token that may be a JWT."""
    members, token = any_json(data), data.decode("latin-1")
    members = members if isinstance(members, dict) else {"expires_in": members, "expires_at": members}
    for text in (token, str(members.get("access_token")), f"e30.{token}.s"):
        life = decide_lifetime(members, text, now_wall=NOW, default_s=300.0)
        assert life.seconds <= LONGEST_LIFETIME_S
        assert math.isfinite(life.seconds)
        assert life.source in ("expires_in", "expires_at", "exp", "default")
        assert isinstance(read_claims(text), dict)
    for value in (token, *members.values()):
        number = read_number(value)
        assert number is None or math.isfinite(number)


def dates(data: bytes) -> None:
    """`retry_after_s`, `read_date`, `provider_now` and `read_skew`."""
    retry_after, _, date = data.decode("latin-1").partition("\n")
    response = Response(429, {"Retry-After": retry_after, "Date": date})
    wait_s = retry_after_s(response, now_wall=NOW)
    assert wait_s is None or 0 <= wait_s <= LONGEST_WAIT_S
    for value in (retry_after, date):
        at = read_date(value)
        assert at is None or math.isfinite(at)
    assert math.isfinite(provider_now(response, now_wall=NOW))
    skew = read_skew(response, ended_wall=NOW, took_s=1.0)
    assert skew is None or (math.isfinite(skew.least_s) and abs(skew.least_s) <= abs(skew.ahead_s))


def challenge(data: bytes) -> None:
    """`challenges` and `refuses_token`: the ``WWW-Authenticate`` fields of a 401."""
    fields = data.decode("latin-1").split("\n")
    for field in fields:
        for scheme, parameters in challenges(field):
            assert scheme
            assert all(isinstance(value, str) for pair in parameters.items() for value in pair)
    assert refuses_token(fields) in (True, False)


def nonce(data: bytes) -> None:
    """`DPoPKey.note_nonce`: an address and a nonce, which is presented again in a header."""
    url, _, value = data.decode("latin-1").partition("\n")
    if url_problem(url) is None and _KEY.note_nonce(url, value):
        assert value.isascii()
        assert value.isprintable()
        assert " " not in value


TARGETS: dict[str, Callable[[bytes], None]] = {
    "token": token_answer,
    "token_request": token_request,
    "revocation": revocation_answer,
    "discovery": discovery_answer,
    "metadata": provider_metadata,
    "resource": resource_answer,
    "device": device_answer,
    "github": github_answer,
    "body": body,
    "lifetime": lifetime,
    "times": dates,
    "challenges": challenge,
    "nonce": nonce,
}


def outcome(parse: Callable[[], Value], failure: type[Failure]) -> Value | Failure:
    """What a parser returns, or the one kind of error that it may raise."""
    try:
        return parse()
    except failure as error:
        return error


def fit_to_be_shown(error: OIDCActorError, *secrets: str) -> None:
    """An error's text is one line of bounded length; none of the secrets is in it, in its fields or in its frames."""
    assert str(error).isprintable()
    assert len(str(error)) < 3 * LONGEST_TEXT
    assert error.__cause__ is None
    assert error.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame.f_locals for frame in frames if frame.f_globals["__name__"].startswith("oidc_actor.")]
    shown = f"{error} {error!r} {vars(error)} {ours}"
    for text in secrets:
        assert text not in shown, f"{text!r} is shown"


def came_in(response: Response, *names: str) -> list[str]:
    """The tokens in an answer, as a reader that knows nothing of ours finds them; those too short to be told apart left out."""
    if len(response.body) > MAX_BODY_BYTES:
        return []
    found = any_json(response.body)
    texts = [found.get(name) for name in names] if isinstance(found, dict) else []
    return [text for text in texts if isinstance(text, str) and len(text) >= LEAST_TOKEN and text not in _PHRASES]


def any_json(data: bytes) -> Any:
    """The value of a JSON text; `None` where it is none."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


_PHRASES = """token request failed: HTTP 200: expected an access_token of visible ASCII characters, got one with others
expected a token or an OAuth error, got neither; expected JSON; invalid_request invalid_client unsupported_grant_type
access_denied server_error temporarily_unavailable authorization_pending unauthorized_client use_dpop_nonce"""
