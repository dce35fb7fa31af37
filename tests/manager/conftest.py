"""Every test of a manager begins with an empty process and leaves one."""

from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from fakes import AUTH, ISSUER, Fixed, ScriptedTransport
from managers import Start, leave_nothing_behind

from oidc_actor import TokenManager
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
def start(clock: ManualClock, transport: ScriptedTransport) -> Start:
    """Start a manager on the manual clock and the scripted transport, without jitter; options replace these."""

    def start_one(**options: Any) -> "pykka.ActorRef[TokenManager]":
        known = {"auth": AUTH, "transport": transport, "clock": clock, "rng": Fixed(0)}
        if "oidc_config" not in options:
            known["issuer_url"] = ISSUER
        return TokenManager.start_link(**(known | options))

    return start_one
