"""One provider, one manager on a clock of the test's own, and resource servers that know the provider's keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.drivers import DRIVERS, WEB_DRIVERS, Driver, opened
from adapters.held_manager import LIFETIME_S, Held
from adapters.rpc import Rpc
from adapters.weaviate_server import PUBLIC, serve

from oidc_actor import TokenManager
from oidc_actor.testing import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=LIFETIME_S) as running:
        yield running


@pytest.fixture
def gatekeeper(provider: Provider) -> Gatekeeper:
    return Gatekeeper(provider)


@pytest.fixture
def http(gatekeeper: Gatekeeper) -> Iterator[Api]:
    with Api(gatekeeper) as running:
        yield running


@pytest.fixture
def other(gatekeeper: Gatekeeper) -> Iterator[Api]:
    """Another origin."""
    with Api(gatekeeper) as running:
        yield running


@pytest.fixture
def rpc(gatekeeper: Gatekeeper) -> Iterator[Rpc]:
    with Rpc(gatekeeper) as running:
        yield running


@pytest.fixture
def bound() -> bool:
    """Whether the manager's tokens are bound to a key of its own (DPoP)."""
    return False


@pytest.fixture
def cold(provider: Provider, bound: bool) -> Iterator[Held]:
    """A manager that has no token until its gate is opened."""
    held = Held(provider, bound=bound)
    yield held
    held.gate.release()
    TokenManager.stop(held.ref, timeout=DEADLINE_S)


@pytest.fixture
def manager(cold: Held) -> Held:
    """A manager that is about to have its first token."""
    cold.gate.release()
    return cold


@pytest.fixture
def settled(manager: Held) -> Held:
    """The manager with its first token, a while after that came."""
    manager.wait_for_token()
    manager.clock.advance(5)
    return manager


@pytest.fixture(params=DRIVERS, ids=lambda kind: kind.__name__)
def driver(request: pytest.FixtureRequest, http: Api, rpc: Rpc, cold: Held) -> Iterator[Driver]:
    with opened(request.param, http, rpc, cold.name) as driver:
        yield driver


@pytest.fixture(params=WEB_DRIVERS, ids=lambda kind: kind.__name__)
def web(request: pytest.FixtureRequest, http: Api, cold: Held) -> Iterator[Driver]:
    """The drivers over HTTP, which has redirects, challenges, and exceptions of the caller's own."""
    with opened(request.param, http, None, cold.name) as driver:
        yield driver


@pytest.fixture
def rest(http: Api, provider: Provider) -> Api:
    """Weaviate over HTTP, as far as its client asks."""
    http.pages = {
        "/v1/meta": {"version": "1.33.0", "grpcMaxMessageSize": 10_485_760},
        "/v1/schema/Article": {"class": "Article", "properties": []},
        PUBLIC: {"href": f"{provider.issuer_url}/.well-known/openid-configuration", "clientId": provider.client_id},
    }
    return http


@pytest.fixture
def search(gatekeeper: Gatekeeper) -> Iterator[Rpc]:
    """Weaviate over gRPC."""
    with Rpc(gatekeeper, serve) as running:
        yield running


@pytest.fixture
def plain(gatekeeper: Gatekeeper) -> Iterator[Rpc]:
    """The same without TLS."""
    with Rpc(gatekeeper, serve, is_secure=False) as running:
        yield running
