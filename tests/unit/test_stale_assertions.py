"""What the provider refuses because a statement in it is out of date is sent once more, at once, with a fresh one."""

import base64
import json
import time
from email.utils import formatdate
from urllib.parse import parse_qs

import pytest
from pki import KINDS, pem

from oidc_actor import ClientCredentials, DPoPKey, JWTBearer, OIDCConfig, TokenExchange, TokenRequestError
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.protocol.token_request import is_timely
from oidc_actor.transport import Request, Response
from oidc_actor.values.errors import SecretUnavailable
from oidc_actor.values.secrets import Secret

CONFIG = OIDCConfig("https://id.example", "https://id.example/token")
HOUR = 3600.0


def statement(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


def form(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


class Judge:
    """A provider whose clock is ``ahead_s`` ahead, and that refuses statements which are out of date by it."""

    def __init__(self, ahead_s: float = 0.0, code: str = "invalid_client", nonce: str | None = None) -> None:
        self.ahead_s = ahead_s
        self.code = code
        self.nonce = nonce
        self.requests: list[Request] = []

    def __call__(self, request: Request, /) -> Response:
        self.requests.append(request)
        now = time.time() + self.ahead_s
        headers = {"Date": formatdate(now, usegmt=True)}
        sent = form(request)
        for name in ("client_assertion", "assertion", "subject_token"):
            claims = read_claims(sent[name]) if name in sent else {"exp": now + 1}
            if not (claims["exp"] > now and claims.get("iat", now) <= now + 2):
                return Response(400, headers, json.dumps({"error": self.code}))
        if "DPoP" in request.headers:
            claims = read_claims(request.headers["DPoP"])
            if abs(claims["iat"] - now) > 60:
                return Response(400, headers, json.dumps({"error": "invalid_dpop_proof"}))
            if self.nonce is not None and claims.get("nonce") != self.nonce:
                refusal = json.dumps({"error": "use_dpop_nonce"})
                return Response(400, headers | {"DPoP-Nonce": self.nonce}, refusal)
        return Response(200, headers, json.dumps({"access_token": "t", "expires_in": 60}))


def request(judge: Judge, auth: object, **options: object) -> object:
    return request_token(TokenRequest(judge, CONFIG, auth, timeout_s=5.0, **options))  # type: ignore[arg-type]


def replaced_meanwhile(judge: Judge):
    """A source whose first text is over when the provider reads it; then it is a good one."""
    return lambda: statement(exp=time.time() + (HOUR if judge.requests else 0.5 * judge.ahead_s))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda source: ClientCredentials("id", client_assertion=source), "invalid_client"),
        (JWTBearer, "invalid_grant"),
        (TokenExchange, "invalid_request"),
    ],
)
def test_one_that_has_been_replaced_is_read_again(make, code: str) -> None:
    judge = Judge(ahead_s=100.0, code=code)
    assert request(judge, make(replaced_meanwhile(judge)))
    assert len(judge.requests) == 2


def test_one_that_is_still_the_same_is_worth_no_second_request() -> None:
    judge = Judge(ahead_s=100.0)
    auth = ClientCredentials("id", client_assertion=lambda: statement(exp=time.time() + 50))
    with pytest.raises(SecretUnavailable, match="client_assertion: expected a token that is still valid") as caught:
        request(judge, auth)
    assert caught.value.retryable
    assert len(judge.requests) == 1


@pytest.mark.parametrize("ahead_s", [2 * HOUR, -2 * HOUR])
def test_ones_own_is_signed_by_the_providers_clock_where_this_machines_is_off(ahead_s: float) -> None:
    judge = Judge(ahead_s)
    auth = ClientCredentials("id", private_key=pem(KINDS["EC"]()))
    assert request(judge, auth)
    first, second = (read_claims(form(request)["client_assertion"]) for request in judge.requests)
    assert second["iat"] - first["iat"] == pytest.approx(ahead_s, abs=3)
    assert first["jti"] != second["jti"]


def test_also_where_a_refresh_token_is_redeemed() -> None:
    judge = Judge(2 * HOUR)
    request(judge, ClientCredentials("id", private_key=pem(KINDS["EC"]())), refresh_token=Secret("r"))
    assert [form(request)["refresh_token"] for request in judge.requests] == ["r", "r"]


@pytest.mark.parametrize("ahead_s", [2 * HOUR, -2 * HOUR])
def test_a_proof_is_made_by_the_providers_clock_and_keeps_to_it_for_the_nonce(ahead_s: float) -> None:
    judge = Judge(ahead_s, nonce="n")
    assert request(judge, ClientCredentials("id", "secret", dpop=DPoPKey()))
    proofs = [read_claims(request.headers["DPoP"]) for request in judge.requests]
    assert [proof.get("nonce") for proof in proofs] == [None, None, "n"]
    assert len({proof["jti"] for proof in proofs}) == 3


@pytest.mark.parametrize(
    ("status", "ahead_s", "code"),
    [
        (401, None, "invalid_client"),
        (401, 30.0, "invalid_client"),
        (400, -2 * HOUR, "invalid_scope"),
        (403, -2 * HOUR, "invalid_client"),
        (500, -2 * HOUR, "invalid_client"),
    ],
)
def test_any_other_refusal_is_taken_as_it_is(status: int, ahead_s: float | None, code: str) -> None:
    requests: list[Request] = []

    def transport(request: Request) -> Response:
        requests.append(request)
        headers = {} if ahead_s is None else {"Date": formatdate(time.time() + ahead_s, usegmt=True)}
        return Response(status, headers, json.dumps({"error": code}))

    with pytest.raises(TokenRequestError) as caught:
        request_token(
            TokenRequest(transport, CONFIG, ClientCredentials("id", private_key=pem(KINDS["EC"]())), timeout_s=5.0)
        )
    assert caught.value.status == status
    assert len(requests) == 1


def test_a_secret_has_no_time_in_it() -> None:
    requests: list[Request] = []

    def transport(request: Request) -> Response:
        requests.append(request)
        return Response(401, {"Date": formatdate(0, usegmt=True)}, json.dumps({"error": "invalid_client"}))

    with pytest.raises(TokenRequestError):
        request_token(TokenRequest(transport, CONFIG, ClientCredentials("id", "secret"), timeout_s=5.0))
    assert len(requests) == 1


def test_a_provider_that_refuses_the_fresh_one_too_is_believed() -> None:
    judge = Judge(2 * HOUR)

    def judge_for_ever(request: Request) -> Response:
        judge(request)
        return Response(401, {"Date": formatdate(0)}, json.dumps({"error": "invalid_client"}))

    with pytest.raises(TokenRequestError) as caught:
        request_token(
            TokenRequest(judge_for_ever, CONFIG, ClientCredentials("id", private_key=pem(KINDS["EC"]())), timeout_s=5.0)
        )
    assert caught.value.permanent
    assert len(judge.requests) == 2


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("claims", "timely"),
    [
        ({}, True),
        ({"exp": NOW}, False),
        ({"exp": NOW + 1}, True),
        ({"exp": NOW + 9, "iat": NOW + 5}, True),
        ({"exp": NOW + 9, "iat": NOW + 6}, False),
        ({"exp": NOW + 9, "iat": NOW - 9, "nbf": NOW + 6}, False),
        ({"iat": NOW - 59}, True),
        ({"iat": NOW - 60}, False),
        ({"exp": "soon"}, True),
    ],
)
def test_what_is_timely(claims: dict[str, object], timely: bool) -> None:
    assert is_timely(Secret(statement(**claims)), at=NOW) is timely


def test_a_text_that_is_no_statement_is_always_timely() -> None:
    assert is_timely(Secret("opaque"), at=NOW)


@pytest.mark.parametrize("code", [["invalid_client"], {"a": 1}, 7, None, True])
@pytest.mark.parametrize("status", [400, 401])
def test_a_code_of_the_wrong_type_is_a_refusal_like_any_other(status: int, code: object) -> None:
    answer = Response(status, {"Retry-After": "30"}, json.dumps({"error": code}))
    with pytest.raises(TokenRequestError) as caught:
        request_token(TokenRequest(lambda _: answer, CONFIG, ClientCredentials("id", "a-client-secret"), timeout_s=5.0))
    assert (caught.value.status, caught.value.error, caught.value.retry_after_s) == (status, None, 30.0)
