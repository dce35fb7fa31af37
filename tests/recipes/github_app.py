import json
import time

from joserfc import jwt
from joserfc.jwk import RSAKey

from oidc_actor import Custom, FetchContext, SecretFile, TokenManager, TokenResponse
from oidc_actor.transport import Request

API = "https://api.github.com"
APP, INSTALLATION = "123456", "987654"
KEY = SecretFile("/run/secrets/github-app.pem")


def statement() -> str:
    """What the app says of itself. GitHub wants RS256, and takes ten minutes at most."""
    now = int(time.time())
    claims = {"iss": APP, "iat": now - 60, "exp": now + 300}
    return jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(KEY.read().reveal()))


def fetch(context: FetchContext) -> TokenResponse:
    url = f"{API}/app/installations/{INSTALLATION}/access_tokens"
    headers = {
        "Authorization": f"Bearer {statement()}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    response = context.transport(Request("POST", url, headers))
    if response.status != 201:
        raise context.refusal(response, retryable=response.status not in (401, 404))
    answer = json.loads(response.body)
    return TokenResponse.new(answer.pop("token"), extra=answer)  # `expires_at` is among the rest


TokenManager.start_link(name="github", auth=Custom(fetch, identity=f"github-app-{APP}-{INSTALLATION}"))
