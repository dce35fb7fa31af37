from contextlib import suppress

import requests

from oidc_actor import ClientCredentials, Health, ManagerNotRunning, SecretFile, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from supervision import DynamicSupervisor, Supervisor

# A crash is restarted on its own. Many crashes in one minute, of all tenants together, end this supervisor.
POOL = DynamicSupervisor.child_spec(id="tenants", name="tenants", max_restarts=100, max_seconds=60)


def start() -> None:
    Supervisor.start_link([POOL], name="app")


def name_of(tenant: str) -> str:
    return f"tenants.{tenant}"


def add(tenant: str, issuer_url: str, client_id: str) -> None:
    """Raises AlreadyStarted where the tenant is there already; asks nothing of the network."""
    secret = SecretFile(f"/var/run/secrets/tenants/{tenant}")
    manager = TokenManager.child_spec(
        name=name_of(tenant), issuer_url=issuer_url, auth=ClientCredentials(client_id, secret)
    )
    DynamicSupervisor.start_child("tenants", manager)


def remove(tenant: str) -> None:
    """Raises ChildNotFound where it is not there. On return no reader gets its token any more."""
    DynamicSupervisor.terminate_child("tenants", name_of(tenant))


def health() -> dict[str, Health]:
    """Each tenant's manager; one that ends meanwhile is left out."""
    found = {}
    for child in DynamicSupervisor.which_children("tenants"):
        name = str(child.id)
        with suppress(ManagerNotRunning):
            found[name.removeprefix("tenants.")] = TokenManager.health(name)
    return found


def call(tenant: str, url: str) -> requests.Response:
    return requests.get(url, auth=OIDCAuth(name_of(tenant)), timeout=10)
