"""Every test of a manager begins with an empty process and leaves one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from fakes import AUTH, DEADLINE_S, ISSUER, Fixed, ScriptedTransport, eventually
from manager_tests import Start
from pykka import ActorRegistry

from oidc_actor import TokenManager
from oidc_actor.exchanges.fetches import EXCHANGES
from oidc_actor.published import by_name
from oidc_actor.testing import ManualClock
from supervision import NoProcess, Supervisor
from supervision.parent import is_parent


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    for ref in ActorRegistry.get_all():
        if is_parent(ref):
            with contextlib.suppress(NoProcess):
                Supervisor.stop(ref, timeout=DEADLINE_S)
    ActorRegistry.stop_all(block=True, timeout=DEADLINE_S)
    for cell in list(by_name.values()):  # of managers that were killed
        cell.close(None)
    eventually(lambda: not EXCHANGES.busy, "the end of every exchange")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def transport() -> ScriptedTransport:
    return ScriptedTransport()


@pytest.fixture
def start(clock: ManualClock, transport: ScriptedTransport) -> Start:
    """Start a manager on the manual clock and the scripted transport, without jitter; options replace these."""

    def start_one(**options: Any) -> "pykka.ActorRef[TokenManager]":
        known = {"auth": AUTH, "transport": transport, "clock": clock, "rng": Fixed(0)}
        if "oidc_config" not in options:
            known["issuer_url"] = ISSUER
        return TokenManager.start_link(**(known | options))

    return start_one
