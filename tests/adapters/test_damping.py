"""Rejections that go on: what they cost the provider, and that nobody else waits for them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from adapters.api import Api, Gatekeeper
from adapters.drivers import DRIVERS, Driver, opened
from adapters.held_manager import Held
from adapters.rpc import Rpc
from threads import eventually

from oidc_actor import TokenManager
from oidc_actor.adapters import grpc_retry
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.reading.cell import by_name
from oidc_actor.testing import Provider

pytestmark = pytest.mark.P6

A, B = "https://a.example:443", "https://b.example:443"


def in_turn(held: Held, presenter: Presenter, origin: str = A) -> float:
    """Have the present token accepted and then refused; how long the answer takes, on the manager's clock."""
    sent, began = presenter.bearer(), held.clock()
    presenter.accept(origin, sent)
    before = held.token
    presenter.reject(origin, sent)
    TokenManager.health(held.name)  # answered after those
    while True:
        eventually(lambda: not TokenManager.health(held.name).refreshing)
        if held.token != before:
            return held.clock() - began
        held.clock.advance(held.clock.next_in_s or 0.0)


def test_rejections_that_go_on_are_answered_at_growing_intervals(settled: Held, provider: Provider) -> None:
    presenter = Presenter(settled.name)
    assert [in_turn(settled, presenter) for _ in range(6)] == pytest.approx([0, 1, 2, 4, 8, 16], abs=0.01)
    assert provider.token_requests == 7
    assert in_turn(settled, presenter, B) == pytest.approx(1, abs=0.01)  # of another origin; the minimum interval
    settled.clock.advance(300)  # and comes back
    assert [in_turn(settled, presenter) for _ in range(3)] == pytest.approx([0, 1, 2], abs=0.01)


def test_other_readers_keep_a_token_that_the_origin_had_accepted(settled: Held) -> None:
    presenter, sent = Presenter(settled.name), Presenter(settled.name).bearer()
    presenter.accept(A, sent)
    settled.gate.shut()
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(presenter.successor(A, sent)))
    waiting.start()
    eventually(lambda: settled.waiting == 1)
    assert TokenManager.get_access_token(settled.name, timeout=0) == sent.token
    assert presenter.bearer(0) == sent
    settled.gate.release()
    waiting.join(10)
    assert found == [presenter.bearer()]
    assert found != [sent]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_rejecting_reader_whose_turn_comes_too_late_gets_its_401_at_once(settled: Held, asynchronous: bool) -> None:
    presenter = Presenter(settled.name)
    for _ in range(5):
        in_turn(settled, presenter)
    sent, began = presenter.bearer(), time.monotonic()
    presenter.accept(A, sent)
    answer = asyncio.run(presenter.asuccessor(A, sent)) if asynchronous else presenter.successor(A, sent)
    assert answer is None
    assert time.monotonic() - began < 4  # its patience is 5
    assert presenter.bearer(0) == sent


def test_a_thousand_successes_with_one_token_are_told_once(settled: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr("oidc_actor.adapters.presenter.tell_soon", lambda server, said: told.append(said.origin))
    presenter = Presenter(settled.name)

    def succeed(url: str) -> None:
        presenter.hear("GET", url, {"Authorization": presenter.bearer()}, 200, {}, lambda name: [])

    for _ in range(1000):
        succeed(f"{A}/x")
        succeed(f"{B}/x")
    assert told == [A, B]
    settled.refresh()
    succeed(f"{A}/x")
    assert told == [A, B, A]
    for number in range(1000):
        succeed(f"https://{number}.example/x")
    assert len(presenter._accepted) <= 256


def test_channels_of_grpc_are_servers_of_their_own_unless_they_name_one() -> None:
    channels = [grpc_retry.interceptors("m")[0]._channel, grpc_retry.interceptors("m")[0]._channel]
    assert channels[0].origin != channels[1].origin
    assert grpc_retry.interceptors("m", origin=A)[0]._channel.origin == A
    assert {one._channel.origin for one in grpc_retry.aio_interceptors("m", origin=A)} == {A}


# --- every adapter, with its library -----------------------------------------------------------------------------------------


@pytest.fixture(params=DRIVERS, ids=lambda kind: kind.__name__)
def driver(request: pytest.FixtureRequest, http: Api, rpc: Rpc, cold: Held) -> Iterator[Driver]:
    with opened(request.param, http, rpc, cold.name) as driver:
        yield driver


def test_every_adapter_names_the_origin_and_tells_of_acceptance(
    driver: Driver, settled: Held, gatekeeper: Gatekeeper, provider: Provider
) -> None:
    assert driver.call()[0] == 200
    eventually(lambda: len(origins(settled)) == 1, "the first success")
    ((name, heard),) = origins(settled).items()
    assert heard.has_accepted
    assert name.startswith(("http://127.0.0.1:", "grpc channel "))
    gatekeeper.revoke(settled.token)
    kept = settled.token
    assert driver.call()[0] == 200
    assert settled.token != kept
    eventually(lambda: origins(settled)[name].has_accepted, "the success of the second try")
    assert origins(settled)[name].accepted != heard.accepted
    assert by_name[settled.name].counts["token_refused"] == 1
    assert "token_rejected" not in by_name[settled.name].counts
    assert provider.token_requests == 2


def test_a_bad_node_costs_every_adapter_few_requests_and_no_reader_the_token(
    driver: Driver, settled: Held, gatekeeper: Gatekeeper, provider: Provider
) -> None:
    """Every other call is answered by a node that refuses whatever it gets; 60 s of the manager's time."""
    source, began = TokenManager.source(settled.name), settled.clock()
    statuses = []
    for _ in range(60):
        assert driver.call()[0] == 200
        TokenManager.health(settled.name)
        Presenter(settled.name).reject(next(iter(origins(settled))), f"Bearer {source()}")
        statuses.append(TokenManager.health(settled.name).ready)
        settled.clock.advance(1)
        assert source(timeout=0)
    assert all(statuses)
    assert settled.clock() - began == 60
    assert 5 <= provider.token_requests <= 8


def origins(held: Held) -> dict[str, object]:
    TokenManager.health(held.name)
    state = by_name[held.name].state
    assert state is not None
    return dict(state.origins)
