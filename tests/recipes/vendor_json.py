from oidc_actor import ClientCredentials, OIDCConfig, SecretFile, TokenManager

TokenManager.start_link(
    name="vendor",
    oidc_config=OIDCConfig(token_endpoint="https://api.vendor.example/v1/login"),
    auth=ClientCredentials(
        "my-service",
        SecretFile("/run/secrets/vendor"),
        client_auth="client_secret_post",  # in the body, which is what such servers read
        body="json",
        request_headers={"X-Api-Key": SecretFile("/run/secrets/vendor-key"), "X-Api-Version": "7"},
        accept_token_types=("BearerToken",),
    ),
)


def address() -> str:
    """Where to use the token: the vendor says so beside it."""
    return str(TokenManager.get_token("vendor").extra["instance_url"])
