"""The tests of the page, in a project of their own, with the program that they test: alone, and as often as one likes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from pasted import RECIPES, TIMEOUT_S


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_billing_program_and_billing_tests(tmp_path: Path) -> None:
    for name in ("billing_program.py", "billing_tests.py"):
        shutil.copy(RECIPES / name, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = --strict-markers\n")
    whole = run(tmp_path, "billing_tests.py", "billing_tests.py", "--keep-duplicates")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "8 passed" in whole.stdout


def test_without_the_fixture_the_next_test_finds_the_name_taken(tmp_path: Path) -> None:
    shutil.copy(RECIPES / "billing_program.py", tmp_path)
    text = (RECIPES / "billing_tests.py").read_text()
    (tmp_path / "billing_tests.py").write_text(text.replace("pytestmark = ", "unused = "))
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    whole = run(tmp_path, "billing_tests.py", "-x")
    assert whole.returncode == 1
    assert "AlreadyStarted" in whole.stdout


def test_servers_tests(tmp_path: Path) -> None:
    shutil.copy(RECIPES / "servers_tests.py", tmp_path)
    whole = run(tmp_path, "servers_tests.py")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "5 passed" in whole.stdout
