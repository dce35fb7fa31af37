from kubernetes import client

from oidc_actor import ClientCredentials, TokenManager

TokenManager.start_link(
    name="cluster.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
read = TokenManager.source("cluster.token")


def put_token(configuration: client.Configuration) -> None:
    configuration.api_key["authorization"] = read()


configuration = client.Configuration(host="https://cluster.example.com")
configuration.api_key["authorization"] = ""  # without an entry the hook is not called
configuration.api_key_prefix["authorization"] = "Bearer"
configuration.refresh_api_key_hook = put_token  # called for each request
core = client.CoreV1Api(client.ApiClient(configuration))
