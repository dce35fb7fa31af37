"""Both exporters are made from the one table, and say the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from threads import DEADLINE_S

from oidc_actor import TokenManager
from oidc_actor.metrics import INSTRUMENTS, readings
from oidc_actor.metrics.otel import instrument

PROMETHEUS_NAMES = [
    "oidc_actor_token_requests",
    "oidc_actor_token_request_duration_seconds",
    "oidc_actor_token_refreshes",
    "oidc_actor_token_time_to_expiry_seconds",
    "oidc_actor_manager_consecutive_failures",
    "oidc_actor_manager_restarts",
    "oidc_actor_flights_joined",
    "oidc_actor_store_calls",
    "oidc_actor_store_adoptions",
    "oidc_actor_store_alone_requests",
]


@pytest.fixture
def otel():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    instrumentation = instrument(provider)

    def metrics():
        data = reader.get_metrics_data()
        if data is None:
            return {}
        return {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}

    metrics.close = instrumentation.close
    yield metrics
    instrumentation.close()
    provider.shutdown()


def test_the_names_do_not_change() -> None:
    assert [one.prometheus_name for one in INSTRUMENTS] == PROMETHEUS_NAMES
    assert len({one.name for one in INSTRUMENTS}) == len(INSTRUMENTS)


def test_every_label_is_one_of_three() -> None:
    assert {label for one in INSTRUMENTS for label in one.labels} == {"manager", "issuer", "outcome"}


def test_prometheus_has_the_families_of_the_table(start, registry) -> None:
    start(name="m")
    TokenManager.get_token("m")
    families = {family.name: family for family in registry.collect()}
    assert list(families) == PROMETHEUS_NAMES
    for one in INSTRUMENTS:
        family = families[one.prometheus_name]
        assert (family.type, family.documentation) == (one.kind, one.description)
        assert {name for sample in family.samples for name in sample.labels} - {"le"} == set(one.labels)


def test_registering_looks_at_no_manager_and_twice_is_refused(registry) -> None:
    from oidc_actor.metrics.prometheus import Collector

    second = Collector()
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(second)
    second.close()


def test_opentelemetry_has_the_instruments_of_the_table(start, otel) -> None:
    start(name="m")
    TokenManager.get_token("m")
    metrics = otel()
    assert set(metrics) == {one.name for one in INSTRUMENTS}
    for one in INSTRUMENTS:
        metric = metrics[one.name]
        assert (metric.unit, metric.description) == (one.unit, one.description)
        assert {name for point in metric.data.data_points for name in point.attributes} == set(one.labels)
    assert all(metrics[one.name].data.is_monotonic for one in INSTRUMENTS if one.kind == "counter")


def test_both_say_the_same(start, otel, registry, transport) -> None:
    start(name="m")
    TokenManager.get_token("m")
    metrics = otel()
    for one in INSTRUMENTS:
        for point in metrics[one.name].data.data_points:
            name = one.prometheus_name + {"counter": "_total", "gauge": "", "histogram": "_count"}[one.kind]
            value = point.count if one.kind == "histogram" else point.value
            assert registry.get_sample_value(name, dict(point.attributes)) == value, one.name


def test_opentelemetry_has_no_series_of_a_stopped_manager(start, otel) -> None:
    ref = start(name="m")
    start(name="n")
    TokenManager.get_token("m")
    TokenManager.get_token("n")
    assert {point.attributes["manager"] for point in otel()["oidc_actor.manager.restarts"].data.data_points} == {
        "m",
        "n",
    }
    TokenManager.stop(ref)
    metrics = otel()
    for one in INSTRUMENTS:
        if "manager" in one.labels:
            assert {point.attributes["manager"] for point in metrics[one.name].data.data_points} == {"n"}, one.name


def test_each_collection_looks_once_at_the_managers(start, otel, monkeypatch) -> None:
    looks: list[int] = []
    real = readings.read_managers
    monkeypatch.setattr(readings, "read_managers", lambda most: looks.append(most) or real(most))
    start(name="m")
    TokenManager.get_token("m")
    for collections in (1, 2, 3):
        otel()
        assert len(looks) == collections


def test_an_instrument_that_is_asked_alone_is_not_told_old_things(start, monkeypatch) -> None:
    look = readings.Look(10)
    assert look("a") == []
    start(name="m")
    assert look("b") == []  # of the same collection
    monkeypatch.setattr(readings, "_FRESH_S", 0.0)
    assert [one.manager for one in look("a")] == ["m"]
    start(name="n")
    assert [one.manager for one in look("b")] == ["m", "n"]


def test_opentelemetry_after_close_has_no_values(start, otel) -> None:
    otel.close()
    start(name="m")
    TokenManager.get_token("m")
    assert otel() == {}


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("prometheus", "prometheus_client", "prometheus"),
        ("otel", "opentelemetry", "otel"),
        ("spans", "opentelemetry", "otel"),
    ],
)
def test_without_its_extra_one_line_says_what_to_install(module: str, missing: str, extra: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import oidc_actor.metrics.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ModuleNotFoundError")]
    assert f"oidc_actor.metrics.{module} needs {missing}" in line
    assert line.endswith(f'pip install "oidc-actor[{extra}]"')


def test_readiness_needs_no_extra() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = sys.modules['opentelemetry'] = None\n"
        "from oidc_actor.metrics import ready; assert not ready()"
    )
    subprocess.run([sys.executable, "-c", code], timeout=DEADLINE_S * 6, check=True)
