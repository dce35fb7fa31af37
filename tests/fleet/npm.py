"""The certified npm provider, as a fleet asks of a provider: rotation and reuse detection are its own."""

from __future__ import annotations

import threading

from integration.node_provider import CLIENTS, USER, NodeProvider

SCOPES = ["openid", "offline_access"]


class Npm:
    """What a fleet uses of the embedded provider, by the other one."""

    def __init__(self, node: NodeProvider, life_s: float) -> None:
        self._node, self.token_lifetime_s = node, life_s
        client = CLIENTS["client_secret_basic"]
        self.client_id, self.client_secret = str(client["client_id"]), str(client["client_secret"])
        self.username, self.password = USER["name"], USER["password"]
        self.token_endpoint = f"{node.issuer_url}/token"
        self.resource_url = f"{node.issuer_url}/me"  # which answers to tokens that live and are not revoked

    @property
    def token_requests(self) -> int:
        return self._node.stats().arrived["token"]

    @property
    def refresh_tokens_reused(self) -> int:
        """How many times it has refused a refresh token."""
        return self._node.stats().error.get("refresh_token", 0)

    @property
    def token_requests_by_grant(self) -> dict[str, int]:
        """Those that brought a token."""
        return dict(self._node.stats().success)

    def wait_for_requests(self, count: int, *, timeout_s: float) -> bool:
        pause = threading.Event()
        for _ in range(int(timeout_s / 0.05)):
            if self.token_requests >= count:
                return True
            pause.wait(0.05)
        return False
