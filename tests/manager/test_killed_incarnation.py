"""A killed incarnation runs on for a while, because Python cannot end its thread; its successor is none the worse."""

import math
import threading
from typing import Any

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport
from managers import Start
from threads import DEADLINE_S

from oidc_actor import TokenManager
from oidc_actor.machine.effects import Reject
from oidc_actor.machine.events import ResultReady
from oidc_actor.machine.state import Rules
from oidc_actor.manager import performer
from oidc_actor.manager.effect_handler import EffectHandler
from oidc_actor.manager.issuers import join
from oidc_actor.manager.options import Options
from oidc_actor.manager.performer import Performer
from oidc_actor.manager.provider_requests import Incarnation
from oidc_actor.reading.directory import locate
from oidc_actor.testing import ManualClock
from oidc_actor.values.oidc_config import OIDCConfig
from supervision import kill, stop
from supervision.exits import Reason

pytestmark = pytest.mark.P4


def test_a_late_rejection_spares_the_token_that_came_after(
    start: Start, clock: ManualClock, transport: ScriptedTransport
) -> None:
    ref = start(name="late")
    rejected = TokenManager.get_token("late")
    clock.advance(1)
    TokenManager.force_refresh("late", rejected=rejected.access_token, wait=True)
    renewed = TokenManager.get_access_token("late")
    options = Options(AUTH, oidc_config=OIDCConfig(token_endpoint="https://i/token"), clock=clock, transport=transport)
    late = EffectHandler(Incarnation(ref, locate("late"), join(options), options, Rules()))
    late.handle(Reject(rejected))
    assert TokenManager.get_access_token("late", timeout=0) == renewed
    late.handle(Reject(TokenManager.get_token("late", timeout=DEADLINE_S)))
    assert locate("late").snapshot.deadline == -math.inf


def test_a_token_that_is_rejected_while_the_successor_starts_is_not_shown_again(
    start: Start, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_continue, shown = TokenManager.on_continue, []
    ref = start(name="late")
    TokenManager.get_token("late")
    kill(ref)
    clock.advance(1)

    def go_on_late(manager: TokenManager) -> None:
        TokenManager.force_refresh("late", rejected=TokenManager.get_access_token("late"))
        on_continue(manager)
        shown.append(locate("late").snapshot.deadline)

    monkeypatch.setattr(TokenManager, "on_continue", go_on_late)
    start(name="late")
    assert TokenManager.get_access_token("late") == "t2"
    assert shown == [-math.inf]


def test_an_end_that_a_kill_overtakes_takes_nothing_from_the_successor(
    start: Start, transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OIDCConfig(token_endpoint=f"{ISSUER}/token", revocation_endpoint=f"{ISSUER}/revoke")
    options = {"name": "late", "oidc_config": config, "revoke_on_stop": True}
    ref = start(**options)
    assert TokenManager.get_access_token("late") == "t1"
    cancel, on_terminate, begun, ended = (
        EffectHandler.cancel_timers,
        TokenManager.on_terminate,
        threading.Event(),
        threading.Event(),
    )

    def overtaken(handler: EffectHandler) -> None:
        cancel(handler)
        if not begun.is_set():
            begun.set()
            kill(ref)
            start(**options)

    def end(manager: TokenManager, reason: Reason) -> None:
        on_terminate(manager, reason)
        ended.set()

    monkeypatch.setattr(EffectHandler, "cancel_timers", overtaken)
    monkeypatch.setattr(TokenManager, "on_terminate", end)
    stop(ref)
    assert ended.wait(DEADLINE_S)
    assert TokenManager.get_access_token("late") == "t1"
    assert [request.url for request in transport.posts] == [config.token_endpoint]


def test_one_that_was_killed_while_it_began_takes_no_result_from_the_successor(
    start: Start, transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"name": "late", "oidc_config": OIDCConfig(token_endpoint=f"{ISSUER}/token")}
    on_continue, take, log = TokenManager.on_continue, performer._HANDLERS[ResultReady], Incarnation.log
    begun, go_on, came, go, over = (threading.Event() for _ in range(5))

    def begin(manager: TokenManager) -> None:
        on_continue(manager)
        if begun.is_set():
            over.set()

    def log_late(incarnation: Incarnation, event: str, attempt: int, **fields: object) -> None:
        log(incarnation, event, attempt, **fields)
        if event == "manager_started" and attempt and not begun.is_set():
            begun.set()
            go_on.wait(DEADLINE_S)

    def take_late(own: Performer[Any], message: ResultReady) -> None:
        came.set()
        go.wait(DEADLINE_S)
        take(own, message)

    monkeypatch.setattr(TokenManager, "on_continue", begin)
    monkeypatch.setattr(Incarnation, "log", log_late)
    monkeypatch.setitem(performer._HANDLERS, ResultReady, take_late)
    with transport.held_back():
        first = start(**options)
        transport.wait_for_posts(1)
        kill(first)
        second = start(**options)
        assert begun.wait(DEADLINE_S)
        kill(second)
        start(**options)
        assert TokenManager.health("late").refreshing
        over.clear()
    assert came.wait(DEADLINE_S)
    go_on.set()
    assert over.wait(DEADLINE_S)
    go.set()
    assert TokenManager.get_access_token("late") == "t1"
    assert len(transport.posts) == 1
