"""A pytest plugin (``-p supervised_suite``): every actor that a suite starts is a supervisor's child, and no test knows.

``ThreadingActor.start`` is replaced. A child is transient: one that a test stops stays down, and one that crashes is started
again. A test that calls ``ActorRegistry.stop_all()`` stops the supervisor too, and the next actor gets a new one. The last
line of the run says how many actors were started so.
"""

from __future__ import annotations

from typing import Any

import pykka
import pytest

from supervision import ChildSpec, DynamicSupervisor, StartError, whereis

started: list[str] = []


def start(cls: type[pykka.ThreadingActor], *args: Any, **kwargs: Any) -> Any:
    supervisor = whereis("suite") or DynamicSupervisor.start_link(name="suite", max_restarts=1_000_000)
    started.append(cls.__name__)
    try:
        return DynamicSupervisor.start_child(
            supervisor, ChildSpec(cls.__name__, cls, args, kwargs, restart="transient")
        )
    except StartError as error:
        raise error.cause from None  # as Pykka has it


pykka.ThreadingActor.start = classmethod(start)  # type: ignore[assignment]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"supervised actors: {len(started)}")
