"""The observer of the sidecar: off unless it is wished, guarded as tokens are as far as a browser can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sidecar.sidecar import Sidecar
from typer.testing import CliRunner

from oidc_actor.cli.app import app
from oidc_actor.sidecar.asgi import local_hosts, observer_refusal, read_headers

HOSTS = local_hosts("127.0.0.1", 8391)
HERE = {"host": "127.0.0.1:8391"}


@pytest.mark.parametrize(
    ("headers", "page", "data"),
    [
        (HERE, True, False),
        ({**HERE, "x-oidc-actor": "1"}, True, True),
        ({**HERE, "sec-fetch-site": "same-origin"}, True, True),
        ({**HERE, "sec-fetch-site": "none"}, True, True),
        ({**HERE, "sec-fetch-site": "cross-site"}, True, False),
        ({**HERE, "sec-fetch-site": "same-site"}, True, False),
        ({**HERE, "origin": "same-origin"}, True, False),
        ({"host": "evil.example:8391", "sec-fetch-site": "same-origin", "x-oidc-actor": "1"}, False, False),
        ({"x-oidc-actor": "1"}, False, False),
    ],
)
def test_who_gets_the_page_and_who_what_it_shows(headers: dict[str, str], page: bool, data: bool) -> None:
    asked = read_headers([(name.encode(), value.encode()) for name, value in headers.items()])
    assert (observer_refusal(asked, HOSTS, is_page=True) is None) is page
    assert (observer_refusal(asked, HOSTS, is_page=False) is None) is data


@pytest.mark.parametrize(
    ("host", "is_let"),
    [("localhost", True), ("localhost:9000", True), ("[::1]:9000", True), ("evil.example", False), ("", False),
     ("localhost.evil.example", False)],
)  # fmt: skip
def test_on_a_socket_that_may_be_forwarded_the_name_has_to_be_this_machines(host: str, is_let: bool) -> None:
    asked = read_headers([(b"host", host.encode()), (b"sec-fetch-site", b"same-origin")])
    assert (observer_refusal(asked, None, is_page=False) is None) is is_let


def test_it_is_there_only_where_it_is_wished_and_shows_no_token(
    tmp_path: Path, manager_table: Callable[..., str], provider: Any
) -> None:
    server = '[server]\nunix_socket = "tokens.sock"\n'
    (tmp_path / "config.toml").write_text(f"{server}\n{manager_table('billing')}")
    with Sidecar(tmp_path) as sidecar:
        assert sidecar.get("/observer/state").status == 404
        missing = CliRunner().invoke(app, ["top", str(sidecar.socket), "--once"])
        assert missing.exit_code == 4
        assert "observer = true" in missing.output
    (tmp_path / "config.toml").write_text(f"{server}observer = true\n{manager_table('billing')}")
    (tmp_path / "notify.sock").unlink(missing_ok=True)
    with Sidecar(tmp_path) as sidecar:
        token = sidecar.get("/token/billing").token
        assert sidecar.get("/observer/").body.startswith(b"<!doctype html>")
        assert sidecar.get("/observer").headers["location"] == "observer/"
        body = sidecar.get("/observer/state").body
        labels = [row["label"] for row in json.loads(body)["rows"].values()]
        assert "billing" in labels
        assert token.encode() not in body
        assert provider.client_secret.encode() not in body
        done = CliRunner().invoke(app, ["top", str(sidecar.socket), "--once"])
        assert done.exit_code == 0
        assert "billing" in done.output
        assert "fresh" in done.output
