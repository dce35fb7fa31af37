"""DPoP in each library's own way: what it shows, whom requests follows, and the plain header where there is no adapter."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from adapters.api import DEADLINE_S, Api, Gatekeeper, refusals
from adapters.drivers import TLS, WEB_DRIVERS, Driver, opened
from adapters.held_manager import Held

import oidc_actor.adapters.httpx
import oidc_actor.adapters.httpx2
from oidc_actor import ConfigError
from oidc_actor.adapters.authorization import Proof
from oidc_actor.adapters.headers import aheaders, headers, note_nonce
from oidc_actor.adapters.requests import OIDCAuth


@pytest.fixture
def bound() -> bool:
    return True


@pytest.fixture(params=WEB_DRIVERS, ids=lambda kind: kind.__name__)
def web(request: pytest.FixtureRequest, http: Api, settled: Held) -> Iterator[Driver]:
    with opened(request.param, http, None, settled.name) as driver:  # type: ignore[arg-type]
        yield driver


def test_neither_token_nor_proof_is_shown(
    web: Driver, settled: Held, http: Api, gatekeeper: Gatekeeper, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    http.proofs.want("first")
    gatekeeper.revoke(settled.token)
    assert web.call()[0] == 200
    secret = [settled.token, *(str(one.token) for one in http.seen), *(str(one.proof) for one in http.seen)]
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("oidc_actor"))
    assert not [one for one in secret if one in ours]


class Nowhere:
    url = "http://127.0.0.1:1"


@pytest.mark.parametrize("kind", WEB_DRIVERS, ids=lambda kind: kind.__name__)
def test_no_frame_of_ours_shows_token_or_proof_when_a_request_fails(kind: type[Driver], settled: Held) -> None:
    with opened(kind, Nowhere(), None, settled.name) as driver:  # type: ignore[arg-type]
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
            driver.call()
        shown = _shown(traceback.TracebackException.from_exception(caught.value, capture_locals=True))
        assert settled.token not in shown
        assert "eyJ" not in shown  # how every proof begins


def _shown(stack: traceback.TracebackException | None) -> str:
    if stack is None:
        return ""
    ours = (str(frame.locals) for frame in stack.stack if "oidc_actor/" in frame.filename)
    return "\n".join([*ours, _shown(stack.__context__), _shown(stack.__cause__)])


def test_what_libraries_print_shows_no_proof(settled: Held, http: Api) -> None:
    http.gatekeeper.refuses_all, http.status = True, 403
    url = f"{http.url}/echo"
    auth: Any = oidc_actor.adapters.httpx.OIDCAuth(settled.name)
    with httpx.Client(auth=auth, verify=TLS, trust_env=False) as client:
        answer = client.get(url, timeout=DEADLINE_S)
        assert "eyJ" not in repr(answer.request.headers) + repr(answer.request)
        assert Proof(answer.request.headers["DPoP"]).startswith("eyJ")
    sent = requests.get(url, auth=OIDCAuth(settled.name), timeout=DEADLINE_S).request.headers
    assert "<DPoP " in repr(sent)
    assert "<Proof " in repr(sent)
    assert "eyJ" not in repr(sent)

    async def fail() -> None:
        middleware = oidc_actor.adapters.aiohttp.OIDCAuth(settled.name)
        async with (
            aiohttp.ClientSession(middlewares=[middleware], raise_for_status=True) as session,
            session.get(url, timeout=aiohttp.ClientTimeout(DEADLINE_S)),
        ):
            pass

    with pytest.raises(aiohttp.ClientResponseError) as caught:
        asyncio.run(fail())
    assert "<Proof " in repr(caught.value)
    assert "eyJ" not in repr(caught.value)


@pytest.mark.parametrize("adapter", [oidc_actor.adapters.httpx, oidc_actor.adapters.httpx2])
def test_a_proof_is_in_all_that_reads_httpxs_headers_but_not_in_a_copy(adapter: Any, settled: Held) -> None:
    library = adapter.OIDCAuth._in_memory.__module__.partition(".")[0]
    library = {"httpx": httpx, "httpx2": pytest.importorskip("httpx2")}[library]
    seen = []

    def answer(request: Any) -> Any:
        seen.append(request.headers)
        return library.Response(200)

    with library.Client(auth=adapter.OIDCAuth(settled.name), transport=library.MockTransport(answer)) as client:
        client.get("https://api.example.com/", headers={"X-Own": "1"})
    [found] = seen
    proof = found["DPoP"]
    assert found.get("dpop") == found.get_list("dpop")[0] == proof
    assert "DPoP" in found
    assert dict(found)["dpop"] == dict(found.items())["dpop"] == dict(found.multi_items())["dpop"] == proof
    assert proof in found.values()
    assert (b"DPoP", proof.encode()) in found.raw
    assert len(found) == len(list(found)) == len(found.raw)
    assert found["x-own"] == "1"
    assert "DPoP" not in library.Headers(found)
    assert "DPoP" not in found.copy()


def test_requests_follows_no_redirect_that_it_was_not_asked_to(settled: Held, http: Api) -> None:
    auth = OIDCAuth(settled.name)
    with requests.Session() as session:
        answer = session.get(f"{http.url}/near", auth=auth, allow_redirects=False, timeout=DEADLINE_S)
        assert answer.status_code == 307
        assert session.send(answer.next, timeout=DEADLINE_S).content == b"welcome"  # type: ignore[arg-type]
    assert refusals(http) == [None, None]


def test_requests_keeps_the_history_of_a_request_that_was_tried_again_and_redirected(settled: Held, http: Api) -> None:
    http.proofs.want("first")
    http.challenge = None
    with requests.Session() as session:
        session.auth = OIDCAuth(settled.name)
        session.get(f"{http.url}/echo", timeout=DEADLINE_S)
        answer = session.get(f"{http.url}/near", timeout=DEADLINE_S)
    assert [one.status_code for one in (*answer.history, answer)] == [307, 200]


def test_requests_follows_no_redirect_to_nowhere(settled: Held, http: Api) -> None:
    assert requests.get(f"{http.url}/moved", auth=OIDCAuth(settled.name), timeout=DEADLINE_S).status_code == 307


# --- the plain header ---------------------------------------------------------------------------------------------------


def get(url: str, sent: dict[str, str]) -> requests.Response:
    return requests.get(url, headers=sent, timeout=DEADLINE_S)


def test_the_plain_header_needs_to_know_the_request(settled: Held, http: Api) -> None:
    url = f"{http.url}/echo"
    http.proofs.want("first")
    answer = get(url, headers(settled.name, method="get", url=url))
    assert answer.status_code == 401
    note_nonce(settled.name, url, answer.headers["DPoP-Nonce"])
    assert get(url, asyncio.run(aheaders(settled.ref, method="GET", url=f"{url}?x=y"))).status_code == 200
    shown = repr(headers(settled.name, method="GET", url=url))
    assert settled.token not in shown
    assert "eyJ" not in shown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"bound to a key \(DPoP\).*call headers\(server, method=..., url=...\)"),
        ({"method": "GET"}, "expected both or neither"),
        ({"method": "GET", "url": "/echo"}, "url: expected an absolute address"),
    ],
)
def test_what_the_plain_header_cannot_do_without(settled: Held, given: Any, message: str) -> None:
    for ask in (lambda: headers(settled.name, **given), lambda: asyncio.run(aheaders(settled.name, **given))):
        with pytest.raises(ConfigError, match=message) as caught:
            ask()
        assert settled.token not in str(caught.value)
