from oidc_actor import ClientCredentials, TokenManager, WorkloadIdentity

identity = WorkloadIdentity.detect("https://auth.example.com")
print(identity)  # such as WorkloadIdentity('AWS (EKS) (AWS_WEB_IDENTITY_TOKEN_FILE)')
TokenManager.start_link(
    name="api",
    issuer_url="https://auth.example.com",
    auth=ClientCredentials("my-service", client_assertion=identity),
)
