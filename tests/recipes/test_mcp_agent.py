"""The MCP client of the page, with the real SDK, against a real server of the SDK's that wants tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_server import RunningServer
from pasted import pasted, run_pasted

from oidc_actor.testing import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(client_id="my-service", client_secret="s3cret", token_lifetime_s=60) as running:
        yield running


def test_ten_calls_share_one_token(provider: Provider, tmp_path: Path) -> None:
    with RunningServer(provider) as server:
        text = pasted("mcp_agent.py", provider, server=f"https://sums.example.com/mcp=>{server.url}")
        done = run_pasted(text, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line] == [
        f"{{'result': {number + 1}}}" for number in range(10)
    ]
    assert provider.token_requests == 1
    assert server.checks.refused == 0
