"""Figures of the layout that were worked for, so that they stay: files that a story enters, modules in a chain of imports.

``python tests/house.py`` prints them all. A story that has come to enter one file more is told with all that it enters.
"""

import json
import os
import subprocess
import sys

import pytest
from house import TESTS, longest_chain

MOST_FILES = {
    "a read while a token lives": 1,
    "a read while a shared token lives": 1,
    "get_token waits for the request under way": 35,
    "a rejected token (401)": 35,
    "kill, restart, adopt": 35,
    "a bare Server: start, call, stop": 9,
}
LONGEST_CHAIN = 21  # from the command line by the sidecar and its pool to the manager, and down to the errors


@pytest.fixture(scope="module")
def entered() -> dict[str, list[str]]:
    """What each story enters at the least in three plays: on a busy machine a timer of something else may fire amid one."""
    plays = [play()]
    while len(plays) < 3 and any(len(plays[-1][story]) > most for story, most in MOST_FILES.items()):
        plays.append(play())
    return {story: min((one[story] for one in plays), key=len) for story in MOST_FILES}


def play() -> dict[str, list[str]]:
    """The stories, played in a process of its own, whose every call is traced; the tests here go on untraced."""
    code = "import json, house; print(json.dumps({trip.story: trip.entered for trip in house.trips()}))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    played = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, list[str]] = json.loads(played.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("story", MOST_FILES)
def test_a_story_enters_few_files(entered: dict[str, list[str]], story: str) -> None:
    assert len(entered[story]) <= MOST_FILES[story], entered[story]


def test_chains_of_imports_are_short() -> None:
    chain = longest_chain()
    assert len(chain) <= LONGEST_CHAIN, " > ".join(chain)
