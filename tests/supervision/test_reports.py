"""Reports never import structlog, and use it where the program has it."""

import importlib.machinery
import logging
import subprocess
import sys
import types
from typing import Any

import pytest
import structlog
from children import Scripted, World, crash

from supervision import Supervisor
from supervision.runtime.reports import report


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_report_does_not_import_structlog() -> None:
    """It is made on the thread of an ending actor, whose time an import could use up."""
    code = """
        import logging, sys
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(message)s", force=True)
        from supervision.runtime.reports import report
        report("info", "child_ended", child="a")
        assert "structlog" not in sys.modules
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, timeout=60, check=True, text=True)
    assert done.stdout == "child_ended child='a'\n"


@pytest.fixture
def half_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread is in the midst of importing structlog, or was in the parent of this forked process."""
    module: Any = types.ModuleType("structlog")
    module.__spec__ = importlib.machinery.ModuleSpec("structlog", None)
    module.__spec__._initializing = True
    monkeypatch.setitem(sys.modules, "structlog", module)


def test_a_half_imported_structlog_is_not_waited_for(half_imported: None, world: World, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "supervision")
    sup = Supervisor.start_link(world.specs("a"))
    assert crash(sup, "a", Scripted("a"))
    assert [line.split()[0] for line in said(caplog)] == ["server_crashed", "child_ended", "child_restarted"]


def test_context_variables_are_in_a_report(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "supervision")
    with structlog.contextvars.bound_contextvars(request="r1"):
        report("info", "child_ended", child="a")
    assert [set(line.split()) for line in said(caplog)] == [{"child_ended", "child='a'", "request='r1'"}]
