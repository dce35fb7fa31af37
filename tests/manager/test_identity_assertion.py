"""`IdentityAssertion`: two steps for each token, whose statement is used once, and whose failures bind the right party."""

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from fakes import Fixed, failing, form_of, metadata, minted, refused
from managers import Start
from threads import eventually

from oidc_actor import (
    ClientCredentials,
    ConfigError,
    IdentityAssertion,
    IdentityProviderError,
    ManagerToken,
    NoTokenError,
    OIDCConfig,
    Overlap,
    SecretFile,
    TokenExchange,
    TokenManager,
    TokenRequestError,
    oidc,
)
from oidc_actor.credentials.grants import parse_auth
from oidc_actor.manager.log import observe
from oidc_actor.testing import ManualClock
from oidc_actor.transport import Request, Response

IDP, SERVER, API = "https://idp.example.com", "https://auth.example.com", "https://api.example.com/mcp"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
CONFIG = OIDCConfig(issuer=SERVER, token_endpoint=f"{SERVER}/token")
IDP_CONFIG = OIDCConfig(issuer=IDP, token_endpoint=f"{IDP}/token")
Answers = list[Response]


def statement(text: str, **members: Any) -> Response:
    found = {"access_token": text, "issued_token_type": ID_JAG, "token_type": "N_A", "expires_in": 300} | members
    return Response(200, {}, json.dumps({name: one for name, one in found.items() if one is not None}))


class TwoParties:
    """An identity provider and an authorization server in memory, which takes each statement once."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.next: dict[str, Answers] = {IDP: [], SERVER: []}
        self.down: dict[str, Response] = {}
        self.fresh: set[str] = set()

    def __call__(self, request: Request, /) -> Response:
        self.requests.append(request)
        party = IDP if request.url.startswith(IDP) else SERVER
        if party in self.down:
            return self.down[party]
        if request.method == "GET":
            return metadata(party)
        if self.next[party]:
            return self.next[party].pop(0)
        number = len(self.posts(party))
        if party == IDP:
            self.fresh.add(f"statement-{number}")
            return statement(f"statement-{number}")
        used = form_of(request)["assertion"]
        if used not in self.fresh:
            return refused("invalid_grant", description=f"the assertion {used} was used before")
        self.fresh.remove(used)
        return minted(f"t{number}")

    def posts(self, party: str) -> list[Request]:
        return [one for one in list(self.requests) if one.url.startswith(party) and one.method == "POST"]

    def forms(self, party: str) -> list[Mapping[str, str]]:
        return [form_of(one) for one in self.posts(party)]

    def gets(self, party: str) -> int:
        return sum(one.url.startswith(party) and one.method == "GET" for one in list(self.requests))


@pytest.fixture
def transport() -> TwoParties:
    return TwoParties()


def assertion(subject: Any = "the-id-token", **options: Any) -> IdentityAssertion:
    given = {"identity_provider": IDP, "identity_client": "idp-client", "scopes": "read", "resource": API} | options
    return IdentityAssertion(subject, "id", "a-client-secret", **given)


def options(name: str = "api", **changes: Any) -> dict[str, Any]:
    return {"name": name, "auth": assertion(), "oidc_config": CONFIG, "rng": Fixed(1)} | changes


def failed(name: str = "api") -> BaseException | None:
    eventually(lambda: TokenManager.health(name).consecutive_failures and not TokenManager.health(name).refreshing)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token(name, timeout=0)
    return caught.value.cause


def test_both_steps_are_asked_for_what_they_need(start: Start, transport: TwoParties) -> None:
    start(**options(oidc_config=None, issuer_url=SERVER))
    assert TokenManager.get_access_token("api") == "t1"
    (first,), (second,) = transport.forms(IDP), transport.forms(SERVER)
    assert first == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "the-id-token",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "requested_token_type": ID_JAG,
        "scope": "read",
        "audience": SERVER,
        "resource": API,
        "client_id": "idp-client",
    }
    assert second == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "statement-1",
        "scope": "read",
        "resource": API,
    }
    assert transport.posts(SERVER)[0].headers["Authorization"].startswith("Basic ")
    assert "Authorization" not in transport.posts(IDP)[0].headers
    assert TokenManager.health("api").token_requests == 2


def test_each_token_has_a_statement_of_its_own_which_is_kept_nowhere(
    start: Start, transport: TwoParties, clock: ManualClock
) -> None:
    start(**options())
    for number in (1, 2, 3):
        eventually(lambda number=number: TokenManager.health("api").refreshes == number)
        clock.advance(250)
    assert [form["assertion"] for form in transport.forms(SERVER)] == ["statement-1", "statement-2", "statement-3"]
    assert transport.gets(IDP) == 1
    state = repr(TokenManager.health("api")) + repr(TokenManager.get_token("api"))
    assert "statement" not in state


def test_a_lost_answer_of_the_second_step_repeats_both(start: Start, transport: TwoParties, clock: ManualClock) -> None:
    transport.next[SERVER] = [failing(502)]
    start(**options())
    cause = failed()
    assert isinstance(cause, TokenRequestError)
    assert not isinstance(cause, IdentityProviderError)
    clock.advance(1)
    eventually(lambda: TokenManager.health("api").ready)
    assert [form["assertion"] for form in transport.forms(SERVER)] == ["statement-1", "statement-2"]


@pytest.mark.parametrize(
    ("answer", "text", "blocked"),
    [
        (refused("invalid_client", 401), "HTTP 401: invalid_client", True),
        (refused("invalid_grant"), "HTTP 400: invalid_grant", False),
        (failing(503), "HTTP 503", False),
        (statement("x", issued_token_type=None), "expected a statement", False),
        (
            statement("x", issued_token_type="urn:ietf:params:oauth:token-type:access_token"),
            "expected a statement",
            False,
        ),
    ],
)
def test_a_failed_first_step_says_so_and_the_second_is_not_asked(
    answer: Response, text: str, blocked: bool, start: Start, transport: TwoParties
) -> None:
    transport.next[IDP] = [answer]
    start(**options())
    cause = failed()
    assert isinstance(cause, IdentityProviderError)
    assert str(cause).startswith(f"the identity provider {IDP} gave no statement: token request failed: ")
    assert text in str(cause)
    assert cause.status == answer.status
    assert TokenManager.health("api").blocked is blocked
    assert transport.posts(SERVER) == []


def test_a_slow_probe_tries_one_of_two_secrets_at_the_identity_provider_too(
    start: Start, transport: TwoParties, clock: ManualClock
) -> None:
    transport.down[IDP] = refused("invalid_client", 401)
    client = ClientCredentials("idp-client", Overlap("new", "old"), client_auth="client_secret_post")
    start(**options(auth=assertion(identity_client=client, identity_provider=IDP_CONFIG)))
    failed()
    for probes in (1, 2):
        clock.advance(TokenManager.health("api").next_attempt_in_s or 0.0)
        eventually(lambda probes=probes: TokenManager.health("api").consecutive_failures == 1 + probes)
    assert [form["client_secret"] for form in transport.forms(IDP)] == ["new", "old", "new", "old"]


def test_an_error_that_repeats_the_statement_shows_none_of_it(start: Start, transport: TwoParties) -> None:
    transport.next[IDP] = [statement("a-statement-that-was-used")]
    start(**options())
    cause = failed()
    assert "a-statement" not in str(cause)
    assert "was used before" in str(cause)


def other_manager(start: Start, party: str) -> None:
    """A manager that asks one of the two on its own account, as another client."""
    config = OIDCConfig(issuer=party, token_endpoint=f"{party}/token")
    start(name="other", auth=TokenExchange("another", "other", "s"), oidc_config=config, rng=Fixed(1))


@pytest.mark.parametrize(("bound", "free"), [(IDP, SERVER), (SERVER, IDP)])
def test_a_wait_that_one_asks_for_binds_those_that_ask_it(
    bound: str, free: str, start: Start, transport: TwoParties, clock: ManualClock
) -> None:
    transport.next[bound] = [failing(503, Retry_After="100")]
    start(**options())
    failed()
    before = len(transport.posts(bound))
    transport.next[free] = [minted("other")]
    other_manager(start, free)
    assert TokenManager.get_access_token("other") == "other"
    TokenManager.stop("other")
    other_manager(start, bound)
    with pytest.raises(NoTokenError):
        TokenManager.get_token("other", timeout=0)
    TokenManager.force_refresh("api")
    clock.advance(50)
    assert TokenManager.health("other").token_requests == 0
    assert len(transport.posts(bound)) == before
    clock.advance(51)
    eventually(lambda: TokenManager.health("api").ready)


def test_many_managers_share_the_outage_of_their_identity_provider(
    start: Start, transport: TwoParties, clock: ManualClock
) -> None:
    transport.down[IDP] = failing(503)
    names = [f"m{number}" for number in range(20)]
    for name in names:
        start(**options(name))
        failed(name)
    asked = len(transport.requests)
    for _ in range(60):
        clock.advance(1)
        eventually(lambda: not any(TokenManager.health(name).refreshing for name in names))
    assert len(transport.requests) - asked < 30  # of one manager's backoff, not of twenty
    assert transport.posts(SERVER) == []
    del transport.down[IDP]
    for _ in range(70):
        clock.advance(1)
        eventually(lambda: not any(TokenManager.health(name).refreshing for name in names))
    assert all(TokenManager.health(name).ready for name in names)
    assert transport.gets(IDP) <= asked + 30


def test_while_the_authorization_server_is_down_no_statement_is_asked_for_in_vain(
    start: Start, transport: TwoParties, clock: ManualClock
) -> None:
    transport.down[SERVER] = failing(503)
    for name in ("a", "b"):
        start(**options(name))
        failed(name)
    for _ in range(20):
        clock.advance(1)
        eventually(lambda: not any(TokenManager.health(name).refreshing for name in ("a", "b")))
    assert len(transport.posts(IDP)) == len(transport.posts(SERVER))


def test_a_refresh_token_needs_no_statement_until_it_is_refused(
    start: Start, transport: TwoParties, clock: ManualClock
) -> None:
    transport.next[SERVER] = [minted("first", refresh_token="r1")]
    start(**options())
    eventually(lambda: TokenManager.health("api").refreshes == 1)
    transport.next[SERVER] = [minted("second", refresh_token="r1"), refused("invalid_grant")]
    clock.advance(250)
    eventually(lambda: TokenManager.health("api").refreshes == 2)
    assert len(transport.posts(IDP)) == 1
    clock.advance(250)
    eventually(lambda: TokenManager.health("api").refreshes == 3)
    assert len(transport.posts(IDP)) == 2


def test_the_subject_s_token_comes_from_another_manager(start: Start, transport: TwoParties) -> None:
    start(**options(auth=assertion(ManagerToken("login", "id_token"))))
    assert "there is no manager login" in str(failed())
    transport.next[IDP] = [minted("login", id_token="an-id-token")]
    config = OIDCConfig(issuer=IDP, token_endpoint=f"{IDP}/token")
    start(name="login", auth=ClientCredentials("idp-client"), oidc_config=config)
    eventually(lambda: TokenManager.health("api").ready)
    assert transport.forms(IDP)[-1]["subject_token"] == "an-id-token"


def test_a_new_file_wakes_a_refused_first_step(start: Start, transport: TwoParties, tmp_path: Any) -> None:
    file = tmp_path / "id-token"
    file.write_text("old")
    transport.next[IDP] = [refused("invalid_client", 401)]
    start(**options(auth=assertion(SecretFile(file)), min_interval_seconds=0))
    failed()
    file.write_text("a newer one")
    eventually(lambda: is_ready_when_asked("api"))
    assert transport.forms(IDP)[-1]["subject_token"] == "a newer one"


def is_ready_when_asked(name: str) -> bool:
    """A reader that does not wait has the manager look at the files of its secrets."""
    with contextlib.suppress(NoTokenError):
        TokenManager.get_token(name, timeout=0)
        return True
    return False


def test_both_requests_are_measured_each_as_its_party_s(start: Start, transport: TwoParties) -> None:
    seen: list[tuple[str, str]] = []
    forget: Callable[[], None] = observe(lambda one: seen.append((one.issuer, one.outcome)))
    try:
        start(**options())
        eventually(lambda: TokenManager.health("api").ready)
    finally:
        forget()
    assert seen == [(IDP, "success"), (SERVER, "success")]


def test_without_a_manager(transport: TwoParties) -> None:
    token = oidc.get_token(CONFIG, assertion(), transport=transport)
    assert token.access_token == "t1"
    transport.next[IDP] = [refused("access_denied", 403)]
    with pytest.raises(IdentityProviderError, match="gave no statement: token request failed: HTTP 403: access_denied"):
        oidc.get_token(CONFIG, assertion(), transport=transport)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: assertion(identity_provider="idp"), "identity_provider: expected an https URL"),
        (lambda: assertion(identity_provider=OIDCConfig()), "identity_provider: expected an https URL, got none"),
        (lambda: assertion(identity_client=5), "identity_client: expected credentials with a client_id"),
        (lambda: assertion(identity_client={}), "identity_client: client_id is missing"),
        (lambda: assertion(identity_client=ClientCredentials("i", dpop=True)), "identity_client: .*without dpop"),
        (
            lambda: IdentityAssertion("s", identity_provider=IDP),
            "client_id: expected one of client_id and identity_client",
        ),
        (
            lambda: TokenManager.start_link(**options(oidc_config=OIDCConfig(token_endpoint=f"{SERVER}/token"))),
            "auth: audience: expected a text",
        ),
        (
            lambda: TokenManager.start_link(**options(auth=assertion(identity_provider="http://idp.example.com"))),
            "auth: identity_provider: expected https, got plain http",
        ),
        (
            lambda: TokenManager.start_link(**options(auth={"type": "oidc_identity_assertion", "subject_token": "s"})),
            "auth of type 'oidc_identity_assertion': identity_provider is missing",
        ),
    ],
)
def test_mistakes_are_told_before_anything_starts(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        make()


def test_the_mapping_form() -> None:
    mapping = {
        "type": "oidc_identity_assertion",
        "subject_token": "the-id-token",
        "client_id": "id",
        "client_secret": "a-client-secret",
        "identity_provider": IDP,
        "identity_client": {"client_id": "idp-client"},
        "scopes": ["read"],
        "resource": API,
    }
    assert parse_auth(mapping) == assertion()
