"""A manager for one resource: whose metadata name the issuer, before any secret is sent; and each request names it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes import AUTH, ISSUER, UNREACHABLE, Fixed, failing, form_of, metadata, minted
from managers import Start
from threads import eventually

from oidc_actor import (
    ClientCredentials,
    ConfigError,
    DiscoveryError,
    IdentityAssertion,
    NoTokenError,
    OIDCConfig,
    Password,
    RefreshToken,
    TokenManager,
)
from oidc_actor.machine.state import METADATA_AGE_S
from oidc_actor.manager.options import check_options
from oidc_actor.manager.shared_store import record_key
from oidc_actor.testing import MemoryStore
from oidc_actor.transport import Request, Response
from supervision import Supervisor, kill, whereis

API, OTHER = "https://api.example.com/mcp", "https://other.example.com"
OF_API = "https://api.example.com/.well-known/oauth-protected-resource/mcp"

Answers = Callable[[Request], Response]


def documents(resource: str = API, issuer: str = ISSUER) -> Answers:
    """The issuer's metadata, and those of each resource, which names that issuer."""

    def answer(request: Request) -> Response:
        if request.url.startswith(ISSUER):
            return metadata()
        asked = request.url.replace("/.well-known/oauth-protected-resource", "")
        named = {API: resource}.get(asked, asked)
        return Response(200, {}, f'{{"resource": "{named}", "authorization_servers": ["{issuer}"]}}')

    return answer


def failed(name: str) -> DiscoveryError:
    eventually(lambda: TokenManager.health(name).consecutive_failures > 0)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token(name, timeout=0)
    assert isinstance(caught.value.cause, DiscoveryError)
    return caught.value.cause


@pytest.mark.P7
def test_the_resource_is_asked_first_and_named_in_each_request(start: Start, transport, clock) -> None:
    transport.discovery = documents()
    ref = start(resource_url=API)
    TokenManager.get_token(ref)
    clock.advance(1)
    TokenManager.force_refresh(ref, wait=True)
    openid = f"{ISSUER}/.well-known/openid-configuration"
    assert [request.url for request in transport.requests[:3]] == [openid, OF_API, f"{ISSUER}/token"]
    assert [form["resource"] for form in transport.forms] == [API, API]
    assert [request.url for request in transport.gets] == [openid, OF_API]


@pytest.mark.P7
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"issuer": "https://evil.example.com"},
            f"expected the issuer '{ISSUER}' among them, got https://evil.example.com",
        ),
        ({"resource": "https://evil.example.com"}, f"expected the resource '{API}', byte for byte"),
    ],
)
def test_a_mismatch_sends_no_secret_anywhere_and_is_asked_again(wrong, message, start: Start, transport, clock) -> None:
    transport.discovery = documents(**wrong)
    start(name="m", resource_url=API)
    error = failed("m")
    assert message in str(error)
    assert f"discovery of the resource {API} at {OF_API} failed" in str(error)
    assert transport.posts == []
    assert not TokenManager.health("m").blocked
    transport.discovery = documents()
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P3
def test_managers_of_one_resource_share_the_request(start: Start, transport) -> None:
    transport.discovery = documents()
    with transport.held_back():
        refs = [start(resource_url=url) for url in (API, OTHER) for _ in range(5)]
        transport.wait_for_requests(1)
        for ref in refs:
            TokenManager.health(ref)
    for ref in refs:
        TokenManager.get_token(ref)
    late = start(resource_url=API)
    TokenManager.get_token(late)
    assert sorted(request.url.split("/")[2] for request in transport.gets) == [
        "api.example.com",
        "auth.example.com",
        "other.example.com",
    ]
    assert {form["resource"] for form in transport.forms} == {API, OTHER}


@pytest.mark.parametrize(
    "answer", [UNREACHABLE, failing(503), failing(503, Retry_After="60"), failing(429, Retry_After="60")]
)
def test_a_resource_that_is_down_is_no_fault_of_the_issuer(answer, start: Start, transport, clock) -> None:
    good = documents()
    down = True

    def discovery(request: Request) -> Response:
        if down and not request.url.startswith(ISSUER):
            if isinstance(answer, Exception):
                raise answer
            return answer
        return good(request)

    transport.discovery = discovery
    start(name="m", resource_url=API)
    failed("m")
    assert TokenManager.get_access_token(start(), timeout=2) == "t1"
    down = False
    clock.advance(61)
    assert TokenManager.get_access_token("m") == "t2"


@pytest.mark.P4
def test_a_resource_that_changes_its_mind_takes_no_token_away(start: Start, transport, clock) -> None:
    transport.lifetime, transport.discovery = 10 * METADATA_AGE_S, documents()
    ref = start(resource_url=API)
    TokenManager.get_token(ref)
    transport.discovery = documents(issuer="https://evil.example.com")
    clock.advance(METADATA_AGE_S + 1)
    TokenManager.force_refresh(ref, wait=True)
    assert TokenManager.get_access_token(ref) == "t2"
    assert [request.url for request in transport.gets].count(OF_API) == 2


@pytest.mark.P4
def test_a_restarted_manager_knows_what_was_verified(transport, clock) -> None:
    transport.discovery = documents()
    given = {"auth": AUTH, "issuer_url": ISSUER, "transport": transport, "clock": clock, "rng": Fixed(0)}
    supervisor = Supervisor.start_link([TokenManager.child_spec(name="m", resource_url=API, **given)])
    TokenManager.get_token("m")
    kill("m")
    clock.advance(1)
    eventually(lambda: (ref := whereis("m")) is not None and ref.is_alive() and TokenManager.health("m").ready)
    TokenManager.force_refresh("m", wait=True)
    assert [request.url for request in transport.gets].count(OF_API) == 1
    assert [form["resource"] for form in transport.forms] == [API, API]
    Supervisor.stop(supervisor)


@pytest.mark.parametrize(
    ("given", "option", "message"),
    [
        (
            {"oidc_config": OIDCConfig(token_endpoint="https://id.example/token"), "issuer_url": None},
            ("resource_url",),
            "expected an issuer_url beside it",
        ),
        (
            {"auth": ClientCredentials("id", "s", resource=OTHER)},
            ("auth", "resource"),
            "expected none beside resource_url",
        ),
        ({"auth": ClientCredentials("id", "s", resource=[API, OTHER])}, ("auth", "resource"), "expected none"),
        ({"resource_url": "http://api.example.com"}, ("resource_url",), "expected https, got plain http"),
        ({"resource_url": OF_API}, ("resource_url",), "leave '/.well-known/oauth-protected-resource' out"),
        ({"resource_url": 5}, ("resource_url",), "expected an https URL, got int"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(given, option, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_options({"auth": AUTH, "issuer_url": ISSUER, "resource_url": API} | given)
    assert caught.value.option == option


@pytest.mark.parametrize("resource", [None, API, [API]])
def test_the_same_resource_may_be_said_twice(resource) -> None:
    options = check_options(
        {"auth": ClientCredentials("id", "s", resource=resource), "issuer_url": ISSUER, "resource_url": API}
    )
    assert options.auth.resource == API
    assert options.auth == ClientCredentials("id", "s", resource=API)


def test_a_token_is_shared_with_members_of_the_same_resource_only() -> None:
    def key(**given: object) -> str:
        options = check_options({"auth": AUTH, "issuer_url": ISSUER, "store": MemoryStore()} | given)
        return record_key(options, None)

    assert key(resource_url=API) == key(resource_url=API)
    told = [key(), key(resource_url=API), key(resource_url=f"{API}/"), key(resource_url=OTHER)]
    told += [key(resource_url=API, auth=Password("u", "p")), key(resource_url=API, issuer_url="https://x.example")]
    assert len(set(told)) == len(told)
    # The token of either is for that resource: they may take turns.
    assert key(resource_url=API) == key(auth=ClientCredentials("id", "a-client-secret", resource=API))


def test_the_users_of_two_identity_providers_share_no_token() -> None:
    def key(provider: str | OIDCConfig) -> str:
        auth = IdentityAssertion("a-token", "id", "s", identity_provider=provider)
        given = {"auth": auth, "issuer_url": ISSUER, "store": MemoryStore(), "store_key": "alice"}
        return record_key(check_options(given), None)

    providers = ["https://a.example", "https://b.example", OIDCConfig(token_endpoint="https://c.example/t")]
    assert len({key(one) for one in providers}) == 3
    assert key(OIDCConfig(issuer="https://a.example", token_endpoint="https://a.example/t")) == key("https://a.example")


def test_another_resource_is_another_identity() -> None:
    one = check_options({"auth": AUTH, "issuer_url": ISSUER, "resource_url": API})
    same = check_options({"auth": AUTH, "issuer_url": ISSUER, "resource_url": API})
    other = check_options({"auth": AUTH, "issuer_url": ISSUER, "resource_url": OTHER})
    unverified = replace(one, resource_url=None)
    assert one.identity == same.identity
    assert len({one.identity, other.identity, unverified.identity}) == 3


def test_another_resource_for_the_same_login_is_verified_and_the_login_redeemed_by_one(
    start: Start, transport, clock
) -> None:
    transport.discovery = documents()
    logins = iter(("r1", "r2", "r3"))

    def rotated(request: Request) -> Response:
        return minted(f"of-{form_of(request)['resource']}", refresh_token=next(logins))

    transport.default = rotated
    login = RefreshToken("r0", "id", "s")
    start(name="m", auth=login, resource_url=API)
    assert TokenManager.get_access_token("m") == f"of-{API}"
    given = {"issuer_url": ISSUER, "transport": transport, "clock": clock, "rng": Fixed(0)}
    clock.advance(1)
    TokenManager.replace("m", auth=login, resource_url=OTHER, **given)
    eventually(lambda: TokenManager.get_access_token("m") == f"of-{OTHER}")
    assert [form["refresh_token"] for form in transport.forms] == ["r0", "r1"]
    assert [request.url.split("/")[2] for request in transport.gets] == [
        "auth.example.com",
        "api.example.com",
        "other.example.com",
    ]
