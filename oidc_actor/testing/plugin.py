"""The pytest plugin: fixtures `oidc_provider`, `fault_proxy`, `manual_clock` and `token_manager`, each for one test.

```python
@pytest.mark.oidc_provider(token_lifetime_s=60)
@pytest.mark.token_manager(refresh_buffer_seconds=10)
def test_my_program_survives_an_outage(token_manager, fault_proxy, manual_clock):
    first = TokenManager.get_access_token(token_manager)
    fault_proxy.down()
    manual_clock.advance(55)
    assert my_program(token_manager) == f"used {first}"
```

A test that asks for `token_manager` gets one for `oidc_provider`, through `fault_proxy` where it asks for that too; where
it asks for `manual_clock`, manager and provider both go by that. The marks of the same names hold arguments for `Provider`
and options of `TokenManager.start_link`.
"""

# pytest loads this module in every run of every project that has us installed: until a fixture is used it imports nothing
# that pytest does not have in memory.

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pykka

    from oidc_actor import TokenManager
    from oidc_actor.testing import FaultProxy, ManualClock, Provider


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks."""
    config.addinivalue_line(
        "markers", "oidc_provider(**arguments): how oidc_actor.testing.Provider is made for oidc_provider"
    )
    config.addinivalue_line("markers", "token_manager(**options): options of the TokenManager of token_manager")


@pytest.fixture
def oidc_provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    """An authorization server on loopback (`oidc_actor.testing.Provider`), on `manual_clock` where there is one."""
    from oidc_actor.testing import Provider

    arguments = _marked(request, "oidc_provider")
    if "manual_clock" in request.fixturenames:
        arguments.setdefault("clock", request.getfixturevalue("manual_clock").wall)
    with Provider(**arguments) as provider:
        yield provider


@pytest.fixture
def fault_proxy(oidc_provider: Provider) -> Iterator[FaultProxy]:
    """A proxy before `oidc_provider` (`oidc_actor.testing.FaultProxy`), which calls itself by the proxy's address."""
    from oidc_actor.testing import FaultProxy

    with FaultProxy(oidc_provider.listen_url) as proxy:
        oidc_provider.public_url = proxy.url
        yield proxy


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that stands still until it is advanced (`oidc_actor.testing.ManualClock`)."""
    from oidc_actor.testing import ManualClock

    return ManualClock()


@pytest.fixture
def token_manager(request: pytest.FixtureRequest, oidc_provider: Provider) -> Iterator[pykka.ActorRef[TokenManager]]:
    """A manager for the first client of `oidc_provider`, started, stopped at the end; it may have no token yet."""
    from oidc_actor import ClientCredentials, TokenManager
    from supervision import NoProcess

    options = _marked(request, "token_manager")
    options.setdefault("auth", ClientCredentials(oidc_provider.client_id, oidc_provider.client_secret))
    if "fault_proxy" in request.fixturenames:
        request.getfixturevalue("fault_proxy")  # before the issuer is asked for its address
    if "manual_clock" in request.fixturenames:
        options.setdefault("clock", request.getfixturevalue("manual_clock"))
    if "oidc_config" not in options:
        options.setdefault("issuer_url", oidc_provider.issuer_url)
    manager = TokenManager.start_link(**options)
    yield manager
    with contextlib.suppress(NoProcess):  # the test may have ended it
        TokenManager.stop(manager)


def _marked(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    """The arguments of the test's marks of that name; the closest mark counts most."""
    arguments: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(name))):
        if mark.args:
            raise pytest.UsageError(
                f"the mark {name}: expected arguments by name only, got {len(mark.args)} without one"
            )
        arguments |= mark.kwargs
    return arguments
