"""The recipes for several processes, with each way to start one; and how two processes lose one login."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from pasted import pasted, run_pasted

from oidc_actor.testing import Provider

METHODS = multiprocessing.get_all_start_methods()
MAIN = 'if __name__ == "__main__":\n'


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(client_id="my-service", client_secret="s3cret", token_lifetime_s=300) as running:
        yield running


def started_by(method: str, text: str) -> str:
    chosen = f'    import multiprocessing\n\n    multiprocessing.set_start_method("{method}")\n'
    assert text.count(MAIN) == 1
    return text.replace(MAIN, MAIN + chosen)


@pytest.mark.parametrize("method", METHODS)
def test_each_worker_of_a_pool_has_a_manager_of_its_own(method: str, provider: Provider, tmp_path: Path) -> None:
    text = started_by(method, pasted("process_pool.py", provider))
    run = run_pasted(text, tmp_path, CLIENT_SECRET="s3cret")
    assert run.stdout == "[200, 200, 200, 200]\n", run.stderr
    assert 1 <= provider.tokens_issued <= 2  # a worker may have had no task


@pytest.mark.parametrize("method", METHODS)
def test_one_process_has_the_login_and_gives_each_task_a_token(method: str, provider: Provider, tmp_path: Path) -> None:
    text = started_by(method, pasted("one_login.py", provider))
    run = run_pasted(text, tmp_path, CLIENT_SECRET="s3cret", REFRESH_TOKEN=login(provider))
    assert run.stdout == "[200, 200, 200, 200]\n", run.stderr
    assert provider.token_requests_by_grant["refresh_token"] == 1


def test_a_forked_child_has_its_parents_manager(provider: Provider, tmp_path: Path) -> None:
    text = started_by("fork", pasted("process_pool.py", provider))
    text = text.replace(", initializer=start_manager", "").replace(
        '("fork")\n', '("fork")\n    start_manager()\n    TokenManager.get_access_token("workers.token")\n'
    )
    run = run_pasted(text, tmp_path, CLIENT_SECRET="s3cret")
    assert run.stdout == "[200, 200, 200, 200]\n", run.stderr
    assert provider.tokens_issued == 1  # all serve the token that the parent had at the fork


@pytest.mark.parametrize("method", [one for one in METHODS if one != "fork"])
def test_any_other_child_has_none(method: str, provider: Provider, tmp_path: Path) -> None:
    text = started_by(method, pasted("process_pool.py", provider))
    run = run_pasted(text.replace(", initializer=start_manager", ""), tmp_path, CLIENT_SECRET="s3cret")
    assert run.returncode == 1
    assert "ManagerNotRunning: no TokenManager behind 'workers.token': none was started here" in run.stderr


def test_credentials_cannot_be_sent_to_a_process(provider: Provider, tmp_path: Path) -> None:
    text = started_by("spawn", pasted("process_pool.py", provider))
    sent = text.replace("pool.map(task, range(4))", 'pool.map(task, [ClientCredentials("my-service", "s3cret")])')
    run = run_pasted(sent, tmp_path, CLIENT_SECRET="s3cret")
    assert run.returncode == 1
    assert "TypeError: cannot pickle 'ClientCredentials': it holds secrets" in run.stderr
    assert "s3cret" not in run.stderr.replace('"my-service", "s3cret"', "")


def test_the_same_refresh_token_in_a_second_process_loses_the_login(provider: Provider, tmp_path: Path) -> None:
    text, token = pasted("one_login.py", provider), login(provider)
    first, second = (run_pasted(text, tmp_path, CLIENT_SECRET="s3cret", REFRESH_TOKEN=token) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert second.returncode == 1
    assert "NoTokenError: no token yet; the provider refuses the request for good" in second.stderr
    assert "invalid_grant" in second.stderr
    assert provider.refresh_tokens_reused == 1  # the newest one, which the first process got, is dead with it


def login(provider: Provider) -> str:
    """What a person's login brought: a refresh token."""
    form = {"grant_type": "password", "username": provider.username, "password": provider.password}
    answer = requests.post(provider.token_endpoint, data=form, auth=("my-service", "s3cret"), timeout=10)
    return str(answer.json()["refresh_token"])
