"""Every test begins with an empty system and must be able to leave one."""

import contextlib
import types
from collections.abc import Iterator

import pytest
from probes import DEADLINE_S, Clock, World
from pykka import ActorRegistry

from supervision import NoProcess, Supervisor
from supervision.lifecycle import names
from supervision.parent import is_parent


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    for ref in reversed(ActorRegistry.get_all()):  # the top of each tree first, so that nothing is restarted
        if is_parent(ref):
            with contextlib.suppress(NoProcess):
                Supervisor.stop(ref, timeout=DEADLINE_S)
    ActorRegistry.stop_all(block=True, timeout=DEADLINE_S)
    assert ActorRegistry.get_all() == []
    assert names._names.table == {}


@pytest.fixture
def world() -> Iterator[World]:
    """The children of this test; none of them may ever have had two live incarnations."""
    made = World()
    yield made
    assert not made.doubles


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The supervisors' clock, for the intensity window and for ages; timers keep the real one."""
    made = Clock()
    stand_in = types.SimpleNamespace(now=made.now)
    for module in ("parent", "dynamic", "tree"):
        monkeypatch.setattr(f"supervision.{module}.alarm", stand_in)
    return made
