"""In a forked child everything that looks is a first use, and a manager that crashes there is made anew at the next."""

import asyncio
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest
import requests
from fakes import AUTH, ISSUER
from managers import Start
from processes import NEEDS_FORK, in_child
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import NoTokenError, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.metrics import ready
from oidc_actor.metrics.readings import UNUSED_S, read_managers
from oidc_actor.reading.directory import all_cells, locate
from supervision import DynamicSupervisor, NoProcess, Supervisor

pytestmark = NEEDS_FORK


def supervised(transport, clock, name: str | None) -> object:
    """A manager below a supervisor."""
    spec = TokenManager.child_spec(name=name, auth=AUTH, issuer_url=ISSUER, transport=transport, clock=clock)
    return Supervisor.which_children(Supervisor.start_link([spec]))[0].ref


# --- looks that bring an inherited manager back -----------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["all", "name", "ref"])
def test_a_probe_brings_a_token_where_the_inherited_one_has_ended(by, start: Start, transport, clock) -> None:
    ref = start(name="m")
    TokenManager.get_token(ref)

    def check() -> None:
        servers = {"all": (), "name": ("m",), "ref": (ref,)}[by]
        assert ready(*servers)
        # That has made the manager anew, and its first step runs on another thread. The clock must not move between the step's
        # look at it and the tick that it sets; a call is answered after both.
        TokenManager.health(ref)
        clock.advance(301)
        eventually(lambda: ready(*servers), "readiness")
        assert len(transport.posts) == 2

    in_child(check)


def test_a_cold_parents_child_becomes_ready_by_being_probed(start: Start, transport, clock) -> None:
    with transport.held_back():
        start(name="m")
        transport.wait_for_requests(1)

        def check() -> None:
            assert not ready()
            TokenManager.health("m")  # as above
            clock.advance(1)
            eventually(ready, "readiness")

        in_child(check)
    assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t1"


def test_readiness_of_several_names_wants_a_token_of_each(start: Start, transport, clock) -> None:
    for name in ("a", "b"):
        start(name=name)
        TokenManager.get_token(name)

    def check() -> None:
        clock.advance(301)
        with transport.held_back():
            assert not ready("a", "nobody")
            assert not ready("a", "b")
        eventually(lambda: ready("a", "b"), "readiness")
        assert ready()

    in_child(check)


LOOKS = {
    "ready": lambda: ready(),
    "health": lambda: TokenManager.health("m"),
    "source": lambda: TokenManager.source("m"),
    "subscribe": lambda: TokenManager.subscribe("m", print),
    "adapter": lambda: OIDCAuth("m")(requests.Request("GET", "https://api.example.com").prepare()),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_whatever_looks_sets_the_refresh_going(look, start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")

    def check() -> None:
        look()
        TokenManager.health("m")  # its tick is set by then
        clock.advance(240)
        eventually(lambda: TokenManager.get_access_token("m", timeout=0) == "t2", "the refresh")

    in_child(check)


def test_an_adapter_that_the_parent_made_works_on_in_the_child(start: Start, transport, clock) -> None:
    start(name="m")
    auth = OIDCAuth("m")
    TokenManager.get_token("m")

    def check() -> None:
        clock.advance(301)
        request = auth(requests.Request("GET", "https://api.example.com").prepare())
        assert request.headers["Authorization"] == "Bearer t2"

    in_child(check)


def test_children_of_children_become_ready_each_for_itself(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")

    def check() -> None:
        clock.advance(301)
        eventually(ready, "readiness")
        assert len(transport.posts) == 2

    in_child(lambda: (in_child(check), check(), in_child(lambda: ready() or None)))


def answer(_: int) -> tuple[bool, str]:
    return ready("m"), TokenManager.get_access_token("m")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_workers_of_a_pool_are_ready(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(answer, range(4), timeout=DEADLINE_S)) == [(True, "t1")] * 4


# --- the pace ---------------------------------------------------------------------------------------------------------------


def test_what_a_probe_starts_goes_at_the_issuers_rate_and_a_reader_does_not_wait(transport, clock) -> None:
    def share(request: object) -> object:
        return transport(request)

    names = [f"m{number}" for number in range(140)]
    for name in names:
        TokenManager.start_link(name=name, auth=AUTH, issuer_url=ISSUER, transport=share, clock=clock)
    for name in names:
        TokenManager.get_token(name)
    assert len(transport.posts) == 140

    def check() -> None:
        clock.advance(301)
        assert not ready()
        transport.wait_for_posts(239)
        for name in names:
            TokenManager.health(name)  # its tick is set by then
        waiting = [cell.name for cell in all_cells(unused_s=0) if cell.state.attempts == 1]
        assert len(waiting) in (40, 41)  # a hundred at once, as far as floats can tell
        assert TokenManager.get_access_token(waiting[-1])  # does not wait for its turn
        clock.advance(0.3)
        eventually(ready, "readiness")

    in_child(check)


# --- scrapes ----------------------------------------------------------------------------------------------------------------


def test_a_scrape_brings_back_only_what_nothing_else_has_used_for_a_while(start: Start, transport, clock) -> None:
    for name in ("used", "unused"):
        start(name=name)
        TokenManager.get_token(name)

    def check() -> None:
        TokenManager.health("used")
        assert [reading.expires_in_s for reading in read_managers(9)] == [300, 300]
        cell = locate("unused", revive=False)
        assert cell.inherited is not None
        cell.aside_at -= UNUSED_S
        assert [reading.expires_in_s for reading in read_managers(9)] == [300, 300]
        assert cell.inherited is None
        TokenManager.health("unused")  # its tick is set by then
        clock.advance(240)
        transport.wait_for_posts(4)

    in_child(check)


def test_a_scrape_in_the_parent_starts_nothing(start: Start, transport) -> None:
    ref = start(name="m")
    TokenManager.get_token(ref)
    supervision.kill(ref)
    eventually(lambda: locate("m").is_down)
    assert [reading.expires_in_s > 0 for reading in read_managers(9)] == [True]
    assert ready()
    assert locate("m").is_down


# --- crashes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m", None])
@pytest.mark.parametrize("below", [True, False], ids=["supervised", "alone"])
def test_one_that_crashes_in_the_child_is_made_anew_at_the_next_use(below, name, start, transport, clock) -> None:
    ref = supervised(transport, clock, name) if below else start(name=name)
    server = name or ref
    source = TokenManager.source(server)
    assert source() == "t1"

    def crash() -> None:
        cell = locate(server)
        running = cell.ref
        supervision.kill(running)
        eventually(lambda: not running.is_alive() and cell.is_down, "the end")

    def check() -> None:
        for number in range(1, 4):
            crash()
            assert source(timeout=0) == f"t{number}"  # a use
            assert locate(server, revive=False).ref.is_alive()
            crash()
            clock.advance(301)
            assert TokenManager.get_access_token(server) == f"t{number + 1}"
        crash()
        assert ready()
        crash()
        assert asyncio.run(TokenManager.aget_access_token(server, timeout=0)) == "t4"
        TokenManager.force_refresh(server)
        crash()
        in_child(lambda: (clock.advance(301), TokenManager.get_token(server)))
        TokenManager.stop(server)
        with pytest.raises(NoProcess):
            TokenManager.get_token(server)

    in_child(check)


def test_readers_that_wait_when_it_crashes_get_their_token_from_the_one_made_anew(start: Start, transport, clock):
    start(name="m")
    TokenManager.get_token("m")

    def check() -> None:
        clock.advance(301)
        got: list[object] = []
        with transport.held_back():
            readers = [
                threading.Thread(target=lambda: got.append(TokenManager.get_access_token("m")), daemon=True),
                threading.Thread(
                    target=lambda: got.append(asyncio.run(TokenManager.aget_access_token("m"))), daemon=True
                ),
                threading.Thread(target=lambda: got.append(TokenManager.force_refresh("m", wait=True)), daemon=True),
            ]
            for reader in readers:
                reader.start()
            cell = locate("m")
            eventually(lambda: len(cell.waiting) == 3, "the readers")
            transport.wait_for_posts(2)
            supervision.kill(cell.ref)
            # A reader whose manager has crashed waits anew. One that did so after the token came would want yet another.
            eventually(
                lambda: [w.known_to for w in list(cell.waiting)] == [cell.ref] * 3 and not cell.is_down, "the readers"
            )
        for reader in readers:
            reader.join(DEADLINE_S)
        assert sorted(map(str, got)) == ["None", "t2", "t2"]

    in_child(check)


def test_what_the_child_itself_has_started_stays_down_as_ever(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")

    def check() -> None:
        ref = start(name="m")  # in place of the inherited one
        assert TokenManager.get_access_token("m", timeout=0) == "t1"
        supervision.kill(ref)
        clock.advance(301)
        with pytest.raises(NoProcess):
            TokenManager.get_token("m")

    in_child(check)


def test_a_first_use_on_a_supervisors_thread_makes_no_child_of_it(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")

    def check() -> None:
        def start_using() -> object:
            assert TokenManager.get_access_token("m", timeout=0) == "t1"
            return supervision.Server.start_link()

        supervisor = DynamicSupervisor.start_link()
        DynamicSupervisor.start_child(supervisor, supervision.ChildSpec("x", start_using))
        assert locate("m").supervisor is None
        DynamicSupervisor.stop(supervisor)
        clock.advance(301)
        assert TokenManager.get_access_token("m") == "t2"

    in_child(check)


def test_a_manager_whose_provider_is_down_in_the_child_is_not_ready_and_says_so(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")

    def check() -> None:
        transport.goes_down()
        clock.advance(301)
        assert not ready("m")
        with pytest.raises(NoTokenError):
            TokenManager.get_token("m", timeout=0.01)

    in_child(check)
