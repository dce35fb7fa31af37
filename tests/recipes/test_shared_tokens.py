"""The recipes for one token in many processes, with real servers; and how the key is changed.

They are shared_flask_app.py, shared_celery_app.py, shared_worker.py, shared_provider.py, kubernetes_shared.yaml and
login_survives.py.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import kubernetes_validate
import pytest
import requests
import yaml
from celery_workers import worker
from fleet.servers import Server, redis_server
from pages import blocks
from pasted import pasted, run_pasted
from serving import Program, assert_no_secret, environment_for, free_port, program, reject_next
from threads import eventually

from oidc_actor import ClientCredentials, SecretFile, TokenManager
from oidc_actor.sharing import FileStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.testing import Provider

pytestmark = pytest.mark.usefixtures("stop_managers")

HERE = Path(__file__).parent
PAGE = "oidc_actor/sharing/README.md"
SHOWN = re.compile(r"^(shared|alone), (\d+) requests of mine: TokenResponse\(Bearer (\S+),", re.MULTILINE)


@pytest.fixture
def server() -> Iterator[Server]:
    with redis_server() as running:
        yield running


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=300) as running:
        yield running


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet-key"
    path.write_text(new_key())
    return path


def test_the_first_blocks_of_the_page(server: Server, key_file: Path, tmp_path: Path, provider: Provider) -> None:
    ours = [one for one in blocks(PAGE) if one.language == "python" and one.target.endswith("test_shared_tokens.py")]
    first, last = [one.text for one in ours]
    provider.add_client("billing", "s3cret")
    (tmp_path / "client-secret").write_text("s3cret")
    changes = {
        "/run/billing/tokens": tmp_path / "tokens",
        "/run/secrets/fleet-key": key_file,
        "/run/secrets/client-secret": tmp_path / "client-secret",
        "rediss://cache.internal:6379/0": server.url,
        "https://auth.example.com": provider.issuer_url,
    }
    for written, here in changes.items():
        assert written in first
        first = first.replace(written, str(here))
    exec(first, {})
    assert TokenManager.get_access_token("billing.token")
    assert TokenManager.health("billing.token").sharing == "shared"
    exec(last, {})


# --- gunicorn: one host, a folder -------------------------------------------------------------------------------------


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_three_preloaded_workers_make_one_request_and_a_restart_none(oidc_provider: Provider, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    environment = {**environment_for(oidc_provider), "HOME": str(tmp_path), "TOKEN_FOLDER": str(folder)}

    def gunicorn(log: str) -> tuple[list[str], Path, dict[str, str], int]:
        port = free_port()
        command = ["-m", "gunicorn", "--preload", "--workers", "3", "-b", f"127.0.0.1:{port}", "shared_flask_app:app"]
        return command, tmp_path / log, environment, port

    with program(*gunicorn("first")) as running:
        running.wait_for("/items")
        assert len(running.pids("/items", 3)) == 3
        assert oidc_provider.token_requests == 1
        assert running.get("/sharing").json()["sharing"] == "shared"

        reject_next(oidc_provider)  # by one worker's API, as after a change of keys
        assert running.get("/items").json()["status"] == 200
        assert oidc_provider.token_requests == 2
        has_second: set[int] = set()

        def all_have_the_second() -> bool:
            shown = running.get("/sharing").json()
            has_second.update({shown["pid"]} if shown["refreshes"] == 2 else ())
            return len(has_second) == 3

        running.eventually(all_have_the_second, "adoption by all workers")
        assert oidc_provider.token_requests == 2
        assert running.terminate() == 0
        assert_no_secret(running, oidc_provider)
    assert folder.stat().st_mode & 0o777 == 0o700
    with program(*gunicorn("second")) as running:
        assert running.wait_for("/items").json()["status"] == 200
        assert oidc_provider.token_requests == 2


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_preloaded_workers_have_a_connection_each_to_a_server(
    oidc_provider: Provider, server: Server, key_file: Path, tmp_path: Path
) -> None:
    """The same program with the other store: the parent's connection is not the workers'."""
    store = f'RedisStore.from_url({server.url!r}, namespace="prod", keys=[SecretFile({str(key_file)!r})])'
    text = (HERE / "shared_flask_app.py").read_text().replace("import FileStore", "import RedisStore")
    text = text.replace("NoTokenError, TokenManager", "NoTokenError, SecretFile, TokenManager")
    (tmp_path / "on_a_server.py").write_text(
        text.replace('FileStore(os.environ["TOKEN_FOLDER"], namespace="prod")', store)
    )
    port, environment = free_port(), {**environment_for(oidc_provider), "HOME": str(tmp_path)}
    command = ["-m", "gunicorn", "--preload", "--workers", "3", "-b", f"127.0.0.1:{port}"]
    with program(
        [*command, "--pythonpath", str(tmp_path), "on_a_server:app"], tmp_path / "log", environment, port
    ) as running:
        running.wait_for("/items")
        assert len(running.pids("/items", 3)) == 3
        assert oidc_provider.token_requests == 1
        reject_next(oidc_provider)
        assert running.get("/items").json()["status"] == 200
        has_second: set[int] = set()

        def all_have_the_second() -> bool:
            shown = running.get("/sharing").json()
            has_second.update({shown["pid"]} if shown["refreshes"] == 2 else ())
            return len(has_second) == 3

        running.eventually(all_have_the_second, "adoption by all workers")
        assert oidc_provider.token_requests == 2
        links = server.say("CLIENT", "LIST", "TYPE", "normal").count(" addr=") - 1
        assert links <= 4, "one for each worker, and the parent's"
        assert running.terminate() == 0
        assert_no_secret(running, oidc_provider)


# --- Celery: many hosts, a server -------------------------------------------------------------------------------------


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_processes_of_celery_make_one_request(
    oidc_provider: Provider, server: Server, key_file: Path, tmp_path: Path
) -> None:
    more = {"TOKEN_STORE": server.url, "FLEET_KEY_FILE": str(key_file)}
    pool = ["--pool", "prefork", "--concurrency", "3"]
    with worker(oidc_provider, tmp_path, *pool, recipe="shared_celery_app", **more) as queue:
        assert len(queue.pids(3)) == 3
        assert oidc_provider.token_requests == 1
        assert queue.worker.terminate() == 0
        assert_no_secret(queue.worker, oidc_provider)


# --- workers on Kubernetes, or in two terminals -----------------------------------------------------------------------


def manifest() -> list[dict[str, object]]:
    return list(yaml.safe_load_all((HERE / "kubernetes_shared.yaml").read_text()))


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_the_manifest_is_what_its_schema_asks_for(version: str) -> None:
    for resource in manifest():
        kubernetes_validate.validate(resource, version, strict=True)


def shown(running: Program) -> list[tuple[str, int, str]]:
    """What a worker has printed of its token: whether it is shared, its own requests, the token's fingerprint."""
    return [(how, int(count), token) for how, count, token in SHOWN.findall(running.log)]


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_workers_of_the_manifest_have_one_token_and_live_through_a_stopped_store(
    oidc_provider: Provider, server: Server, key_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "client-secret").write_text(oidc_provider.client_secret)
    (container,) = manifest()[0]["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
    assert container["command"] == ["python", "shared_worker.py"]
    here = {
        "OIDC_ISSUER_URL": oidc_provider.issuer_url,
        "OIDC_CLIENT_ID": oidc_provider.client_id,
        "OIDC_CLIENT_SECRET_FILE": str(tmp_path / "client-secret"),
        "FLEET_KEY_FILE": str(key_file),
        "OTHER_FLEET_KEY_FILE": str(key_file),
        "TOKEN_STORE": server.url,
    }
    environment = {one["name"]: here.get(one["name"]) or one["value"] for one in container["env"]}
    with (
        program(["shared_worker.py"], tmp_path / "log1", environment) as one,
        program(["shared_worker.py"], tmp_path / "log2", environment) as other,
    ):
        for running in (one, other):
            running.eventually(lambda running=running: shown(running), "token")
        assert {token for _, _, token in shown(one)} == {token for _, _, token in shown(other)}
        assert {how for how, _, _ in shown(one) + shown(other)} == {"shared"}
        assert shown(one)[0][1] + shown(other)[0][1] == oidc_provider.token_requests == 1

        server.kill()
        one.eventually(lambda: shown(one)[-1][0] == "alone", "notice that the store is gone")
        assert "store_failed" in one.log
        server.start()
        one.eventually(lambda: shown(one)[-1][0] == "shared", "notice that it is back")
        assert "store_back" in one.log
        assert oidc_provider.token_requests == 1
        for running in (one, other):
            assert running.terminate() == 0
            assert_no_secret(running, oidc_provider)


def test_the_five_minutes(server: Server, tmp_path: Path) -> None:
    """The blocks of the page, in their order, in shells; with other ports, as these may be taken here."""
    port = free_port()
    there = {"8765": str(port), "6379": str(server.port), ".venv/bin/": f"{Path(sys.executable).parent}/"}
    for name in ("shared_provider.py", "shared_worker.py"):
        (tmp_path / name).write_text((HERE / name).read_text().replace("8765", str(port)))

    def shell(text: str, log: str) -> AbstractContextManager[Program]:
        for written, here in there.items():
            text = text.replace(written, here)
        script = f"cd {shlex.quote(str(tmp_path))}\n{text}"
        return program(["-c", f"import os; os.execvp('sh', ['sh', '-c', {script!r}])"], tmp_path / log, {}, port)

    ours = [one for one in blocks(PAGE) if one.kind == "played-by" and one.language in {"sh", "text"}]
    makes, starts, shows = [one.text for one in ours if "test_shared_tokens" in one.target]
    with shell(makes, "made") as made:
        assert made.process.wait(30) == 0, made.log
    with (
        shell(".venv/bin/python shared_provider.py", "provider") as provider,
        shell(starts, "log1") as one,
        shell(starts, "log2") as other,
    ):
        provider.eventually(lambda: f"http://127.0.0.1:{port} is up" in provider.log, "provider")
        for running in (one, other):
            running.eventually(lambda running=running: shown(running), "token")
        (first, *_), (second, *_) = shown(one), shown(other)
        written = [(how, int(count)) for how, count, _ in SHOWN.findall(shows)]
        assert sorted([first[:2], second[:2]], reverse=True) == written
        assert {token for *_, token in shown(one)[:2]} & {token for *_, token in shown(other)[:2]}
        provider.eventually(lambda: "requests for a token: 2" in provider.log, "another life")
        provider.eventually(lambda: "token_adopted" in one.log + other.log, "adoption")


# --- one process, one login -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_line", ["Supervisor.stop(supervisor)\n", ""], ids=["stopped", "ended"])
def test_a_login_survives_restarts(tmp_path: Path, last_line: str) -> None:
    with Provider(client_id="my-service", client_secret="s3cret", token_lifetime_s=300) as provider:
        form = {"grant_type": "password", "username": provider.username, "password": provider.password}
        login = requests.post(provider.token_endpoint, data=form, auth=("my-service", "s3cret"), timeout=10).json()
        text = pasted("login_survives.py", provider)
        assert text.endswith("Supervisor.stop(supervisor)\n")
        text = text.replace("Supervisor.stop(supervisor)\n", last_line)
        refreshed = text.replace("print(", 'TokenManager.force_refresh("login.token", wait=True)\nprint(')
        secrets = {"CLIENT_SECRET": "s3cret", "REFRESH_TOKEN": login["refresh_token"]}
        for program_text, redeemed in ((text, 1), (text, 1), (refreshed, 2), (refreshed, 3)):
            run = run_pasted(program_text, tmp_path, TOKEN_FOLDER=str(tmp_path / "tokens"), **secrets)
            assert run.stdout == "200\n", run.stderr
            assert provider.token_requests_by_grant["refresh_token"] == redeemed
        assert provider.refresh_tokens_reused == 0


# --- a new key --------------------------------------------------------------------------------------------------------


class Host:
    """One that has the two keys in files, and a manager."""

    def __init__(self, name: str, folder: Path, provider: Provider, old: str) -> None:
        self.name, self._folder = name, folder / name
        self._folder.mkdir()
        self.put(first=old, second=old)
        keys = [SecretFile(self._folder / "first"), SecretFile(self._folder / "second")]
        TokenManager.start_link(
            name=name,
            issuer_url=provider.issuer_url,
            auth=ClientCredentials(provider.client_id, provider.client_secret),
            store=FileStore(folder / "tokens", namespace="prod", keys=keys),
        )

    def put(self, **keys: str) -> None:
        for name, key in keys.items():
            (self._folder / "new").write_text(key)
            os.replace(self._folder / "new", self._folder / name)

    @property
    def token(self) -> str:
        return TokenManager.get_access_token(self.name)


@pytest.fixture
def hosts(provider: Provider, tmp_path: Path) -> list[Host]:
    old = new_key()
    found = [Host(name, tmp_path, provider, old) for name in ("a", "b")]
    assert found[0].token == found[1].token
    return found


def refresh_each(hosts: list[Host]) -> None:
    """Each gets a token in its turn, which the others adopt: what one seals, all can open."""
    for host in hosts:
        TokenManager.force_refresh(host.name, wait=True)
        for other in hosts:
            eventually(lambda host=host, other=other: other.token == host.token, "adoption")


def test_a_key_is_changed_without_a_request(
    provider: Provider, hosts: list[Host], caplog: pytest.LogCaptureFixture
) -> None:
    old, new = (hosts[0]._folder / "first").read_text(), new_key()
    for first, second in ((old, new), (new, old), (new, new)):
        for host in hosts:  # one after the other: the fleet is never of one mind
            host.put(first=first, second=second)
            refresh_each(hosts)
    assert provider.token_requests == 1 + 3 * 2 * 2
    assert "record_unreadable" not in caplog.text


def test_a_key_that_not_all_have_is_seen_in_the_log(
    provider: Provider, hosts: list[Host], caplog: pytest.LogCaptureFixture
) -> None:
    hosts[0].put(first=new_key())
    TokenManager.force_refresh("a", wait=True)
    eventually(lambda: "record_unreadable" in caplog.text, "event")
    assert hosts[1].token, "it serves what it has"
