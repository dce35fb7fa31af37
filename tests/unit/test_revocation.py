"""Revoking a token (RFC 7009): what is sent, what the answers mean, and what a manager that ends has to revoke."""

import json
import traceback
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
from machine_driver import CONFIG as MACHINE_CONFIG
from machine_driver import Driver, with_token

from oidc_actor import ClientCredentials, ConfigError, OIDCConfig, Password, TokenRequestError, TokenResponse, oidc
from oidc_actor.machine.effects import Revoke
from oidc_actor.machine.invalidation import late_tokens_to_revoke, tokens_to_revoke
from oidc_actor.machine.state import Rules
from oidc_actor.transport import Request, Response, TransportError
from oidc_actor.values.errors import OIDCActorError
from oidc_actor.values.secrets import Secret

CONFIG = OIDCConfig("https://i", "https://i/token", revocation_endpoint="https://i/revoke")
SECRET = "hunter2-the-secret"
TOKEN = "hunter2-the-token"


def sent(auth: object, *answers: Response, **options: object) -> Request:
    requests: list[Request] = []

    def transport(request: Request) -> Response:
        requests.append(request)
        return answers[0] if answers else Response(200)

    oidc.revoke_token(CONFIG, TOKEN, auth, transport=transport, **options)  # type: ignore[arg-type]
    (request,) = requests
    return request


def form(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.body.decode())


def test_it_goes_to_the_revocation_endpoint_with_the_clients_authentication() -> None:
    request = sent(ClientCredentials("id", SECRET, scopes="a b", audience="x", extra={"tenant": "t"}))
    assert (request.method, request.url) == ("POST", "https://i/revoke")
    assert form(request) == {"token": [TOKEN]}
    assert request.headers["Authorization"].startswith("Basic ")
    assert sent(AUTH, timeout_seconds=3.0).timeout_s == pytest.approx(3.0, abs=1.0)


def test_with_a_hint_and_the_other_methods() -> None:
    request = sent(
        {"type": "oidc_password", "username": "u", "password": SECRET, "client_id": "id", "client_secret": SECRET}
        | {"client_auth": "client_secret_post"},
        token_type_hint="refresh_token",
    )
    assert form(request) == {
        "token": [TOKEN],
        "token_type_hint": ["refresh_token"],
        "client_id": ["id"],
        "client_secret": [SECRET],
    }
    assert form(sent(Password("u", SECRET, "public"))) == {"token": [TOKEN], "client_id": ["public"]}


@pytest.mark.parametrize("status", [200, 204])
def test_a_success_has_no_body_that_matters(status: int) -> None:
    sent(ClientCredentials("id", SECRET), Response(status, {}, "<html>"))


@pytest.mark.parametrize(
    ("answer", "status", "code", "words"),
    [
        (Response(400, {}, json.dumps({"error": "unsupported_token_type"})), 400, "unsupported_token_type", "HTTP 400"),
        (Response(401, {}, json.dumps({"error": "invalid_client"})), 401, "invalid_client", "HTTP 401"),
        (Response(503, {"Retry-After": "7"}, "later"), 503, None, "expected a success or an OAuth error, got neither"),
        (Response(302, {"Location": "/"}), 302, None, "a redirect, which is never followed"),
    ],
)
def test_a_refusal_is_typed(answer: Response, status: int, code: str | None, words: str) -> None:
    with pytest.raises(TokenRequestError, match=words) as caught:
        sent(ClientCredentials("id", SECRET), answer)
    assert (caught.value.status, caught.value.error, caught.value.retryable) == (status, code, True)
    assert caught.value.retry_after_s == (7.0 if status == 503 else None)


def echo(request: Request) -> Response:
    return Response(400, {}, json.dumps({"error": "x", "error_description": f"{request.body.decode()} {SECRET}"}))


def raising(request: Request) -> Response:
    raise TransportError(f"no route for {request.body.decode()}")


@pytest.mark.parametrize("transport", [echo, raising])
def test_no_error_shows_the_token_or_the_secret(transport) -> None:
    with pytest.raises(OIDCActorError) as caught:
        oidc.revoke_token(
            CONFIG, TOKEN, ClientCredentials("id", SECRET, client_auth="client_secret_post"), transport=transport
        )
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "hunter2" not in shown + repr(vars(caught.value)) + repr(caught.value.args)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: oidc.revoke_token(replace(CONFIG, revocation_endpoint=None), TOKEN, AUTH), "no revocation_endpoint"),
        (lambda: oidc.revoke_token(CONFIG, "", AUTH), "token: expected a text"),
        (lambda: oidc.revoke_token(CONFIG, TOKEN, AUTH, token_type_hint="id_token"), "token_type_hint: expected"),
        (lambda: oidc.revoke_token(CONFIG, TOKEN, {"type": "x"}), "auth: expected"),
        (lambda: oidc.revoke_token(None, TOKEN, AUTH), "oidc_config: expected"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(call, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()


AUTH = ClientCredentials("id", SECRET)
REVOKING = Rules(discovers=False, revokes=True)


def revoked(driver: Driver) -> list[tuple[str, str]]:
    found = tokens_to_revoke(driver.state, driver.now)
    assert all(isinstance(effect, Revoke) for effect in found)
    return [(kind, token.reveal()) for effect in found for kind, token in effect.tokens]


def test_a_refusal_carries_what_the_provider_said_and_asked_for() -> None:
    body = '{"error": "unsupported_token_type", "error_description": "not this kind"}'
    with pytest.raises(TokenRequestError) as caught:
        sent(AUTH, Response(503, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, body))
    assert str(caught.value) == "revocation failed: HTTP 503: unsupported_token_type: not this kind"
    assert caught.value.error_description == "not this kind"
    assert caught.value.retry_after_s == 3600


def test_what_a_manager_has_to_revoke() -> None:
    assert revoked(with_token(rules=REVOKING)) == [("access_token", "a")]
    assert revoked(with_token(rules=Rules(discovers=False))) == []
    assert revoked(Driver(rules=REVOKING).start()) == []
    assert revoked(with_token(300, rules=REVOKING).wait(299)) == [("access_token", "a")]
    assert revoked(with_token(300, rules=REVOKING).wait(300)) == []
    assert tokens_to_revoke(Driver(rules=REVOKING).start().state, 1000.0) == []
    tokens = (("access_token", Secret("a")),)
    assert tokens_to_revoke(with_token(rules=REVOKING).state, 1000.0) == [Revoke(1, MACHINE_CONFIG, tokens)]


def test_a_refresh_token_comes_first_and_outlives_the_access_token() -> None:
    driver = Driver(rules=REVOKING).start().sent().succeeds(refresh_token="r")
    assert revoked(driver) == [("refresh_token", "r"), ("access_token", "a")]
    assert revoked(driver.wait(301)) == [("refresh_token", "r")]


def test_what_is_not_the_managers_to_revoke() -> None:
    own = Driver(rules=replace(REVOKING, own_refresh_token=True)).start().sent().succeeds(refresh_token="r")
    assert revoked(own) == [("access_token", "a")]
    assert revoked(with_token(rules=REVOKING, borrowed=False)) == [("access_token", "a")]
    inherited = with_token(rules=REVOKING)
    inherited.state = inherited.state._replace(borrowed=True)
    assert revoked(inherited) == []
    assert revoked(inherited.tick().succeeds("b")) == [("access_token", "b")]


def late_revoked(driver: Driver, refresh_token: str | None) -> list[tuple[str, str]]:
    late = TokenResponse(access_token="late", refresh_token=refresh_token)
    (found,) = tokens_to_revoke(driver.state, driver.now, late)
    return [(kind, token.reveal()) for kind, token in found.tokens]


@pytest.mark.parametrize(
    ("refresh_token", "expected"),
    [
        (None, [("refresh_token", "r")]),
        ("r", [("refresh_token", "r")]),
        ("rotated", [("refresh_token", "r"), ("refresh_token", "rotated")]),
    ],
)
def test_a_token_that_was_not_taken_yet_goes_with_the_others(refresh_token: str | None, expected: list) -> None:
    driver = Driver(rules=REVOKING).start().sent().succeeds(refresh_token="r")
    assert late_revoked(driver, refresh_token) == [*expected, ("access_token", "a"), ("access_token", "late")]


def test_it_is_ones_own_even_where_the_others_are_the_parents() -> None:
    inherited = with_token(rules=REVOKING)
    inherited.state = inherited.state._replace(borrowed=True)
    assert late_revoked(inherited, "new") == [("refresh_token", "new"), ("access_token", "late")]


def test_a_token_that_comes_after_the_end() -> None:
    late = TokenResponse(access_token="late", refresh_token="r")
    both = (("refresh_token", Secret("r")), ("access_token", Secret("late")))
    assert late_tokens_to_revoke(REVOKING, 7, CONFIG, late) == [Revoke(7, CONFIG, both)]
    assert late_tokens_to_revoke(replace(REVOKING, own_refresh_token=True), 7, CONFIG, late) == [
        Revoke(7, CONFIG, both[1:])
    ]
    assert late_tokens_to_revoke(replace(REVOKING, revokes=False), 7, CONFIG, late) == []
