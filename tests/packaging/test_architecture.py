"""The docstring of a package says where everything is: each folder has its line, and what it names is there."""

import re
from pathlib import Path

import pytest
from house import modules, rooms

import oidc_actor
import supervision

PACKAGES = [oidc_actor, supervision]


def root(package):
    return Path(package.__file__).parent


def each(package):
    return package.__name__


@pytest.mark.parametrize("package", PACKAGES, ids=each)
def test_each_folder_has_a_line(package) -> None:
    folders = {path.parent.name for path in root(package).glob("*/__init__.py")}
    lines = set(re.findall(r"^ +(\w+)/  ", package.__doc__, flags=re.MULTILINE))
    assert folders == lines


@pytest.mark.parametrize("package", PACKAGES, ids=each)
def test_each_file_that_is_named_is_there(package) -> None:
    named = re.findall(r"(?<![\w/])((?:\w+/)*\w+\.py)\b", package.__doc__)
    homes = (root(package), root(package).parent, Path(__file__).parents[2])
    missing = [one for one in named if not any((home / one).exists() for home in homes)]
    assert not missing


def test_each_file_of_supervision_has_a_line_below_those_that_it_imports() -> None:
    lines = re.findall(r"^    ((?:\w+/)?\w+)\.py  ", supervision.__doc__ or "", flags=re.MULTILINE)
    names = [f"supervision.{line.replace('/', '.')}" for line in lines]
    folders = {f"supervision.{path.parent.name}" for path in root(supervision).glob("*/__init__.py")}
    files = {name for name, module in modules().items() if name.startswith("supervision.") and module.code} - folders
    assert set(names) == files
    for number, name in enumerate(names):
        assert {other for other in modules()[name].imports if other in files} <= set(names[:number]), name


def test_each_folder_and_file_of_oidc_actor_has_a_line_below_those_that_it_imports() -> None:
    lines = re.findall(r"^    (\w+)(?:/|\.py)  ", oidc_actor.__doc__ or "", flags=re.MULTILINE)
    names = [f"oidc_actor.{line}" for line in lines]
    inside = {name: below for name, below in rooms().items() if name.startswith("oidc_actor.")}
    assert set(names) == set(inside)
    for number, name in enumerate(names):
        assert inside[name] & set(names) <= set(names[:number]), name
