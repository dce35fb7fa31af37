"""The sidecar as a process, before a real provider: its signals, and the command that starts it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sidecar.conftest import SERVER
from sidecar.sidecar import DEADLINE_S, Sidecar, UnixConnection
from threads import eventually

# --- signals ----------------------------------------------------------------------------------------------------------


class Load:
    """Readers that never stop, over connections that they keep; every answer but a token is a failure."""

    def __init__(self, path: Path, readers: int = 4) -> None:
        self.reads = 0
        self.failures: list[object] = []
        self.tokens: set[str] = set()
        self._over = threading.Event()
        self._lock = threading.Lock()  # guards what is counted
        self._threads = [threading.Thread(target=self._read, args=(path,)) for _ in range(readers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def _read(self, path: Path) -> None:
        connection = UnixConnection(path)
        while not self._over.is_set():
            try:
                connection.request("GET", "/token/a")
                response = connection.getresponse()
                body, status = response.read(), response.status
            except (OSError, http.client.HTTPException) as error:
                body, status = repr(error).encode(), None
                connection.close()
            with self._lock:
                if status == 200:
                    self.reads += 1
                    self.tokens.add(json.loads(body)["access_token"])
                else:
                    self.failures.append((status, body))
        connection.close()

    def goes_on(self, more: int = 50) -> None:
        """Wait until so many more have read."""
        enough = self.reads + more
        eventually(lambda: self.reads >= enough or self.failures, "further reads")


def test_hang_ups_under_load_cost_no_read_and_no_token(tmp_path, provider, manager_table) -> None:
    config = tmp_path / "config.toml"
    config.write_text(SERVER + manager_table("a") + manager_table("b"))
    with Sidecar(tmp_path) as sidecar, Load(sidecar.socket) as load:
        load.goes_on()
        requests_before = provider.token_requests
        for number in range(10):
            config.write_text(SERVER + manager_table("a") + (manager_table("b") if number % 2 else ""))
            sidecar.hang_up()
            load.goes_on()
        assert load.failures == []
        assert len(load.tokens) == 1  # `a` was never touched
        assert provider.token_requests <= requests_before + 6  # `b`, started five times


def test_a_changed_manager_under_load_costs_no_read(tmp_path, provider, manager_table) -> None:
    config = tmp_path / "config.toml"
    config.write_text(SERVER + manager_table("a"))
    with Sidecar(tmp_path) as sidecar, Load(sidecar.socket) as load:
        load.goes_on()
        for number in range(5):
            config.write_text(SERVER + manager_table("a", f'scopes = "scope{number}"'))
            known = len(load.tokens)
            sidecar.hang_up()
            eventually(lambda: len(load.tokens) > known, "the token of the new configuration")  # noqa: B023
        load.goes_on()
        assert load.failures == []
        assert len(load.tokens) == 6
        assert sidecar.get("/token/a").json["scope"] == "scope4"
        metrics = sidecar.get("/metrics").body.decode()
        assert 'manager="a"' in metrics
        assert 'manager="a@' not in metrics


def test_a_wrong_configuration_changes_nothing(tmp_path, manager_table) -> None:
    config = tmp_path / "config.toml"
    config.write_text(SERVER + manager_table("a"))
    with Sidecar(tmp_path) as sidecar:
        token = sidecar.get("/token/a").token
        config.write_text(SERVER + manager_table("a", "scopes = 5", 'password = "very-secret"'))
        sidecar.hang_up()
        assert sidecar.get("/token/a").token == token
        assert "config_refused" in sidecar.log
        assert "managers.a.scopes" in sidecar.log
        assert "very-secret" not in sidecar.log
        config.write_text(SERVER.replace("tokens", "others") + "drain_seconds = 1\n" + manager_table("a"))
        sidecar.hang_up()
        assert "key='server.unix_socket'" in sidecar.log
        assert "key='server.drain_seconds'" in sidecar.log
        assert sidecar.get("/token/a").token == token


def test_a_storm_of_hang_ups_ends_in_one_state(tmp_path, manager_table) -> None:
    (tmp_path / "config.toml").write_text(SERVER + manager_table("a"))
    with Sidecar(tmp_path) as sidecar, Load(sidecar.socket) as load:
        for _ in range(200):
            sidecar.process.send_signal(signal.SIGHUP)
        load.goes_on()
        assert load.failures == []
        load.__exit__()
        assert sidecar.terminate() == 0


def pipe(path: Path) -> None:
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, huge, endless, Path.mkdir])
def test_what_is_no_file_in_place_of_the_configuration(tmp_path, manager_table, make) -> None:
    """It is refused, the next one is read, and SIGTERM works meanwhile."""
    config = tmp_path / "config.toml"
    config.write_text(SERVER + manager_table("a"))
    with Sidecar(tmp_path) as sidecar:
        token = sidecar.get("/token/a").token
        kept = config.rename(tmp_path / "kept")
        make(config)
        sidecar.hang_up()
        assert "config_refused" in sidecar.log
        assert sidecar.get("/token/a").token == token
        config.rename(tmp_path / "odd")
        kept.rename(config)
        sidecar.hang_up()
        assert "config_reloaded" in sidecar.log
        config.unlink()
        (tmp_path / "odd").rename(config)
        sidecar.process.send_signal(signal.SIGHUP)
        assert sidecar.terminate() == 0


@pytest.mark.parametrize("make", [pipe, huge, endless, Path.mkdir])
@pytest.mark.parametrize("arguments", [(), ("--check",)])
def test_it_does_not_start_with_what_is_no_file(tmp_path, make, arguments: tuple[str, ...]) -> None:
    config = tmp_path / "config.toml"
    make(config)
    done = command(config, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a readable TOML file" in done.stderr


@pytest.mark.parametrize("line", ['ca_bundle = "pipe"', 'client_assertion = { file = "pipe" }'])
def test_a_pipe_in_place_of_another_file_stops_no_reload(tmp_path, manager_table, line: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(SERVER + manager_table("a"))
    os.mkfifo(tmp_path / "pipe")
    with Sidecar(tmp_path) as sidecar:
        token = sidecar.get("/token/a").token
        second = manager_table("b", line).replace('client_secret = { file = "secret" }\n', "")
        config.write_text(SERVER + manager_table("a") + second)
        sidecar.hang_up()
        assert sidecar.get("/token/a").token == token
        if "ca_bundle" in line:
            assert "config_refused" in sidecar.log
        else:
            assert "regular file" in sidecar.get("/token/b").json["error_description"]
        assert sidecar.terminate() == 0


def test_told_to_stop_it_answers_what_was_asked(tmp_path, provider, manager_table) -> None:
    (tmp_path / "config.toml").write_text(SERVER + manager_table("a"))
    provider.answer_next(1, delay_s=1.0)
    with Sidecar(tmp_path) as sidecar:
        assert provider.wait_for_requests(1, timeout_s=DEADLINE_S)
        asked = UnixConnection(sidecar.socket)
        asked.request("GET", "/token/a")
        assert sidecar.get("/healthz").status == 200  # by now the other request has been read, too
        sidecar.process.terminate()
        sidecar.wait_for("STOPPING=1")
        assert json.loads(asked.getresponse().read())["access_token"]
        asked.close()
        assert sidecar.process.wait(DEADLINE_S) == 0
        assert not sidecar.socket.exists()


@pytest.mark.parametrize(("drain_s", "times"), [(0.2, 1), (60, 2)])
def test_what_does_not_end_is_cut_off(tmp_path, provider, manager_table, drain_s: float, times: int) -> None:
    """At the deadline, or when it is told to stop a second time; who waits is told that there is no token."""
    (tmp_path / "config.toml").write_text(
        SERVER + f"drain_seconds = {drain_s}\nwait_seconds = 60\n" + manager_table("a", "timeout_seconds = 60")
    )
    provider.answer_next(None, delay_s=60)
    with Sidecar(tmp_path) as sidecar:
        asked = UnixConnection(sidecar.socket)
        asked.request("GET", "/token/a")
        assert sidecar.get("/healthz").status == 200
        sidecar.process.terminate()
        if times > 1:
            sidecar.wait_for("STOPPING=1")
            sidecar.process.terminate()
        answer = asked.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]) == (503, "no_token")
        assert sidecar.process.wait(DEADLINE_S) == 0
        assert "run_cut_short" in sidecar.log
        assert "Traceback" not in sidecar.log
        asked.close()


def test_killed_and_started_again(tmp_path, manager_table) -> None:
    (tmp_path / "config.toml").write_text(SERVER + manager_table("a"))
    with Sidecar(tmp_path) as sidecar:
        sidecar.process.kill()
        sidecar.process.wait(DEADLINE_S)
        assert sidecar.socket.exists()
        sidecar.start()
        assert sidecar.get("/token/a").token


def test_systemds_watchdog_is_fed(tmp_path, manager_table) -> None:
    (tmp_path / "config.toml").write_text(SERVER + manager_table("a"))
    with Sidecar(tmp_path, WATCHDOG_USEC="200000") as sidecar:
        sidecar.wait_for("WATCHDOG=1")
        sidecar.wait_for("WATCHDOG=1")


# --- the command ------------------------------------------------------------------------------------------------------


def command(*arguments: str | Path, code: str = "pass") -> subprocess.CompletedProcess[str]:
    script = f"import sys; {code}; from oidc_actor.cli.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, "run", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S * 2,
        check=False,
    )


def test_check_reads_the_configuration_and_starts_nothing(tmp_path, provider, manager_table) -> None:
    config = tmp_path / "config.toml"
    config.write_text(SERVER + manager_table("a"))
    done = command(config, "--check")
    assert (done.returncode, done.stdout) == (0, f"{config}: ok\n")
    assert provider.token_requests == 0


def test_check_names_the_files_that_are_not_there_yet(tmp_path, manager_table) -> None:
    config = tmp_path / "config.toml"
    missing = [
        "[managers.b]",
        'issuer_url = "https://auth.example.com"',
        'grant = "jwt_bearer"',
        'assertion = { key = { file = "key.pem" }, issuer = "i", audience = "a" }',
    ]
    config.write_text("\n".join([SERVER + manager_table("a"), *missing]))
    done = command(config, "--check")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{config}: ok",
        f"  managers.b.assertion.key.file: cannot be read yet: '{tmp_path / 'key.pem'}': No such file or directory",
    ]


def test_check_names_the_directories_that_are_not_there_yet(tmp_path, manager_table) -> None:
    config = tmp_path / "config.toml"
    table = manager_table("a", 'token_file = "tokens/a"')
    config.write_text('[server]\nunix_socket = "absent/tokens.sock"\n' + table)
    done = command(config, "--check")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{config}: ok",
        f"  server.unix_socket: no such directory yet: '{tmp_path / 'absent'}'",
        f"  managers.a.token_file: no such directory yet: '{tmp_path / 'tokens'}'",
    ]


def test_a_wrong_configuration_is_a_usage_error_that_names_the_keys(tmp_path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[server]\nunix_sock = "s"\n')
    done = command(config)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"oidc-actor run: {config}: 3 problems",
        "  server.unix_sock: no such key; did you mean 'unix_socket'?",
        '  server: expected unix_socket = "<path>" or tcp = "127.0.0.1:<port>", got neither',
        "  managers: expected at least one table [managers.<name>], got none",
    ]


@pytest.mark.parametrize("missing", ["uvicorn", "httptools", "prometheus_client"])
def test_without_the_extra_it_says_what_to_install_in_one_line(tmp_path, missing: str) -> None:
    done = command(tmp_path / "config.toml", code=f"sys.modules[{missing!r}] = None")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f'oidc-actor run: needs {missing}, which is not installed: pip install "oidc-actor[run]"'
    ]
