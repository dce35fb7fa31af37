"""The pytest plugin: fixtures `oidc_provider`, `fault_proxy`, `manual_clock`, `token_manager` and `stop_managers`.

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

A program under test that starts managers of its own leaves them, and their supervisors, to the next test, which then finds the
name taken. `stop_managers` stops those that a test has started, at its end::

    pytestmark = pytest.mark.usefixtures("stop_managers")
"""

# pytest loads this module in every run of every project that has us installed: until a fixture is used it imports nothing
# that pytest does not have in memory.

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pykka

    from oidc_actor import TokenManager
    from oidc_actor.reading.cell import Cell
    from oidc_actor.testing import FaultProxy, ManualClock, Provider
    from supervision.tree import Branch


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


@pytest.fixture
def stop_managers() -> Iterator[None]:
    """Stop, at the end of the test, all managers that it has started, and the supervisors that are above them.

    Those that ran before the test run on: a fixture of a wider scope may have started them. So do supervisors without a manager
    below them. What it stops has 5 seconds to end.
    """
    before = _Running.now()
    yield
    now = _Running.now()
    now.stop(but=before)


@dataclass(frozen=True, slots=True)
class _Running:
    """Managers and supervisors of this process at one moment."""

    managers: list[Cell]
    supervisors: list[pykka.ActorRef[Any]]

    @classmethod
    def now(cls) -> _Running:
        import pykka

        from oidc_actor.reading.directory import all_cells
        from supervision.supervising import is_supervisor

        return cls(all_cells(), [ref for ref in pykka.ActorRegistry.get_all() if is_supervisor(ref)])

    def stop(self, *, but: _Running) -> None:
        """Stop what was not there before: supervisors, so that none starts a manager again, then managers without one."""
        from oidc_actor import TokenManager
        from supervision import NoProcess, Supervisor

        # All are chosen first: while an inner one is stopped, the one above it has no manager below it for a moment.
        for supervisor in [ref for ref in self.supervisors if ref not in but.supervisors and _is_above_a_manager(ref)]:
            with contextlib.suppress(NoProcess):  # it has ended with one above it
                Supervisor.stop(supervisor, timeout=5.0)
        for manager in self.managers:
            if manager not in but.managers and not manager.closed:
                server = manager.ref or manager.name
                with contextlib.suppress(NoProcess):  # it has crashed, and now no reader gets its token any more
                    if server is not None:
                        TokenManager.stop(server, timeout=5.0)


def _is_above_a_manager(supervisor: pykka.ActorRef[Any]) -> bool:
    from supervision import NoProcess, Supervisor

    try:
        return _has_manager(Supervisor.tree(supervisor).children)
    except NoProcess:  # it has ended by itself
        return False


def _has_manager(children: Iterable[Branch]) -> bool:
    from oidc_actor.reading.directory import cell_of

    return any(
        cell_of(child.name if child.ref is None else child.ref) is not None or _has_manager(child.children)
        for child in children
    )


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
