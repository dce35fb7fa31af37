"""Tokens that are bound to the client's certificate (RFC 8705), while the certificate is renewed in place, as SPIFFE's are."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import ssl
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import requests
from loops import Loop
from managers import settled
from pki import Authority
from threads import DEADLINE_S, eventually, run

from oidc_actor import ClientCertificate, ClientCredentials, ConfigError, TokenManager
from oidc_actor.adapters import httpx as httpx_adapter
from oidc_actor.adapters import httpx2 as httpx2_adapter
from oidc_actor.adapters import requests as requests_adapter
from oidc_actor.adapters.certificates import ByCertificate
from oidc_actor.manager.certificate_watch import LOOK_S
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.testing import ManualClock, MemoryStore, Provider
from oidc_actor.values.errors import SecretUnavailable

SPIFFE_ID = "spiffe://example.org/billing"


class Svid:
    """An X.509-SVID and its key in two files, which are written in place, as spiffe-helper writes them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.certificate = ClientCertificate(folder / "svid.pem", folder / "svid_key.pem")
        self._numbers = itertools.count(1)

    def renew(self, *, only_certificate: bool = False) -> str:
        """Write the next one; its thumbprint is returned."""
        new_cert, self.new_key = self.authority.client(f"svid-{next(self._numbers)}", uri=SPIFFE_ID)
        self.certificate.cert_file.write_bytes(new_cert.read_bytes())
        if not only_certificate:
            self.write_key()
        return thumbprint(ssl.PEM_cert_to_DER_cert(new_cert.read_text()))

    def write_key(self) -> None:
        assert self.certificate.key_file is not None
        self.certificate.key_file.write_bytes(self.new_key.read_bytes())


def thumbprint(certificate: bytes) -> str:
    return urlsafe_b64encode(sha256(certificate).digest()).decode().rstrip("=")


@pytest.fixture
def svid(tmp_path: Path) -> Svid:
    return Svid(tmp_path)


@pytest.fixture
def provider(svid: Svid) -> Iterator[Provider]:
    with Provider(token_lifetime_s=3600, tls=True, client_ca=svid.authority.ca) as running:
        running.add_client("billing", None, certificate_uri=SPIFFE_ID)
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def manager(provider: Provider, svid: Svid, clock: ManualClock) -> Iterator[str]:
    TokenManager.start_link(
        name="billing",
        issuer_url=provider.issuer_url,
        ca_bundle=provider.ca_bundle,
        auth=ClientCredentials("billing", client_certificate=svid.certificate),
        clock=clock,
    )
    yield "billing"
    TokenManager.stop("billing", timeout=DEADLINE_S)


Get = Callable[[str], tuple[int, Any]]


@contextmanager
def by_requests(svid: Svid, ca: Path) -> Iterator[Get]:
    with requests.Session() as session:
        session.auth = requests_adapter.OIDCAuth("billing")
        session.mount("https://", requests_adapter.CertificateAdapter(svid.certificate))

        def get(url: str) -> tuple[int, Any]:
            response = session.get(url, verify=str(ca), timeout=DEADLINE_S)  # stronger than the environment
            return response.status_code, response.json()

        yield get


def _by_httpx(library: Any, adapter: Any) -> Callable[[Svid, Path], Any]:
    @contextmanager
    def opened(svid: Svid, ca: Path) -> Iterator[Get]:
        transport = adapter.CertificateTransport(svid.certificate, ca_bundle=ca)
        with library.Client(auth=adapter.OIDCAuth("billing"), transport=transport, timeout=DEADLINE_S) as client:

            def get(url: str) -> tuple[int, Any]:
                response = client.get(url)
                return response.status_code, response.json()

            yield get

    return opened


CLIENTS = {
    "requests": by_requests,
    "httpx": _by_httpx(httpx, httpx_adapter),
    "httpx2": _by_httpx(httpx2, httpx2_adapter),
}


def bound_to(token: str) -> str:
    return str(dict(read_claims(token)["cnf"])["x5t#S256"])


def refused(provider: Provider) -> int:
    """How many requests of the API were refused: each of them was sent again, and so is one more than was asked for."""
    return provider._script.arrived["resource"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_renewed_certificate_brings_a_new_token_and_no_read_is_refused(
    client: str, svid: Svid, provider: Provider, manager: str, clock: ManualClock
) -> None:
    first = svid.renew()
    assert provider.ca_bundle is not None
    with CLIENTS[client](svid, provider.ca_bundle) as get:
        status, claims = get(provider.resource_url)
        assert (status, claims["cnf"]) == (200, {"x5t#S256": first})
        second = svid.renew()
        assert get(provider.resource_url)[1]["cnf"] == {"x5t#S256": first}  # the former pair, until there is another
        clock.advance(LOOK_S)
        eventually(lambda: bound_to(TokenManager.get_access_token(manager)) == second, "a token of the new certificate")
        assert get(provider.resource_url)[1]["cnf"] == {"x5t#S256": second}
    assert (provider.token_requests, refused(provider)) == (2, 3)
    assert TokenManager.health(manager).consecutive_failures == 0


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_tasks_show_it_too(
    loop: str, library: str, svid: Svid, provider: Provider, manager: str, clock: ManualClock
) -> None:
    first, adapter, runner = svid.renew(), {"httpx": httpx_adapter, "httpx2": httpx2_adapter}[library], Loop(loop)
    client_of = {"httpx": httpx, "httpx2": httpx2}[library].AsyncClient

    async def play() -> None:
        transport = adapter.AsyncCertificateTransport(svid.certificate, ca_bundle=provider.ca_bundle)
        async with client_of(auth=adapter.OIDCAuth(manager), transport=transport, timeout=DEADLINE_S) as client:
            assert (await client.get(provider.resource_url)).json()["cnf"] == {"x5t#S256": first}
            second = svid.renew()
            clock.advance(LOOK_S)
            eventually(lambda: bound_to(TokenManager.get_access_token(manager)) == second)
            assert (await client.get(provider.resource_url)).json()["cnf"] == {"x5t#S256": second}

    runner.run(play)


def test_a_certificate_whose_key_is_not_there_yet_costs_no_read_and_holds_no_other_manager(
    svid: Svid, provider: Provider, manager: str, clock: ManualClock
) -> None:
    first = svid.renew()
    assert provider.ca_bundle is not None
    with CLIENTS["requests"](svid, provider.ca_bundle) as get:
        assert get(provider.resource_url)[0] == 200
        second = svid.renew(only_certificate=True)
        clock.advance(LOOK_S)
        eventually(lambda: TokenManager.health(manager).last_error, "the look at half a renewal")
        assert "client_certificate: expected a PEM certificate and the key" in str(
            TokenManager.health(manager).last_error
        )
        assert get(provider.resource_url)[1]["cnf"] == {"x5t#S256": first}
        other = TokenManager.start_link(  # an outage that the issuer's managers share would hold it back
            issuer_url=provider.issuer_url,
            ca_bundle=provider.ca_bundle,
            auth=ClientCredentials(provider.client_id, provider.client_secret),
            clock=clock,
        )
        assert TokenManager.get_token(other, timeout=DEADLINE_S)
        TokenManager.stop(other)
        svid.write_key()
        clock.advance(1)
        eventually(lambda: bound_to(TokenManager.get_access_token(manager)) == second, "a token of the new certificate")
        assert get(provider.resource_url)[1]["cnf"] == {"x5t#S256": second}
    assert refused(provider) == 3


def test_files_that_are_only_written_again_cost_one_request_at_most(
    svid: Svid, provider: Provider, manager: str, clock: ManualClock
) -> None:
    svid.renew()
    TokenManager.get_token(manager, timeout=DEADLINE_S)
    for requests_so_far in (1, 2):
        for _ in range(3):
            clock.advance(LOOK_S)
            settled(manager)
        assert provider.token_requests <= requests_so_far
        os.utime(svid.certificate.cert_file, ns=(1, 1))


def test_members_that_share_a_store_share_the_token_of_a_certificate(
    svid: Svid, provider: Provider, clock: ManualClock
) -> None:
    first, store = svid.renew(), MemoryStore()
    auth = ClientCredentials("billing", client_certificate=svid.certificate)
    options: dict[str, Any] = {"issuer_url": provider.issuer_url, "ca_bundle": provider.ca_bundle, "auth": auth}
    members = [TokenManager.start_link(**options, clock=clock, store=store, name="member 1")]
    try:
        assert bound_to(TokenManager.get_access_token(members[0], timeout=DEADLINE_S)) == first
        members.append(TokenManager.start_link(**options, clock=clock, store=store, name="member 2"))
        assert bound_to(TokenManager.get_access_token(members[1], timeout=DEADLINE_S)) == first
        for _ in range(2):  # what the second one got from the store is no reason for a new one
            clock.advance(LOOK_S)
            settled(*members)
        assert provider.token_requests == 1
        second = svid.renew()
        clock.advance(LOOK_S)
        for one in (
            members
        ):  # one of them asks the provider; the other may look for that token a moment too early, and again later
            eventually(lambda: clock.advance(0.01) or bound_to(TokenManager.get_access_token(one)) == second)  # noqa: B023
        assert provider.token_requests == 2
    finally:
        for one in members:
            TokenManager.stop(one, timeout=DEADLINE_S)


def test_what_says_nothing_of_its_certificate_goes_with_the_one_that_was_there_when_it_came(svid: Svid) -> None:
    made: list[object] = []

    def connect(context: ssl.SSLContext) -> int:
        made.append(context)
        return len(made)

    by = ByCertificate(svid.certificate, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), connect)
    svid.renew()
    assert (by.of("Bearer a"), by.of(None), by.of(b"Bearer a")) == (1, 1, 1)
    svid.renew(only_certificate=True)
    assert (by.of("Bearer a"), by.of("Bearer b")) == (1, 1)  # b may be of the one that is being written
    svid.write_key()
    assert (by.of("Bearer a"), by.of("Bearer b"), by.of(None)) == (1, 2, 2)
    for _ in range(2):
        svid.renew()
        by.of(None)
    assert list(by.left()) == [1]  # beyond three the oldest is closed
    assert (by.of("Bearer a"), by.of("Bearer b")) == (4, 2)
    assert sorted(by.all()) == [2, 3, 4]
    assert by.of("Bearer a") == 5, "it stays usable"


def _counting(svid: Svid) -> ByCertificate[int]:
    numbers = itertools.count(1)
    return ByCertificate(svid.certificate, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), lambda _: next(numbers))


def test_a_chain_that_is_written_in_pieces_is_shown_as_a_whole_in_the_end(svid: Svid) -> None:
    by, file = _counting(svid), svid.certificate.cert_file
    claims = urlsafe_b64encode(json.dumps({"cnf": {"x5t#S256": svid.renew()}}).encode()).decode().rstrip("=")
    assert by.of("Bearer a") == 1
    file.write_bytes(b"subject=CN = M\xc3\xbcller\n" + file.read_bytes() + svid.authority.ca.read_bytes())
    assert (by.of(None), by.of("Bearer b"), by.of(f"Bearer e30.{claims}.x")) == (2, 2, 2)
    os.utime(file, ns=(1, 1))
    assert by.of("Bearer c") == 2, "it has only been written again"


def test_a_password_that_stays_the_same_goes_with_the_newest_certificate(svid: Svid) -> None:
    by = _counting(svid)
    svid.renew()
    assert by.of("Basic YTpi") == 1
    svid.renew()
    assert (by.of("Basic YTpi"), by.of(b"Basic YTpi")) == (2, 2)


class Bank:
    """An API that keeps connections open, and takes a token only with the certificate that it is bound to."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.statuses: list[int] = []
        self.connections = 0
        bank = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                bank.connections += 1

            def do_GET(self) -> None:
                shown = self.connection.getpeercert(binary_form=True)  # type: ignore[attr-defined]
                token = self.headers["Authorization"].removeprefix("Bearer ")
                status = 200 if shown is not None and thumbprint(shown) == bound_to(token) else 401
                bank.statuses.append(status)
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Bearer error="invalid_token"')
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE_S)


@pytest.fixture
def bank(svid: Svid) -> Iterator[Bank]:
    files = svid.authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert"], files["key"])
    context.load_verify_locations(files["ca"])
    context.verify_mode = ssl.CERT_REQUIRED
    running = Bank(context)
    yield running
    running.close()


@pytest.mark.parametrize("client", CLIENTS)
def test_each_read_of_many_threads_shows_the_certificate_of_its_token_whenever_that_is_renewed(
    client: str, svid: Svid, bank: Bank, manager: str, clock: ManualClock
) -> None:
    svid.renew()
    over = threading.Event()
    with CLIENTS[client](svid, svid.authority.ca) as get:
        get(bank.url)

        def read() -> None:
            while not over.is_set():
                get(bank.url)

        with run(read, read, read):
            try:
                for _ in range(5):
                    expected = svid.renew()
                    clock.advance(LOOK_S)
                    eventually(lambda: bound_to(TokenManager.get_access_token(manager)) == expected)  # noqa: B023
                    seen = len(bank.statuses)
                    eventually(lambda: len(bank.statuses) > seen + 5, "reads with the new one")  # noqa: B023
            finally:
                over.set()
    assert set(bank.statuses) == {200}
    assert bank.connections < len(bank.statuses), "connections are kept"


@pytest.mark.parametrize("client", CLIENTS)
def test_without_a_certificate_a_request_says_which_file_is_missing(
    client: str, svid: Svid, provider: Provider
) -> None:
    assert provider.ca_bundle is not None
    auth = ClientCredentials(provider.client_id, provider.client_secret)
    TokenManager.start_link(name="billing", issuer_url=provider.issuer_url, ca_bundle=provider.ca_bundle, auth=auth)
    try:
        with CLIENTS[client](svid, provider.ca_bundle) as get:
            with pytest.raises(SecretUnavailable, match=r"client_certificate: '.*svid\.pem': No such file"):
                get(provider.resource_url)
            svid.renew()
            assert get(provider.resource_url)[0] == 200
    finally:
        TokenManager.stop("billing", timeout=DEADLINE_S)


def test_wrong_arguments_are_refused(svid: Svid) -> None:
    for kind in (requests_adapter.CertificateAdapter, httpx_adapter.CertificateTransport):
        with pytest.raises(ConfigError, match="certificate: expected ClientCertificate"):
            kind("svid.pem")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ca_bundle: expected PEM certificates"):
        httpx_adapter.CertificateTransport(svid.certificate, ca_bundle="nowhere")
    with requests.Session() as session:
        session.mount("https://", requests_adapter.CertificateAdapter(svid.certificate))
        with pytest.raises(ConfigError, match="verify: expected the path of a file"):
            session.get("https://127.0.0.1:9", verify=False, timeout=1)
    with pytest.raises(TypeError, match="cannot pickle"):
        requests_adapter.CertificateAdapter(svid.certificate).__reduce_ex__(2)
