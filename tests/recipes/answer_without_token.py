import math

import requests

from oidc_actor import NoTokenError, OIDCActorError
from oidc_actor.adapters.requests import OIDCAuth

session = requests.Session()
session.auth = OIDCAuth("billing.token")


def invoices() -> tuple[int, dict[str, str], str]:
    """What a server answers: status, header fields, body."""
    try:
        answer = session.get("https://api.example.com", timeout=10)
    except NoTokenError as error:
        if isinstance(error.cause, OIDCActorError) and error.cause.permanent:
            return 500, {}, "the provider refuses this program: someone has to change something"
        return 503, {"Retry-After": str(math.ceil(error.retry_in_s or 1))}, "no token just now"
    return answer.status_code, {}, answer.text
