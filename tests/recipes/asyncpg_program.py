from typing import Any

import asyncpg

from oidc_actor import ClientCredentials, TokenManager

TokenManager.start_link(
    name="database.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
read = TokenManager.source("database.token")


def pool() -> Any:
    return asyncpg.create_pool(
        "postgresql://my-service@db.example.com:5432/app",
        password=read.aaccess_token,  # called for each connection
        min_size=1,
        max_size=10,
    )
