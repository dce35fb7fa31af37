"""A function whose process is frozen between two calls: what is made, is made at import; a call only reads."""

import os

import requests

from oidc_actor import ClientCredentials, NoTokenError, TokenManager, after_restore
from oidc_actor.adapters.requests import OIDCAuth

TokenManager.start_link(  # returns at once: the first token comes while the rest is imported
    name="api",
    issuer_url=os.environ["OIDC_ISSUER_URL"],
    auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], os.environ["OIDC_CLIENT_SECRET"]),
    timeout_seconds=5,
)
session = requests.Session()
session.auth = OIDCAuth("api", timeout=3)  # with the request after it less than the function's own time

try:
    from snapshot_restore_py import register_after_restore
except ModuleNotFoundError:
    pass  # no runtime with SnapStart
else:
    register_after_restore(after_restore)


def handler(event: dict, context: object) -> dict:
    try:
        answer = session.get(os.environ["API_URL"], timeout=5)
    except NoTokenError:
        return {"statusCode": 503}
    return {"statusCode": answer.status_code}
