"""Which tests are fast, in one table; and a run with one mark imports only the files that may hold it.

``pytest -m fast`` is the inner loop: what is pure, or quick although it is not. ``pytest -m P4`` plays one promise.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")  # by default an example that takes 0.2 s fails, as any may on a busy machine

FAST = {
    "unit": "*",
    "cli": "connection exit_status findings promises",
    "sidecar": "client_auth_tables config guards managers_in_use notify",
    "supervision": "intensity contract_api contract_dynamic contract_names contract_retries contract_significant",
    "testing": "manual_clock",
}
"""For each folder the files, without ``test_`` and ``.py``."""

NOT_FAST = {
    "unit": "client* dpop machine_properties machine_table private_key recovery redaction refusal_advice "
    "response_properties workers"
}
"""Those of them that take sockets, threads or random examples and so seconds."""

PROMISE = re.compile(r"P\d+")


def pytest_configure() -> None:
    """Delay what other threads do, where that is asked for (`delays`)."""
    if seed := os.environ.get("OIDC_ACTOR_DELAYS"):
        import delays

        delays.begin(int(seed))


def is_fast(path: Path) -> bool:
    """Whether the tests of that file are."""
    folder, name = path.parent.name, path.stem.removeprefix("test_")
    return _named(FAST, folder, name) and not _named(NOT_FAST, folder, name)


def _named(table: dict[str, str], folder: str, name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in table.get(folder, "").split())


def may_hold(path: Path, expression: str) -> bool:
    """Whether a file of tests may hold one that ``-m expression`` selects; only an expression of one mark is looked at."""
    if expression == "fast":
        return is_fast(path)
    if PROMISE.fullmatch(expression):
        return re.search(rf"\bmark\.{expression}\b", path.read_text()) is not None
    return True


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file whose tests would all be deselected: to import all of them takes longer than to play the fast ones.

    The same for a folder without any such file, whose conftest.py may import every client library.
    """
    if not collection_path.is_relative_to(TESTS) or collection_path == TESTS:
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    tests = [path for path in files if path.match("test_*.py")]
    expression = config.getoption("markexpr").strip()
    return True if tests and not any(may_hold(path, expression) for path in tests) else None


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Mark the tests of the table."""
    for item in items:
        if item.path.is_relative_to(TESTS) and is_fast(item.path):
            item.add_marker(pytest.mark.fast)
