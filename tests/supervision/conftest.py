"""Every test begins with an empty system and must be able to leave one."""

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from actors import Pooled
from children import Clock, World
from holding import Gate, Timers
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually

from supervision import NoProcess, Supervisor
from supervision.process import registry
from supervision.process.process import abandoned_count
from supervision.supervising import is_supervisor


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    for ref in reversed(ActorRegistry.get_all()):  # the top of each tree first, so that nothing is restarted
        if is_supervisor(ref):
            with contextlib.suppress(NoProcess):
                Supervisor.stop(ref, timeout=DEADLINE_S)
    ActorRegistry.stop_all(block=True, timeout=DEADLINE_S)
    assert ActorRegistry.get_all() == []
    eventually(lambda: not registry._names.value.table, "each name is free")  # after Pykka has heard of the end
    assert registry._names.value.awaited == {}


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
    for module in ("supervising", "tree"):
        monkeypatch.setattr(f"supervision.{module}.timer_thread", stand_in)
    return made


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A handler that is let go at the end of the test, if not before."""
    made = Gate()
    yield made
    made.go()
    eventually(lambda: abandoned_count() == 0)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Timers:
    """The supervisors' timers, which fire when the test says so."""
    made = Timers()
    monkeypatch.setattr("supervision.supervising.send_after", made)
    return made


@pytest.fixture
def switch_often() -> Iterator[None]:
    """Threads take turns every microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def error(base: Any) -> BaseException:
    """A new one for each test: an exception remembers where it has been."""
    made: BaseException = base()
    return made


@pytest.fixture
def onlooker() -> Any:
    """An actor that has nothing to do with it, and must never notice."""
    return Pooled.start_link()
