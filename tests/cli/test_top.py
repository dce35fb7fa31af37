"""``oidc-actor top``: addresses, one snapshot printed, errors in one line, and what a hostile answer may do."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport
from managers import leave_nothing_behind
from observer.browser import Served, serving
from rich.console import Console
from typer.testing import CliRunner

from oidc_actor import TokenManager
from oidc_actor.cli.app import app
from oidc_actor.cli.top import draw, duration
from oidc_actor.observing import managers
from supervision import ChildSpec, Server, Supervisor
from supervision.observer import Observer

DEADLINE_S = 30.0


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    leave_nothing_behind()


@pytest.fixture
def served() -> Iterator[Served]:
    options: dict[str, Any] = {"auth": AUTH, "issuer_url": ISSUER, "transport": ScriptedTransport(lifetime=300)}
    Supervisor.start_link(
        [TokenManager.child_spec(name="billing", **options), ChildSpec("[red]\x1b[31mtill", Server)], name="shop"
    )
    TokenManager.get_token("billing")
    with serving(Observer("shop", parts=[managers()])) as running:
        yield running


def top(*words: str) -> Any:
    return CliRunner().invoke(app, ["top", *words])


def test_one_snapshot_is_printed_plainly(served: Served) -> None:
    done = top(served.url, "--once")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0].startswith("3 actors")
    (row,) = (line for line in lines if "billing" in line)
    assert row.startswith("  billing")
    assert "running" in row
    assert re.search(r"fresh [45] min", row)  # five to the moment, as it begins
    assert "\x1b" not in done.output
    assert "[red]\\u{1b}[31mtill" in done.output
    assert "billing" not in top(served.url, "--once", "--search", "till").output


def test_it_finds_the_observer_below_a_sidecars_address_and_at_a_path(served: Served) -> None:
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await served.server.config.app({**scope, "root_path": "/deep/observer"}, receive, send)

    with serving(mounted) as deep:
        assert top(f"{deep.url}/deep/observer/", "--once").exit_code == 0
        assert top(f"{deep.url}/deep/observer", "--once").exit_code == 0


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("http://127.0.0.1:1", 4, "nothing answers"),
        ("http://name.invalid:80", 4, "nothing answers"),
        ("/nowhere/tokens.sock", 4, "nothing answers"),
        ("ftp://localhost", 2, "got 'ftp://localhost'"),
        ("http://me:secret@localhost", 2, "got 'http://localhost' with a user"),
        ("http://localhost:99999999", 2, "expected http"),
        ("http://[::1", 2, "expected http"),
        ("http://a..b", 4, "nothing answers"),
        ("http://a b", 4, "nothing answers"),
        ("localhost", 2, "expected a URL"),
    ],
)
def test_an_error_is_one_line(address: str, status: int, said: str) -> None:
    done = top(address, "--once")
    assert done.exit_code == status
    assert said in done.output
    assert len(done.output.splitlines()) == 1
    assert "secret" not in done.output


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>", "no observer"),
        (200, b"[]", "no observer"),
        (200, b'{"rows": {"a": 3}, "totals": {}}', "no observer"),
        (200, b'{"rows": {"a": {"since": "x"}}, "totals": {"actors": "\x1b"}}', "no observer"),
        (200, b"[" * 100_000, "no observer"),
        (200, b'{"rows": {"a": {"level": -1e400}}, "totals": {"actors": ' + b"9" * 5000 + b"}}", "no observer"),
        (404, b"", "mount supervision.observer.Observer"),
        (403, b'{"error": "a reason\\u001b[2J"}', "answers 403: a reason"),
        (500, b"\xff\x1b[2J", "answers 500"),
    ],
)
def test_what_is_no_observer_is_said_in_one_line(status: int, body: bytes, said: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            done = top(f"http://127.0.0.1:{server.server_port}", "--once")
        finally:
            server.shutdown()
    assert (done.exit_code, len(done.output.splitlines())) == (4, 1)
    assert said in done.output
    assert "\x1b" not in done.output


def test_no_text_of_another_program_moves_the_terminal_or_fills_the_memory() -> None:
    figure = {"text": "\x1b[2J", "ends": 2.0, "of": -1e-300}
    row = {
        "label": "a",
        "state": "\x1b]0;b\x07",
        "level": 10**30,
        "exit": "\x1b",
        "figures": {"c\x1b": figure, "d": figure},
    }
    out = io.StringIO()
    Console(file=out, width=60, force_terminal=False).print(
        draw({"columns": ["c\x1b"], "totals": {}, "rows": {"1": row}, "now": 1.0})
    )
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue()) < 1000


def test_in_a_terminal_it_goes_on_until_q(served: Served) -> None:
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "140", "LINES": "30"}
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_actor.cli", "top", served.url], stdin=other, stdout=other, stderr=other, env=environment
    )  # fmt: skip
    os.close(other)
    try:
        shown = b""
        ends_at = time.monotonic() + DEADLINE_S
        while b"q ends" not in shown or b"billing" not in shown:
            assert time.monotonic() < ends_at, shown
            if select.select([main], [], [], 1.0)[0]:
                shown += os.read(main, 65536)
        os.write(main, b"q")
        while process.poll() is None and time.monotonic() < ends_at:
            if select.select([main], [], [], 0.1)[0]:
                try:
                    os.read(main, 65536)
                except OSError:  # the other end is closed
                    break
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        os.close(main)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (9.94, "9.9 s"), (61, "61 s"), (150, "2 min"), (9000, "2 h 30 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
