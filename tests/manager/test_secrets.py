"""Where secrets come from, that they are read anew, and that they never come out again."""

import io
import itertools
import logging
import pickle
import threading
import time
import traceback
from pathlib import Path

import pytest
from fakes import AUTH, ISSUER, Fixed, ScriptedTransport, failing, minted, refused
from managers import Start
from threads import DEADLINE_S, eventually

from oidc_actor import ClientCredentials, NoTokenError, Password, RetryPolicy, SecretFile, TokenManager
from oidc_actor.manager import provider_requests
from oidc_actor.manager.effect_handler import MOST_UNDER_WAY
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.reading.directory import locate
from oidc_actor.transport import Request, Response
from supervision import Supervisor

SECRET = "the-clients-own-secret"


def basic(request: Request) -> str:
    import base64

    return base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()


def test_a_callable_is_called_once_for_each_request(start: Start, transport, clock) -> None:
    calls: list[int] = []

    def secret() -> str:
        calls.append(len(calls))
        return f"secret-{len(calls)}"

    start(name="m", auth=ClientCredentials("id", secret))
    TokenManager.get_token("m")
    clock.advance(240)
    eventually(lambda: TokenManager.get_access_token("m") == "t2")
    assert [basic(request) for request in transport.posts] == ["id:secret-1", "id:secret-2"]
    assert len(calls) == 2


@pytest.mark.P5
@pytest.mark.P10
def test_a_source_that_does_not_return_is_given_up_and_its_request_is_never_sent(
    start: Start, transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_requests, "GRACE_S", 0.01)
    monkeypatch.setattr(provider_requests, "SECRETS_S", 0.01)
    calls = itertools.count(1)
    returns = threading.Event()

    def secret() -> str:
        number = next(calls)
        if number == 1:
            returns.wait(DEADLINE_S)
        return f"secret-{number}"

    start(name="m", auth=ClientCredentials("id", secret), clock=time.monotonic, timeout_seconds=0.05)
    assert TokenManager.get_access_token("m", timeout=0.8 * DEADLINE_S) == "t1"
    assert TokenManager.health("m").token_requests == 1
    returns.set()
    eventually(lambda: not HTTP_WORKERS.value.busy, "the end of the first exchange")
    assert [basic(request) for request in transport.posts] == ["id:secret-2"]
    assert TokenManager.health("m").refreshes == 1


@pytest.mark.P12
def test_a_source_that_never_returns_leaves_the_threads_to_the_issuers_other_managers(
    start: Start, transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_requests, "GRACE_S", 0.01)
    monkeypatch.setattr(provider_requests, "SECRETS_S", 0.01)
    calls: list[None] = []
    returns = threading.Event()

    def secret() -> str:
        calls.append(None)
        returns.wait(DEADLINE_S)
        return "secret"

    often = {
        "clock": time.monotonic,
        "timeout_seconds": 0.02,
        "min_interval_seconds": 0.001,
        "retry": RetryPolicy(0.001, 0.001),
    }
    start(name="m", auth=ClientCredentials("id", secret), **often)
    eventually(lambda: TokenManager.health("m").consecutive_failures > 20, "many attempts")
    assert len(calls) == MOST_UNDER_WAY
    assert "given up and have not returned" in str(TokenManager.health("m").last_error)
    start(name="other", **often | {"timeout_seconds": DEADLINE_S})
    assert TokenManager.get_access_token("other", timeout=DEADLINE_S) == "t1"
    returns.set()
    assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t2"


def test_a_source_may_take_longer_than_a_request(start: Start, transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_requests, "GRACE_S", 0.01)
    asked, returns = threading.Event(), threading.Event()

    def secret() -> str:
        asked.set()
        returns.wait(DEADLINE_S)
        return "secret"

    start(name="m", auth=ClientCredentials("id", secret), clock=time.monotonic, timeout_seconds=0.05)
    assert asked.wait(DEADLINE_S)
    with pytest.raises(NoTokenError, match="a request is under way"):
        TokenManager.get_access_token("m", timeout=0.3)
    returns.set()
    assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t1"
    assert len(transport.posts) == 1


def test_a_reader_that_comes_right_after_the_secret_was_mended_gets_its_token(start: Start, clock, tmp_path) -> None:
    file = tmp_path / "secret"
    file.write_text("wrong")

    def provider(request: Request) -> Response:
        return minted("t") if basic(request) == "id:right" else refused("invalid_client", 401)

    transport = ScriptedTransport()
    transport.default = provider
    start(name="m", auth=ClientCredentials("id", SecretFile(file)), transport=transport)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token("m")
    assert caught.value.cause is not None
    with pytest.raises(NoTokenError):  # the file is looked at, and is what it was
        TokenManager.get_token("m")
    clock.advance(2)
    mended = tmp_path / "mended"
    mended.write_text("right")
    mended.replace(file)  # at once: the manager, which is looking just now, must not find it empty
    assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t"
    assert len(transport.posts) == 2


@pytest.mark.P5
def test_a_callable_that_raises_is_a_retryable_failure(start: Start, transport, clock) -> None:
    answers: list[object] = [RuntimeError(f"no {SECRET}"), SystemExit(SECRET), 5, "", SECRET]

    def secret() -> str:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[return-value]

    start(name="m", auth=ClientCredentials("id", secret))
    for failures in range(1, 5):
        eventually(lambda: TokenManager.health("m").consecutive_failures == failures)  # noqa: B023
        health = TokenManager.health("m")
        assert not health.blocked
        assert SECRET not in health.last_error
        clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"
    assert len(transport.posts) == TokenManager.health("m").token_requests == 1


@pytest.mark.P5
def test_a_missing_file_is_no_start_error_and_heals_when_it_appears(start: Start, transport, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    start(name="m", auth=ClientCredentials("id", SecretFile(file)))
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    assert not TokenManager.health("m").blocked
    file.write_text("from-file\n")
    TokenManager.force_refresh("m")


@pytest.mark.P5
def test_a_changed_file_wakes_a_blocked_manager_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("wrong\n")

    def provider(request: Request) -> Response:
        return minted("good") if basic(request) == "id:right" else refused("invalid_client", 401)

    transport = ScriptedTransport()
    transport.default = provider
    ref = TokenManager.start_link(
        auth=ClientCredentials("id", SecretFile(file)),
        issuer_url=ISSUER,
        transport=transport,
        min_interval_seconds=0.01,
    )
    with pytest.raises(NoTokenError):
        TokenManager.get_token(ref)
    assert TokenManager.health(ref).blocked
    file.write_text("right\n")
    eventually(lambda: TokenManager.health(ref).ready)
    assert len(transport.posts) == 2


def test_an_unchanged_file_wakes_nobody(start: Start, transport, clock, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("wrong\n")
    transport.default = refused("invalid_client", 401)
    start(name="m", auth=ClientCredentials("id", SecretFile(file)))
    eventually(lambda: TokenManager.health("m").blocked)
    for _ in range(50):
        clock.advance(1)
    assert TokenManager.health("m").blocked
    assert len(transport.posts) == 1


def everything_said(error: BaseException) -> str:
    """An error and its causes as a debugger shows them, with the variables of every frame that is ours."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame.locals for frame in shown.stack if "oidc_actor" in frame.filename]
    assert frames
    cause = getattr(error, "cause", None)
    assert cause is None or cause.__traceback__ is cause.__context__ is None
    return f"{frames} {error!r} {error} {error.__dict__} {cause!r} {cause} {getattr(cause, '__dict__', None)}"


@pytest.mark.P9
def test_nothing_that_is_said_holds_a_secret_or_a_token(start: Start, transport, clock, caplog) -> None:
    texts = [SECRET, "the-users-password", "access-token-text", "refresh-token-text", "id-token-text"]
    echo = " ".join(texts[:2])
    transport.then(
        minted(texts[2], refresh_token=texts[3], id_token=texts[4]),
        failing(500),
        refused("invalid_grant", description=f"{SECRET} {texts[3]}"),
        refused("invalid_client", 401, echo),
    )
    said = io.StringIO()
    with caplog.at_level(logging.DEBUG):
        spec = TokenManager.child_spec(
            auth=Password("user", texts[1], "id", SECRET),
            issuer_url=ISSUER,
            name="m",
            transport=transport,
            clock=clock,
            rng=Fixed(0),
        )
        sup = Supervisor.start_link([spec])
        token = TokenManager.get_token("m")
        cell = locate("m")
        source, subscription = TokenManager.source("m"), TokenManager.subscribe("m", print)
        values = [spec, spec.kwargs, sup, token, source, subscription, cell, cell.snapshot, cell.state, cell.ref]
        for failures in (1, 2):
            clock.advance(240 if failures == 1 else 60)
            eventually(lambda: TokenManager.health("m").consecutive_failures == failures)  # noqa: B023
            values += [TokenManager.health("m"), cell.state, cell.result, cell.snapshot]
        for read in (TokenManager.get_token, TokenManager.get_access_token):
            with pytest.raises(NoTokenError) as caught:
                read("m", timeout=0)
            said.write(everything_said(caught.value))
        Supervisor.stop(sup)
    for value in values:
        said.write(f"{value!r} {value!s} {value}\n")
    said.write(caplog.text)
    for record in caplog.records:
        said.write(repr(record.__dict__))
    for text in texts:
        assert text not in said.getvalue()
    assert any(record.name == "oidc_actor" for record in caplog.records)


@pytest.mark.P9
def test_what_holds_a_token_refuses_pickling(start: Start) -> None:
    start(name="m")
    TokenManager.get_token("m")
    cell = locate("m")
    for value in (
        cell.snapshot,
        cell.state,
        TokenManager.get_token("m"),
        AUTH,
        TokenManager.child_spec(auth=AUTH, issuer_url=ISSUER),
    ):
        with pytest.raises(TypeError):
            pickle.dumps(value)
