"""Discovery, and what the managers of one issuer share."""

import pytest
from fakes import AUTH, ISSUER, UNREACHABLE, Fixed, ScriptedTransport, failing, form_of, metadata, minted, refused
from managers import Start, settled
from threads import DEADLINE_S, eventually

from oidc_actor import ClientCredentials, DiscoveryError, NoTokenError, OIDCConfig, Password, TokenManager
from oidc_actor.machine.state import METADATA_AGE_S
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.transport import Request, Response

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint="https://auth.example.com/elsewhere")


# --- discovery --------------------------------------------------------------------------------------------------------------


@pytest.mark.P7
def test_the_token_endpoint_is_discovered(start: Start, transport) -> None:
    TokenManager.get_token(start())
    assert [(request.method, request.url) for request in transport.requests] == [
        ("GET", f"{ISSUER}/.well-known/openid-configuration"),
        ("POST", f"{ISSUER}/token"),
    ]


def test_given_metadata_need_no_discovery(start: Start, transport) -> None:
    TokenManager.get_token(start(oidc_config=CONFIG))
    assert [request.url for request in transport.requests] == [CONFIG.token_endpoint]


@pytest.mark.P7
@pytest.mark.parametrize("named", [ISSUER + "/", ISSUER.upper(), "https://evil.example.com", None])
def test_an_issuer_that_is_not_the_same_byte_for_byte_is_retryable(named, start: Start, transport, clock) -> None:
    transport.discovery = metadata(ISSUER, issuer=named)
    start(name="m")
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token("m", timeout=0)
    assert isinstance(caught.value.cause, DiscoveryError)
    assert transport.posts == []
    assert not TokenManager.health("m").blocked
    transport.comes_up()
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P7
@pytest.mark.parametrize(
    "answer",
    [
        failing(500),
        Response(200, {}, "<html>"),
        Response(302, {"Location": "https://x"}),
        UNREACHABLE,
        metadata(token_endpoint="http://plain.example.com"),
    ],
    ids=["500", "html", "redirect", "unreachable", "plain http"],
)
def test_a_failed_discovery_is_retried(answer, start: Start, transport, clock) -> None:
    transport.discovery = answer
    start(name="m")
    transport.wait_for_requests(1)
    settled("m")
    transport.discovery = metadata()
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P6
def test_managers_of_one_issuer_share_one_discovery(start: Start, transport) -> None:
    with transport.held_back():
        refs = [start() for _ in range(20)]
        transport.wait_for_requests(1)
    tokens = {TokenManager.get_access_token(ref, timeout=DEADLINE_S) for ref in refs}
    assert len(tokens) == 20
    assert len(transport.gets) == 1
    refs.append(start())
    TokenManager.get_token(refs[-1])
    assert len(transport.gets) == 1
    configs = [cell_of(ref).state.oidc_config for ref in refs]
    assert all(config is configs[0] for config in configs)


def cell_of(ref):
    from oidc_actor.reading.directory import locate

    return locate(ref)


def test_a_shared_discovery_that_fails_fails_for_all(start: Start, transport) -> None:
    transport.discovery = UNREACHABLE
    with transport.held_back():
        refs = [start(rng=Fixed(1)) for _ in range(5)]
        transport.wait_for_requests(1)
    for ref in refs:
        eventually(lambda: TokenManager.health(ref).consecutive_failures == 1)  # noqa: B023
    assert len(transport.gets) == 1


def test_managers_of_different_transports_share_nothing() -> None:
    transports = [ScriptedTransport(), ScriptedTransport()]
    for transport in transports:
        TokenManager.get_token(TokenManager.start_link(auth=AUTH, issuer_url=ISSUER, transport=transport))
        assert len(transport.gets) == 1


@pytest.mark.P7
def test_metadata_are_renewed_when_they_are_old(start: Start, transport, clock) -> None:
    transport.lifetime = 10 * METADATA_AGE_S
    ref = start()
    TokenManager.get_token(ref)
    clock.advance(METADATA_AGE_S + 1)
    TokenManager.force_refresh(ref, wait=True)
    assert len(transport.gets) == 2


OPENID, OAUTH = (f"{ISSUER}/.well-known/{name}" for name in ("openid-configuration", "oauth-authorization-server"))


def only_rfc_8414(request: Request) -> Response:
    return metadata() if request.url == OAUTH else failing(404)


@pytest.mark.P7
def test_a_server_that_is_no_openid_provider_is_found_and_asked_there_again(start: Start, transport, clock) -> None:
    transport.lifetime, transport.discovery = 10 * METADATA_AGE_S, only_rfc_8414
    ref = start()
    TokenManager.get_token(ref)
    assert [request.url for request in transport.gets] == [OPENID, OAUTH]
    clock.advance(METADATA_AGE_S + 1)
    TokenManager.force_refresh(ref, wait=True)
    start(name="another")
    TokenManager.get_token("another")
    assert [request.url for request in transport.gets] == [OPENID, OAUTH, OAUTH]


@pytest.mark.P7
@pytest.mark.P6
def test_in_an_outage_no_other_document_is_asked_for(start: Start, transport, clock) -> None:
    transport.discovery = lambda request: metadata() if request.url == OAUTH else failing(503)
    start(name="m")
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    assert [request.url for request in transport.gets] == [OPENID]
    transport.discovery = only_rfc_8414
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P7
def test_old_metadata_serve_where_they_cannot_be_renewed(start: Start, transport, clock) -> None:
    transport.lifetime = 10 * METADATA_AGE_S
    ref = start()
    TokenManager.get_token(ref)
    clock.advance(METADATA_AGE_S + 1)
    transport.discovery = failing(500)
    TokenManager.force_refresh(ref, wait=True)
    assert TokenManager.get_access_token(ref) == "t2"


@pytest.mark.P7
@pytest.mark.parametrize("status", [404, 405])
def test_a_token_endpoint_that_moved_is_found_again(status: int, start: Start, transport, clock) -> None:
    def moved(request: Request) -> Response:
        return minted("new") if request.url == f"{ISSUER}/moved" else Response(status, {}, "gone")

    start(name="m")
    TokenManager.get_token("m")
    transport.default = moved
    transport.discovery = metadata(token_endpoint=f"{ISSUER}/moved")
    clock.advance(240)
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    settled("m")
    clock.advance(1)
    eventually(lambda: TokenManager.get_access_token("m") == "new")


# --- requests ---------------------------------------------------------------------------------------------------------------


def test_the_clients_authentication_is_sent_with_every_grant_and_refresh(start: Start, transport, clock) -> None:
    transport.then(minted("a", refresh_token="r1"), minted("b"))
    start(name="m", auth=Password("user", "pass", "id", "a-client-secret", scopes=["x", "y"]))
    TokenManager.get_token("m")
    clock.advance(240)
    eventually(lambda: TokenManager.get_access_token("m") == "b")
    first, second = transport.posts
    assert form_of(first) == {"grant_type": "password", "username": "user", "password": "pass", "scope": "x y"}
    assert form_of(second) == {"grant_type": "refresh_token", "refresh_token": "r1", "scope": "x y"}
    assert first.headers["Authorization"] == second.headers["Authorization"]
    assert first.timeout_s == 10


def test_the_timeout_is_the_requests(start: Start, transport) -> None:
    TokenManager.get_token(start(timeout_seconds=3))
    assert {request.timeout_s for request in transport.requests} == {3}


@pytest.mark.P5
def test_a_transport_that_raises_anything_ends_nothing(start: Start, transport, clock) -> None:
    for error in (ValueError("x"), SystemExit("x"), KeyboardInterrupt()):

        def fails(request: Request, error: BaseException = error) -> Response:
            raise error

        transport.then(fails)
    start(name="m")
    for failures in (1, 2, 3):
        eventually(lambda: TokenManager.health("m").consecutive_failures == failures)  # noqa: B023
        clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


# --- outages ----------------------------------------------------------------------------------------------------------------


@pytest.mark.P6
def test_one_managers_retry_after_holds_the_others(start: Start, transport, clock) -> None:
    transport.then(failing(429, Retry_After="30"))
    first = start()
    with pytest.raises(NoTokenError):
        TokenManager.get_token(first)
    second = start()
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token(second)
    assert caught.value.retry_in_s == 30
    TokenManager.force_refresh(second)
    clock.advance(29)
    assert TokenManager.health(second).next_attempt_in_s == 1
    assert len(transport.posts) == 1
    clock.advance(1)
    assert {TokenManager.get_access_token(first), TokenManager.get_access_token(second)} == {"t1", "t2"}


@pytest.mark.P6
def test_in_an_outage_one_manager_probes_and_its_success_frees_the_rest(start: Start, transport, clock) -> None:
    refs = [start(rng=Fixed(1)) for _ in range(10)]
    for ref in refs:
        TokenManager.get_token(ref)
    transport.goes_down(failing(503))
    requests = len(transport.requests)
    clock.advance(240)
    for ref in refs:
        eventually(lambda: (h := TokenManager.health(ref)).consecutive_failures or not h.refreshing)  # noqa: B023
    for _ in range(20):
        clock.advance(0.5)
        for ref in refs:
            settled(ref)
    assert len(transport.requests) - requests < 40
    assert all(TokenManager.health(ref).ready for ref in refs)
    transport.comes_up()
    for _ in range(60):
        clock.advance(0.5)
        for ref in refs:
            settled(ref)
    assert [TokenManager.health(ref).refreshes for ref in refs] == [2] * 10


def test_another_managers_refusal_is_its_own(start: Start, transport) -> None:
    transport.then(refused("invalid_client", 401))
    blocked = start()
    with pytest.raises(NoTokenError):
        TokenManager.get_token(blocked)
    assert TokenManager.get_access_token(start(auth=ClientCredentials("other", "secret"))) == "t1"


def test_the_backoff_ends_when_the_last_manager_that_knew_of_the_outage_has_stopped(start: Start, transport) -> None:
    transport.goes_down(UNREACHABLE)
    ref = start()
    transport.wait_for_requests(1)
    settled(ref)
    TokenManager.stop(ref)
    transport.comes_up()
    assert TokenManager.get_access_token(start()) == "t1"


def test_the_failure_of_a_manager_that_has_stopped_meanwhile_holds_nobody(start: Start, transport, clock) -> None:
    second = start()
    TokenManager.get_token(second)
    clock.advance(239)
    transport.then(failing(503))
    with transport.held_back():
        first = start()
        transport.wait_for_posts(2)
        TokenManager.stop(first)
    eventually(lambda: not HTTP_WORKERS.value.busy, "the end of its exchange")
    clock.advance(1)
    eventually(lambda: TokenManager.health(second).refreshes == 2, "a refresh that nothing holds back")
