"""The docstring of a package says where everything is: each folder has its line, and what it names is there."""

import re
from pathlib import Path

import pytest

import oidc_actor

PACKAGES = [oidc_actor]


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
