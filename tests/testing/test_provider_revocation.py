"""The embedded provider's revocation endpoint (RFC 7009)."""

import pytest
import requests

from oidc_actor import ClientCredentials, Password, TokenRequestError, oidc
from oidc_actor.testing import Provider


@pytest.fixture
def provider():
    with Provider() as running:
        yield running


def client(provider: Provider) -> ClientCredentials:
    return ClientCredentials(provider.client_id, provider.client_secret)


def status_of(provider: Provider, token: str) -> int:
    return requests.get(provider.resource_url, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code


def test_a_revoked_access_token_is_refused_by_the_api(provider: Provider) -> None:
    config = oidc.discover(provider.issuer_url)
    kept, given_up = (oidc.get_token(config, client(provider)).access_token for _ in range(2))
    assert status_of(provider, given_up) == 200
    oidc.revoke_token(config, given_up, client(provider))
    assert (status_of(provider, given_up), status_of(provider, kept)) == (401, 200)
    assert provider.tokens_revoked == 1


def test_a_revoked_refresh_token_is_of_no_use(provider: Provider) -> None:
    config = oidc.discover(provider.issuer_url)
    auth = Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    refresh_token = oidc.get_token(config, auth).refresh_token
    assert refresh_token is not None
    oidc.revoke_token(config, refresh_token, client(provider), token_type_hint="refresh_token")
    with pytest.raises(TokenRequestError) as caught:
        oidc.refresh_token(config, refresh_token, auth)
    assert caught.value.error == "invalid_grant"


def test_another_clients_refresh_token_stays(provider: Provider) -> None:
    provider.add_client("other", "secret")
    config = oidc.discover(provider.issuer_url)
    auth = Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    refresh_token = oidc.get_token(config, auth).refresh_token
    assert refresh_token is not None
    oidc.revoke_token(config, refresh_token, ClientCredentials("other", "secret"))
    assert oidc.refresh_token(config, refresh_token, auth).access_token


def test_it_wants_to_know_the_client_and_can_be_scripted(provider: Provider) -> None:
    config = oidc.discover(provider.issuer_url)
    with pytest.raises(TokenRequestError) as caught:
        oidc.revoke_token(config, "x", ClientCredentials(provider.client_id, "wrong"))
    assert (caught.value.status, caught.value.error) == (401, "invalid_client")
    oidc.revoke_token(config, "unknown", client(provider))
    provider.fail_next(endpoint="revocation", status=503)
    with pytest.raises(TokenRequestError) as caught:
        oidc.revoke_token(config, "x", client(provider))
    assert caught.value.status == 503
