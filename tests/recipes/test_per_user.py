"""On behalf of each user: the recipe, with a provider that trades tokens; each request goes out with its own user's token."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pasted import pasted
from threads import run

from oidc_actor import ClientCredentials, TokenPool, oidc
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.testing import Provider

pytestmark = pytest.mark.usefixtures("stop_managers")


def test_each_user_has_a_token_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "client-secret").write_text("the-secret\n")
    with Provider(client_id="gateway", client_secret="the-secret") as provider:
        text = pasted(
            "per_user.py",
            provider,
            api=f"{provider.resource_url}/invoices=>{provider.resource_url}",
            secret=f"/var/run/secrets/gateway=>{tmp_path}",
        )
        names: dict[str, Any] = {}
        exec(compile(text, "per_user.py", "exec"), names)
        program = SimpleNamespace(**names)
        program.start()
        config = oidc.discover(provider.issuer_url)
        users = {}
        for user in ("alice", "bob", "carol"):
            provider.add_client(user, f"secret-of-{user}")
            users[user] = oidc.get_token(config, ClientCredentials(user, f"secret-of-{user}")).access_token
        with run(*[lambda token=token: program.invoices(token) for token in users.values() for _ in range(5)]):
            pass
        traded = {user: TokenPool.get_access_token("users", token) for user, token in users.items()}
        assert {user: read_claims(token)["sub"] for user, token in traded.items()} == {user: user for user in users}
        assert provider.tokens_issued == 2 * len(users)
        assert all(program.invoices(token).status_code == 200 for token in users.values())
