from typing import Any

import psycopg

from oidc_actor import ClientCredentials, TokenManager

TokenManager.start_link(
    name="database.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
read = TokenManager.source("database.token")


class Connection(psycopg.Connection[Any]):
    """For psycopg_pool: ConnectionPool(conninfo, connection_class=Connection)."""

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Any:
        return super().connect(conninfo, **options | {"password": read()})


def connect() -> Any:
    return Connection.connect("host=db.example.com port=5432 dbname=app user=my-service")
