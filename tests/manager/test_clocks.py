"""Clocks: which one counts, what a suspend or a step does, and that nothing outlives the interpreter."""

import signal
import subprocess
import sys
import time

import pytest
from fakes import AUTH, ISSUER, Fixed, ScriptedTransport, Stopwatch
from managers import Start
from threads import eventually

from oidc_actor import NoTokenError, TokenManager
from oidc_actor.reading.cell import by_name


@pytest.mark.P11
def test_a_plain_clock_that_is_set_forward_makes_the_refresh_come_by_itself() -> None:
    clock, transport = Stopwatch(), ScriptedTransport()
    ref = TokenManager.start_link(auth=AUTH, issuer_url=ISSUER, transport=transport, clock=clock, rng=Fixed(0))
    TokenManager.get_token(ref)
    clock.advance(239)
    assert TokenManager.health(ref).refresh_in_s == 1
    clock.advance(1)
    eventually(lambda: TokenManager.get_access_token(ref) == "t2")


@pytest.mark.P11
def test_life_is_counted_from_the_start_of_the_request(start: Start, transport, clock) -> None:
    with transport.held_back():
        ref = start()
        transport.wait_for_requests(1)
    TokenManager.get_token(ref)
    with transport.held_back():
        clock.advance(240)
        transport.wait_for_posts(2)
        clock.advance(50)
    eventually(lambda: TokenManager.get_access_token(ref) == "t2")
    assert TokenManager.health(ref).expires_in_s == 250


@pytest.mark.P11
def test_a_thawed_process_hands_out_no_dead_token_and_gets_a_new_one(start: Start, transport, clock) -> None:
    ref = start(name="m")
    source = TokenManager.source("m")
    assert source() == "t1"
    with transport.held_back():
        clock._now += 3600  # the machine slept: no timer has fired yet
        with pytest.raises(NoTokenError):
            source(timeout=0)
    assert TokenManager.get_access_token(ref) == "t2"


@pytest.mark.P11
@pytest.mark.parametrize("step", [-7200, 4])
def test_a_step_of_the_wall_clock_neither_ends_nor_revives_a_token(
    step: float, start: Start, transport, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(name="m")
    TokenManager.get_token("m")
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + step)
    clock.advance(200)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert len(transport.posts) == 1
    transport.goes_down()
    clock.advance(100)
    with pytest.raises(NoTokenError):
        TokenManager.get_access_token("m", timeout=0)


@pytest.mark.P10
@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_a_script_that_stops_nothing_ends_at_once_with_its_own_status(ending: str) -> None:
    code = f"""
import sys, threading
sys.path.insert(0, "tests")
from fakes import *
from oidc_actor import TokenManager
from supervision import Supervisor
hang = threading.Event()
transport = ScriptedTransport()
TokenManager.start_link(auth=AUTH, issuer_url=ISSUER, transport=lambda request: hang.wait() or 1)
Supervisor.start_link([TokenManager.child_spec(auth=AUTH, issuer_url=ISSUER, name="m", transport=transport)])
TokenManager.subscribe("m", lambda token: hang.wait())
TokenManager.get_token("m")
TokenManager.force_refresh("m")
{ending}
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert time.monotonic() - started < 10
    expected = {"": 0, "raise SystemExit(3)": 3}.get(ending, -2)
    assert done.returncode in {expected, 130 if expected == -2 else expected}
    if expected >= 0:
        assert done.stderr == b""


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background is started with it ignored
sys.path.insert(0, "tests")
from fakes import *
from oidc_actor import TokenManager
def transport(request):
    print("asked", flush=True)
    if "unheard" in sys.argv:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    threading.Event().wait()
TokenManager.start_link(auth=AUTH, issuer_url=ISSUER, name="m", transport=transport)
TokenManager.get_token("m", timeout=60)
"""


@pytest.mark.P10
@pytest.mark.parametrize("heard", [True, False])
def test_ctrl_c_ends_a_wait_for_a_token_and_the_script_at_once(heard: bool) -> None:
    """Also where it does not wake the main thread: it came just before the wait began, or another thread received it."""
    script = [sys.executable, "-c", INTERRUPTED, *([] if heard else ["unheard"])]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"asked\n"
        began = time.monotonic()
        if heard:
            run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=30)
    assert time.monotonic() - began < 5
    assert run.returncode in {-signal.SIGINT, 130}
    assert said.rstrip().endswith(b"KeyboardInterrupt")


@pytest.mark.P2
@pytest.mark.P11
def test_no_reader_gets_a_token_after_its_own_expires_at(start: Start, transport) -> None:
    # On the wall clock, so that both are read off the same one: the manager's deadline is the earlier of the two.
    start(name="m", clock=time.time)
    for _ in range(3):
        token = TokenManager.get_token("m")
        state = by_name["m"].state
        assert state is not None
        assert state.expires_at <= token.expires_at.timestamp() + 1e-6  # a datetime has no more digits
        assert by_name["m"].snapshot.deadline == state.expires_at
        TokenManager.force_refresh("m", wait=True)
