"""A real MCP server of the SDK's, on loopback, that wants a provider's tokens for itself."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from typing import Any, Self

import anyio
import uvicorn
from joserfc.jwk import KeySet
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from serving import free_port
from threads import DEADLINE_S

from oidc_actor.testing import Provider
from oidc_actor.testing.authorization_server import read_token


class TokenChecks:
    """The server's check of tokens (the SDK's ``TokenVerifier``): signature, end, and that they are for this server."""

    def __init__(self, provider: Provider, resource: str) -> None:
        with urllib.request.urlopen(f"{provider.issuer_url}/jwks", timeout=DEADLINE_S) as answer:
            self._keys = KeySet.import_key_set(json.load(answer))
        self._issuer, self._resource = provider.issuer_url, resource
        self.revoked: set[str] = set()
        self.refused = 0
        self.seen: set[str] = set()

    async def verify_token(self, token: str) -> AccessToken | None:
        self.seen.add(token)
        claims = read_token(token, self._keys, issuer=self._issuer, now_wall=time.time())
        audience: Any = [] if claims is None else claims.get("aud", [])
        if (
            claims is None
            or token in self.revoked
            or self._resource not in ([audience] if isinstance(audience, str) else audience)
        ):
            self.refused += 1
            return None
        scopes = str(claims.get("scope", "")).split()
        return AccessToken(token=token, client_id=str(claims["client_id"]), scopes=scopes, resource=self._resource)


class RunningServer:
    """The server in a thread of its own. Its tools: ``add``, and ``wait``, which takes as many seconds as it is told."""

    def __init__(self, provider: Provider) -> None:
        self.url = f"http://127.0.0.1:{free_port()}/mcp"
        self.checks = TokenChecks(provider, self.url)
        settings: Any = {"issuer_url": provider.issuer_url, "resource_server_url": self.url}
        auth = AuthSettings(**settings, validate_token_resource=True)
        server = MCPServer("sums", log_level="CRITICAL", token_verifier=self.checks, auth=auth)

        @server.tool()
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        @server.tool()
        async def wait(seconds: float) -> str:
            """Wait."""
            await anyio.sleep(seconds)
            return "done"

        app = server.streamable_http_app(stateless_http=True, json_response=True)
        port = int(self.url.rpartition(":")[2].partition("/")[0])
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        ends_at = time.monotonic() + DEADLINE_S
        while not self._server.started:
            assert time.monotonic() < ends_at, "the MCP server did not start"
            self._thread.join(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
