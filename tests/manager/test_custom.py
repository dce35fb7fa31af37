"""Every promise, with a manager whose token a function of the user's brings (`Custom`)."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import pickle
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fakes import ISSUER, Fixed, ScriptedTransport, failing, minted, refused
from processes import NEEDS_FORK, in_child
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import (
    ClientCredentials,
    ConfigError,
    Custom,
    FetchContext,
    NoTokenError,
    OIDCConfig,
    SecretFile,
    TokenManager,
    TokenRequestError,
    TokenResponse,
    oidc,
)
from oidc_actor.manager import effect_handler, provider_requests
from oidc_actor.manager.workers import FUNCTION_WORKERS
from oidc_actor.testing import ManualClock
from oidc_actor.testing.memory_store import MemoryStore
from oidc_actor.transport import Request, Response, TransportError
from supervision import Supervisor

SECRET = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"


class Vault:
    """A function that brings `t1`, `t2`, ...; it answers from a script first, and can be held back."""

    def __init__(self, *script: Any, lifetime: float = 300.0) -> None:
        self.script = list(script)
        self.lifetime = lifetime
        self.seen: list[FetchContext] = []
        self.default: Any = None
        self.most_at_once = 0
        self._at_once = 0
        self._count = 0
        self._changed = threading.Condition()  # guards all above
        self._open = threading.Event()
        self._open.set()

    def __call__(self, context: FetchContext) -> TokenResponse:
        with self._changed:
            self.seen.append(context)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            answer = self.script.pop(0) if self.script else self.default
            if answer is None:
                self._count += 1
                answer = TokenResponse.new(f"t{self._count}", expires_in=self.lifetime)
            self._changed.notify_all()
        try:
            assert self._open.wait(DEADLINE_S)
            if callable(answer):
                answer = answer(context)
            if isinstance(answer, BaseException):
                raise answer
            return answer  # type: ignore[no-any-return]
        finally:
            with self._changed:
                self._at_once -= 1

    def hold(self) -> None:
        self._open.clear()

    def let_go(self) -> None:
        self._open.set()

    def wait_for_calls(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, DEADLINE_S), f"{len(self.seen)} calls"

    @property
    def calls(self) -> int:
        return len(self.seen)


@pytest.fixture
def vault() -> Iterator[Vault]:
    made = Vault()
    yield made
    made.let_go()


@pytest.fixture
def start(vault: Vault, clock: ManualClock) -> Callable[..., Any]:
    def start_one(**options: Any) -> Any:
        auth = Custom(options.pop("fetch", vault), options.pop("identity", None))
        known = {"auth": auth, "name": "m", "clock": clock, "rng": Fixed(0)}
        return TokenManager.start_link(**{**known, **options})

    return start_one


def failed(name: str = "m", failures: int = 1) -> NoTokenError:
    """What a reader is told once so many attempts have failed."""
    eventually(lambda: TokenManager.health(name).consecutive_failures >= failures)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token(name, timeout=0)
    assert isinstance(caught.value.cause, TokenRequestError)
    return caught.value


def cause_of(error: NoTokenError) -> TokenRequestError:
    assert isinstance(error.cause, TokenRequestError)
    return error.cause


def down(**more: Any) -> TokenRequestError:
    return TokenRequestError("the vault is sealed", **more)


# --- a reader never waits; an expired token is never handed out --------------------------------------------------------


@pytest.mark.P1
def test_a_reader_with_a_valid_token_never_waits(start, vault: Vault, clock: ManualClock) -> None:
    start()
    assert TokenManager.get_access_token("m") == "t1"
    vault.hold()
    clock.advance(245)
    vault.wait_for_calls(2)
    source = TokenManager.source("m")
    assert {source(timeout=0) for _ in range(100)} == {"t1"}
    assert asyncio.run(TokenManager.aget_access_token("m", timeout=0)) == "t1"
    vault.let_go()
    eventually(lambda: source(timeout=0) == "t2")


@pytest.mark.P2
def test_an_expired_token_is_never_handed_out(start, vault: Vault, clock: ManualClock) -> None:
    start()
    assert TokenManager.get_access_token("m") == "t1"
    assert TokenManager.get_access_token("m", min_validity=299) == "t1"
    vault.default = down()
    clock.advance(300)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_access_token("m", timeout=0)
    assert isinstance(caught.value.cause, TokenRequestError | None)


@pytest.mark.P2
def test_a_token_that_the_function_gives_once_more_lives_no_longer_for_that(start, vault, clock: ManualClock) -> None:
    """As a cache of the function's own may; and one that has ended is no token."""
    vault.script = [
        lambda _: TokenResponse("old", expires_in=300, issued_at=at(-200)),
        lambda _: TokenResponse("older", expires_in=300, issued_at=at(-400)),
    ]
    start()
    assert TokenManager.get_access_token("m") == "old"
    assert 90 < (TokenManager.health("m").expires_in_s or 0) < 101
    clock.advance(1)
    with pytest.raises(NoTokenError, match="expected a token that lives"):
        TokenManager.force_refresh("m", wait=True)
    assert TokenManager.get_access_token("m") == "old"


def at(seconds: float) -> Any:
    return datetime.now(UTC) + timedelta(seconds=seconds)


# --- one flight -------------------------------------------------------------------------------------------------------


@pytest.mark.P3
def test_one_call_serves_all_who_ask(start, vault: Vault) -> None:
    vault.hold()
    start()

    async def many() -> set[str]:
        return set(await asyncio.gather(*(TokenManager.aget_access_token("m", timeout=DEADLINE_S) for _ in range(50))))

    with ThreadPoolExecutor(41) as pool:
        reads = [pool.submit(TokenManager.get_access_token, "m", timeout=DEADLINE_S) for _ in range(40)]
        tasks = pool.submit(asyncio.run, many())
        vault.wait_for_calls(1)
        vault.let_go()
        assert {read.result() for read in reads} | tasks.result() == {"t1"}
    assert (vault.calls, vault.most_at_once) == (1, 1)


# --- an error displaces nothing, nor does a crash ------------------------------------------------------------------------


@pytest.mark.P4
@pytest.mark.P5
def test_an_outage_displaces_no_token_and_ends(start, vault: Vault, clock: ManualClock) -> None:
    start()
    assert TokenManager.get_access_token("m") == "t1"
    vault.default = ConnectionError("no route")
    clock.advance(245)
    eventually(lambda: TokenManager.health("m").last_error)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    health = TokenManager.health("m")
    assert (health.state, health.ready, health.blocked) == ("stale", True, False)
    assert "raised ConnectionError" in (health.last_error or "")
    clock.advance(60)
    with pytest.raises(NoTokenError):
        TokenManager.get_access_token("m", timeout=0)
    vault.default = None
    clock.advance(60)
    eventually(lambda: TokenManager.health("m").ready)
    assert TokenManager.health("m").last_error is None


@pytest.mark.P4
@pytest.mark.parametrize(("identities", "adopts"), [(("a", "a"), True), (("a", "b"), False), ((None, None), False)])
def test_who_takes_over_the_token_of_a_crashed_predecessor(start, identities: Any, adopts: bool) -> None:
    first = start(identity=identities[0])
    assert TokenManager.get_access_token("m") == "t1"
    supervision.kill(first)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    start(identity=identities[1], fetch=Vault(TokenResponse.new("another", expires_in=300)))
    assert TokenManager.get_access_token("m") == ("t1" if adopts else "another")


@pytest.mark.P4
def test_a_supervisor_restarts_it_and_readers_notice_nothing(vault: Vault, clock: ManualClock) -> None:
    spec = TokenManager.child_spec(auth=Custom(vault), name="m", clock=clock, rng=Fixed(0))
    supervisor = Supervisor.start_link([spec])
    assert TokenManager.get_access_token("m") == "t1"
    ref = Supervisor.which_children(supervisor)[0].ref
    supervision.kill(ref)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    eventually(lambda: Supervisor.which_children(supervisor)[0].ref not in (ref, None))
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    clock.advance(245)
    eventually(lambda: TokenManager.get_access_token("m") == "t2")
    assert vault.calls == 2


# --- no failure ends the loop; nobody is hammered ------------------------------------------------------------------------


@pytest.mark.P5
def test_what_cannot_pass_is_probed_slowly_and_a_forced_refresh_wakes_it(start, vault, clock: ManualClock) -> None:
    vault.script = [down(retryable=False, error="invalid_client", status=401)]
    start()
    cause = cause_of(failed())
    assert (cause.retryable, cause.status, cause.error) == (False, 401, "invalid_client")
    assert "HTTP 401: invalid_client: the vault is sealed" in str(cause)
    health = TokenManager.health("m")
    assert health.blocked
    assert (health.next_attempt_in_s or 0) >= 60
    clock.advance(1)
    TokenManager.force_refresh("m", wait=True)
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P5
@pytest.mark.P6
def test_a_wait_that_the_function_asks_for_binds_its_manager_alone(start, vault, clock: ManualClock) -> None:
    vault.script = [down(status=503, retry_after_s=30.0)]
    start()
    eventually(lambda: TokenManager.health("m").consecutive_failures)  # its call is the first
    other = Vault()
    start(name="same", fetch=vault)
    start(name="another", fetch=other)
    assert TokenManager.get_access_token("another") == "t1"
    assert TokenManager.get_access_token("same") == "t1"
    TokenManager.force_refresh("m")
    assert (TokenManager.health("m").next_attempt_in_s or 0) > 29
    clock.advance(29)
    assert vault.calls == 2
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t2"


@pytest.mark.P6
def test_no_two_calls_come_closer_than_the_minimum_interval(start, vault: Vault, clock: ManualClock) -> None:
    vault.lifetime = 0.5
    start()
    assert TokenManager.get_access_token("m") == "t1"
    for _ in range(20):
        TokenManager.force_refresh("m")
    assert (TokenManager.health("m").next_attempt_in_s or 0) > 0.9
    assert vault.calls == 1
    clock.advance(1.0)
    vault.wait_for_calls(2)


@pytest.mark.P6
def test_an_outage_of_one_holds_back_no_other(start) -> None:
    start(name="down", fetch=Vault(*[ConnectionError("x")] * 99))
    eventually(lambda: TokenManager.health("down").consecutive_failures)
    start(name="up", fetch=Vault())
    assert TokenManager.get_access_token("up", timeout=DEADLINE_S) == "t1"


@pytest.mark.P7
def test_it_starts_while_nothing_answers_and_without_a_request(start, vault: Vault) -> None:
    vault.hold()
    start()
    assert TokenManager.health("m").state == "empty"
    vault.let_go()
    assert TokenManager.get_access_token("m") == "t1"


# --- a refresh token of the function's own -----------------------------------------------------------------------------


@pytest.mark.P8
def test_a_refresh_token_is_given_back_once_and_kept(start, vault: Vault, clock: ManualClock) -> None:
    vault.script = [
        TokenResponse.new("a", expires_in=300, refresh_token="r1"),
        TokenResponse.new("b", expires_in=300, refresh_token="r2"),
        TokenResponse.new("c", expires_in=300),
        ConnectionError("x"),
    ]
    start()
    for text in ("a", "b", "c"):
        eventually(lambda text=text: TokenManager.get_access_token("m") == text)
        clock.advance(245)
    eventually(lambda: TokenManager.health("m").consecutive_failures)
    clock.advance(400)  # it has expired, too
    vault.wait_for_calls(5)
    told = [None if one.previous is None else one.previous.refresh_token for one in vault.seen]
    assert told == [None, "r1", "r2", "r2", "r2"]
    assert [one.attempt for one in vault.seen] == [1, 2, 3, 4, 5]


@pytest.mark.P8
def test_a_token_that_is_rejected_takes_its_refresh_token_not_along(start, vault: Vault, clock: ManualClock) -> None:
    vault.script = [TokenResponse.new("a", expires_in=300, refresh_token="r1")]
    start()
    assert TokenManager.get_access_token("m") == "a"
    clock.advance(2)
    TokenManager.force_refresh("m", rejected="a")
    assert TokenManager.get_access_token("m") == "t1"
    previous = vault.seen[1].previous
    assert previous is not None
    assert (previous.access_token, previous.refresh_token) == ("a", "r1")


@pytest.mark.P3
def test_many_who_had_the_same_401_cause_one_call(start, vault: Vault, clock: ManualClock) -> None:
    start()
    assert TokenManager.get_access_token("m") == "t1"
    clock.advance(2)
    with ThreadPoolExecutor(30) as pool:
        calls = [pool.submit(TokenManager.force_refresh, "m", rejected="t1") for _ in range(100)]
        assert not [call.result() for call in calls if call.result()]
    assert TokenManager.get_access_token("m") == "t2"
    assert vault.calls == 2


# --- secrets ------------------------------------------------------------------------------------------------------------


class Loud(TokenRequestError):
    """An error of the user's, which holds the token in all its parts."""

    def __init__(self) -> None:
        super().__init__(f"refused {SECRET}, key={SECRET}", error=SECRET, error_description=SECRET, status=403)
        self.token = SECRET

    def __repr__(self) -> str:
        return SECRET


def _nested(_: FetchContext) -> TokenResponse:
    token = SECRET
    try:
        raise KeyError(token)
    except KeyError as error:
        raise RuntimeError(f"{token}") from error


def _group(_: FetchContext) -> TokenResponse:
    raise BaseExceptionGroup(SECRET, [RuntimeError(SECRET), KeyboardInterrupt(SECRET)])


SAYS = {
    "an error": (lambda: RuntimeError(SECRET), "raised RuntimeError"),
    "an error with a cause": (lambda: _nested, "raised RuntimeError in _nested"),
    "a group": (lambda: _group, "raised BaseExceptionGroup"),
    "ours": (lambda: TokenRequestError(f"got {SECRET} in 30 s, (sorry)"), "got *** in 30 s, (sorry)"),
    "a class of ours": (Loud, "HTTP 403: refused ***"),
    "no token": (lambda: f"{SECRET}", "expected a TokenResponse from .*, got str"),
    "a mapping": (lambda: {"access_token": SECRET}, "expected a TokenResponse from .*, got dict"),
    "a header": (lambda: TokenResponse.new(f"{SECRET}\r\nX: 1"), "expected an access_token of visible ASCII"),
    "another type": (
        lambda: TokenResponse.new(SECRET, token_type="mac"),
        "expected the token_type Bearer, got another",
    ),
    "an error of the transport": (lambda: TransportError(SECRET), "raised TransportError"),
    "a lifetime that is a text": (
        lambda: lambda _: TokenResponse.new(SECRET, expires_in="3600"),
        r"ConfigError \(expires_in\) in",
    ),
    "an option that is a secret": (lambda: ConfigError(SECRET, (SECRET,)), "raised ConfigError in"),
}


@pytest.mark.P9
@pytest.mark.parametrize("case", SAYS)
def test_no_text_of_the_function_tells_a_secret(case: str, start, vault: Vault, caplog: Any, clock) -> None:
    make, says = SAYS[case]
    caplog.set_level(logging.DEBUG)
    vault.script = [make()]
    start()
    error = failed()
    cause = cause_of(error)
    assert cause.retryable
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    shown += "".join(traceback.TracebackException.from_exception(cause, capture_locals=True).format())
    logged = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    for text in (shown, logged, repr(TokenManager.health("m")), repr(vars(cause)), repr(error.args)):
        assert SECRET not in text
    assert re.search(says.replace("***", r"\*\*\*").replace("(sorry)", r"\(sorry\)"), str(cause)), str(cause)
    clock.advance(2)
    assert TokenManager.get_access_token("m") == "t1"  # the worker's thread has survived


@pytest.mark.P9
def test_what_a_function_is_bound_to_is_shown_nowhere(start, vault: Vault) -> None:
    bound = functools.partial(lambda secret, context: vault(context), SECRET)
    auth = Custom(bound, identity="app-7")
    assert re.fullmatch(r"Custom\(.*test_what_a_function_is.*<lambda>, identity='app-7'\)", repr(auth))
    for value in (auth, auth.__reduce_ex__):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(auth) if value is auth else value(2)
    start(auth=auth)
    token = TokenManager.get_token("m")
    assert SECRET not in repr((vault.seen[0], token, TokenManager.child_spec(auth=auth)))


@pytest.mark.P9
def test_a_refusal_is_made_without_what_was_sent(start, vault: Vault) -> None:
    transport = ScriptedTransport()
    said = f"bad {SECRET}, and no app-key-1234567 or second-key-of-mine"
    transport.default = refused("invalid_client", 401, said, Retry_After="7")

    def fetch(context: FetchContext) -> TokenResponse:
        headers = {"Authorization": f"Bearer {SECRET}"}
        request = Request("POST", f"{ISSUER}/x", headers, b'{"key": "app-key-1234567"}', 600.0)
        response = context.transport(request)
        raise context.refusal(response, ["second-key-of-mine"])

    start(fetch=fetch, transport=transport, timeout_seconds=5)
    cause = cause_of(failed())
    assert (cause.status, cause.error, cause.retryable, cause.retry_after_s) == (401, "invalid_client", False, 7.0)
    assert cause.error_description == "bad ***, and no *** or ***"
    assert str(cause) == "token request failed: HTTP 401: invalid_client: bad ***, and no *** or ***"
    assert 4 < transport.requests[0].timeout_s <= 5
    context = FetchContext(1.0, None, transport, 1)
    assert context.refusal(failing(503)).retryable
    assert not context.refusal(failing(404), retryable=False).retryable
    assert context.refusal(refused("invalid_client", 401), retryable=True).retryable


def test_where_nothing_answers_the_transport_says_so(start) -> None:
    def fetch(context: FetchContext) -> TokenResponse:
        context.transport(Request("GET", "http://127.0.0.1:9/", {}))
        raise AssertionError

    start(fetch=fetch)
    cause = cause_of(failed())
    assert str(cause).startswith("no answer: GET http://127.0.0.1:9/: ")
    assert not cause.sent


def test_a_secret_that_the_function_cannot_read_is_named(start, tmp_path: Any) -> None:
    def fetch(context: FetchContext) -> TokenResponse:
        return TokenResponse.new(SecretFile(tmp_path / "nowhere").read().reveal())

    start(fetch=fetch)
    assert "nowhere': No such file" in str(failed())


# --- nothing hangs ------------------------------------------------------------------------------------------------------


@pytest.mark.P10
def test_a_function_that_hangs_is_given_up_and_others_go_on(start, vault, clock: ManualClock, monkeypatch) -> None:
    monkeypatch.setattr(provider_requests, "FUNCTION_GRACE_S", 0.0)
    vault.hold()
    start(timeout_seconds=0.05)
    for failures in (1, 2):
        eventually(lambda failures=failures: TokenManager.health("m").consecutive_failures == failures)
        assert "Vault has not returned in 0.05 s (timeout_seconds)" in (TokenManager.health("m").last_error or "")
        clock.advance(2)
    eventually(lambda: TokenManager.health("m").consecutive_failures > 2)
    assert "2 earlier calls of the function have not returned" in (TokenManager.health("m").last_error or "")
    eventually(lambda: FUNCTION_WORKERS.value.left_behind == 2)
    start(name="other", fetch=Vault())
    assert TokenManager.get_access_token("other", timeout=DEADLINE_S) == "t1"
    vault.let_go()
    eventually(lambda: FUNCTION_WORKERS.value.left_behind == 0)
    clock.advance(60)
    assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t3"  # what came too late is dropped


@pytest.mark.P10
@pytest.mark.P12
def test_forty_that_hang_keep_no_other_from_its_token(start, vault, clock: ManualClock, monkeypatch) -> None:
    monkeypatch.setattr(provider_requests, "FUNCTION_GRACE_S", 0.0)
    vault.hold()
    for number in range(40):
        start(name=f"hangs-{number}", identity=f"{number}", timeout_seconds=0.1)
    vault.wait_for_calls(40)  # of 32 threads
    start(name="other", fetch=Vault())
    assert TokenManager.get_access_token("other", timeout=DEADLINE_S) == "t1"
    provider = ScriptedTransport()
    auth = ClientCredentials("id", "a-secret")
    TokenManager.start_link(name="oidc", issuer_url=ISSUER, auth=auth, transport=provider, clock=clock)
    assert TokenManager.get_access_token("oidc") == "t1"
    monkeypatch.setattr(effect_handler, "MOST_LEFT_BEHIND", 40)
    eventually(lambda: FUNCTION_WORKERS.value.left_behind == 40)
    start(name="refused", fetch=Vault())
    assert "40 functions of Custom have not returned in their time" in str(failed("refused"))
    vault.let_go()
    eventually(lambda: FUNCTION_WORKERS.value.left_behind == 0)
    clock.advance(2)
    assert TokenManager.get_access_token("refused", timeout=DEADLINE_S) == "t1"


@pytest.mark.P10
def test_a_stop_waits_for_no_function(start, vault: Vault) -> None:
    vault.hold()
    start()
    vault.wait_for_calls(1)
    began = time.monotonic()
    TokenManager.stop("m")
    assert time.monotonic() - began < 5
    vault.let_go()


@pytest.mark.P10
@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopIteration()])
def test_whatever_a_function_raises_fails_one_attempt(error: BaseException, start, vault, clock: ManualClock) -> None:
    vault.script = [error]
    start()
    assert f"raised {type(error).__name__}" in str(failed())
    clock.advance(2)
    assert TokenManager.get_access_token("m") == "t1"


# --- time, forks, many ----------------------------------------------------------------------------------------------------


@pytest.mark.P11
def test_the_life_of_a_token_is_counted_from_the_start_of_the_call(start, vault, clock: ManualClock) -> None:
    vault.hold()
    start()
    vault.wait_for_calls(1)
    clock.advance(4)
    vault.let_go()
    token = TokenManager.get_token("m")
    assert TokenManager.health("m").expires_in_s == 296.0
    assert token.expires_in == 300


@pytest.mark.P11
@NEEDS_FORK[0]
@NEEDS_FORK[-1]
def test_a_forked_child_goes_on_by_itself_and_without_its_parents_refresh_token(start, vault, clock) -> None:
    vault.script = [TokenResponse.new("a", expires_in=300, refresh_token="r1")]
    start()
    assert TokenManager.get_access_token("m") == "a"

    def check() -> None:
        assert TokenManager.get_access_token("m", timeout=0) == "a"
        TokenManager.health("m")
        clock.advance(245)
        eventually(lambda: TokenManager.get_access_token("m", timeout=0) == "t1")
        previous = vault.seen[-1].previous
        assert previous is not None
        assert (previous.access_token, previous.refresh_token) == ("a", None)

    in_child(check)
    assert vault.calls == 1


@pytest.mark.P12
def test_many_take_no_thread_each(start) -> None:
    vaults = [Vault() for _ in range(300)]
    for number, one in enumerate(vaults):
        start(name=f"m{number}", fetch=one)
    assert all(TokenManager.get_access_token(f"m{number}", timeout=DEADLINE_S) == "t1" for number in range(300))
    gc.collect()
    assert sum(thread.name == "oidc-actor-custom" for thread in threading.enumerate()) <= 32


# --- lifetimes, and how it is seen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "lives"),
    [
        (lambda: TokenResponse.new("x", expires_in=60), 60),
        (lambda: TokenResponse.new("x", extra={"expires_at": at(90).isoformat()}), 90),
        (lambda: TokenResponse.new("x", extra={"expires_at": at(90).timestamp()}), 90),
        (lambda: TokenResponse.new("x"), 300),
    ],
)
def test_what_says_how_long_a_token_lives(token: Any, lives: float, start, vault: Vault) -> None:
    vault.script = [lambda _: token()]
    start()
    found = TokenManager.get_token("m")
    assert TokenManager.health("m").expires_in_s == pytest.approx(lives, abs=1)
    assert found.expires_in == pytest.approx(lives, abs=1)


def test_listeners_metrics_and_health_know_it_as_any_other(start, vault: Vault, clock: ManualClock) -> None:
    start()
    told: list[str] = []
    came = threading.Event()
    TokenManager.subscribe("m", lambda token: (told.append(token.access_token), came.set()))
    assert TokenManager.get_access_token("m") == "t1"
    TokenManager.health("m")
    clock.advance(245)
    assert came.wait(DEADLINE_S)
    eventually(lambda: told[-1:] == ["t2"])
    health = TokenManager.health("m")
    assert (health.state, health.token_requests, health.refreshes, health.sharing) == ("fresh", 2, 2, "off")


# --- options ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"issuer_url": ISSUER}, "issuer_url: expected none beside Custom"),
        ({"oidc_config": OIDCConfig(token_endpoint=ISSUER)}, "oidc_config: expected none beside Custom"),
        ({"revoke_on_stop": True}, "revoke_on_stop: expected False beside Custom"),
        ({"store": MemoryStore()}, "auth: identity: expected a text that is the same in each process"),
    ],
)
def test_options_that_do_not_go_with_it(options: Any, message: str, start) -> None:
    with pytest.raises(ConfigError, match=message):
        start(**options)
    with pytest.raises(ConfigError, match=message):
        TokenManager.child_spec(auth=Custom(Vault()), **options)


async def _later(context: FetchContext) -> TokenResponse:
    raise AssertionError


class _Later:
    async def __call__(self, context: FetchContext) -> TokenResponse:
        raise AssertionError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((5,), "Custom: fetch: expected a function, got int"),
        ((_later,), "Custom: fetch: expected a plain function, got a coroutine function"),
        ((_Later(),), "Custom: fetch: expected a plain function, got a coroutine function"),
        ((print, ""), "Custom: identity: expected a non-empty text"),
        ((print, 7), "Custom: identity: expected a text, got int"),
    ],
)
def test_what_is_no_custom(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Custom(*given)


def test_a_coroutine_that_is_returned_is_no_token_and_warns_of_nothing(start) -> None:
    start(fetch=lambda context: _later(context))
    assert "got coroutine" in str(failed())


def test_two_are_the_same_by_their_identity_else_by_their_function() -> None:
    one, other = Vault(), Vault()
    assert Custom(one, "a") == Custom(other, identity="a")
    assert hash(Custom(one, "a")) == hash(Custom(other, "a"))
    assert Custom(one, "a") != Custom(one, "b")
    assert Custom(one, "a") != Custom(one)
    assert Custom(one) == Custom(one)
    assert Custom(one) != Custom(other)
    assert Custom(one) != ClientCredentials("id")


def test_it_asks_no_provider() -> None:
    with pytest.raises(ConfigError, match="expected credentials that ask a provider, got Custom"):
        oidc.get_token(OIDCConfig(token_endpoint=ISSUER), Custom(Vault()))


# --- a fleet ------------------------------------------------------------------------------------------------------------


def test_members_of_a_fleet_share_what_one_call_brought(vault: Vault) -> None:
    store = MemoryStore()
    vault.script = [TokenResponse.new("a", expires_in=300, refresh_token="r", extra={"url": "https://eu1"})]
    for number in range(3):
        TokenManager.start_link(auth=Custom(vault, identity="app"), store=store, name=f"m{number}")
    tokens = [TokenManager.get_token(f"m{number}") for number in range(3)]
    assert {token.access_token for token in tokens} == {"a"}
    assert [token.extra["url"] for token in tokens] == ["https://eu1"] * 3
    assert vault.calls == 1
    TokenManager.start_link(auth=Custom(vault, identity="another"), store=store, name="another")
    assert TokenManager.get_access_token("another") == "t1"
    assert all(SECRET not in repr(record) for record in store.records.values())


def test_a_transport_may_be_given(start) -> None:
    transport = ScriptedTransport(minted("x"))

    def fetch(context: FetchContext) -> TokenResponse:
        response: Response = context.transport(Request("POST", ISSUER, {}))
        return TokenResponse.new(response.body.decode()[18:19], expires_in=10)

    start(fetch=fetch, transport=transport)
    assert TokenManager.get_access_token("m") == "x"


# --- other options ------------------------------------------------------------------------------------------------------


def test_another_function_of_the_same_identity_takes_over_and_keeps_the_token(start, vault, clock: ManualClock) -> None:
    vault.script = [TokenResponse.new("a", expires_in=300, refresh_token="r")]
    start(identity="app")
    assert TokenManager.get_access_token("m") == "a"
    other = Vault()
    TokenManager.replace("m", auth=Custom(other, identity="app"), rng=Fixed(0))
    assert TokenManager.get_access_token("m", timeout=0) == "a"
    clock.advance(245)
    eventually(lambda: TokenManager.get_access_token("m") == "t1")
    assert (vault.calls, other.calls) == (1, 1)
    assert other.seen[0].previous is not None
    assert other.seen[0].previous.refresh_token == "r"


def test_another_identity_replaces_the_token_and_gets_nothing_of_the_former(start, vault, clock: ManualClock) -> None:
    vault.script = [TokenResponse.new("a", expires_in=300, refresh_token="r")]
    start(identity="app")
    assert TokenManager.get_access_token("m") == "a"
    clock.advance(2)
    other = Vault()
    TokenManager.replace("m", auth=Custom(other, identity="another"))
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert other.seen[0].previous is None
    refusing = Vault(down(retryable=False))
    clock.advance(2)
    with pytest.raises(NoTokenError, match="the vault is sealed"):
        TokenManager.replace("m", auth=Custom(refusing, identity="refused"))
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
