"""The client that MCP's conformance suite starts once for each scenario: the SDK's, with our auth, by the public interface only.

It is told the MCP server's address as its argument, and the scenario with what belongs to it in two variables.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from oidc_actor import ClientCredentials, IdentityAssertion, PrivateKey, TokenManager, oidc
from oidc_actor.adapters.mcp import mcp_auth


def credentials(scenario: str, given: dict[str, str]) -> ClientCredentials | IdentityAssertion:
    """What the scenario gives the client."""
    if scenario == "auth/client-credentials-jwt":
        key = PrivateKey(given["private_key_pem"], algorithm=given["signing_algorithm"])
        return ClientCredentials(given["client_id"], private_key=key)
    if scenario == "auth/client-credentials-basic":
        return ClientCredentials(given["client_id"], given["client_secret"])
    return IdentityAssertion(
        given["idp_id_token"],
        given["client_id"],
        given["client_secret"],
        identity_provider=given["idp_issuer"],
        identity_client=given["idp_client_id"],
    )


async def main(server: str, scenario: str, given: dict[str, str]) -> None:
    """Call the server's tool with a token of the authorization server that it names: here, nobody else says which."""
    (issuer,) = oidc.discover_resource(server).authorization_servers or ()
    TokenManager.start_link(name="mcp", issuer_url=issuer, resource_url=server, auth=credentials(scenario, given))
    async with (
        httpx2.AsyncClient(auth=mcp_auth("mcp", server), timeout=30) as http,
        Client(streamable_http_client(server, http_client=http)) as client,
    ):
        for tool in (await client.list_tools()).tools:
            print(await client.call_tool(tool.name, {}))


asyncio.run(
    main(sys.argv[1], os.environ["MCP_CONFORMANCE_SCENARIO"], json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"]))
)
