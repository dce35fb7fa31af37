from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
from typer.testing import CliRunner, Result

from oidc_actor.cli.app import app
from oidc_actor.testing import Provider

COMMAND_TIMEOUT_S = 60.0

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=600) as running:
        yield running


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Run `oidc-actor` in this process, by Typer's runner: faster than `run`, without an exit of its own."""

    def invoke_command(*arguments: str, stdin: str = "", **variables: str) -> Result:
        forgotten = {name: None for name in os.environ if name.startswith("OIDC_")}
        runner = CliRunner(env=forgotten | {"COLUMNS": "100", "NO_COLOR": "1"} | variables)
        return runner.invoke(app, list(arguments), input=stdin)

    return invoke_command


@pytest.fixture
def run() -> Run:
    """Run `oidc-actor` as a person's shell does, in an environment of its own: nothing of OIDC_* is inherited."""

    def run_command(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OIDC_")}
        environment = inherited | {"COLUMNS": "100", "NO_COLOR": "1"} | variables
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "oidc_actor.cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            env=environment,
            check=False,
        )

    return run_command
