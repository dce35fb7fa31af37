"""What DPoP adds (RFC 9449): proofs, nonces and their retries, with each library, against a server that checks every proof."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from secrets import token_urlsafe
from typing import Any

import grpc
import pytest
import requests
from adapters.api import DEADLINE_S, Api, Gatekeeper, nonces, refusals
from adapters.drivers import CHUNKS, WEB_DRIVERS, AsyncGrpc, AsyncHttpx, Driver, Grpc, Httpx, opened
from adapters.held_manager import Held
from adapters.rpc import Rpc
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from oidc_actor.adapters.headers import headers
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.testing import Provider
from oidc_actor.testing.dpop import ProofRefused, Proofs

BODY = b"a body that is still at hand"
INVALID, NONCE = "invalid_token", "use_dpop_nonce"


@pytest.fixture
def bound() -> bool:
    return True


@pytest.fixture(params=WEB_DRIVERS, ids=lambda kind: kind.__name__)
def web(request: pytest.FixtureRequest, http: Api, settled: Held) -> Iterator[Driver]:
    with opened(request.param, http, None, settled.name) as driver:  # type: ignore[arg-type]
        yield driver


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

    def check(self, proof: str | None, **request: Any) -> str | ProofRefused:
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


def test_a_body_that_is_gone_is_not_sent_again_for_a_nonce_and_no_caller_rejects_the_token(
    web: Driver, settled: Held, http: Api, provider: Provider
) -> None:
    http.proofs.want("first")
    assert web.upload()[0] == 401
    assert web.upload() == (200, b"".join(CHUNKS))
    assert refusals(http) == [NONCE, None]
    assert {one.token for one in http.seen} == {settled.token}
    assert provider.token_requests == 1


def test_a_proof_that_is_refused_is_no_rejection_of_the_token(web: Driver, http: Api, provider: Provider) -> None:
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
