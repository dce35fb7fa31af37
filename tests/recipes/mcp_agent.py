import asyncio

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.adapters.mcp import mcp_auth

SERVER = "https://sums.example.com/mcp"

TokenManager.start_link(
    name="sums.token",
    issuer_url="https://auth.example.com",  # yours to know: no MCP server chooses who gets the secret
    resource_url=SERVER,  # its metadata must name that issuer, and the token is for it alone
    auth=ClientCredentials("my-service", "s3cret"),
)


async def main() -> None:
    async with (
        httpx2.AsyncClient(auth=mcp_auth("sums.token", SERVER), timeout=30) as http,
        Client(streamable_http_client(SERVER, http_client=http)) as client,
    ):
        calls = [client.call_tool("add", {"a": number, "b": 1}) for number in range(10)]
        for result in await asyncio.gather(*calls):  # at once: none waits for another
            print(result.structured_content)


asyncio.run(main())
