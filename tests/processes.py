"""Scripts in an interpreter of their own, and checks in a forked child: what only a whole process can show."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable

import pytest
from threads import DEADLINE_S

SCRIPT_S = 60
"""Seconds after which a script hangs: some take two where nothing else runs, and ten times that beside much else."""

CHILD_S = 3 * int(DEADLINE_S)  # longer than a wait in there, so that one which is in vain ends first, and says what for

PRELUDE = f"""
import faulthandler, os, signal, sys, threading, time
faulthandler.register(signal.SIGALRM, chain=True)  # a hang shows its stacks, and ends
signal.alarm({SCRIPT_S})
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background is started with it ignored
import pykka
from pykka import ActorRegistry
from supervision import *
from supervision import Server, Supervisor, DynamicSupervisor, ChildSpec

def forever(*_):
    threading.Event().wait()

class Pooled(Server):
    def on_receive(self, message):
        return message(self) if callable(message) else message

class Threaded(Pooled):
    runtime = "thread"

class Plain(pykka.ThreadingActor):
    def on_receive(self, message):
        return message(self) if callable(message) else message

def child_ref(sup):
    return Supervisor.which_children(sup)[0].ref
"""


def run_script(code: str, *, interrupt_at: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script to its end; fails if it hangs.

    Args:
        code: what comes after ``PRELUDE``.
        interrupt_at: a line of its output at which it gets a Ctrl-C.
    """
    # A fork with other threads running is what is tested here; Python 3.12 and later warn of it.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + textwrap.dedent(code)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    said = ""
    try:
        if interrupt_at is not None:
            assert process.stdout is not None
            while not said.endswith(interrupt_at + "\n"):
                line = process.stdout.readline()
                assert line, f"it ended before it said {interrupt_at!r}"
                said += line
            _interrupt(process)
        out, err = process.communicate(timeout=SCRIPT_S + 5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"it hung:\n{err}") from None
    assert process.returncode != -signal.SIGALRM, f"it hung:\n{err}"
    return subprocess.CompletedProcess(command, process.returncode, said + out, err)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Send Ctrl-C; again if one fell into the hole that every wait of CPython has just before it begins."""
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
            return


NEEDS_FORK = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


def in_child(check: Callable[[], object]) -> None:
    """Run a check in a forked child; it must pass there, and the child must end, within `CHILD_S`."""
    own_s = signal.alarm(0)  # of a child that has a child: its own time stands still until that has ended
    try:
        end_of_child(fork(check))
    finally:
        signal.alarm(own_s)


def fork(check: Callable[[], object]) -> int:
    """Begin a check in a forked child; returns its process id, for `end_of_child`.

    The captured stderr says what the check or a thread of the child raised, and where all threads are if it hangs. A signal
    has them shown: the thread of ``faulthandler.dump_traceback_later`` may be the parent's, and would be waited for in vain.
    """
    process = os.fork()
    if process == 0:
        status = 1
        try:
            faulthandler.register(signal.SIGALRM, file=2, chain=True)
            signal.alarm(CHILD_S)
            threading.excepthook = threading.__excepthook__  # pytest's keeps it for a report that the child never makes
            check()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return process


def end_of_child(process: int) -> None:
    """Wait for the end of a child, which must have passed its check."""
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code != -signal.SIGALRM, f"the child hung for {CHILD_S} s; its stacks are in stderr"
    assert code == 0, (
        f"the child ended by {signal.Signals(-code).name}" if code < 0 else f"the child's exit status: {code}"
    )
