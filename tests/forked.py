"""Checks that run in a forked child."""

import os
import signal
import sys
import traceback
from collections.abc import Callable

import pytest
from fakes import DEADLINE_S

NEEDS_FORK = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


def in_child(check: Callable[[], None]) -> None:
    """Run a check in a forked child; it must pass there, and the child must end, within the deadline."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            signal.alarm(int(DEADLINE_S))
            check()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
