"""Adapters take a `TokenSource` wherever they take a manager, and a function from the request to one."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from adapters.api import DEADLINE_S, Api, Gatekeeper

from oidc_actor import ClientCredentials, ConfigError, TokenManager, TokenPool
from oidc_actor.adapters import aiohttp as aiohttp_adapter
from oidc_actor.adapters import httpx as httpx_adapter
from oidc_actor.adapters import requests as requests_adapter
from oidc_actor.adapters.headers import headers
from oidc_actor.testing import Provider

TENANTS = ("red", "blue")


@pytest.fixture(autouse=True)
def pool(provider: Provider) -> Iterator[None]:
    for one in TENANTS:
        provider.add_client(one, f"secret-of-{one}")
    options = {"issuer_url": provider.issuer_url, "min_interval_seconds": 0.01}
    TokenPool.start_link(
        lambda key: {"auth": ClientCredentials(key, f"secret-of-{key}")}, name="tenants", max_size=2, **options
    )
    yield
    TokenPool.stop("tenants")


def chosen(request: Any) -> Any:
    return TokenPool.source("tenants", request.headers["X-Tenant"])


def owners(http: Api) -> list[str]:
    """Whose token came with each request, by the tenant that the pool has it for."""
    known = {TokenPool.get_access_token("tenants", one): one for one in TENANTS}
    return [known[str(seen.token)] for seen in http.seen]


def test_a_source_in_place_of_a_manager(http: Api, provider: Provider) -> None:
    source = TokenPool.source("tenants", "red")
    url = f"{http.url}/echo"
    assert requests.get(url, auth=requests_adapter.OIDCAuth(source), timeout=DEADLINE_S).status_code == 200
    assert httpx.get(url, auth=httpx_adapter.OIDCAuth(source), timeout=DEADLINE_S).status_code == 200
    assert requests.get(url, headers=headers(source), timeout=DEADLINE_S).status_code == 200
    assert owners(http) == ["red"] * 3
    TokenManager.start_link(
        auth=ClientCredentials("red", "secret-of-red"),
        name="m",
        issuer_url=provider.issuer_url,
        min_interval_seconds=0.01,
    )
    plain = requests_adapter.OIDCAuth(TokenManager.source("m"))
    assert requests.get(url, auth=plain, timeout=DEADLINE_S).status_code == 200
    TokenManager.stop("m")


def test_the_request_says_on_whose_behalf_it_goes_out(http: Api) -> None:
    url, wanted = f"{http.url}/echo", ["red", "blue", "blue", "red"]
    with requests.Session() as session:
        session.auth = requests_adapter.OIDCAuth(chosen)
        for tenant in wanted:
            assert session.get(url, headers={"X-Tenant": tenant}, timeout=DEADLINE_S).status_code == 200
    with httpx.Client(auth=httpx_adapter.OIDCAuth(chosen)) as client:
        for tenant in wanted:
            assert client.get(url, headers={"X-Tenant": tenant}).status_code == 200

    async def main() -> None:
        async with httpx.AsyncClient(auth=httpx_adapter.OIDCAuth(chosen)) as client:
            for tenant in wanted:
                assert (await client.get(url, headers={"X-Tenant": tenant})).status_code == 200
        auth = aiohttp_adapter.OIDCAuth(chosen, origins=[http.url])
        async with aiohttp.ClientSession(middlewares=[auth]) as session:
            for tenant in wanted:
                async with session.get(url, headers={"X-Tenant": tenant}) as answer:
                    assert answer.status == 200

    asyncio.run(main())
    assert owners(http) == wanted * 4


def test_a_refused_token_of_one_is_replaced_and_the_others_keep_theirs(http: Api, gatekeeper: Gatekeeper) -> None:
    red, blue = (TokenPool.get_access_token("tenants", one) for one in TENANTS)
    gatekeeper.revoke(red)
    auth = requests_adapter.OIDCAuth(chosen)
    answer = requests.get(f"{http.url}/echo", auth=auth, headers={"X-Tenant": "red"}, timeout=DEADLINE_S)
    assert answer.status_code == 200
    assert TokenPool.get_access_token("tenants", "red") != red
    assert TokenPool.get_access_token("tenants", "blue") == blue


def test_what_chooses_wrongly(http: Api) -> None:
    with pytest.raises(TypeError):
        requests.get(f"{http.url}/echo", auth=requests_adapter.OIDCAuth(lambda _: 5), timeout=DEADLINE_S)  # type: ignore[arg-type,return-value]

    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=[aiohttp_adapter.OIDCAuth(chosen)]) as session:
            await session.get(f"{http.url}/echo", headers={"X-Tenant": "red"})

    with pytest.raises(ConfigError, match="origins"):
        asyncio.run(main())
    assert not http.seen
