import pytest
from joserfc.jwk import ECKey

from oidc_actor import (
    ClientCredentials,
    IdentityAssertion,
    NoTokenError,
    PrivateKey,
    RetryPolicy,
    TokenExchange,
    TokenManager,
    TokenRequestError,
    oidc,
)
from oidc_actor.testing import Provider

pytestmark = pytest.mark.usefixtures("stop_managers")


def secret_of(server):
    return ClientCredentials(server.client_id, server.client_secret)


def token_of(server, auth, **options):
    return TokenManager.get_token(
        TokenManager.start_link(issuer_url=server.issuer_url, auth=auth, **options), timeout=20
    )


def test_a_server_that_is_no_openid_provider():
    with Provider(documents=("oauth-authorization-server",), path="/tenant") as server:
        assert token_of(server, secret_of(server))


def test_a_client_with_a_key_in_place_of_a_secret():
    key = ECKey.generate_key("P-256").as_pem(private=True).decode()
    with Provider() as server:
        server.add_client("billing", None, public_key=key)
        assert token_of(server, ClientCredentials("billing", private_key=PrivateKey(key)))


def test_an_api_that_takes_the_tokens_of_another_server():
    with Provider() as server:
        assert token_of(server, secret_of(server), resource_url=server.resource_url)
    with Provider() as server:
        others = {"authorization_servers": ["https://elsewhere.example"]}
        server.answer_next(None, changes=others, endpoint="resource_metadata")
        rarely = RetryPolicy(initial_s=3600, maximum_s=3600, asked_maximum_s=3600)  # else it tries for 20 s
        with pytest.raises(NoTokenError, match=r"expected the issuer .* among them"):
            token_of(server, secret_of(server), resource_url=server.resource_url, retry=rarely)
        assert server.token_requests == 0


def test_a_user_s_token_is_traded_and_that_of_another_client_is_not():
    with Provider() as server:
        config, client = oidc.discover(server.issuer_url), (server.client_id, server.client_secret)
        mine, other = (server.sign({"sub": "alice", "aud": aud}) for aud in (server.client_id, "another-client"))
        assert oidc.get_token(config, TokenExchange(mine, *client, subject_token_type="id_token", audience="billing"))
        with pytest.raises(TokenRequestError, match="invalid_request"):
            oidc.get_token(config, TokenExchange(other, *client, subject_token_type="id_token"))


def test_a_login_at_an_identity_provider_leads_to_a_token_of_another_server():
    with Provider() as identity_provider, Provider() as server:
        server.trust(identity_provider)
        login = identity_provider.sign({"sub": "alice", "aud": identity_provider.client_id})
        auth = IdentityAssertion(
            login,
            server.client_id,
            server.client_secret,
            identity_provider=identity_provider.issuer_url,
            identity_client=secret_of(identity_provider),
        )
        assert token_of(server, auth)
