"""Revocation (RFC 7009) against the certified npm `oidc-provider`: by the function, and by a manager that stops."""

from __future__ import annotations

import pytest
import requests
from integration.node_provider import CLIENTS, USER, NodeProvider

from oidc_actor import Password, TokenManager, TokenRequestError
from oidc_actor.oidc import discover, get_token, refresh_token, revoke_token


def user(method: str) -> Password:
    known = CLIENTS[method]
    return Password(
        USER["name"],
        USER["password"],
        known["client_id"],
        known.get("client_secret"),
        "openid offline_access",
        client_auth=method,
    )


def userinfo_status(npm_provider: NodeProvider, token: str) -> int:
    url = discover(npm_provider.issuer_url).userinfo_endpoint
    assert url is not None
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_both_kinds_of_token(npm_provider: NodeProvider, method: str) -> None:
    config, auth = discover(npm_provider.issuer_url), user(method)
    token = get_token(config, auth)
    assert token.refresh_token is not None
    assert userinfo_status(npm_provider, token.access_token) == 200
    revoke_token(config, token.access_token, auth, token_type_hint="access_token")
    assert userinfo_status(npm_provider, token.access_token) == 401
    revoke_token(config, token.refresh_token, auth)
    with pytest.raises(TokenRequestError) as caught:
        refresh_token(config, token.refresh_token, auth)
    assert caught.value.error == "invalid_grant"


def test_a_manager_that_stops(npm_provider: NodeProvider) -> None:
    options = {"issuer_url": npm_provider.issuer_url, "auth": user("client_secret_basic")}
    TokenManager.start_link(name="npm.revoking", revoke_on_stop=True, **options)
    token = TokenManager.get_token("npm.revoking")
    assert userinfo_status(npm_provider, token.access_token) == 200
    TokenManager.stop("npm.revoking")
    assert userinfo_status(npm_provider, token.access_token) == 401
    assert token.refresh_token is not None
    with pytest.raises(TokenRequestError):
        refresh_token(discover(npm_provider.issuer_url), token.refresh_token, user("client_secret_basic"))
