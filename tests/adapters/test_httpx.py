"""What is particular to httpx; httpx2 has the same code on our side."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import httpx
import pytest
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.drivers import TLS
from adapters.held_manager import Held

from oidc_actor import ConfigError, TokenManager
from oidc_actor.adapters.httpx import OIDCAuth
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.testing import Provider


def post(http: Api, auth: OIDCAuth, **options: Any) -> httpx.Response:
    with httpx.Client(auth=auth, verify=TLS, timeout=DEADLINE_S, trust_env=False) as client:
        return client.post(f"{http.url}/echo", **options)


@pytest.mark.parametrize("body", [{"content": b"bytes"}, {"json": {"a": 1}}, {"data": {"a": "form"}}, {}])
def test_a_body_in_memory_is_sent_again(settled: Held, http: Api, gatekeeper: Gatekeeper, body: Any) -> None:
    gatekeeper.revoke(settled.token)
    answer = post(http, OIDCAuth(settled.name), **body)
    assert [one.status_code for one in (*answer.history, answer)] == [401, 200]
    first, second = http.seen
    assert first.body == second.body


@pytest.mark.parametrize("body", [{"content": io.BytesIO(b"file")}, {"files": {"file": io.BytesIO(b"part")}}])
def test_a_body_that_may_have_been_read_is_not_sent_again(
    settled: Held, http: Api, gatekeeper: Gatekeeper, body: Any
) -> None:
    gatekeeper.revoke(settled.token)
    assert post(http, OIDCAuth(settled.name), **body).status_code == 401
    assert len(http.seen) == 1


def test_plain_http_is_refused_before_anything_is_sent(settled: Held) -> None:
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("Authorization"))
        return httpx.Response(200)

    def get(auth: OIDCAuth) -> int:
        with httpx.Client(auth=auth, transport=httpx.MockTransport(answer)) as client:
            return client.get("http://api.example.com/").status_code

    async def aget(auth: OIDCAuth) -> int:
        async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(answer)) as client:
            return (await client.get("http://api.example.com/")).status_code

    with pytest.raises(ConfigError, match="expected an https address"):
        get(OIDCAuth(settled.name))
    with pytest.raises(ConfigError, match="expected an https address"):
        asyncio.run(aget(OIDCAuth(settled.name)))
    assert sent == []
    assert get(OIDCAuth(settled.name, allow_insecure_http=True)) == 200
    assert asyncio.run(aget(OIDCAuth(settled.name, allow_insecure_http=True))) == 200
    assert sent == [f"Bearer {settled.token}"] * 2


def test_only_named_origins_get_the_token(settled: Held, http: Api, other: Api, provider: Provider) -> None:
    async def aget(auth: OIDCAuth) -> int:
        async with httpx.AsyncClient(auth=auth, verify=TLS, trust_env=False) as client:
            return (await client.get(f"{other.url}/echo", timeout=DEADLINE_S)).status_code

    auth = OIDCAuth(settled.name, origins=[http.url])
    assert post(http, auth).status_code == 200
    assert post(other, auth).status_code == 401
    assert asyncio.run(aget(auth)) == 401
    assert other.tokens == [None] * 2
    assert provider.token_requests == 1


def test_its_requests_do_not_show_the_token(settled: Held, http: Api) -> None:
    answer = post(http, OIDCAuth(settled.name))
    assert settled.token not in repr(answer.request.headers) + repr(answer.request)


def test_of_answers_that_take_the_token_only_the_first_is_told(
    settled: Held, http: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    def hear(self: Presenter, method: str, url: str, sent: Any, status: int, *rest: Any) -> Any:
        heard.append(status)
        return before(self, method, url, sent, status, *rest)

    async def aget(times: int) -> None:
        async with httpx.AsyncClient(auth=auth, verify=TLS, trust_env=False) as client:
            for _ in range(times):
                await client.get(f"{http.url}/echo", timeout=DEADLINE_S)

    before = Presenter.hear
    monkeypatch.setattr(Presenter, "hear", hear)
    auth = OIDCAuth(settled.name)
    for _ in range(2):
        assert post(http, auth).status_code == 200
    asyncio.run(aget(2))
    assert heard == [200]
    TokenManager.force_refresh(settled.name, rejected=settled.token)
    settled.wait_for_token()
    for _ in range(2):
        assert post(http, auth).status_code == 200
    assert heard == [200, 200]
