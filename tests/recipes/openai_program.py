from openai import DefaultHttpx2Client, OpenAI

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.adapters.httpx2 import OIDCAuth

TokenManager.start_link(
    name="models.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
client = OpenAI(  # for AsyncOpenAI: DefaultAsyncHttpx2Client
    base_url="https://models.example.com/v1",
    api_key="the token goes in its place",
    http_client=DefaultHttpx2Client(auth=OIDCAuth("models.token")),
)
