"""redis-py on a real Redis, whose user's password is the manager's token: connections that are open authenticate again."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from adapters.api import DEADLINE_S
from adapters.held_manager import Held
from fleet.servers import Server, redis_server
from processes import in_child
from redis.backoff import NoBackoff
from redis.retry import Retry
from threads import eventually

from oidc_actor import ConfigError, NoTokenError, TokenManager
from oidc_actor.adapters.redis import OIDCCredentials
from oidc_actor.testing import Provider

USER = "my-service"


@pytest.fixture
def server(cold: Held) -> Iterator[Server]:
    """One whose user's passwords are the tokens that the manager has had."""
    with redis_server() as running:
        running.say("ACL", "SETUSER", USER, "on", "~*", "+@all")
        # The first of the manager's listeners: so the server knows a token before a client is told of it.
        TokenManager.subscribe(cold.name, lambda token: running.say("ACL", "SETUSER", USER, f">{token.access_token}"))
        cold.gate.release()
        cold.wait_for_token()
        eventually(lambda: passwords(running) == 1, "the first password")
        cold.clock.advance(5)
        yield running


def passwords(server: Server) -> int:
    return len(re.findall(r"[0-9a-f]{64}", server.say("ACL", "GETUSER", USER)))


def stat(server: Server, command: str, what: str = "calls") -> int:
    found = re.search(rf"cmdstat_{command}:.*?\b{what}=(\d+)", server.say("INFO", "commandstats"))
    return int(found[1]) if found else 0


def connections(server: Server) -> int:
    found = re.search(r"total_connections_received:(\d+)", server.say("INFO", "stats"))
    assert found is not None
    return int(found[1])


def test_open_connections_authenticate_again(server: Server, cold: Held) -> None:
    credentials = OIDCCredentials(cold.name, username=USER)
    with redis.Redis(port=server.port, credential_provider=credentials, protocol=2, decode_responses=True) as client:
        assert client.acl_whoami() == USER
        used = client.connection_pool.get_connection()
        assert client.acl_whoami() == USER  # on a second connection, which is idle then
        assert stat(server, "auth") == 2
        cold.refresh()
        eventually(lambda: stat(server, "auth") == 3, "the idle one")
        client.connection_pool.release(used)
        assert stat(server, "auth") == 4
        opened = connections(server)
        for _ in range(2):
            assert client.acl_whoami() == USER
        assert connections(server) - opened <= 1  # that of the question itself
    assert stat(server, "auth", "failed_calls") == 0
    credentials.close()
    cold.clock.advance(5)
    cold.refresh()
    assert stat(server, "auth") == 4


def test_those_of_the_asynchronous_client_too(server: Server, cold: Held) -> None:
    async def work() -> None:
        credentials = OIDCCredentials(cold.name, username=USER)
        async with redis.asyncio.Redis(
            port=server.port, credential_provider=credentials, protocol=2, decode_responses=True
        ) as client:
            assert await client.acl_whoami() == USER
            await asyncio.to_thread(cold.refresh)
            async with asyncio.timeout(DEADLINE_S):
                while await asyncio.to_thread(stat, server, "auth") < 2:
                    await asyncio.sleep(0)
            assert await client.acl_whoami() == USER
        credentials.close()

    asyncio.run(work())
    assert stat(server, "auth", "failed_calls") == 0


def test_a_manager_that_was_stopped_and_started_again_is_followed(
    server: Server, cold: Held, provider: Provider
) -> None:
    credentials = OIDCCredentials(cold.name, username=USER)
    with redis.Redis(port=server.port, credential_provider=credentials, protocol=2, decode_responses=True) as client:
        assert client.acl_whoami() == USER
        TokenManager.stop(cold.name)
        assert client.acl_whoami() == USER  # the connection is open
        again = Held(provider, name=cold.name)
        cold.ref = again.ref  # for the fixture to stop
        TokenManager.subscribe(cold.name, lambda token: server.say("ACL", "SETUSER", USER, f">{token.access_token}"))
        again.gate.release()
        again.wait_for_token()
        eventually(lambda: passwords(server) == 2, "the next password")
        client.connection_pool.disconnect()
        assert client.acl_whoami() == USER
        before = stat(server, "auth")
        again.clock.advance(5)
        again.refresh()
        eventually(lambda: stat(server, "auth") == before + 1, "the new manager's second token")
    credentials.close()


def test_an_outage_without_a_token_says_so(server: Server, cold: Held, provider: Provider) -> None:
    provider.down()
    cold.clock.advance(1000)
    client = redis.Redis(
        port=server.port,
        credential_provider=OIDCCredentials(cold.name, username=USER, timeout=0.05),
        retry=Retry(NoBackoff(), 0),
    )
    with pytest.raises(NoTokenError):
        client.ping()
    client.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_subscribes_does_not_stop_the_child(settled: Held) -> None:
    credentials = OIDCCredentials(settled.name, username=USER)
    credentials._lock.value.acquire()  # as a thread that opens a connection just now
    in_child(credentials.get_credentials)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_in_a_forked_child_the_event_loop_of_the_parent_is_not_waited_for(settled: Held) -> None:
    credentials, told = OIDCCredentials(settled.name, username=USER, timeout=0.5), []

    async def never(_: object) -> None:
        told.append("on the loop")

    credentials.on_next(never)
    credentials.on_next(lambda _: told.append("on a thread"))
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(credentials.get_credentials_async())

        def check() -> None:
            credentials._tell(TokenManager.get_token(settled.name))  # it raised a TimeoutError
            assert told == ["on a thread"]

        in_child(check)
    finally:
        loop.close()


@pytest.mark.parametrize("username", [None, 5, "", "a\nb"])
def test_a_username_that_is_none_is_refused_before_a_connection_is(username: object) -> None:
    with pytest.raises(ConfigError, match="username: expected a"):
        OIDCCredentials("m", username=username)  # type: ignore[arg-type]
