import xml.etree.ElementTree as ET
from urllib.parse import urlencode

from oidc_actor import Custom, FetchContext, SecretFile, TokenManager, TokenResponse
from oidc_actor.transport import Request

STS = "https://sts.eu-central-1.amazonaws.com/"
ROLE = "arn:aws:iam::123456789012:role/billing"
IDENTITY = SecretFile("/var/run/secrets/eks.amazonaws.com/serviceaccount/token")
NAMES = "{https://sts.amazonaws.com/doc/2011-06-15/}"


def fetch(context: FetchContext) -> TokenResponse:
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "billing",
        "WebIdentityToken": IDENTITY.read().reveal(),
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = context.transport(Request("POST", STS, headers, urlencode(form).encode()))
    if response.status != 200:
        raise context.refusal(response)
    found = ET.fromstring(response.body).find(f".//{NAMES}Credentials")
    keys = {one.tag.removeprefix(NAMES): one.text or "" for one in found}
    expires_at = keys.pop("Expiration")
    return TokenResponse.new(keys.pop("SessionToken"), extra={**keys, "expires_at": expires_at})


TokenManager.start_link(name="aws", auth=Custom(fetch, identity=ROLE))


def keys() -> tuple[str, str, str]:
    """What signs a request: the key's id, the key, the session's token, all of one answer."""
    token = TokenManager.get_token("aws")
    return token.extra["AccessKeyId"], token.extra["SecretAccessKey"], token.access_token
