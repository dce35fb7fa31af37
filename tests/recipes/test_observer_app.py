"""The recipe that mounts the observer in FastAPI, as a process of its own; it ends although a page is open."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import requests
from serving import DEADLINE_S, assert_no_secret, environment_for, free_port, program

from oidc_actor.testing import Provider


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_operators_see_the_tree_and_the_server_ends_with_a_page_open(oidc_provider: Provider, tmp_path: Path) -> None:
    port = free_port()
    environment = {**environment_for(oidc_provider), "OBSERVER_PASSWORD": "pass-for-operators"}
    command = ["-m", "uvicorn", "observer_app:app", "--port", str(port)]
    with program(command, tmp_path / "log", environment, port) as server, requests.Session() as operator:
        server.wait_for("/livez")
        assert server.get("/observer/").status_code == 401
        assert server.get("/observer/state").status_code == 401
        operator.auth = ("operator", "pass-for-operators")
        assert "Supervision tree" in server.get("/observer", operator).text  # by way of /observer/
        server.eventually(lambda: "fresh" in server.get("/observer/state", operator).text, "a token")
        page = operator.get(f"{server.url}/observer/events", stream=True, timeout=DEADLINE_S)
        lines = page.iter_lines()
        assert any(b"api.token" in line for line in lines)
        assert server.terminate() == -signal.SIGTERM
        list(lines)  # to its end, which is orderly
        assert "Traceback" not in server.log
        assert_no_secret(server, oidc_provider)
