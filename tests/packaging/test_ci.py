"""What CI plays and when: the workflow calls the one script, on every Python that the package names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workflow() -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


def test_the_workflow_calls_the_script_and_each_night_in_full(workflow: Any) -> None:
    (job,) = workflow["jobs"].values()
    assert re.fullmatch(r"\.ci/run \$\{\{ .*schedule.* && '--full' \|\| '' \}\}", job["steps"][-1]["run"])
    assert "schedule" in workflow[True], "YAML reads `on` as true"
    assert workflow["permissions"] == {"contents": "read"}


def test_the_workflow_has_every_python_that_the_package_is_for(workflow: Any) -> None:
    (job,) = workflow["jobs"].values()
    (asked,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = {one.rpartition(" ")[2] for one in classifiers if re.fullmatch(r"Programming.*:: 3\.\d+", one)}
    assert set(asked.split()) == named
