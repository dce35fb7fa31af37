"""The recipe for Flask, with gunicorn and its forked workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from serving import Program, assert_no_secret, environment_for, free_port, program, reject_next

from oidc_actor.testing import Provider


def read(text: str) -> dict[str, float]:
    """Each metric of the page, summed over its labels; of counts by outcome the successes only."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("outcome", "success") == "success":
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def gunicorn(directory: Path, provider: Provider, *arguments: str) -> tuple[list[str], Path, dict[str, str], int]:
    (directory / "prometheus").mkdir()
    environment = {
        **environment_for(provider),
        "HOME": str(directory),  # where gunicorn has its control socket
        "PROMETHEUS_MULTIPROC_DIR": str(directory / "prometheus"),
    }
    port = free_port()
    command = ["-m", "gunicorn", "-c", "gunicorn_conf.py", "-b", f"127.0.0.1:{port}", *arguments, "flask_app:app"]
    return command, directory / "log", environment, port


def requests_counted(server: Program) -> float:
    return read(server.get("/metrics").text).get("oidc_actor_token_requests_total", 0.0)


@pytest.mark.oidc_provider(token_lifetime_s=3600)
@pytest.mark.parametrize("preload", [False, True], ids=["plain", "preload"])
def test_workers_serve_are_killed_and_end(oidc_provider: Provider, tmp_path: Path, preload: bool) -> None:
    with program(*gunicorn(tmp_path, oidc_provider, *["--preload"] * preload)) as server:
        server.wait_for("/readyz")
        both = server.pids("/items", 2)
        assert oidc_provider.tokens_issued >= 2
        masters = int(preload)  # the token of the process that forks, which serves no /metrics and writes none
        server.eventually(
            lambda: requests_counted(server) == oidc_provider.tokens_issued - masters, "sum of the workers"
        )
        shown = read(server.get("/metrics").text)
        assert shown["oidc_actor_token_request_duration_seconds_count"] == oidc_provider.tokens_issued - masters
        assert 3000 < shown["oidc_actor_token_time_to_expiry_seconds"] <= 3600, "the least of the workers', not the sum"
        assert shown["oidc_actor_manager_consecutive_failures"] == 0

        before = oidc_provider.tokens_issued
        oidc_provider.down()
        assert {server.get("/readyz").status_code for _ in range(6)} == {200}
        oidc_provider.up()

        victim = both.pop()
        os.kill(victim, signal.SIGKILL)
        server.eventually(lambda: "Booting worker" in server.log.split(f"(pid:{victim})")[-1], "new worker")
        if preload:  # it has the token of the process that forked it
            assert victim not in server.pids("/items", 2)
            assert oidc_provider.tokens_issued == before
        else:
            server.eventually(lambda: oidc_provider.tokens_issued == before + 1, "token of the new worker")
            assert victim not in server.pids("/items", 2)

        before = oidc_provider.tokens_issued
        reject_next(oidc_provider)
        assert server.get("/items").json()["status"] == 200, "sent again with a new token"
        assert oidc_provider.tokens_issued == before + 1

        assert server.terminate() == 0
        assert "Traceback" not in server.log
        assert_no_secret(server, oidc_provider)

    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path / "prometheus"))
    left = read(generate_latest(registry).decode())
    assert left["oidc_actor_token_requests_total"] == oidc_provider.tokens_issued - masters, (
        "each worker wrote at its end"
    )
    assert "oidc_actor_token_time_to_expiry_seconds" not in left, "the processes are marked dead"


def test_it_starts_in_an_outage(oidc_provider: Provider, tmp_path: Path) -> None:
    oidc_provider.down()
    with program(*gunicorn(tmp_path, oidc_provider, "--preload")) as server:
        server.wait_for("/livez")
        assert server.get("/readyz").status_code == 503
        refused = server.get("/items")
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["Retry-After"]) >= 0

        oidc_provider.up()
        server.wait_for("/readyz")
        assert server.wait_for("/items").json()["status"] == 200
