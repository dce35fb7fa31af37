"""What each instrument says, in every situation it is there for; read through the Prometheus collector."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from fakes import UNREACHABLE, failing, minted, refused
from prometheus_client import CollectorRegistry, generate_latest
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually

from oidc_actor import ClientCredentials, SecretFile, TokenManager
from oidc_actor.manager.log import observe
from oidc_actor.metrics.prometheus import Collector
from oidc_actor.transport import Response
from supervision import Supervisor, kill, monitor


@pytest.fixture
def labels(transport):
    return {"manager": "m", "issuer": transport.issuer}


@pytest.fixture
def counted(sample, labels):
    """A counter's values by outcome, zeros left out."""

    def read(name: str, *outcomes: str) -> dict[str, float]:
        values = {outcome: sample(f"{name}_total", outcome=outcome, **labels) for outcome in outcomes}
        return {outcome: value for outcome, value in values.items() if value}

    return read


REQUESTS = ("token_requests", "success", "refused", "unavailable", "invalid")
REFRESHES = ("token_refreshes", "success", "transient_error", "permanent_error")


@pytest.mark.parametrize(
    ("answer", "request_outcome", "refresh_outcome"),
    [
        (minted(), "success", "success"),
        (refused("invalid_client", 401), "refused", "permanent_error"),
        (refused("invalid_request"), "refused", "transient_error"),
        (failing(503), "unavailable", "transient_error"),
        (failing(429), "unavailable", "transient_error"),
        (UNREACHABLE, "unavailable", "transient_error"),
        (Response(200, {}, "<html>"), "invalid", "transient_error"),
        (Response(302, {"location": "https://elsewhere.example"}, ""), "invalid", "transient_error"),
    ],
)
def test_requests_and_refreshes_by_outcome(
    start, transport, sample, counted, labels, answer, request_outcome, refresh_outcome
) -> None:
    transport.then(answer)
    start(name="m")
    eventually(lambda: counted(*REFRESHES))
    assert counted(*REFRESHES) == {refresh_outcome: 1}
    assert counted(*REQUESTS) == {request_outcome: 1}
    failures = 0 if refresh_outcome == "success" else 1
    eventually(lambda: sample("manager_consecutive_failures", **labels) == failures)


def test_a_refused_refresh_token_is_two_requests_in_one_refresh(start, transport, clock, counted) -> None:
    transport.then(minted(refresh_token="r"), refused("invalid_grant"))
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(240)
    eventually(lambda: counted(*REFRESHES) == {"success": 2})
    assert counted(*REQUESTS) == {"success": 2, "refused": 1}


def test_what_was_never_sent_is_no_request(start, sample, counted, tmp_path) -> None:
    start(name="m", auth=ClientCredentials("id", SecretFile(tmp_path / "missing")))
    eventually(lambda: counted(*REFRESHES) == {"transient_error": 1})
    assert counted(*REQUESTS) == {}


def test_time_to_expiry_is_what_readers_have_left(start, transport, clock, sample, labels) -> None:
    with transport.held_back():
        start(name="m")
        assert sample("token_time_to_expiry_seconds", **labels) == 0
    token = TokenManager.get_access_token("m")
    assert sample("token_time_to_expiry_seconds", **labels) == 300
    transport.goes_down()
    clock.advance(100)
    assert sample("token_time_to_expiry_seconds", **labels) == 200
    TokenManager.force_refresh("m", rejected=token)  # rejected: nobody gets it any more
    assert sample("token_time_to_expiry_seconds", **labels) == 0


def test_durations_are_measured_on_the_managers_clock(start, transport, clock, sample) -> None:
    def slow(_request):
        clock.advance(0.3)
        return minted()

    transport.then(slow)
    start(name="m")
    TokenManager.get_token("m")
    labels = {"issuer": transport.issuer, "outcome": "success"}
    assert sample("token_request_duration_seconds_count", **labels) == 1
    assert sample("token_request_duration_seconds_sum", **labels) == pytest.approx(0.3)
    assert sample("token_request_duration_seconds_bucket", le="0.25", **labels) == 0
    assert sample("token_request_duration_seconds_bucket", le="0.5", **labels) == 1


def test_restarts_after_crashes_and_none_after_a_stop(options, start, sample, labels) -> None:
    Supervisor.start_link([TokenManager.child_spec(name="m", **options)])
    TokenManager.get_token("m")
    assert sample("manager_restarts_total", **labels) == 0
    (ref,) = ActorRegistry.get_by_class(TokenManager)
    ended = threading.Event()
    monitor(ref, lambda _down: ended.set())
    kill(ref)
    assert ended.wait(DEADLINE_S)
    eventually(lambda: sample("manager_restarts_total", **labels) == 1)
    assert sample("token_requests_total", outcome="success", **labels) == 1  # the successor counts on


def test_callers_that_share_an_attempt_under_way(start, transport, sample, labels) -> None:
    with transport.held_back():
        start(name="m")
        transport.wait_for_requests(1)
        readers = [threading.Thread(target=TokenManager.get_token, args=("m",), kwargs={"timeout": DEADLINE_S})]
        readers += [
            threading.Thread(target=lambda: asyncio.run(TokenManager.aget_token("m", timeout=DEADLINE_S))),
            threading.Thread(target=lambda: TokenManager.force_refresh("m", wait=True, timeout=DEADLINE_S)),
        ]
        for reader in readers:
            reader.start()
        eventually(lambda: sample("flights_joined_total", **labels) == 3)
    for reader in readers:
        reader.join(DEADLINE_S)
        assert not reader.is_alive()
    assert sample("flights_joined_total", **labels) == 3


def test_a_read_of_a_live_token_joins_nothing(start, sample, labels) -> None:
    start(name="m")
    TokenManager.get_token("m")
    joined = sample("flights_joined_total", **labels)
    for _ in range(10):
        TokenManager.get_token("m")
    assert sample("flights_joined_total", **labels) == joined


def test_who_causes_an_attempt_joins_nothing(start, transport, clock, sample, labels) -> None:
    start(name="m")
    TokenManager.get_token("m")
    joined = sample("flights_joined_total", **labels)
    clock.advance(2)
    TokenManager.force_refresh("m", wait=True)
    assert len(transport.posts) == 2
    assert sample("flights_joined_total", **labels) == joined


def test_a_stopped_manager_is_not_in_the_next_scrape(start, sample, labels) -> None:
    ref = start(name="m")
    assert sample("manager_restarts_total", **labels) == 0
    TokenManager.stop(ref)
    assert sample("manager_restarts_total", **labels) is None


def test_a_manager_without_a_name_goes_by_its_urn(start, transport, sample) -> None:
    ref = start()
    assert sample("manager_restarts_total", manager=ref.actor_urn, issuer=transport.issuer) == 0


def test_managers_beyond_the_bound_share_one_series(start, transport, clock) -> None:
    registry, collector = CollectorRegistry(), Collector(max_managers=2)
    registry.register(collector)
    for number, lifetime in enumerate((600, 500, 400, 300)):
        transport.lifetime = lifetime
        start(name=f"m{number}")
        TokenManager.get_token(f"m{number}")

    def sample(name: str, manager: str) -> float | None:
        issuer = "(other)" if manager == "(other)" else transport.issuer
        return registry.get_sample_value(f"oidc_actor_{name}", {"manager": manager, "issuer": issuer})

    life = "token_time_to_expiry_seconds"
    assert [sample(life, manager) for manager in ("m0", "m1", "m2", "m3")] == [600, 500, None, None]
    assert sample(life, "(other)") == 300  # the worst of them
    assert sample("manager_restarts_total", "(other)") == 0
    labels = {"manager": "(other)", "issuer": "(other)", "outcome": "success"}
    assert registry.get_sample_value("oidc_actor_token_requests_total", labels) == 2
    collector.close()


def test_issuers_beyond_the_bound_share_one_histogram(start, transport) -> None:
    registry, collector = CollectorRegistry(), Collector(max_issuers=1)
    registry.register(collector)
    for number in range(3):
        transport.issuer = f"https://auth{number}.example.com"
        transport.comes_up()
        start(name=f"m{number}", issuer_url=transport.issuer)
        TokenManager.get_token(f"m{number}")
    name = "oidc_actor_token_request_duration_seconds_count"
    counts = [
        registry.get_sample_value(name, {"issuer": issuer, "outcome": "success"})
        for issuer in ("https://auth0.example.com", "https://auth1.example.com", "(other)")
    ]
    assert counts == [1, None, 2]
    collector.close()


def test_a_closed_collector_measures_no_more(start, transport, clock) -> None:
    registry, collector = CollectorRegistry(), Collector()
    registry.register(collector)
    collector.close()
    collector.close()
    start(name="m")
    TokenManager.get_token("m")
    labels = {"issuer": transport.issuer, "outcome": "success"}
    assert registry.get_sample_value("oidc_actor_token_request_duration_seconds_count", labels) is None


def test_an_observer_that_raises_costs_no_token(start, caplog) -> None:
    def broken(_request) -> None:
        raise RuntimeError("a secret")

    end = observe(broken)
    with caplog.at_level(logging.ERROR, "oidc_actor"):
        start(name="m")
        assert TokenManager.get_access_token("m") == "t1"
    end()
    assert [record.event for record in caplog.records] == ["listener_failed"]
    assert f"at='{__file__}:{broken.__code__.co_firstlineno + 1} in broken'" in caplog.text
    assert "a secret" not in caplog.text


def test_no_token_and_no_secret_is_in_a_scrape(start, registry) -> None:
    start(name="m", auth=ClientCredentials("id", "very-secret"))
    token = TokenManager.get_access_token("m")
    text = generate_latest(registry).decode()
    assert 'manager="m"' in text
    assert "very-secret" not in text
    assert f'"{token}"' not in text
