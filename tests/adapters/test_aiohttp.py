"""What is particular to aiohttp."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import pytest
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.held_manager import Held

from oidc_actor import ConfigError
from oidc_actor.adapters.aiohttp import OIDCAuth
from oidc_actor.testing import Provider

T = TypeVar("T")


def run(what: Callable[[aiohttp.ClientSession], Awaitable[T]], **options: Any) -> T:
    async def in_session() -> T:
        timeout = aiohttp.ClientTimeout(DEADLINE_S)
        async with aiohttp.ClientSession(timeout=timeout, **options) as session:
            return await what(session)

    return asyncio.run(in_session())


async def status(session: aiohttp.ClientSession, url: str, **options: Any) -> int:
    async with session.post(url, **options) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize(
    "body",
    [
        {"data": b"bytes"},
        {"json": {"a": 1}},
        {"data": {"a": "form"}},
        {"data": io.BytesIO(b"a file")},
        {"data": {"file": io.BytesIO(b"an upload in parts")}},
        {},
    ],
)
def test_a_body_that_can_be_wound_back_is_sent_again(
    settled: Held, http: Api, gatekeeper: Gatekeeper, body: Any
) -> None:
    gatekeeper.revoke(settled.token)
    auth = OIDCAuth(settled.name)
    assert run(lambda session: status(session, f"{http.url}/echo", **body), middlewares=[auth]) == 200
    first, second = http.seen
    assert first.body == second.body


def test_a_refusal_before_the_body_was_read_leaves_nobody_writing(
    settled: Held, http: Api, gatekeeper: Gatekeeper
) -> None:
    http.answers_early = True
    gatekeeper.revoke(settled.token)
    body = bytes(range(256)) * 131_072  # more than the sockets take at once
    auth = OIDCAuth(settled.name)
    sent = io.BytesIO(body)
    assert run(lambda session: status(session, f"{http.url}/echo", data=sent), middlewares=[auth]) == 200
    assert http.seen[-1].body == body


def test_the_first_request_decides_the_origin(settled: Held, http: Api, other: Api, provider: Provider) -> None:
    async def both(session: aiohttp.ClientSession) -> list[int]:
        return [await status(session, f"{api.url}/echo") for api in (http, other, http)]

    assert run(both, middlewares=[OIDCAuth(settled.name)]) == [200, 401, 200]
    assert other.tokens == [None]
    assert provider.token_requests == 1


def test_named_origins_get_the_token(settled: Held, http: Api, other: Api) -> None:
    async def both(session: aiohttp.ClientSession) -> list[int]:
        return [await status(session, f"{api.url}/echo") for api in (http, other)]

    assert run(both, middlewares=[OIDCAuth(settled.name, origins=[other.url])]) == [401, 200]
    assert http.tokens == [None]
    assert run(both, middlewares=[OIDCAuth(settled.name, origins=[http.url, other.url])]) == [200, 200]


def test_a_middleware_of_one_request(settled: Held, http: Api) -> None:
    async def twice(session: aiohttp.ClientSession) -> list[int]:
        url, auth = f"{http.url}/echo", OIDCAuth(settled.name)
        return [await status(session, url), await status(session, url, middlewares=[auth])]

    assert run(twice) == [401, 200]


def test_plain_http_is_refused_before_anything_is_sent(settled: Held) -> None:
    class Sent(Exception):
        pass

    async def inner(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise Sent(request.headers["Authorization"])

    async def get(session: aiohttp.ClientSession) -> int:
        return await status(session, "http://api.example.com/")

    with pytest.raises(ConfigError, match="expected an https address"):
        run(get, middlewares=[OIDCAuth(settled.name), inner])
    with pytest.raises(Sent, match=settled.token):
        run(get, middlewares=[OIDCAuth(settled.name, allow_insecure_http=True), inner])


def test_its_errors_do_not_show_the_token(settled: Held, http: Api, gatekeeper: Gatekeeper) -> None:
    gatekeeper.refuses_all = True
    auth = OIDCAuth(settled.name)
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        run(lambda session: status(session, f"{http.url}/echo"), middlewares=[auth], raise_for_status=True)
    assert "<Bearer " in repr(caught.value)
    assert not [token for token in http.tokens if str(token) in repr(caught.value)]
