"""No secret in any error or its traceback with captured locals. Objects: `secrecy.test_sweep`."""

import base64
import gc
import inspect
import json
import socket
import traceback

import pytest
from joserfc.jwk import ECKey
from pki import KINDS, pem

from oidc_actor import oidc
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import (
    ClientCredentials,
    JWTBearer,
    Password,
    RefreshToken,
    TokenExchange,
    parse_auth,
)
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.http.client import RequestsTransport
from oidc_actor.protocol.token_response import parse_token
from oidc_actor.secret_sources.signed_assertion import SignedAssertion
from oidc_actor.transport import Request, Response, TransportError
from oidc_actor.values.errors import OIDCActorError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, SecretCall, SecretFile, holds_secrets, resolve_secret
from oidc_actor.values.tokens import TokenResponse

pytestmark = pytest.mark.P9

# Every call below reads its secrets from these, so that no frame of the tests themselves holds one.
SECRET = "hunter2-the-secret"
ISSUER = "https://id.example"
CONFIG = OIDCConfig(token_endpoint="https://id.example/token")
KEY = json.dumps(ECKey.generate_key("P-256", None).as_dict(private=True))
LOCKED = pem(KINDS["EC"](), "another password")
EXPIRED = (
    f"e30.{base64.urlsafe_b64encode(json.dumps({'exp': 1, 'jti': SECRET}).encode()).decode().rstrip('=')}.{SECRET}"
)


def leaking():
    raise RuntimeError(f"the vault says {SECRET}")


def nobody(request):
    raise TransportError(f"no route for {request.body.decode()}")


def broken(request):
    raise ValueError(request.headers, request.body)


def refusing(request):
    body = {"error": "invalid_grant", "error_description": f"{request.body.decode()} {SECRET}", "access_token": SECRET}
    return Response(400, {"X-Echo": SECRET}, json.dumps(body))


def answering(**members):
    def answer(request):
        return Response(200, {"Set-Cookie": SECRET}, json.dumps({"access_token": SECRET, **members}))

    return answer


def shortened(request):
    return Response(200, {}, json.dumps({"access_token": SECRET})[:-1])


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def over_http(*_):
    config = OIDCConfig(token_endpoint=f"http://127.0.0.1:{closed_port()}/token")
    return oidc.get_token(config, Password("u", SECRET, "id", SECRET), transport=RequestsTransport())


def mapping(**more):
    return {"type": "oidc_password", "username": "u", "password": SECRET, "client_secret": SECRET, **more}


CALLS = {
    "empty client id": lambda: ClientCredentials("", SECRET, extra={"otp": SECRET}),
    "secret without client": lambda: Password("u", SECRET, None, SECRET),
    "unknown method": lambda: RefreshToken(SECRET, "id", SECRET, client_auth="x"),
    "surrogate": lambda: Secret(SECRET + "\ud800"),
    "surrogate in credentials": lambda: ClientCredentials("id", SECRET + "\ud800"),
    "reserved parameter": lambda: ClientCredentials("id", extra={"client_secret": SECRET}),
    "mapping: unknown option": lambda: parse_auth(mapping(clientsecret=SECRET)),
    "mapping: wrong type": lambda: parse_auth({"type": SECRET, "client_secret": SECRET}),
    "mapping: wrong value": lambda: parse_auth(mapping(client_id="")),
    "auth: the secret itself": lambda: parse_auth(SECRET),
    "callable raises": lambda: resolve_secret(SecretCall(leaking)),
    "callable in an exchange": lambda: oidc.get_token(CONFIG, ClientCredentials("id", leaking), transport=nobody),
    "text that is none": lambda: resolve_secret(SecretCall(lambda: SECRET + "\ud800")),
    "file missing": lambda: resolve_secret(SecretFile("/nowhere")),
    "bad token": lambda: TokenResponse(SECRET, expires_in="x", refresh_token=SECRET, id_token=SECRET),
    "get_token: bad mapping": lambda: oidc.get_token(CONFIG, mapping(client_id=""), transport=nobody),
    "get_token: bad config": lambda: oidc.get_token(None, mapping(client_id="id"), transport=nobody),
    "get_token: bad timeout": lambda: oidc.get_token(
        CONFIG, mapping(client_id="i"), transport=nobody, timeout_seconds=0
    ),
    "refresh_token: bad mapping": lambda: oidc.refresh_token(CONFIG, SECRET, mapping(client_id=""), transport=nobody),
    "refresh_token: bad config": lambda: oidc.refresh_token(None, SECRET, mapping(client_id="id"), transport=nobody),
    "refresh_token: bad token": lambda: oidc.refresh_token(CONFIG, SECRET + "\ud800", mapping(client_id="id")),
    **{
        f"{name}: {transport.__name__}": lambda run=run, transport=transport: run(transport)
        for transport in (nobody, broken, refusing, answering(token_type=SECRET), answering(expires_in=0), shortened)
        for name, run in {
            "get_token": lambda transport: oidc.get_token(CONFIG, mapping(client_id="id"), transport=transport),
            "refresh_token": lambda transport: oidc.refresh_token(
                CONFIG, SECRET, mapping(client_id="id", client_auth="client_secret_post"), transport=transport
            ),
            "request_token": lambda transport: request_token(
                TokenRequest(transport, CONFIG, Password("u", SECRET, "id", SECRET), timeout_s=1.0)
            ),
        }.items()
        if transport.__name__ != "answer"
    },
    "answer: token_type": lambda: oidc.get_token(
        CONFIG, mapping(client_id="id"), transport=answering(token_type="mac")
    ),
    "answer: lifetime": lambda: oidc.get_token(CONFIG, mapping(client_id="id"), transport=answering(expires_in=-1)),
    "answer: a token type that is the secret": lambda: oidc.get_token(
        CONFIG, mapping(client_id="id"), transport=answering(token_type=SECRET)
    ),
    "parse_token": lambda: parse_token(refusing(Request("POST", ISSUER, {}, SECRET.encode())), now_wall=0.0),
    "over HTTP": over_http,
    "a key that is none": lambda: PrivateKey(SECRET),
    "a JWK that is none": lambda: PrivateKey(json.dumps({"kty": "EC", "d": SECRET})),
    "a key for nothing": lambda: PrivateKey(SECRET, algorithm="x", password=SECRET),
    "a key in credentials": lambda: ClientCredentials("id", private_key=SECRET, extra={"otp": SECRET}),
    "a key in a mapping": lambda: ClientCredentials("id", private_key={"key": SECRET, "algorithm": "x"}),
    "an encrypted key": lambda: PrivateKey(LOCKED, password=SECRET),
    "a key from a callable": lambda: oidc.get_token(
        CONFIG, ClientCredentials("id", private_key=lambda: SECRET), transport=nobody
    ),
    "an assertion that is refused": lambda: oidc.get_token(
        CONFIG, ClientCredentials("id", client_assertion=lambda: SECRET), transport=refusing
    ),
    "an assertion that has expired": lambda: oidc.get_token(
        CONFIG, ClientCredentials("id", client_assertion=lambda: EXPIRED), transport=nobody
    ),
    "a certificate's password": lambda: oidc.get_token(
        OIDCConfig(token_endpoint="https://127.0.0.1:1/token"),
        ClientCredentials("id", client_certificate=ClientCertificate(__file__, password=SECRET)),
    ),
    "an assertion in a refusal": lambda: oidc.get_token(CONFIG, JWTBearer(SECRET), transport=refusing),
    "a subject in a refusal": lambda: oidc.get_token(
        CONFIG, TokenExchange(SECRET, actor_token=lambda: SECRET), transport=refusing
    ),
    "a subject that has expired": lambda: oidc.get_token(CONFIG, TokenExchange(EXPIRED), transport=nobody),
    "a DPoP key that is none": lambda: DPoPKey(SECRET),
    "a DPoP key that is none, later": lambda: oidc.get_token(
        CONFIG, ClientCredentials("id", dpop=DPoPKey(lambda: SECRET)), transport=nobody
    ),
    "a proof with a token": lambda: DPoPKey(lambda: SECRET).proof(
        "GET", ISSUER, now_wall=0.0, jti="j", access_token=SECRET
    ),
    "a DPoP key in a refusal": lambda: oidc.get_token(
        CONFIG, ClientCredentials("id", SECRET, dpop=DPoPKey()), transport=refusing
    ),
    "a key of one's own": lambda: SignedAssertion(SECRET, issuer="i", audience="a"),
    "a key of one's own, later": lambda: oidc.get_token(
        CONFIG, JWTBearer(SignedAssertion(lambda: SECRET, issuer="i", audience="a")), transport=nobody
    ),
    "proofs that exclude each other": lambda: ClientCredentials("id", SECRET, client_assertion=SECRET),
    "an unknown proof": lambda: oidc.get_token(CONFIG, mapping(client_id="id", private=SECRET), transport=nobody),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_error_shows_a_secret_not_even_with_captured_locals(name):
    with pytest.raises(OIDCActorError) as caught:
        CALLS[name]()
    error = caught.value
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "hunter2" not in shown, shown
    assert "hunter2" not in repr(error) + repr(vars(error)) + repr(error.args)
    assert error.__cause__ is None
    assert error.__context__ is None
    # What a renderer finds that follows the frames by itself:
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert "hunter2" not in repr(frames[1:])


class Leak(Exception):
    """An error whose arguments quote a secret."""


def frames_of(error):
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


@holds_secrets
def failing(secret, how):
    """Raise in a frame below this one, in one of several ways."""

    def below(text):
        try:
            raise Leak(text)
        except Leak as error:
            match how:
                case "from":
                    raise OIDCActorError("it failed") from error
                case "beside":
                    raise OIDCActorError("it failed")  # noqa: B904
                case "without":
                    raise OIDCActorError("it failed") from None
                case "as it is":
                    error.args = ()
                    raise

    return below(secret + how)


@pytest.mark.parametrize("how", ["from", "beside", "without", "as it is"])
def test_an_error_that_leaves_a_frame_with_a_secret_says_where_it_was_raised_and_shows_none(how):
    with pytest.raises((OIDCActorError, Leak)) as caught:
        failing(SECRET, how)
    error = caught.value
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "hunter2" not in shown
    assert [frame.f_code.co_name for frame in frames_of(error)][-3:] == ["guarded", "failing", "below"]
    assert "hunter2" not in repr([frame.f_locals for frame in frames_of(error)[1:]])
    assert error.__cause__ is None
    assert error.__context__ is None


def test_what_it_came_of_shows_no_secret_either_where_somebody_kept_it():
    kept = []

    @holds_secrets
    def keeping(secret):
        try:
            raise LookupError("x")
        except LookupError as error:
            kept.append(error)
            raise OIDCActorError("it failed") from error

    with pytest.raises(OIDCActorError):
        keeping(SECRET)
    assert "hunter2" not in repr([frame.f_locals for frame in frames_of(kept[0])])


def while_handling(error, call):
    try:
        raise error
    except LookupError:
        call()


def test_what_the_caller_was_handling_stays_the_context():
    mine = LookupError("mine")
    with pytest.raises(OIDCActorError) as caught:
        while_handling(mine, lambda: failing(SECRET, "from"))
    assert caught.value.__context__ is mine
    assert frames_of(mine)[0].f_locals["error"] is mine
    with pytest.raises(LookupError) as again:
        while_handling(mine, lambda: holds_secrets(raise_it)(mine))
    assert again.value is mine


def raise_it(error):
    raise error


def test_what_holds_a_secret_is_called_as_before():
    @holds_secrets
    def kept(first, *, second=2):
        """What it says."""
        return first, second

    assert kept("a", second="b") == ("a", "b")
    assert kept.__doc__ == "What it says."
    assert str(inspect.signature(kept)) == "(first, *, second=2)"


def test_an_error_that_a_program_keeps_ends_no_generator_of_it():
    # It has passed through the generator before; the transport of a program that talks to its own event loop raises such.
    def going_on():
        try:
            raise LookupError("kept")
        except LookupError as error:
            yield error
        yield "goes on"

    running = going_on()
    kept = next(running)
    with pytest.raises(LookupError):
        holds_secrets(raise_it)(kept)
    with pytest.raises(OIDCActorError):
        while_handling(LookupError("mine"), holds_secrets(lambda: over(kept)))
    assert next(running, "was closed") == "goes on"


def over(kept):
    try:
        raise kept
    except LookupError as error:
        raise OIDCActorError("it failed") from error


def test_a_generator_that_has_ended_shows_no_secret():
    def ending(text):
        yield len(text)
        raise LookupError("x")

    @holds_secrets
    def exhausting(text):
        return list(ending(text))

    with pytest.raises(LookupError) as caught:
        exhausting(SECRET)
    assert "hunter2" not in repr(
        [frame.f_locals for frame in frames_of(caught.value) if frame.f_code.co_name in {"ending", "exhausting"}]
    )


def test_the_members_of_a_group_of_errors_show_no_secret():
    def one_of_them(text):
        raise LookupError("x")

    @holds_secrets
    def grouping(text):
        failed = []
        try:
            one_of_them(text)
        except LookupError as error:
            failed.append(error)
        raise ExceptionGroup("several", failed)

    with pytest.raises(ExceptionGroup) as caught:
        grouping(SECRET)
    assert [frame.f_locals for frame in frames_of(caught.value.exceptions[0])] == [{}, {}]


def test_an_error_that_is_raised_anew_is_not_kept_by_its_own_traceback():
    mine = LookupError("mine")
    with pytest.raises(LookupError):
        while_handling(mine, lambda: holds_secrets(raise_it)(mine))
    assert [list(frame.f_locals) for frame in frames_of(mine) if frame.f_code.co_name == "guarded"] == [["function"]]


def test_an_error_from_a_deep_generator_is_cleared_at_once(monkeypatch):
    looks = []
    found = gc.get_referrers
    monkeypatch.setattr(gc, "get_referrers", lambda *frames: looks.append(1) or found(*frames))

    def deep(left):
        yield from deep(left - 1) if left else raise_it(LookupError("x"))

    with pytest.raises(LookupError):
        holds_secrets(list)(deep(100))
    assert len(looks) <= 1  # each look goes through all objects there are
