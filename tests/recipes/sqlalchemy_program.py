from typing import Any

from sqlalchemy import create_engine, event

from oidc_actor import ClientCredentials, TokenManager

TokenManager.start_link(
    name="database.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
read = TokenManager.source("database.token")
engine = create_engine("postgresql+psycopg://my-service@db.example.com:5432/app")


@event.listens_for(engine, "do_connect")
def put_password(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
    options["password"] = read()  # for each connection that the pool opens
