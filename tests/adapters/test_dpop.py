"""What DPoP adds (RFC 9449): proofs, nonces and their retries, with each library, against a server that checks every proof."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from secrets import token_urlsafe
from typing import Any

import aiohttp
import grpc
import httpx
import pytest
import requests
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.drivers import CHUNKS, TLS, WEB_DRIVERS, AsyncGrpc, AsyncHttpx, Driver, Grpc, Httpx, opened
from adapters.held import Held
from adapters.rpc import Rpc
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import oidc_actor.adapters.httpx
import oidc_actor.adapters.httpx2
from oidc_actor import ConfigError
from oidc_actor.adapters.authorization import Proof
from oidc_actor.adapters.headers import aheaders, headers, note_nonce
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.proof.dpop import nonce_of
from oidc_actor.testing import Provider
from oidc_actor.testing.dpop import Proofs, Refusal

BODY = b"a body that is still at hand"
INVALID, NONCE = "invalid_token", "use_dpop_nonce"


@pytest.fixture
def bound() -> bool:
    return True


@pytest.fixture(params=WEB_DRIVERS, ids=lambda kind: kind.__name__)
def web(request: pytest.FixtureRequest, http: Api, settled: Held) -> Iterator[Driver]:
    with opened(request.param, http, None, settled.name) as driver:  # type: ignore[arg-type]
        yield driver


def refusals(api: Api) -> list[str | None]:
    return [one.refusal for one in api.seen]


def nonces(api: Api) -> list[str | None]:
    return [nonce_of(one.proof or "") for one in api.seen]


def test_every_request_has_its_own_proof_and_the_token_is_never_a_bearers(web: Driver, http: Api) -> None:
    for _ in range(3):
        assert web.call("/echo?page=2", BODY) == (200, BODY)
    assert refusals(http) == [None] * 3
    assert len({one.proof for one in http.seen}) == 3
    assert {str(one.authorization).split()[0] for one in http.seen} == {"DPoP"}


def test_a_wanted_nonce_is_brought_by_one_more_try_and_kept(
    web: Driver, settled: Held, http: Api, provider: Provider
) -> None:
    http.proofs.want("first")
    assert web.call(body=BODY) == (200, BODY)
    assert web.call() == (200, b"welcome")
    assert refusals(http) == [NONCE, None, None]
    assert nonces(http) == [None, "first", "first"]
    assert {one.token for one in http.seen} == {settled.token}
    assert provider.token_requests == 1


def test_a_nonce_of_a_good_answer_is_kept(web: Driver, http: Api) -> None:
    http.proofs.want("first")
    assert web.call()[0] == 200
    http.on_request = lambda: http.proofs.want("second", keep=1)  # as the third request is answered
    assert web.call()[0] == 200
    http.on_request = lambda: None
    http.proofs.want("second")
    assert web.call()[0] == 200
    assert refusals(http) == [NONCE, None, None, None]
    assert nonces(http) == [None, "first", "first", "second"]


def test_a_proof_that_urllib3_has_sent_again_is_followed_by_a_new_one(settled: Held, http: Api) -> None:
    http.trouble = iter([True])
    with requests.Session() as session:
        session.auth = OIDCAuth(settled.name)
        session.mount("http://", HTTPAdapter(max_retries=Retry(2, status_forcelist=[503], allowed_methods=None)))
        answer = session.post(f"{http.url}/echo", data=BODY, timeout=DEADLINE_S)
        assert (answer.status_code, answer.content) == (200, BODY)
        assert refusals(http) == [None, "invalid_dpop_proof", None]
        http.gatekeeper.revoke(settled.token)
        http.trouble = iter([False, True])
        assert session.post(f"{http.url}/echo", data=BODY, timeout=DEADLINE_S).status_code == 200
        assert refusals(http)[3:] == [INVALID, None, "invalid_dpop_proof", None]


def test_a_server_that_fails_now_and_then_and_takes_no_proof_is_left_alone(settled: Held, http: Api) -> None:
    http.proofs = Proofs(lambda: time.time() + 3600)
    http.trouble = itertools.cycle([True, False])
    with requests.Session() as session:
        session.auth = OIDCAuth(settled.name)
        session.mount("http://", HTTPAdapter(max_retries=Retry(2, status_forcelist=[503], allowed_methods=None)))
        assert session.post(f"{http.url}/echo", data=BODY, timeout=DEADLINE_S).status_code == 401
    assert len(http.seen) == 8


def test_a_proof_that_was_sent_once_and_is_refused_is_handed_on(web: Driver, http: Api) -> None:
    http.proofs = Proofs(lambda: time.time() + 3600)
    assert web.call()[0] == 401
    assert refusals(http) == ["invalid_dpop_proof"]


class NeverContent(Proofs):
    """Each nonce that it gives is outdated when it comes back."""

    def check(self, proof: str | None, **request: Any) -> str | Refusal:
        self.want(token_urlsafe(8))
        return super().check(proof, **request)


def test_a_server_that_is_never_content_with_a_nonce_costs_one_more_try(
    web: Driver, http: Api, provider: Provider
) -> None:
    http.proofs = NeverContent(time.time)
    for _ in range(2):
        assert web.call()[0] == 401
    assert refusals(http) == [NONCE] * 4
    assert provider.token_requests == 1


def test_a_nonce_that_was_sent_and_is_asked_for_again_is_not_sent_again(web: Driver, http: Api) -> None:
    http.proofs.want("first")
    assert web.call()[0] == 200
    # It says so of a proof with the very nonce.
    http.challenge = 'DPoP error="use_dpop_nonce"'
    http.gatekeeper.refuses_all = True
    assert web.call()[0] == 401
    assert len(http.seen) == 3


def test_one_request_may_need_both_a_nonce_and_a_token(
    web: Driver, settled: Held, http: Api, gatekeeper: Gatekeeper, provider: Provider
) -> None:
    refused = settled.token
    gatekeeper.revoke(refused)
    http.proofs.want("first")
    assert web.call(body=BODY) == (200, BODY)
    assert refusals(http) == [NONCE, INVALID, None]
    assert web.tokens == [refused, refused, settled.token]
    assert provider.token_requests == 2


def test_at_most_one_of_each(web: Driver, settled: Held, http: Api, gatekeeper: Gatekeeper, provider: Provider) -> None:
    gatekeeper.refuses_all = True
    http.proofs.want("first")
    assert web.call()[0] == 401
    assert refusals(http) == [NONCE, INVALID, INVALID]
    settled.clock.advance(5)
    http.proofs.want("second")
    assert web.call()[0] == 401
    assert refusals(http)[3:] == [NONCE, INVALID]
    assert provider.token_requests == 2


def test_a_body_that_is_gone_is_not_sent_again_for_a_nonce_and_nobody_complains_of_the_token(
    web: Driver, settled: Held, http: Api, provider: Provider
) -> None:
    http.proofs.want("first")
    assert web.upload()[0] == 401
    assert web.upload() == (200, b"".join(CHUNKS))
    assert refusals(http) == [NONCE, None]
    assert {one.token for one in http.seen} == {settled.token}
    assert provider.token_requests == 1


def test_a_proof_that_is_refused_is_no_complaint_about_the_token(web: Driver, http: Api, provider: Provider) -> None:
    http.challenge = 'DPoP error="invalid_dpop_proof"'
    http.gatekeeper.refuses_all = True
    assert web.call()[0] == 401
    assert (len(http.seen), provider.token_requests) == (1, 1)


def test_a_wanted_nonce_on_the_way_of_a_redirect(web: Driver, settled: Held, http: Api, provider: Provider) -> None:
    http.proofs.want("first")
    assert web.call("/near", BODY) == (200, BODY)
    assert http.seen[-1].refusal is None
    assert {one.token for one in http.seen} == {settled.token}
    assert len(http.seen) <= 3 + isinstance(web, Httpx | AsyncHttpx)
    assert provider.token_requests == 1


def test_two_hops_have_two_proofs(web: Driver, http: Api) -> None:
    http.elsewhere = "/near"
    assert web.call("/moved", BODY) == (200, BODY)
    proven = [one for one in http.seen if one.proof is not None]
    assert {one.refusal for one in proven} == {None}
    assert {one.path for one in proven} == {"/moved", "/near", "/echo"} - (
        {"/near"} if isinstance(web, Httpx | AsyncHttpx) else set()  # which asks for nothing, and so gets no second try
    )


def test_a_refused_token_on_the_way_of_a_redirect(
    web: Driver, settled: Held, http: Api, gatekeeper: Gatekeeper, provider: Provider
) -> None:
    refused = settled.token
    gatekeeper.revoke(refused)
    assert web.call("/near", BODY) == (200, BODY)
    assert provider.token_requests == 2
    assert http.seen[-1].token == settled.token != refused


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


@pytest.mark.parametrize("kind", WEB_DRIVERS, ids=lambda kind: kind.__name__)
def test_where_the_provider_gives_a_bearer_token_all_the_same_it_is_sent_as_one(
    kind: type[Driver], cold: Held, http: Api, provider: Provider
) -> None:
    provider.answer_next(None, changes={"token_type": "Bearer"})
    http.status = 403  # this API knows better, and that is not what is asked here
    cold.gate.release()
    cold.wait_for_token()
    with opened(kind, http, None, cold.name) as driver:  # type: ignore[arg-type]
        driver.call()
        assert [str(one.authorization).split()[0] for one in http.seen] == ["Bearer"]
        assert http.seen[0].proof is None
    assert headers(cold.name) == {"Authorization": f"Bearer {cold.token}"}


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


# --- gRPC ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Grpc, AsyncGrpc])
def test_grpc_has_no_dpop_and_says_so(kind: type[Grpc | AsyncGrpc], settled: Held, rpc: Rpc) -> None:
    with opened(kind, None, rpc, settled.name) as driver, pytest.raises(grpc.RpcError) as caught:  # type: ignore[arg-type]
        driver.call()
    assert "bound to a key: DPoP" in caught.value.details()
    assert settled.token not in str(caught.value)
    assert rpc.tokens == []


# --- many at once -------------------------------------------------------------------------------------------------------

THREADS, CALLS, EVERY = 32, 16, 128


def test_a_herd_while_the_nonce_rotates(settled: Held, http: Api, provider: Provider) -> None:
    numbers = itertools.count()
    lock = threading.Lock()

    def rotate() -> None:
        with lock:
            number = next(numbers)
            if number % EVERY == 0:
                http.proofs.want(f"n{number}", keep=3)

    http.on_request = rotate
    auth = OIDCAuth(settled.name)
    together = threading.Barrier(THREADS)

    def work() -> list[int]:
        with requests.Session() as session:
            session.trust_env = False
            session.auth = auth
            together.wait(DEADLINE_S)
            return [session.get(f"{http.url}/echo", timeout=DEADLINE_S).status_code for _ in range(CALLS)]

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(work) for _ in range(THREADS)]
        statuses = [status for future in futures for status in future.result(3 * DEADLINE_S)]
    assert statuses == [200] * THREADS * CALLS
    assert set(refusals(http)) <= {None, NONCE}
    assert len({one.proof for one in http.seen}) == len(http.seen)
    assert provider.token_requests == 1
