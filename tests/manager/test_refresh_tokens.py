"""Refresh tokens through the manager: redeemed once, kept, refused, lost."""

import pytest
from fakes import AUTH, LOST, UNREACHABLE, ScriptedTransport, failing, form_of, minted, refused
from managers import Start
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import NoTokenError, Password, RefreshToken, TokenManager
from oidc_actor.transport import Request, Response

pytestmark = pytest.mark.P8

USER = Password("user", "pass", "id", "a-client-secret")


class RotatingProvider(ScriptedTransport):
    """Gives each refresh token once, and detects reuse: the whole family ends."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.valid: str | None = None
        self.reused = 0
        self.lose_next = False

    def _answer(self, request: Request):
        if request.method == "GET":
            return self.discovery
        form = form_of(request)
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.valid:
            self.reused += 1
            self.valid = None
            return refused("invalid_grant")
        self.count += 1
        self.valid = f"r{self.count}"
        if self.lose_next:
            self.lose_next = False
            return LOST
        return minted(f"t{self.count}", refresh_token=self.valid)


def grants(transport: ScriptedTransport) -> list[str]:
    return [form.get("refresh_token") or form["grant_type"] for form in transport.forms]


def refreshes(clock, text: str) -> None:
    clock.advance(240)
    eventually(lambda: TokenManager.get_access_token("m") == text)


def test_thirty_rotations_without_a_full_grant(start: Start, clock) -> None:
    transport = RotatingProvider()
    start(name="m", auth=USER, transport=transport)
    TokenManager.get_token("m")
    for number in range(2, 32):
        refreshes(clock, f"t{number}")
    assert grants(transport) == ["password"] + [f"r{number}" for number in range(1, 31)]
    assert transport.reused == 0


@pytest.mark.parametrize("auth", [AUTH, USER], ids=["client_credentials", "password"])
def test_one_is_redeemed_whatever_the_grant(auth, start: Start, clock) -> None:
    transport = RotatingProvider()
    start(name="m", auth=auth, transport=transport)
    TokenManager.get_token("m")
    refreshes(clock, "t2")
    assert grants(transport) == [auth.grant_type, "r1"]


def test_a_response_without_one_keeps_the_old_one(start: Start, clock, transport) -> None:
    transport.then(minted("a", refresh_token="r1"), minted("b"), minted("c"))
    start(name="m", auth=USER)
    TokenManager.get_token("m")
    refreshes(clock, "b")
    assert TokenManager.get_token("m").refresh_token == "r1"
    refreshes(clock, "c")
    assert grants(transport) == ["password", "r1", "r1"]


def test_a_refused_one_falls_back_at_once_in_the_same_attempt(start: Start, clock, transport) -> None:
    transport.then(minted("a", refresh_token="r1"), refused("invalid_grant"), minted("b", refresh_token="r2"))
    start(name="m", auth=USER)
    TokenManager.get_token("m")
    refreshes(clock, "b")
    assert grants(transport) == ["password", "r1", "password"]
    health = TokenManager.health("m")
    assert (health.consecutive_failures, health.token_requests, health.refreshes) == (0, 3, 2)
    refreshes(clock, "t1")
    assert grants(transport)[-1] == "r2"


def test_a_refused_password_after_a_refused_refresh_token_is_permanent(start: Start, clock, transport) -> None:
    transport.then(minted("a", refresh_token="r1"), refused("invalid_grant"), refused("invalid_grant"))
    start(name="m", auth=USER)
    TokenManager.get_token("m")
    clock.advance(240)
    eventually(lambda: TokenManager.health("m").blocked)
    assert TokenManager.get_access_token("m", timeout=0) == "a"


def test_an_unreachable_provider_leaves_the_refresh_token_unspent(start: Start, clock, transport) -> None:
    transport.then(minted("a", refresh_token="r1"), UNREACHABLE, failing(503), minted("b", refresh_token="r2"))
    start(name="m", auth=USER)
    TokenManager.get_token("m")
    clock.advance(240)
    for posts in (3, 4):
        eventually(lambda: not TokenManager.health("m").refreshing)
        clock.advance(1)
        transport.wait_for_posts(posts)
    assert grants(transport) == ["password", "r1", "r1", "r1"]


def test_a_lost_answer_neither_spends_a_refresh_token_twice_nor_fails_a_read(start: Start, clock) -> None:
    transport = RotatingProvider()
    start(name="m", auth=USER, transport=transport)
    TokenManager.get_token("m")
    transport.lose_next = True
    clock.advance(240)
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    clock.advance(1)
    eventually(lambda: TokenManager.get_access_token("m") == "t3")
    assert grants(transport) == ["password", "r1", "password"]
    assert transport.reused == 0


def test_a_crash_during_a_redemption_neither_loses_nor_spends_it_twice(start: Start, clock) -> None:
    transport = RotatingProvider()
    start(name="m", auth=USER, transport=transport)
    TokenManager.get_token("m")
    with transport.held_back():
        clock.advance(240)
        transport.wait_for_posts(2)
        supervision.kill("m")
        start(name="m", auth=USER, transport=transport)
    eventually(lambda: TokenManager.get_access_token("m") == "t2")
    refreshes(clock, "t3")
    assert grants(transport) == ["password", "r1", "r2"]


def test_the_configured_refresh_token_is_followed_through_its_rotations(start: Start, clock) -> None:
    transport = RotatingProvider()
    transport.valid = "r0"
    start(name="m", auth=RefreshToken("r0", "id", "a-client-secret"), transport=transport)
    TokenManager.get_token("m")
    refreshes(clock, "t2")
    refreshes(clock, "t3")
    assert grants(transport) == ["r0", "r1", "r2"]


def test_a_configured_refresh_token_that_is_refused_is_permanent(start: Start, transport) -> None:
    transport.default = refused("invalid_grant")
    start(name="m", auth=RefreshToken("r0", "id"))
    with pytest.raises(NoTokenError):
        TokenManager.get_token("m", timeout=DEADLINE_S)
    assert TokenManager.health("m").blocked
    assert len(transport.posts) == 1


def test_an_invalid_grant_of_client_credentials_is_transient(start: Start, transport, clock) -> None:
    transport.then(refused("invalid_grant"))
    start(name="m")
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    assert not TokenManager.health("m").blocked
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


def test_a_rotated_one_that_came_with_a_dead_token_is_kept(start: Start, clock) -> None:
    class Slow(RotatingProvider):
        def __call__(self, request: Request, /) -> Response:
            answer = super().__call__(request)
            if self.count == 2:
                clock.advance(300)
            return answer

    transport = Slow()
    start(name="m", auth=USER, transport=transport)
    TokenManager.get_token("m")
    clock.advance(240)
    eventually(lambda: TokenManager.health("m").token_requests == 3)
    assert TokenManager.get_access_token("m") == "t3"
    assert grants(transport) == ["password", "r1", "r2"]
