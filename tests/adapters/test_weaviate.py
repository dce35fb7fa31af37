"""The real weaviate-client against loopback servers that check each token's signature and end: calls that outlive many tokens."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import weaviate
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.held_manager import Held
from adapters.rpc import Rpc
from adapters.weaviate_server import ause, in_time, options, use
from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateQueryError

from oidc_actor import Password, TokenManager
from oidc_actor.adapters.weaviate import authenticated
from oidc_actor.testing import Provider

TOKENS = 10


def test_rest_and_grpc_calls_outlive_many_tokens(settled: Held, rest: Api, search: Rpc, provider: Provider) -> None:
    client = authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name)
    tokens = [settled.token]
    with client:  # it connects
        for _ in range(TOKENS):
            tokens.append(settled.refresh())
            use(client)
    assert rest.tokens == tokens
    assert search.tokens == tokens[1:]
    assert provider.token_requests == len(set(tokens)) == TOKENS + 1


def test_in_real_time_with_tokens_of_a_second_and_rotating_refresh_tokens(
    rest: Api, search: Rpc, provider: Provider
) -> None:
    provider.token_lifetime_s = 1.0
    auth = Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    ref = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth, min_interval_seconds=0.05)
    until = time.monotonic() + DEADLINE_S
    try:
        with authenticated(weaviate.WeaviateClient(**options(rest, search)), ref) as client:
            while len(set(search.tokens)) < 5:
                assert time.monotonic() < until
                use(client)  # each call fails if its token is stale
    finally:
        TokenManager.stop(ref)
    assert provider.token_requests_by_grant["password"] == 1
    assert provider.token_requests_by_grant["refresh_token"] >= 4
    assert provider.refresh_tokens_reused == 0


def test_the_async_client_too(settled: Held, rest: Api, search: Rpc, provider: Provider) -> None:
    async def work() -> list[str]:
        client = authenticated(weaviate.WeaviateAsyncClient(**options(rest, search)), settled.name)
        tokens = [settled.token]
        async with client:
            for _ in range(TOKENS):
                tokens.append(await asyncio.to_thread(settled.refresh))
                await ause(client)
        return tokens

    tokens = in_time(work())
    assert rest.tokens == tokens
    assert search.tokens == tokens[1:]
    assert provider.token_requests == TOKENS + 1


def test_a_refusal_by_either_half_is_mended(
    settled: Held, rest: Api, search: Rpc, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name) as client:
        articles = client.collections.use("Article")
        for call in (lambda: client.collections.exists("Article"), lambda: articles.query.fetch_objects(limit=1)):
            gatekeeper.revoke(settled.token)
            call()
            settled.clock.advance(5)
    assert provider.token_requests == 3


def test_a_refusal_by_either_half_is_mended_for_the_async_client(
    settled: Held, rest: Api, search: Rpc, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    async def work() -> None:
        async with authenticated(weaviate.WeaviateAsyncClient(**options(rest, search)), settled.name) as client:
            articles = client.collections.use("Article")
            for call in (lambda: client.collections.exists("Article"), lambda: articles.query.fetch_objects(limit=1)):
                gatekeeper.revoke(await asyncio.to_thread(lambda: settled.token))
                await call()
                settled.clock.advance(5)

    in_time(work())
    assert provider.token_requests == 3


def test_a_refusal_for_ever_is_the_clients_own_error_and_costs_one_token(
    settled: Held, rest: Api, search: Rpc, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name) as client:
        gatekeeper.refuses_all = True
        for _ in range(3):
            with pytest.raises(UnexpectedStatusCodeError, match="401"):
                client.collections.exists("Article")
            settled.clock.advance(5)
        with pytest.raises(WeaviateQueryError):
            client.collections.use("Article").query.fetch_objects(limit=1)
    assert provider.token_requests == 3  # one for each half


def test_an_outage_is_not_noticed_while_a_token_lives(
    settled: Held, rest: Api, search: Rpc, provider: Provider
) -> None:
    provider.down()
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name) as client:
        settled.clock.advance(560)
        use(client)
    assert set(rest.tokens + search.tokens) == {settled.token}


def test_a_plain_connection_on_this_machine(settled: Held, rest: Api, plain: Rpc, gatekeeper: Gatekeeper) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, plain, is_secure=False)), settled.name) as client:
        use(client)
        settled.refresh()
        use(client)
        assert plain.tokens[-1] == settled.token


def test_a_plain_connection_of_the_async_client(settled: Held, rest: Api, plain: Rpc) -> None:
    async def work() -> None:
        client = weaviate.WeaviateAsyncClient(**options(rest, plain, is_secure=False))
        async with authenticated(client, settled.name):
            await ause(client)
            await asyncio.to_thread(settled.refresh)
            await ause(client)

    in_time(work())
    assert len(set(plain.tokens)) == 2
    assert plain.tokens[-1] == settled.token


def test_the_example_of_the_page(
    rest: Api, plain: Rpc, provider: Provider, gatekeeper: Gatekeeper, capsys: pytest.CaptureFixture[str]
) -> None:
    example = (Path(__file__).parents[1] / "recipes" / "weaviate_program.py").read_text()
    provider.add_client("my-service", "s3cret")
    for here, there in (
        ("https://auth.example.com", provider.issuer_url),
        ("https://weaviate.example.com", rest.url),
        ("50051", str(plain.port)),
        ("ConnectionParams.from_url(", "skip_init_checks=True, connection_params=ConnectionParams.from_url("),
    ):
        assert here in example
        example = example.replace(here, there)
    try:
        exec(compile(example, "weaviate_program.py", "exec"), {})
    finally:
        TokenManager.stop("weaviate.token")
    assert capsys.readouterr().out == "[]\n"
    assert len(set(rest.tokens + plain.tokens)) == 1
