"""The notebook, its cells run by IPython: in any order, again, after a restart of the kernel, and interrupted."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pasted import TIMEOUT_S, pasted
from threads import DEADLINE_S, eventually, in_background

from oidc_actor import ManagerNotRunning, NoTokenError, TokenManager
from oidc_actor.reading.cell import by_name
from oidc_actor.reading.directory import all_cells
from oidc_actor.testing import Provider

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from IPython.core.interactiveshell import InteractiveShell

pytestmark = pytest.mark.usefixtures("stop_managers")

NAME = "notebook.token"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(client_id="my-service", client_secret="s3cret", token_lifetime_s=300) as running:
        yield running


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InteractiveShell]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setattr("getpass.getpass", lambda prompt: "s3cret")
    made = InteractiveShell.instance()
    made.history_manager.enabled = False
    yield made
    made.history_manager.end_session()
    InteractiveShell.clear_instance()
    del made
    gc.collect()


def cells(provider: Provider) -> list[str]:
    """Start, use, await, look."""
    found = re.split(r"^# %%.*\n", pasted("notebook.py", provider), flags=re.MULTILINE)[1:]
    assert len(found) == 4
    return found


def play(shell: InteractiveShell, cell: str) -> Any:
    played = shell.run_cell(cell)
    played.raise_error()
    return played.result


def test_the_cells_run_again_and_in_any_order(shell: InteractiveShell, provider: Provider) -> None:
    start, use, wait, look = cells(provider)
    for time in range(1, 4):
        play(shell, start)
        for cell in (use, wait, look, use):
            play(shell, cell)
        assert provider.tokens_issued == time
        assert [cell.name for cell in all_cells()] == [NAME]
    play(shell, use)
    assert provider.tokens_issued == 3
    assert play(shell, look).state == "fresh"


def test_no_output_holds_the_token(shell: InteractiveShell, provider: Provider) -> None:
    shown = [repr(play(shell, cell)) for cell in cells(provider)]
    token = TokenManager.get_access_token(NAME)
    assert shown[2].startswith("TokenResponse(Bearer ")
    assert not [text for text in shown if token in text or "s3cret" in text]


def test_the_cells_run_in_a_loop_as_jupyters_kernel_has_one(shell: InteractiveShell, provider: Provider) -> None:
    async def play_all() -> None:
        for cell in 2 * cells(provider):
            transformed = shell.transform_cell(cell)
            (await shell.run_cell_async(cell, transformed_cell=transformed)).raise_error()

    asyncio.run(play_all())
    assert provider.tokens_issued == 2


def test_the_names_may_be_reset(shell: InteractiveShell, provider: Provider) -> None:
    start, use, *_ = cells(provider)
    play(shell, start)
    shell.reset(new_session=False)
    assert TokenManager.health(NAME).state in {"empty", "fresh"}  # the manager is no name of the notebook's
    play(shell, start)
    play(shell, use)


def test_without_the_stop_the_second_run_says_what_to_do(shell: InteractiveShell, provider: Provider) -> None:
    start = cells(provider)[0]
    stop = start[start.index("with suppress") : start.index("TokenManager.start_link")]
    without = start.replace(stop, "")
    play(shell, without)
    second = shell.run_cell(without)
    assert type(second.error_in_exec).__name__ == "AlreadyStarted"
    assert "use that actor, or stop it first" in str(second.error_in_exec)


def test_before_the_first_cell_a_read_says_that_there_is_no_manager(
    shell: InteractiveShell, provider: Provider
) -> None:
    played = shell.run_cell("from oidc_actor import TokenManager\n" + cells(provider)[2])
    assert isinstance(played.error_in_exec, ManagerNotRunning)


def test_an_interrupted_cell_leaves_the_manager_at_work(shell: InteractiveShell, provider: Provider) -> None:
    start, use, *_ = cells(provider)
    provider.answer_next(1, delay_s=DEADLINE_S)
    play(shell, start)

    def interrupt() -> None:
        eventually(lambda: by_name[NAME].state is not None and by_name[NAME].state.waiters, "a cell that waits")
        os.kill(os.getpid(), signal.SIGINT)

    thread = in_background(interrupt)
    played = shell.run_cell(use)
    thread.join(DEADLINE_S)
    assert isinstance(played.error_in_exec, KeyboardInterrupt)
    assert TokenManager.health(NAME).refreshing


def test_a_restarted_kernel_runs_the_cells_again(provider: Provider, tmp_path: Path) -> None:
    kernel = (
        "import getpass, os, signal, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "getpass.getpass = lambda prompt: 's3cret'\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {cells(provider)!r}:\n"
        "    shell.run_cell(cell).raise_error()\n"
        "if 'kill' in sys.argv:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "print('ended')\n"
    )
    statuses = []
    for how in ("kill", "exit"):
        environment = {**os.environ, "IPYTHONDIR": str(tmp_path)}
        command = [sys.executable, "-c", kernel, how]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        statuses.append(run.returncode)
    assert statuses == [-signal.SIGKILL, 0], run.stderr
    assert run.stdout.endswith("ended\n")
    assert provider.tokens_issued == 2


def test_a_read_that_fails_says_why_in_the_cell(shell: InteractiveShell, provider: Provider) -> None:
    provider.fail_next(None, status=401, error="invalid_client")
    start, use, *_ = cells(provider)
    play(shell, start)
    played = shell.run_cell(use)
    assert isinstance(played.error_in_exec, NoTokenError)
    assert "invalid_client" in str(played.error_in_exec)
