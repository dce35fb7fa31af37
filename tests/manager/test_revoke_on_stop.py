"""``revoke_on_stop``: an orderly end has the provider take the token back (RFC 7009), best effort and with a deadline."""

import logging
import os
import threading

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport, failing, metadata, minted, refused
from manager.test_fork import in_child
from managers import Start
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import ConfigError, OIDCConfig, Password, RefreshToken, TokenManager
from oidc_actor.machine.events import ResultReady
from oidc_actor.manager import provider_requests, token_manager
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.transport import Request, Response
from supervision import ChildSpec, DynamicSupervisor, Supervisor

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token", revocation_endpoint=f"{ISSUER}/revoke")
DONE = Response(200)


class Revoking(ScriptedTransport):
    """A provider that revokes: keeps these requests apart from the others, and answers them with `verdict`."""

    def __init__(self, *answers, **options) -> None:
        super().__init__(*answers, **options)
        self.discovery = metadata(ISSUER, revocation_endpoint=CONFIG.revocation_endpoint)
        self.revocations: list[Request] = []
        self.verdict: object = DONE

    def __call__(self, request: Request, /) -> Response:
        if request.url != CONFIG.revocation_endpoint:
            return super().__call__(request)
        self.revocations.append(request)
        if callable(self.verdict):
            return self.verdict(request)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        assert isinstance(self.verdict, Response)
        return self.verdict

    @property
    def revoked(self) -> list[bytes]:
        return [request.body for request in self.revocations]


@pytest.fixture
def transport() -> Revoking:
    return Revoking()


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.INFO, "oidc_actor")

    def named(event):
        return [record.fields for record in caplog.records if record.name == "oidc_actor" and record.event == event]

    return named


def test_a_stop_revokes_the_token_before_it_returns(start: Start, transport, logged) -> None:
    start(name="m", revoke_on_stop=True)
    assert TokenManager.get_access_token("m") == "t1"
    TokenManager.stop("m")
    assert transport.revoked == [b"token=t1&token_type_hint=access_token"]
    assert transport.revocations[0].headers["Authorization"] == transport.posts[0].headers["Authorization"]
    assert [fields["token_type"] for fields in logged("token_revoked")] == ["access_token"]
    assert not logged("revocation_failed")


def test_it_is_off_by_default(start: Start, transport) -> None:
    start(name="m")
    TokenManager.get_access_token("m")
    TokenManager.stop("m")
    assert not transport.revocations


def test_nobody_reads_the_token_while_it_is_revoked(start: Start, transport) -> None:
    seen = []

    def look(request: Request) -> Response:
        try:
            seen.append(TokenManager.get_access_token("m", timeout=0))
        except supervision.NoProcess:
            seen.append(None)
        return DONE

    transport.verdict = look
    start(name="m", revoke_on_stop=True)
    TokenManager.get_access_token("m")
    TokenManager.stop("m")
    assert seen == [None]


def test_a_refresh_token_that_came_with_it_is_revoked_first(start: Start, transport) -> None:
    transport.then(minted("a", refresh_token="r"))
    start(name="m", auth=Password("u", "p", "id", "secret", scopes="x", audience="y"), revoke_on_stop=True)
    TokenManager.get_access_token("m")
    TokenManager.stop("m")
    assert transport.revoked == [b"token=r&token_type_hint=refresh_token", b"token=a&token_type_hint=access_token"]


def test_a_refresh_token_that_the_user_configured_stays(start: Start, transport) -> None:
    transport.then(minted("a", refresh_token="rotated"))
    start(name="m", auth=RefreshToken("given", "id", "secret"), revoke_on_stop=True)
    TokenManager.get_access_token("m")
    TokenManager.stop("m")
    assert transport.revoked == [b"token=a&token_type_hint=access_token"]


@pytest.mark.parametrize("revoke", [True, False])
def test_a_token_that_is_under_way_is_revoked_when_it_comes(start: Start, transport, revoke: bool) -> None:
    transport.then(minted("a", refresh_token="r"))
    with transport.held_back():
        start(name="m", oidc_config=CONFIG, auth=Password("u", "p", "id"), revoke_on_stop=revoke)
        transport.wait_for_posts(1)
        TokenManager.stop("m")
        assert not transport.revocations
    eventually(lambda: len(transport.revocations) == 2 * revoke and not HTTP_WORKERS.value.busy)
    expected = [b"token=r&token_type_hint=refresh_token", b"token=a&token_type_hint=access_token"]
    assert [body.removesuffix(b"&client_id=id") for body in transport.revoked] == expected * revoke


def test_a_token_that_has_come_and_was_not_taken_yet_is_revoked(
    start: Start, transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = threading.Event()
    monkeypatch.setitem(token_manager._HANDLERS, ResultReady, lambda *_: came.set())
    start(name="m", oidc_config=CONFIG, revoke_on_stop=True)
    assert came.wait(DEADLINE_S)
    TokenManager.stop("m")
    assert transport.revoked == [b"token=t1&token_type_hint=access_token"]


def test_a_token_that_comes_after_a_kill_is_left_to_a_successor(start: Start, transport) -> None:
    with transport.held_back():
        start(name="m", oidc_config=CONFIG, revoke_on_stop=True)
        transport.wait_for_posts(1)
        supervision.kill("m")
    eventually(lambda: not HTTP_WORKERS.value.busy)
    assert not transport.revocations
    start(name="m", oidc_config=CONFIG, revoke_on_stop=True)
    assert TokenManager.get_access_token("m") == "t1"
    assert len(transport.posts) == 1


def test_an_expired_token_is_left_alone(start: Start, transport, clock) -> None:
    start(name="m", revoke_on_stop=True)
    TokenManager.get_access_token("m")
    transport.goes_down(failing(500))
    clock.advance(301)
    TokenManager.stop("m")
    assert not transport.revocations


@pytest.mark.parametrize(
    ("verdict", "status", "code"),
    [(failing(503), 503, None), (refused("unsupported_token_type"), 400, "unsupported_token_type")],
)
def test_a_failure_is_logged_and_the_stop_goes_on(start: Start, transport, logged, verdict, status, code) -> None:
    transport.verdict = verdict
    start(name="m", revoke_on_stop=True)
    TokenManager.get_access_token("m")
    TokenManager.stop("m")
    (fields,) = logged("revocation_failed")
    assert (fields["status"], fields["code"]) == (status, code)
    assert supervision.whereis("m") is None


def test_a_transport_that_breaks_costs_nothing_but_the_revocation(start: Start, transport, logged) -> None:
    transport.verdict = ValueError("t1")
    start(name="m", revoke_on_stop=True)
    TokenManager.get_access_token("m")
    TokenManager.stop("m")
    assert "ValueError" in logged("revocation_failed")[0]["error"]


def test_a_provider_without_the_endpoint_is_reported(start: Start, transport, logged) -> None:
    transport.discovery = metadata(ISSUER)
    start(name="m", revoke_on_stop=True)
    TokenManager.get_access_token("m")
    TokenManager.stop("m")
    assert "revocation_endpoint" in logged("revocation_failed")[0]["error"]
    assert not transport.revocations


def test_metadata_of_ones_own_without_the_endpoint_are_an_error_before_anything_starts(start: Start) -> None:
    config = OIDCConfig(token_endpoint=CONFIG.token_endpoint)
    with pytest.raises(
        ConfigError, match="revoke_on_stop: expected an issuer_url, or an oidc_config with a revocation_endpoint"
    ):
        start(oidc_config=config, revoke_on_stop=True)
    with pytest.raises(ConfigError, match="revoke_on_stop: expected True or False, got 'yes'"):
        start(oidc_config=CONFIG, revoke_on_stop="yes")


@pytest.mark.P10
def test_a_provider_that_never_answers_holds_the_stop_up_to_the_deadline_only(start: Start, transport) -> None:
    go = threading.Event()
    transport.verdict = lambda request: (go.wait(DEADLINE_S), DONE)[1]
    start(name="m", oidc_config=CONFIG, revoke_on_stop=True, timeout_seconds=0.05)
    TokenManager.get_access_token("m")
    TokenManager.stop("m")
    assert transport.revocations[0].timeout_s <= 0.05
    assert not go.is_set()
    go.set()


def test_a_provider_that_asked_to_be_left_alone_is(start: Start, transport, clock, logged) -> None:
    start(name="m", revoke_on_stop=True)
    TokenManager.get_access_token("m")
    transport.then(failing(429, Retry_After="60"))
    clock.advance(241)
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    TokenManager.stop("m")
    assert not transport.revocations
    assert "asked to wait" in logged("revocation_failed")[0]["error"]


def test_a_crash_revokes_nothing_and_the_end_of_its_supervisor_does(transport, clock) -> None:
    options = {"transport": transport, "clock": clock, "oidc_config": CONFIG, "revoke_on_stop": True}
    supervisor = Supervisor.start_link([TokenManager.child_spec(name="m", auth=AUTH, **options)])
    before = supervision.whereis("m")
    assert TokenManager.get_access_token("m") == "t1"
    supervision.kill("m")
    eventually(lambda: supervision.whereis("m") not in (None, before))
    assert TokenManager.get_access_token("m") == "t1"
    assert not transport.revocations
    Supervisor.stop(supervisor, timeout=DEADLINE_S)
    assert transport.revoked == [b"token=t1&token_type_hint=access_token"]


@pytest.mark.P12
def test_many_that_stop_at_once_need_no_thread_each(transport, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        provider_requests, "REVOCATION_S", DEADLINE_S
    )  # else a busy machine has none left for the last ones
    most, now, lock = 0, 0, threading.Lock()

    def count(request: Request) -> Response:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, threading.active_count())
        with lock:
            now -= 1
        return DONE

    transport.verdict = count
    options = {"transport": transport, "clock": clock, "oidc_config": CONFIG, "revoke_on_stop": True}
    supervisor = DynamicSupervisor.start_link()
    spec = TokenManager.child_spec(auth=AUTH, **options)
    refs = [DynamicSupervisor.start_child(supervisor, spec) for _ in range(300)]
    for ref in refs:
        TokenManager.get_access_token(ref)
    before = threading.active_count()
    DynamicSupervisor.stop(supervisor, timeout=DEADLINE_S)
    eventually(lambda: len(transport.revocations) == len(refs))
    assert most <= before + 32 + 32 + 8  # those that wait, those for HTTP, and a few that stand in


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_does_not_revoke_its_parents_token(start: Start, transport, clock) -> None:
    start(name="m", oidc_config=CONFIG, revoke_on_stop=True)
    assert TokenManager.get_access_token("m") == "t1"

    def check() -> None:
        assert TokenManager.get_access_token("m") == "t1"
        TokenManager.stop("m")
        assert not transport.revocations

    def check_own() -> None:
        assert TokenManager.get_access_token("m") == "t1"
        TokenManager.force_refresh("m", wait=True)
        assert TokenManager.get_access_token("m") == "t2"
        TokenManager.stop("m")
        assert transport.revoked == [b"token=t2&token_type_hint=access_token"]

    in_child(check)
    clock.advance(2)
    in_child(check_own)


def test_it_is_kept_for_a_restart_by_a_specification() -> None:
    spec = TokenManager.child_spec(auth=AUTH, oidc_config=CONFIG, revoke_on_stop=True)
    assert isinstance(spec, ChildSpec)
    assert spec.kwargs["revoke_on_stop"] is True
