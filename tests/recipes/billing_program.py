from typing import Any

import requests

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from supervision import Supervisor


def start(issuer_url: str, client_id: str, client_secret: str, **more: Any) -> None:
    """`more` are options of the manager: a test gives it a clock."""
    auth = ClientCredentials(client_id, client_secret)
    Supervisor.start_link([TokenManager.child_spec(name="billing.token", issuer_url=issuer_url, auth=auth, **more)])


def invoices(url: str) -> Any:
    answer = requests.get(url, auth=OIDCAuth("billing.token"), timeout=10)
    answer.raise_for_status()
    return answer.json()
