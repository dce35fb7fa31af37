"""Every test begins with a process without managers; what it starts is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import AUTH, Fixed, ScriptedTransport
from managers import leave_nothing_behind
from prometheus_client import CollectorRegistry

from oidc_actor import TokenManager
from oidc_actor.metrics.prometheus import Collector
from oidc_actor.testing import ManualClock


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    leave_nothing_behind()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def transport() -> ScriptedTransport:
    return ScriptedTransport()


@pytest.fixture
def options(clock: ManualClock, transport: ScriptedTransport) -> dict[str, Any]:
    """A manager on the manual clock and the scripted transport, without jitter."""
    return {"auth": AUTH, "issuer_url": transport.issuer, "transport": transport, "clock": clock, "rng": Fixed(0)}


@pytest.fixture
def start(options: dict[str, Any]) -> Callable[..., Any]:
    return lambda **more: TokenManager.start_link(**(options | more))


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry, collector = CollectorRegistry(), Collector()
    registry.register(collector)
    yield registry
    collector.close()


@pytest.fixture
def sample(registry: CollectorRegistry) -> Callable[..., float | None]:
    """One value of the next scrape; ``None`` where there is no such series."""
    return lambda name, **labels: registry.get_sample_value(f"oidc_actor_{name}", labels)
