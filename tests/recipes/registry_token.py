import base64
import json
from urllib.parse import urlencode

from oidc_actor import Custom, FetchContext, SecretFile, TokenManager, TokenResponse
from oidc_actor.transport import Request

REALM, SERVICE = "https://auth.docker.io/token", "registry.docker.io"
USER, PASSWORD = "my-account", SecretFile("/run/secrets/registry")
SCOPE = "repository:my-account/billing:pull"


def fetch(context: FetchContext) -> TokenResponse:
    login = base64.b64encode(f"{USER}:{PASSWORD.read().reveal()}".encode()).decode()
    url = f"{REALM}?{urlencode({'service': SERVICE, 'scope': SCOPE})}"
    response = context.transport(Request("GET", url, {"Authorization": f"Basic {login}"}))
    if response.status != 200:
        raise context.refusal(response, retryable=response.status not in (401, 403))
    answer = json.loads(response.body)
    return TokenResponse.new(answer.get("token") or answer["access_token"], expires_in=answer.get("expires_in", 60))


TokenManager.start_link(
    name="registry",
    auth=Custom(fetch, identity=f"{SERVICE} {USER} {SCOPE}"),
    refresh_buffer_seconds=20,
)
