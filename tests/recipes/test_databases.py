"""psycopg, SQLAlchemy and asyncpg on a real PostgreSQL, where the role's password is the token as it is now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy.exc
from pasted import pasted
from postgres import Postgres, postgres

from oidc_actor import TokenManager
from oidc_actor.testing import Provider

pytestmark = pytest.mark.usefixtures("stop_managers")

NAME, ROLE = "database.token", "my-service"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        with running.connect() as admin:
            admin.autocommit = True
            admin.execute("CREATE DATABASE app")
        yield running


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(client_id="my-service", client_secret="s3cret", token_lifetime_s=300) as running:
        yield running


def program(recipe: str, provider: Provider, server: Postgres) -> Any:
    """The names of a recipe that has run, whose manager's token is the role's password."""
    names: dict[str, Any] = {}
    text = pasted(recipe, provider, host="db.example.com=>127.0.0.1", port=f"5432=>{server.port}")
    exec(compile(text, recipe, "exec"), names)
    server.set_password(ROLE, TokenManager.get_access_token(NAME))
    return names


def rotate(server: Postgres) -> None:
    """Have another token, and another password; the one before is refused from now on."""
    TokenManager.force_refresh(NAME, wait=True)
    server.set_password(ROLE, TokenManager.get_access_token(NAME))


def test_psycopg_program(provider: Provider, server: Postgres) -> None:
    names = program("psycopg_program.py", provider, server)
    for _ in range(2):
        with names["connect"]() as connection:
            assert connection.execute("SELECT current_user").fetchone() == (ROLE,)
        rotate(server)
    server.set_password(ROLE, "of-another-token")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        names["connect"]()
    assert provider.token_requests == 3


def test_sqlalchemy_program(provider: Provider, server: Postgres) -> None:
    engine = program("sqlalchemy_program.py", provider, server)["engine"]
    with engine.connect() as first:
        assert first.exec_driver_sql("SELECT current_user").scalar() == ROLE
        rotate(server)
        with engine.connect() as second:  # the pool opens another
            assert second.exec_driver_sql("SELECT current_user").scalar() == ROLE
        assert first.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()
    server.set_password(ROLE, "of-another-token")
    with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
        engine.connect()


def test_asyncpg_program(provider: Provider, server: Postgres) -> None:
    names = program("asyncpg_program.py", provider, server)

    async def work() -> None:
        async with names["pool"]() as pool, pool.acquire() as first:
            assert await first.fetchval("SELECT current_user") == ROLE
            await asyncio.to_thread(rotate, server)
            async with pool.acquire() as second:
                assert await second.fetchval("SELECT current_user") == ROLE
                await asyncio.to_thread(server.set_password, ROLE, "of-another-token")
                with pytest.raises(asyncpg.InvalidPasswordError):
                    await pool.acquire()

    asyncio.run(work())
