"""What the wheel and the sdist hold, and what pyproject.toml says that contributors install.

CI names the folder of those that it has built (``OIDC_ACTOR_DIST``); else both are built here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = {"oidc_actor", "supervision"}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and an sdist."""
    built = os.environ.get("OIDC_ACTOR_DIST")
    if built:
        return Path(built)
    if not (ROOT / "oidc_actor").is_dir():
        pytest.skip("no checkout, and OIDC_ACTOR_DIST names no folder")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def sdist(dist: Path) -> set[str]:
    """The names in it, without the folder that holds them all."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(wheel.read(name))


def folders(names: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in names}


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel) -> None:
    names = set(wheel.namelist())
    assert {one for one in folders(names) if not one.endswith(".dist-info")} == PACKAGES
    assert not [name for name in names if re.search(r"(^|/)(tests?|conftest|test_[^/]*)(/|\.py$)", name)]
    assert {Path(name).suffix for name in names if ".dist-info/" not in name} <= {
        ".py",
        ".typed",
        ".md",
        ".service",
        ".yaml",
        *(".html", ".css", ".js", ".svg"),
        "",
    }
    assert not [name for name in names if "__pycache__" in name]


def test_the_wheel_is_typed_and_has_its_pages_and_its_license(wheel) -> None:
    names = set(wheel.namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    pages = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("README.md")}
    assert pages <= names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_wheel_tells_a_resolver_what_pyproject_says(wheel, project) -> None:
    told = metadata(wheel)
    assert told["Version"] == project["project"]["version"]
    assert set(told.get_all("Provides-Extra", [])) == set(project["project"]["optional-dependencies"])
    required = [one for one in told.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert set(map(Requirement, required)) == set(map(Requirement, project["project"]["dependencies"]))


def test_the_links_of_the_description_work_where_there_is_no_repository(wheel) -> None:
    text = metadata(wheel).get_payload(decode=True).decode()
    promise = (ROOT / "README.md").read_text().partition("\n\n")[2].partition("**")[2].partition("**")[0]
    assert promise in text
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    assert all(target.startswith("https://") for target in targets)


def test_the_sdist_holds_what_its_own_tests_need(sdist) -> None:
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", "tests/conftest.py", ".github/CHANGELOG.md"} <= sdist
    assert folders(sdist) - {""} <= {
        *PACKAGES,
        "tests",
        ".github",
        ".gitignore",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "PKG-INFO",
    }
    assert not [name for name in sdist if re.search(r"__pycache__|node_modules|\.venv|\.cache", name)]


@pytest.mark.parametrize("name", ["test", "lint"])
def test_the_tools_of_a_group_are_those_of_the_extra_of_its_name(project, name) -> None:
    extra = {one for one in project["project"]["optional-dependencies"][name] if not one.startswith("oidc-actor[")}
    assert set(project["dependency-groups"][name]) == extra


def test_the_tests_build_with_what_the_package_is_built_with(project) -> None:
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["test"])


def test_the_group_of_a_contributor_brings_the_clients_that_the_suite_plays(project) -> None:
    brings = [one for one in project["project"]["optional-dependencies"]["test"] if one.startswith("oidc-actor[")]
    assert brings == [one for one in project["dependency-groups"]["dev"] if isinstance(one, str)]


def test_the_version_is_the_newest_of_the_changelog_or_ahead_of_it(project) -> None:
    released = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / ".github" / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    version = project["project"]["version"]
    assert tuple(map(int, version.split("."))) >= tuple(map(int, released[0].split(".")))
