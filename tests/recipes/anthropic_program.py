from anthropic import Anthropic, DefaultHttpxClient

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.adapters.httpx2 import OIDCAuth

TokenManager.start_link(
    name="models.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
client = Anthropic(  # for AsyncAnthropic: DefaultAsyncHttpxClient
    base_url="https://models.example.com",
    auth_token="the token goes in its place",
    http_client=DefaultHttpxClient(auth=OIDCAuth("models.token")),
)
