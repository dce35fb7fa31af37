from oidc_actor import ClientCredentials, IdentityAssertion, SecretFile, TokenManager

SERVER = "https://sums.example.com/mcp"

TokenManager.start_link(
    name="sums.token",
    issuer_url="https://auth.example.com",  # the MCP server's authorization server
    resource_url=SERVER,
    auth=IdentityAssertion(
        SecretFile("/var/run/secrets/login/id-token"),  # the user's, from the identity provider
        "my-service",
        "s3cret",
        identity_provider="https://idp.example.com",
        identity_client=ClientCredentials("my-idp-client", "an-idp-secret"),
    ),
)
