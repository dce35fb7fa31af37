"""Mopidy's own test suites, with every actor as a supervisor's child: each test ends as it does with Pykka alone."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
from integration import mopidy_program
from integration.mopidy_program import SUITES, Installed, installed

DEADLINE_S = 300.0
DIFFERENCES: dict[str, dict[str, str]] = {suite: {} for suite in SUITES}
"""For each suite the tests that end otherwise under supervisors, and why. There is none."""

AT_LEAST = {"mopidy==3.4.2": (1390, 500), "mopidy-mpd==3.3.0": (750, 2000)}
"""Tests that pass, and actors that they start. Thirty of Mopidy-MPD's fail without us, as it stands in for an older Audio."""


def play(there: Installed, suite: str, work: Path, *options: str) -> tuple[dict[str, str], str]:
    """Play a suite in a process of its own; returns how each test ended, and what the run wrote."""
    work.mkdir()
    outcomes = work / "outcomes.xml"
    command = [there.python, "-m", "pytest", "-q", "-c", "setup.cfg", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--junitxml={outcomes}", *options, "tests"],
        cwd=there.source(suite),
        env=there.environment(work),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert outcomes.exists(), done.stdout + done.stderr
    ended = {}
    for case in ElementTree.parse(outcomes).iter("testcase"):
        how = next((child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed")
        ended[f"{case.get('classname')}::{case.get('name')}"] = how
    return ended, done.stdout


@pytest.mark.parametrize("suite", SUITES)
def test_each_test_ends_as_with_pykka_alone(suite: str, tmp_path: Path) -> None:
    there = installed()
    with ThreadPoolExecutor() as pool:
        as_it_is = pool.submit(play, there, suite, tmp_path / "alone")
        supervised, said = play(there, suite, tmp_path / "supervised", "-p", "supervised_suite")
        alone, _ = as_it_is.result()
    others = {name: (alone.get(name), supervised.get(name)) for name in alone.keys() | supervised.keys()}
    others = {name: outcomes for name, outcomes in others.items() if outcomes[0] != outcomes[1]}
    assert others.keys() == DIFFERENCES[suite].keys(), others
    tests, actors = AT_LEAST[suite]
    assert list(supervised.values()).count("passed") >= tests
    counted = re.search(r"supervised actors: (\d+)", said)
    assert counted is not None, said
    assert int(counted[1]) >= actors


def test_without_a_python_of_the_distribution_they_skip_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC_ACTOR_REQUIRE_PROVIDERS", raising=False)
    monkeypatch.setattr(mopidy_program, "SYSTEM_PYTHON", "/nowhere/python3")
    with pytest.raises(pytest.skip.Exception, match="/nowhere/python3 is not there"):
        installed()


def test_without_gstreamer_they_skip_and_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC_ACTOR_REQUIRE_PROVIDERS", raising=False)
    monkeypatch.setattr(mopidy_program, "PROBE", "import gi_of_no_distribution")
    with pytest.raises(
        pytest.skip.Exception, match=r"No module named 'gi_of_no_distribution'.*apt-get install .*python3-gi"
    ):
        installed()
    monkeypatch.setenv("OIDC_ACTOR_REQUIRE_PROVIDERS", "1")
    with pytest.raises(pytest.fail.Exception, match="forbids skipping"):
        installed()


def test_an_environment_that_cannot_be_made_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OIDC_ACTOR_REQUIRE_PROVIDERS", raising=False)
    monkeypatch.setenv("OIDC_ACTOR_MOPIDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mopidy_program, "INSTALL_TIMEOUT_S", 0.001)
    with pytest.raises(pytest.skip.Exception, match=r"cannot be installed: -m venv .*did not end within"):
        installed()
    assert not list((tmp_path / "cache").iterdir())
