from oidc_actor import ClientCredentials, SecretFile, TokenManager
from supervision import Supervisor

supervisor = Supervisor.start_link(
    [
        TokenManager.child_spec(
            name="billing.token",
            issuer_url="https://auth.example.com",
            auth=ClientCredentials("my-service", SecretFile("/var/run/secrets/billing/client-secret")),
        ),
    ]
)
