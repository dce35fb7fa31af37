"""force_refresh: a cast, or a wait for the outcome; and the path of a token that was refused."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import UNREACHABLE, failing, minted, refused
from managers import Start
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import ConfigError, ForceRefresh, NoTokenError, TokenManager, TokenRequestError
from oidc_actor.machine.events import Refresh
from oidc_actor.reading.cell import by_name
from oidc_actor.reading.directory import locate
from oidc_actor.reading.waiters import ThreadWaiter
from oidc_actor.values.secrets import Secret
from supervision import NoProcess


@pytest.fixture
def fresh(start: Start, clock):
    """A manager with its first token, past the minimum interval."""
    ref = start(name="m")
    assert TokenManager.get_access_token("m") == "t1"
    clock.advance(10)
    return ref


def test_it_is_a_cast(fresh, transport) -> None:
    with transport.held_back():
        assert TokenManager.force_refresh("m") is None
        transport.wait_for_posts(2)
        assert TokenManager.get_access_token("m") == "t1"
    eventually(lambda: TokenManager.get_access_token("m") == "t2")


def test_the_mailbox_form_is_the_same(fresh, transport) -> None:
    fresh.tell(ForceRefresh())
    eventually(lambda: TokenManager.get_access_token("m") == "t2")
    assert len(transport.posts) == 2


def test_as_a_cast_it_is_silent_where_nobody_is() -> None:
    assert TokenManager.force_refresh("nobody") is None
    assert TokenManager.force_refresh("nobody", rejected="t1") is None


def test_waiting_returns_once_the_new_token_is_there(fresh, transport) -> None:
    assert TokenManager.force_refresh("m", wait=True) is None
    assert TokenManager.get_access_token("m", timeout=0) == "t2"


@pytest.mark.P4
def test_waiting_raises_on_a_failed_outcome_although_an_older_token_lives(fresh, transport) -> None:
    transport.then(failing(500))
    with pytest.raises(NoTokenError) as caught:
        TokenManager.force_refresh("m", wait=True, timeout=DEADLINE_S)
    assert isinstance(caught.value.cause, TokenRequestError)
    assert caught.value.retry_in_s is not None
    assert TokenManager.get_access_token("m", timeout=0) == "t1"


@pytest.mark.P10
def test_waiting_raises_at_its_deadline(fresh, transport) -> None:
    with transport.held_back(), pytest.raises(NoTokenError):
        TokenManager.force_refresh("m", wait=True, timeout=0.05)


def test_waiting_for_nobody_is_noprocess() -> None:
    with pytest.raises(NoProcess):
        TokenManager.force_refresh("nobody", wait=True)


@pytest.mark.P3
def test_many_join_the_refresh_under_way(fresh, transport) -> None:
    with transport.held_back(), ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(TokenManager.force_refresh, "m", wait=True, timeout=DEADLINE_S) for _ in range(20)]
        for _ in range(20):
            TokenManager.force_refresh("m")
        transport.wait_for_posts(2)
        eventually(lambda: len(locate("m").state.waiters) == 20, "the manager to have heard of all")
        transport._open.set()
        for call in calls:
            call.result(DEADLINE_S)
    assert TokenManager.health("m").token_requests == 2


@pytest.mark.P6
def test_it_never_breaks_the_minimum_interval(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")
    for _ in range(5):
        TokenManager.force_refresh("m")
    assert TokenManager.health("m").next_attempt_in_s == pytest.approx(1)
    assert len(transport.posts) == 1
    clock.advance(1)
    transport.wait_for_posts(2)
    eventually(lambda: TokenManager.get_access_token("m") == "t2")
    assert TokenManager.health("m").next_attempt_in_s > 200


@pytest.mark.P6
def test_it_never_breaks_a_retry_after(fresh, transport, clock) -> None:
    transport.then(failing(429, Retry_After="30"))
    with pytest.raises(NoTokenError):
        TokenManager.force_refresh("m", wait=True)
    clock.advance(29)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.force_refresh("m", wait=True, timeout=0.5)
    assert caught.value.retry_in_s == pytest.approx(1)
    assert len(transport.posts) == 2
    clock.advance(1)
    transport.wait_for_posts(3)


@pytest.mark.P5
def test_it_wakes_a_backoff(start: Start, transport, clock) -> None:
    from fakes import Fixed

    transport.goes_down(UNREACHABLE)
    start(name="m", rng=Fixed(1))
    for requests in range(1, 8):
        transport.wait_for_requests(requests)
        eventually(lambda: not TokenManager.health("m").refreshing)
        clock.advance(TokenManager.health("m").next_attempt_in_s)
    eventually(lambda: TokenManager.health("m").next_attempt_in_s == 60)
    transport.comes_up()
    clock.advance(2)
    TokenManager.force_refresh("m", wait=True)
    assert TokenManager.health("m").ready


@pytest.mark.P5
def test_it_wakes_a_slow_probe(start: Start, transport, clock) -> None:
    transport.then(refused("invalid_client", 401))
    start(name="m")
    with pytest.raises(NoTokenError):
        TokenManager.get_token("m")
    assert TokenManager.health("m").next_attempt_in_s >= 60
    clock.advance(1)
    TokenManager.force_refresh("m", wait=True)
    health = TokenManager.health("m")
    assert (health.blocked, health.ready, health.last_error) == (False, True, None)


# --- rejected ---------------------------------------------------------------------------------------------------------------


def test_a_rejected_token_is_taken_back_before_the_call_returns(fresh, transport) -> None:
    with transport.held_back():
        for server in ("m", fresh):
            TokenManager.force_refresh("m", rejected="t1")
            with pytest.raises(NoTokenError):
                TokenManager.get_access_token(server, timeout=0)
        with pytest.raises(NoTokenError):
            TokenManager.source("m")(timeout=0)
    assert TokenManager.get_access_token("m") == "t2"
    assert len(transport.posts) == 2


def test_a_rejection_of_another_token_costs_nothing_and_returns_at_once(fresh, transport) -> None:
    for rejected in ("t0", "t1 ", "T1"):
        TokenManager.force_refresh("m", rejected=rejected)
        TokenManager.force_refresh("m", wait=True, timeout=0, rejected=rejected)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert TokenManager.health("m").refreshing is False
    assert len(transport.posts) == 1


@pytest.mark.P3
def test_a_hundred_threads_with_the_same_401_are_one_request(fresh, transport) -> None:
    barrier = threading.Barrier(100)

    def refused_reader() -> str:
        barrier.wait(DEADLINE_S)
        TokenManager.force_refresh("m", rejected="t1")
        return TokenManager.get_access_token("m", timeout=DEADLINE_S)

    with ThreadPoolExecutor(100) as pool:
        calls = [pool.submit(refused_reader) for _ in range(100)]
        assert {call.result(DEADLINE_S) for call in calls} == {"t2"}
    assert len(transport.posts) == 2


def test_a_reader_that_comes_while_a_rejection_is_on_its_way_gets_the_replacement_as_soon_as_it_is_there(
    fresh, transport
) -> None:
    cell = by_name["m"]
    rejection = ThreadWaiter(cell.clock() + DEADLINE_S, 0.0, wants_refresh=True)
    cell.reject("t1")
    cell.add_waiter(rejection)
    TokenManager.health("m")  # the manager has heard of whoever waited by then; the rejection itself is still to come
    readers = [
        threading.Thread(target=TokenManager.get_access_token, args=("m",), kwargs={"timeout": 60}, daemon=True)
        for _ in range(3)
    ]
    for reader in readers:
        reader.start()
    # The manager sees that the token was rejected when the first of them comes; it need not have heard of it.
    eventually(lambda: not any(reader.is_alive() for reader in readers), "the end of the readers' wait")
    cell.tell(Refresh(rejection, Secret("t1")))
    assert len(transport.posts) == 2


def test_waiting_with_a_rejected_token_ends_with_its_replacement(fresh, transport) -> None:
    TokenManager.force_refresh("m", wait=True, rejected="t1")
    assert TokenManager.get_access_token("m", timeout=0) == "t2"


def test_a_crashed_managers_token_can_be_rejected_too(fresh, start: Start, transport, clock) -> None:
    supervision.kill(fresh)
    assert TokenManager.get_access_token("m") == "t1"
    TokenManager.force_refresh("m", rejected="t1")
    with pytest.raises(NoProcess):
        TokenManager.get_access_token("m", timeout=0)
    start(name="m")
    assert TokenManager.get_access_token("m") == "t2"


@pytest.mark.parametrize("rejected", [5, b"t1", True])
def test_a_rejected_token_is_a_text(rejected, fresh) -> None:
    with pytest.raises(ConfigError, match="rejected"):
        TokenManager.force_refresh("m", rejected=rejected)


@pytest.mark.P9
def test_no_traceback_of_a_failed_refresh_holds_the_rejected_token(fresh, transport) -> None:
    transport.default = refused("invalid_client", 401)
    transport.script.clear()
    token = "a-very-secret-token"
    transport.then(minted(token))
    TokenManager.force_refresh("m", wait=True)
    with pytest.raises(NoTokenError) as caught:
        TokenManager.force_refresh("m", wait=True, timeout=0.5, rejected="".join(["a-very-", "secret-token"]))
    frames = []
    traceback = caught.value.__traceback__.tb_next
    while traceback is not None:
        frames.append(repr(traceback.tb_frame.f_locals))
        traceback = traceback.tb_next
    assert frames
    assert token not in "".join(frames)
