"""`ready()`: valid tokens exist, or not; asked of nobody."""

from __future__ import annotations

import subprocess
import sys
import threading

from threads import DEADLINE_S

from oidc_actor import TokenManager
from oidc_actor.metrics import ready
from supervision import kill, monitor


def test_without_a_manager_nothing_is_ready() -> None:
    assert not ready()
    assert not ready("unknown")


def test_ready_once_every_manager_has_a_token(start, transport) -> None:
    start(name="first")
    TokenManager.get_token("first")
    assert ready()
    with transport.held_back():
        ref = start(name="second")
        assert not ready()
        assert not ready("first", "second")
        assert ready("first")
    TokenManager.get_token("second")
    assert ready()
    assert ready("first", ref)


def test_not_ready_once_expired(start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")
    transport.goes_down()
    clock.advance(299)
    assert ready("m")
    clock.advance(1)
    assert not ready("m")


def test_a_crashed_managers_live_token_is_ready(start) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    ended = threading.Event()
    monitor(ref, lambda _down: ended.set())
    kill(ref)
    assert ended.wait(DEADLINE_S)
    assert ready("m")


def test_a_forked_child_is_ready_with_what_it_inherited() -> None:
    code = (
        "import os, sys, warnings; sys.path.insert(0, 'tests'); warnings.simplefilter('ignore')\n"
        "from fakes import *; from oidc_actor import TokenManager; from oidc_actor.metrics import ready\n"
        "ref = TokenManager.start_link(auth=AUTH, issuer_url=ISSUER, transport=ScriptedTransport(), name='m')\n"
        "TokenManager.get_token('m')\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if ready('m') and ready() else 3)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
