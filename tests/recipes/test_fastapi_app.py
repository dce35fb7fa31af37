"""The recipe for FastAPI, with uvicorn as a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from serving import assert_no_secret, environment_for, free_port, program, reject_next

from oidc_actor.testing import Provider


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_workers_serve_are_killed_and_end(oidc_provider: Provider, tmp_path: Path) -> None:
    port = free_port()
    command = ["-m", "uvicorn", "fastapi_app:app", "--workers", "2", "--port", str(port)]
    with program(command, tmp_path / "log", environment_for(oidc_provider), port) as server:
        server.wait_for("/readyz")
        both = server.pids("/items", 2)
        assert oidc_provider.tokens_issued == 2, "one for each worker"

        oidc_provider.down()  # the API goes away with it, but each worker stays ready
        assert {server.get("/readyz").status_code for _ in range(6)} == {200}
        oidc_provider.up()

        victim = both.pop()
        os.kill(victim, signal.SIGKILL)
        server.eventually(lambda: oidc_provider.tokens_issued == 3, "token of the new worker")
        assert victim not in server.pids("/items", 2)

        assert server.terminate() == 0
        assert_no_secret(server, oidc_provider)


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_one_process_in_an_outage_and_after_a_401(oidc_provider: Provider, tmp_path: Path) -> None:
    port = free_port()
    oidc_provider.down()
    command = ["-m", "uvicorn", "fastapi_app:app", "--port", str(port)]
    with program(command, tmp_path / "log", environment_for(oidc_provider), port) as server:
        server.wait_for("/livez")  # it starts although there is no provider
        assert server.get("/readyz").status_code == 503
        refused = server.get("/items")
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["Retry-After"]) >= 0

        oidc_provider.up()
        server.wait_for("/readyz")
        assert server.get("/items").json()["status"] == 200
        assert server.get("/items-with-headers").json()["status"] == 200

        before = oidc_provider.tokens_issued
        reject_next(oidc_provider)
        assert server.get("/items").json()["status"] == 200, "sent again with a new token"
        assert oidc_provider.tokens_issued == before + 1

        assert server.terminate() == -signal.SIGTERM
        assert "Application shutdown complete" in server.log
        assert "Traceback" not in server.log
        assert_no_secret(server, oidc_provider)
