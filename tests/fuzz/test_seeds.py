"""The fuzzer's inputs, played without it: where it begins, and what it has found so far."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS, fit_to_be_shown, play

from oidc_actor.transport import MAX_BODY_BYTES
from oidc_actor.values.errors import TokenRequestError

CASES = [(target, data) for target, seeds in SEEDS.items() for data in seeds]


def test_every_target_has_a_seed() -> None:
    assert set(SEEDS) == set(TARGETS)
    assert all(SEEDS.values())


@pytest.mark.parametrize(
    ("target", "data"), CASES, ids=lambda value: value if isinstance(value, str) else repr(value[:40])
)
def test_a_seed_keeps_its_target_s_promise(target: str, data: bytes) -> None:
    play(target, data)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"\xff" * 99, b'"' * MAX_BODY_BYTES, b"[" * MAX_BODY_BYTES, b"a=" * MAX_BODY_BYTES], ids=len
)
def test_every_target_bears_what_is_empty_binary_or_long(target: str, data: bytes) -> None:
    play(target, data)


def test_the_promise_can_be_broken() -> None:
    for text in ("it is a token", "two\nlines", "long" * 999):
        with pytest.raises(AssertionError):
            fit_to_be_shown(TokenRequestError(text), "a token")


HIDE_ATHERIS = """
import runpy, sys
sys.modules["atheris"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_without_atheris_the_command_says_what_to_install() -> None:
    command = [sys.executable, "-c", HIDE_ATHERIS, str(Path(__file__).parent), "token", "--seconds", "1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith("pip install atheris")


def test_the_command_knows_every_target() -> None:
    command = [sys.executable, str(Path(__file__).parent), "--help"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert all(target in run.stdout for target in TARGETS)
