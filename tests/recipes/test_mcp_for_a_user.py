"""The manager of the page for a user of an identity provider: two real servers trade the login for what an MCP server takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_server import RunningServer
from pasted import pasted

from oidc_actor import Password, TokenManager, oidc
from oidc_actor.adapters.mcp import mcp_auth
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.testing import Provider

pytestmark = pytest.mark.usefixtures("stop_managers")


async def sum_of(url: str) -> object:
    async with (
        httpx2.AsyncClient(auth=mcp_auth("sums.token", url), timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        return (await client.call_tool("add", {"a": 1, "b": 2})).structured_content


def test_a_login_here_leads_to_a_call_there(tmp_path: Path) -> None:
    with (
        Provider(client_id="my-service", client_secret="an-idp-secret") as idp,
        Provider(client_id="my-service", client_secret="s3cret", token_lifetime_s=60) as provider,
        RunningServer(provider) as server,
    ):
        provider.trust(idp)
        login = Password(idp.username, idp.password, "my-service", "an-idp-secret", "openid")
        file = tmp_path / "id-token"
        file.write_text(oidc.get_token(oidc.discover(idp.issuer_url), login).id_token or "")
        text = pasted(
            "mcp_for_a_user.py",
            provider,
            server=f"https://sums.example.com/mcp=>{server.url}",
            idp=f"https://idp.example.com=>{idp.issuer_url}",
            login=f"/var/run/secrets/login/id-token=>{file}",
            client="my-idp-client=>my-service",  # this identity provider takes the service's client for its own
        )
        exec(compile(text, "mcp_for_a_user.py", "exec"), {})
        assert asyncio.run(sum_of(server.url)) == {"result": 3}
        claims = read_claims(TokenManager.get_access_token("sums.token"))
        assert (claims["sub"], claims["aud"]) == (idp.username, server.url)
        assert idp.token_requests_by_grant["urn:ietf:params:oauth:grant-type:token-exchange"] == 1
        assert provider.token_requests == 1
