"""The faults of the Elixir original (`weaviate_ex`, `auth/token_manager.ex`), each with a test that ours does not have it."""

import pytest
from fakes import UNREACHABLE, Fixed, ScriptedTransport, failing, form_of, metadata, minted, refused
from managers import Start, settled
from threads import eventually

import supervision
from oidc_actor import GetToken, NoTokenError, Password, TokenManager


@pytest.mark.P6
def test_1_a_short_lived_token_is_not_refreshed_every_millisecond(start: Start, transport, clock) -> None:
    transport.lifetime = 30.0  # the original refreshes every 1 ms at 60 seconds and below
    start(name="m", refresh_buffer_seconds=60)
    TokenManager.get_token("m")
    for _ in range(60):
        clock.advance(1)
        settled("m")
    assert len(transport.posts) == 1 + 4


@pytest.mark.P6
def test_1_not_even_a_token_of_one_second(start: Start, transport, clock) -> None:
    transport.lifetime = 1.0
    start(name="m")
    TokenManager.get_token("m")
    for _ in range(100):
        clock.advance(0.1)
        settled("m")
    assert len(transport.posts) <= 1 + 10


@pytest.mark.P5
@pytest.mark.P7
def test_2_a_failed_discovery_at_the_start_is_not_the_end(start: Start, transport, clock) -> None:
    transport.goes_down(UNREACHABLE)
    start(name="m")
    transport.wait_for_requests(1)
    settled("m")
    transport.comes_up()
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P2
def test_3_an_expired_token_is_never_handed_out(start: Start, transport, clock) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    transport.goes_down(UNREACHABLE)
    clock.advance(300)
    for read in (lambda: TokenManager.get_token("m", timeout=0), lambda: ref.ask(GetToken())):
        with pytest.raises(NoTokenError):
            read()


def test_4_a_read_before_the_first_token_waits_for_it(start: Start) -> None:
    start(name="m")
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P1
def test_5_a_slow_provider_delays_no_read_of_a_valid_token(start: Start, transport, clock) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    with transport.held_back():
        clock.advance(240)
        transport.wait_for_posts(2)
        assert TokenManager.get_access_token("m", timeout=0) == "t1"
        assert ref.ask(GetToken(), timeout=5).access_token == "t1"
        assert supervision.call(ref, GetToken(), timeout=5).access_token == "t1"


@pytest.mark.P5
def test_6_retries_back_off(start: Start, transport, clock) -> None:
    transport.goes_down(UNREACHABLE)
    start(name="m", rng=Fixed(1))
    waits = []
    for attempt in range(1, 10):
        transport.wait_for_requests(attempt)
        settled("m")
        waits.append(TokenManager.health("m").next_attempt_in_s)
        clock.advance(waits[-1])
    assert waits == [1, 1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.P5
def test_6_invalid_client_is_not_retried_every_five_seconds(start: Start, transport, clock) -> None:
    transport.default = refused("invalid_client", 401)
    start(name="m")
    eventually(lambda: TokenManager.health("m").blocked)
    for _ in range(60):
        clock.advance(1)
        settled("m")
    assert len(transport.posts) == 1


@pytest.mark.P5
def test_7_forced_refreshes_in_an_outage_leave_one_retry_to_come(start: Start, transport, clock) -> None:
    start(name="m", rng=Fixed(1))
    TokenManager.get_token("m")
    transport.default = failing(503)
    for _ in range(10):
        clock.advance(1)
        TokenManager.force_refresh("m")
        settled("m")
    posts = len(transport.posts)
    assert posts <= 11
    wait = TokenManager.health("m").next_attempt_in_s
    clock.advance(wait - 0.01)
    settled("m")
    assert len(transport.posts) == posts
    clock.advance(0.01)
    transport.wait_for_posts(posts + 1)
    settled("m")
    assert len(transport.posts) == posts + 1


@pytest.mark.P3
def test_8_many_forced_refreshes_are_one_request_and_the_outcome_can_be_waited_for(
    start: Start, transport, clock
) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(10)
    with transport.held_back():
        for _ in range(50):
            TokenManager.force_refresh("m")
        transport.wait_for_posts(2)
    TokenManager.force_refresh("m", wait=True, timeout=5)
    assert TokenManager.get_access_token("m", timeout=0) == "t2"
    assert len(transport.posts) == 2


def test_9_a_refresh_carries_the_clients_authentication(start: Start, transport, clock) -> None:
    transport.then(minted("a", refresh_token="r"), minted("b"))
    start(name="m", auth=Password("user", "pass", "id", "secret"))
    TokenManager.get_token("m")
    clock.advance(240)
    eventually(lambda: TokenManager.get_access_token("m") == "b")
    assert form_of(transport.posts[1])["grant_type"] == "refresh_token"
    assert transport.posts[1].headers["Authorization"].startswith("Basic ")


@pytest.mark.P8
def test_10_a_response_without_a_refresh_token_keeps_the_old_one(start: Start, transport, clock) -> None:
    transport.then(minted("a", refresh_token="r"), minted("b"), minted("c"))
    start(name="m")
    TokenManager.get_token("m")
    for text in "bc":
        clock.advance(240)
        eventually(lambda: TokenManager.get_access_token("m") == text)  # noqa: B023
    assert [form.get("refresh_token") for form in transport.forms] == [None, "r", "r"]


@pytest.mark.parametrize("members", [{"access_token": None}, {"access_token": ""}, {"access_token": 5}])
def test_11_a_200_without_an_access_token_is_no_token(members, start: Start, transport, clock) -> None:
    transport.then(minted(**members))
    start(name="m")
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    assert not TokenManager.health("m").blocked
    clock.advance(1)
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P5
@pytest.mark.parametrize(
    ("expires_in", "refresh_in"), [(None, 240), ("300", 240), ("soon", 240), (1e308, 240), (120.5, 60.5)]
)
def test_12_a_missing_or_odd_expires_in_neither_ends_refreshing_nor_crashes(
    expires_in, refresh_in: float, start: Start, transport
) -> None:
    transport.then(minted("a", expires_in=expires_in))
    ref = start(name="m")
    assert TokenManager.get_access_token("m") == "a"
    assert TokenManager.health("m").refresh_in_s == pytest.approx(refresh_in)
    assert ref.is_alive()


@pytest.mark.P7
def test_13_the_issuer_is_verified(start: Start, transport) -> None:
    transport.discovery = metadata(issuer="https://evil.example.com")
    start(name="m")
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    assert transport.posts == []


@pytest.mark.P7
def test_13_the_metadata_are_read_again(start: Start, clock) -> None:
    transport = ScriptedTransport(lifetime=1e6)
    start(name="m", transport=transport)
    TokenManager.get_token("m")
    clock.advance(25 * 3600)
    TokenManager.force_refresh("m", wait=True)
    assert len(transport.gets) == 2


def test_goths_loops_do_not_multiply(start: Start, transport, clock) -> None:
    """Goth schedules a further timer without cancelling the earlier one; here refreshes leave one tick to come."""
    start(name="m")
    TokenManager.get_token("m")
    for _ in range(5):
        clock.advance(2)
        TokenManager.force_refresh("m", wait=True)
    posts = len(transport.posts)
    clock.advance(240)
    transport.wait_for_posts(posts + 1)
    settled("m")
    clock.advance(239)
    settled("m")
    assert len(transport.posts) == posts + 1
