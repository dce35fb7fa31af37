import sqlite3
from contextlib import closing, suppress
from typing import Any

import requests

from oidc_actor import ClientCredentials, Health, SecretFile, TokenPool, UnknownKey
from oidc_actor.adapters.requests import OIDCAuth
from supervision import Supervisor

DATABASE = "/var/lib/gateway/tenants.db"  # a table tenants(id, issuer_url, client_id)


def options_of(tenant: str) -> dict[str, Any] | None:
    """The factory: called once for a tenant that has no manager, however many requests ask for it at once."""
    with closing(sqlite3.connect(DATABASE)) as database:
        row = database.execute("SELECT issuer_url, client_id FROM tenants WHERE id = ?", [tenant]).fetchone()
    if row is None:
        return None  # UnknownKey for those who ask
    secret = SecretFile(f"/var/run/secrets/tenants/{tenant}")
    return {"issuer_url": row[0], "auth": ClientCredentials(row[1], secret)}


def start() -> None:
    pool = TokenPool.child_spec(options_of, name="tenants", max_size=20_000, idle_seconds=3600.0)
    Supervisor.start_link([pool], name="app")


def changed(tenant: str) -> None:
    """Call it when a tenant's row was inserted, changed or deleted; readers notice nothing."""
    options = options_of(tenant)
    if options is not None:
        TokenPool.put("tenants", tenant, **options)
        return
    with suppress(UnknownKey):  # where it had no manager
        TokenPool.remove("tenants", tenant)


def health() -> dict[str, Health]:
    return TokenPool.health("tenants")


def call(tenant: str, url: str) -> requests.Response:
    return requests.get(url, auth=OIDCAuth(TokenPool.source("tenants", tenant)), timeout=10)
