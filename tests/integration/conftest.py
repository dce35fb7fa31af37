from __future__ import annotations

from collections.abc import Iterator

import pytest
from integration.node_provider import NodeProvider, running


@pytest.fixture(scope="session")
def npm_provider() -> Iterator[NodeProvider]:
    """The certified provider with 2-second tokens; shared, so tests compare its counters and never stop it."""
    with running() as provider:
        yield provider


@pytest.fixture
def own_npm_provider() -> Iterator[NodeProvider]:
    """One of the test's own, to be stopped and started."""
    with running() as provider:
        yield provider
