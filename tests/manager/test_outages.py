"""Outages that managers of one issuer share, with callers; and whom a ``Retry-After`` binds."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from fakes import AUTH, ISSUER, LOST, UNREACHABLE, Fixed, ScriptedTransport, failing, minted, refused
from managers import Start, settled
from threads import eventually

from oidc_actor import ClientCredentials, NoTokenError, OIDCConfig, RetryPolicy, TokenManager
from oidc_actor.machine.state import METADATA_AGE_S
from oidc_actor.reading.cell import by_name
from oidc_actor.testing import ManualClock
from oidc_actor.transport import Request, Response

pytestmark = [pytest.mark.P5, pytest.mark.P6]

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")
OTHER = ClientCredentials("another", "another-secret")


@contextmanager
def background(ask: Callable[[], str]) -> Iterator["Future[str]"]:
    """A caller on a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(ask)


def why_none(name: str, timeout: float = 0.0) -> NoTokenError:
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token(name, timeout=timeout)
    return caught.value


def two_in_an_outage(start: Start, transport: ScriptedTransport, clock: ManualClock, answer: Any = UNREACHABLE) -> None:
    """Managers ``a``, the manager that probes, and ``b``; the issuer's next probe is due in a minute."""
    transport.goes_down(answer)
    for name in ("b", "a"):  # whose first attempt makes it the manager that probes
        start(name=name, oidc_config=CONFIG, rng=Fixed(1))
        settled(name)
    for _ in range(7):
        clock.advance(TokenManager.health("a").next_attempt_in_s or 0.0)
        settled("a", "b")
    assert TokenManager.health("a").next_attempt_in_s == 60
    clock.advance(0.5)
    assert (TokenManager.health("b").next_attempt_in_s or 0.0) > 5


# --- callers in an outage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [UNREACHABLE, failing(503), LOST], ids=["refusing", "503", "silent"])
@pytest.mark.parametrize("name", ["a", "b"], ids=["of the one that probes", "of one that is denied"])
def test_a_caller_gets_a_token_within_five_seconds(
    name: str, answer: Any, start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    two_in_an_outage(start, transport, clock, answer)
    transport.comes_up()
    with background(lambda: TokenManager.get_access_token(name, timeout=5)) as reader:
        eventually(lambda: by_name[name].state.waiters)
        settled(
            "b", "a", "b"
        )  # the first says whom the other is to ask sooner, and its timer is set after it has been seen
        clock.advance(5)
        assert reader.result().startswith("t")


def test_callers_that_come_back_have_it_within_five_seconds_too(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    two_in_an_outage(start, transport, clock)
    transport.comes_up()
    assert why_none("b").retry_in_s is not None
    eventually(lambda: TokenManager.health("b").next_attempt_in_s == 4.5)
    clock.advance(5)
    settled("a", "b")
    assert {TokenManager.get_access_token(name) for name in ("a", "b")} == {"t1", "t2"}


def test_a_caller_with_less_time_is_refused_at_once_and_told_the_truth(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    two_in_an_outage(start, transport, clock)
    assert why_none("b", timeout=4).retry_in_s == 4.5


def test_a_caller_waits_for_the_probe_of_another_manager(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    two_in_an_outage(start, transport, clock)
    requests = len(transport.requests)
    with transport.held_back():
        clock.advance(59.5)
        transport.wait_for_requests(requests + 1)
        transport.comes_up()
        with background(lambda: TokenManager.get_access_token("b", timeout=9)) as reader:
            eventually(lambda: (denial := by_name["b"].state.denial) and denial.probing)
            assert not reader.done()
            assert len(transport.requests) == requests + 1  # one probe at a time
            transport.default = None
            transport._open.set()
            # The probe itself was answered as it was when it came; the next is due in as long as a caller waits.
            eventually(lambda: not ((denial := by_name["b"].state.denial) and denial.probing))
            clock.advance(5)
            assert reader.result() in {"t1", "t2"}


def test_many_callers_of_many_managers_make_no_more_probes_than_one(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    two_in_an_outage(start, transport, clock)
    names = ["a", "b", *(f"c{number}" for number in range(10))]
    for name in names[2:]:
        start(name=name, oidc_config=CONFIG, rng=Fixed(1))
        settled(name)
    requests = len(transport.requests)
    for _ in range(40):
        for name in names:
            why_none(name)
        settled(*names)
        clock.advance(0.5)
        settled(*names)
    assert 3 <= len(transport.requests) - requests <= 6  # every 5 s of 20 s


def test_health_is_no_caller(start: Start, transport: ScriptedTransport, clock: ManualClock) -> None:
    two_in_an_outage(start, transport, clock)
    requests = len(transport.requests)
    for _ in range(55):
        clock.advance(1)
        settled("a", "b")
    assert len(transport.requests) == requests


def test_the_policy_says_how_long_a_caller_waits(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    transport.goes_down()
    start(name="a", rng=Fixed(1), retry=RetryPolicy(initial_s=60, asked_maximum_s=20))
    settled("a")
    assert why_none("a", timeout=19).retry_in_s == 20


# --- whom a Retry-After binds -----------------------------------------------------------------------------------------

OWN, CLIENT, ALL = "the manager", "its client", "everybody"
SCOPES = [(status, OWN) for status in (400, 401, 403, 404, 408)] + [(429, CLIENT)] + [(s, ALL) for s in (500, 502, 503)]


def answering(status: int, code: str = "invalid_client") -> Response:
    if status < 500 and status != 429:
        return refused(code, status, Retry_After="3600")
    return failing(status, Retry_After="3600")


def for_client(client_id: str, answer: Response) -> Any:
    """Answers one client so, the others with a token."""

    def answers(request: Request) -> Response:
        return answer if f"client_id={client_id}&" in f"{request.body.decode()}&" else minted("for-another")

    return answers


def post(client_id: str) -> ClientCredentials:
    return ClientCredentials(client_id, "a-client-secret", client_auth="client_secret_post")


@pytest.mark.parametrize(("status", "bound"), SCOPES, ids=str)
@pytest.mark.parametrize("first", [True, False], ids=["that run", "that start"])
def test_whom_a_retry_after_binds(
    status: int, bound: str, first: bool, start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    def others() -> None:
        for name, client in (("namesake", "one"), ("stranger", "two")):
            start(name=name, oidc_config=CONFIG, auth=post(client))

    if first:
        others()
        transport.wait_for_posts(2)
        settled("namesake", "stranger")
    transport.default = answering(status)
    start(name="unlucky", oidc_config=CONFIG, auth=post("one"))
    settled("unlucky")
    transport.comes_up()
    if not first:
        others()
        settled("namesake", "stranger")
    clock.advance(10)  # beyond the minimum interval
    settled("unlucky", "namesake", "stranger")
    requests = len(transport.posts)
    for name in ("unlucky", "namesake", "stranger"):
        TokenManager.force_refresh(name)
        settled(name)
    held = {"the manager": 1, "its client": 2, "everybody": 3}[bound]
    assert len(transport.posts) - requests == 3 - held
    clock.advance(3590)
    settled("unlucky", "namesake", "stranger")
    assert len({TokenManager.get_access_token(name) for name in ("unlucky", "namesake", "stranger")}) == 3


@pytest.mark.parametrize("status", [401, 429])
def test_managers_of_another_issuer_are_never_bound(status: int, start: Start, transport: ScriptedTransport) -> None:
    transport.then(answering(status))
    start(name="unlucky", oidc_config=CONFIG)
    settled("unlucky")
    other = OIDCConfig(issuer="https://other.example.com", token_endpoint="https://other.example.com/token")
    start(name="other", oidc_config=other)
    assert TokenManager.get_access_token("other")


@pytest.mark.parametrize(("path", "host", "bound"), [("b", "a", True), ("a", "b", False)])
def test_without_an_issuer_the_origin_of_the_token_endpoint_is_bound(
    path: str, host: str, bound: bool, start: Start, transport: ScriptedTransport
) -> None:
    transport.then(answering(503))
    start(name="unlucky", oidc_config=OIDCConfig(token_endpoint="https://a.example/a"))
    settled("unlucky")
    start(name="other", auth=OTHER, oidc_config=OIDCConfig(token_endpoint=f"https://{host}.example:443/{path}"))
    settled("other")
    assert TokenManager.health("other").ready is not bound


def test_a_429_to_the_discovery_binds_whoever_must_discover_and_nobody_else(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    start(name="knows")
    TokenManager.get_token("knows")
    clock.advance(299)
    settled("knows")
    other = ScriptedTransport()
    other.discovery = failing(429, Retry_After="30")
    start(name="first", transport=other)
    settled("first")
    start(name="second", transport=other, auth=OTHER)
    assert why_none("second", timeout=5).retry_in_s == 30
    assert len(other.gets) == 1
    start(name="configured", transport=other, auth=OTHER, oidc_config=CONFIG)
    assert TokenManager.get_access_token("configured")


@pytest.mark.parametrize("status", [403, 429])
def test_nor_whoever_has_older_metadata(
    status: int, start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    transport.lifetime = 10 * METADATA_AGE_S
    start(name="first")
    start(name="second", auth=OTHER)
    for name in ("first", "second"):
        TokenManager.get_token(name)
    clock.advance(METADATA_AGE_S + 1)
    transport.discovery = failing(status, Retry_After="3600")
    asked = len(transport.gets)
    with pytest.raises(NoTokenError, match=str(status)):
        TokenManager.force_refresh("first", wait=True)
    TokenManager.force_refresh("second", wait=True)
    assert TokenManager.health("second").refreshes == 2
    assert len(transport.gets) == asked + 1


def test_a_429_is_an_answer_and_ends_the_others_wait(
    start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    transport.goes_down()
    start(name="c", oidc_config=CONFIG, auth=OTHER, rng=Fixed(1))
    settled("c")
    two_in_an_outage(start, transport, clock)
    transport.comes_up()
    transport.then(failing(429, Retry_After="3600"))
    clock.advance(59.5)  # the manager that probes is told to wait; its namesake with it
    settled("a", "b", "c")
    clock.advance(0.1)
    assert TokenManager.get_access_token("c", timeout=5)
    assert not TokenManager.health("b").ready


def test_a_successor_of_a_crashed_manager_is_bound_as_it_was(start: Start, transport: ScriptedTransport) -> None:
    from supervision import kill

    transport.then(answering(401))
    start(name="m", oidc_config=CONFIG)
    settled("m")
    kill("m")
    start(name="m", oidc_config=CONFIG)
    TokenManager.force_refresh("m")
    assert TokenManager.health("m").next_attempt_in_s == 3600
    assert len(transport.posts) == 1
    assert AUTH.client_id == "id"
