"""Managers that trade each other's tokens: a chain costs its round trips, and the clock stands still meanwhile."""

import itertools
from collections.abc import Callable

import pytest
from fakes import ISSUER, Fixed, ScriptedTransport, form_of, minted, refused
from managers import Start, settled
from threads import eventually

from oidc_actor import ClientCredentials, JWTBearer, ManagerToken, NoTokenError, OIDCConfig, TokenExchange, TokenManager
from oidc_actor.credentials.credentials import Credentials
from oidc_actor.testing import ManualClock
from oidc_actor.transport import Request, Response
from supervision import kill, register

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")
JWT_TYPE = "urn:ietf:params:oauth:token-type:access_token"
LENGTH = 5

Trade = Callable[[ManagerToken], Credentials]

GRANTS: dict[str, Trade] = {
    "token exchange": lambda token: TokenExchange(token, "id", "a-client-secret"),
    "an actor's token": lambda token: TokenExchange(
        lambda: "a-subject", "id", "a-client-secret", actor_token=token, actor_token_type=JWT_TYPE
    ),
    "jwt bearer": lambda token: JWTBearer(token, "id", "a-client-secret"),
    "client assertion": lambda token: ClientCredentials("id", client_assertion=token),
}


@pytest.fixture
def transport() -> ScriptedTransport:
    made = ScriptedTransport()
    numbers = itertools.count()

    def answers(request: Request) -> Response:
        return minted(f"t{next(numbers)}", issued_token_type=JWT_TYPE)

    made.default = answers
    return made


def link(number: int, trade: Trade = GRANTS["token exchange"]) -> dict[str, object]:
    auth = trade(ManagerToken(f"m{number - 1}")) if number else ClientCredentials("id", "a-client-secret")
    return {"name": f"m{number}", "auth": auth, "oidc_config": CONFIG, "rng": Fixed(1)}


def all_ready(count: int = LENGTH) -> None:
    for number in range(count):
        eventually(lambda number=number: TokenManager.health(f"m{number}").ready, f"the token of m{number}")


@pytest.mark.parametrize("grant", GRANTS)
@pytest.mark.parametrize("order", [range(LENGTH), range(LENGTH)[::-1], (2, 0, 4, 1, 3)], ids=str)
def test_a_chain_is_complete_without_a_second_passing(
    grant: str, order: range, start: Start, transport: ScriptedTransport
) -> None:
    for number in order:
        start(**link(number, GRANTS[grant]))
    all_ready()
    assert len(transport.posts) == LENGTH


def test_where_each_discovers_first_too(start: Start, transport: ScriptedTransport) -> None:
    for number in range(LENGTH):
        options = link(number)
        del options["oidc_config"]
        start(**options)
    all_ready()
    assert len(transport.posts) == LENGTH


def test_a_source_that_comes_late_wakes_whoever_waits_for_it(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    for number in range(1, LENGTH):
        start(**link(number))
    for _ in range(20):
        clock.advance(30)
        settled(*(f"m{number}" for number in range(1, LENGTH)))
    failures = [TokenManager.health(f"m{number}").consecutive_failures for number in range(1, LENGTH)]
    assert min(failures) >= 5
    start(**link(0))
    all_ready()
    assert len(transport.posts) == LENGTH


def test_after_an_outage_the_source_s_token_is_all_that_it_takes(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    works = transport.default
    transport.goes_down()
    for number in range(LENGTH):
        start(**link(number))
    for _ in range(20):
        clock.advance(3)
        settled(*(f"m{number}" for number in range(LENGTH)))
    requests = len(transport.posts)
    transport.default = works
    TokenManager.force_refresh("m0", wait=True)
    all_ready()
    assert len(transport.posts) == requests + LENGTH


def test_a_source_that_is_named_by_its_ref_or_by_a_second_name(start: Start, transport: ScriptedTransport) -> None:
    with transport.held_back():
        ref = start(**link(0) | {"name": None})
        register("alias", ref)
        for name, source in (("by ref", ref), ("by name", "alias")):
            start(**link(1) | {"name": name, "auth": GRANTS["token exchange"](ManagerToken(source))})
            eventually(lambda name=name: TokenManager.health(name).consecutive_failures == 1)
    for name in ("by ref", "by name"):
        eventually(lambda name=name: TokenManager.health(name).ready)


def test_a_source_under_its_old_name_with_other_credentials(start: Start, transport: ScriptedTransport) -> None:
    transport.then(refused("invalid_client", 401))
    start(**link(0))
    start(**link(1))
    eventually(lambda: TokenManager.health("m1").consecutive_failures == 1)
    eventually(lambda: TokenManager.health("m0").blocked)
    TokenManager.stop("m0")
    start(**link(0) | {"auth": ClientCredentials("other", "another-secret")})
    all_ready(2)


def test_a_trader_that_crashed_meanwhile_looks_for_itself(start: Start, transport: ScriptedTransport) -> None:
    start(**link(1))
    eventually(lambda: TokenManager.health("m1").consecutive_failures == 1)
    kill("m1")
    start(**link(0))
    all_ready(1)
    start(**link(1))
    all_ready(2)


def test_what_a_source_s_token_was_refused_for_is_tried_again_with_the_next(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    start(**link(0))
    all_ready(1)
    transport.then(refused("invalid_client", 401))
    start(**link(1))
    eventually(lambda: TokenManager.health("m1").blocked)
    clock.advance(2)
    TokenManager.force_refresh("m0", wait=True)
    all_ready(2)
    assert form_of(transport.posts[-1])["subject_token"] == TokenManager.get_access_token("m0")


def test_a_source_s_refreshes_cost_a_trader_that_is_well_nothing(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    for number in range(2):
        start(**link(number))
    all_ready(2)
    for _ in range(3):
        clock.advance(2)
        TokenManager.force_refresh("m0", wait=True)
    TokenManager.health("m1")
    assert len(transport.posts) == 2 + 3


def test_a_caller_at_the_end_of_the_chain_hastens_its_beginning(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    works = transport.default
    transport.goes_down()
    for number in range(3):
        start(**link(number))
    for _ in range(20):
        clock.advance(30)
        settled(*(f"m{number}" for number in range(3)))
    transport.default = works
    for _ in range(12):
        with pytest.raises(NoTokenError):
            TokenManager.get_token("m2", timeout=0)
        settled(*(f"m{number}" for number in range(3)))
        if TokenManager.health("m0").ready:
            break
        clock.advance(1)
    all_ready(3)
