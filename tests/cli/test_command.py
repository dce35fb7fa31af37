"""The command as a whole: help, version, missing extra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from oidc_actor.cli.app import app

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_help_names_all_commands() -> None:
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    for command in ("demo", "token", "check"):
        assert command in done.output


@pytest.mark.parametrize("command", ["demo", "token", "check"])
def test_each_command_has_help(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "--json" in done.output


@pytest.mark.parametrize("command", ["token", "check"])
def test_help_names_the_variables_of_the_secrets_and_hides_the_forbidden_options(command: str) -> None:
    text = CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"]).output
    assert "OIDC_CLIENT_SECRET" in text
    assert "OIDC_PASSWORD" in text
    assert "--client-secret " not in text.replace("│", " ")
    assert "--password " not in text.replace("│", " ")


def test_version(run: Run) -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "oidc-actor")


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    done = run("tokn")
    assert done.returncode == 2
    assert "tokn" in done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install_in_one_line(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from oidc_actor.cli.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f'oidc-actor: the command line needs {missing}, which is not installed: pip install "oidc-actor[cli]"'
    ]


def test_importing_the_package_needs_no_typer() -> None:
    script = "import sys; sys.modules['typer'] = sys.modules['rich'] = None; import oidc_actor.cli"
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)
