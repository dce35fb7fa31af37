"""The proxy passes everything on, breaks what it is told to break, counts, and leaves nothing behind."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from oidc_actor.testing.fault_proxy import FaultProxy

BODY = b'{"access_token": "abcdefghij"}'
TIMEOUT_S = 10.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args: object) -> None:
        pass


class Upstream(ThreadingHTTPServer):
    """An HTTP/1.1 server that keeps connections alive and remembers the bodies it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a broken connection is what these tests are about


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(TIMEOUT_S)


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultProxy]:
    with FaultProxy(upstream.url) as running:
        yield running


class Client:
    """One connection that is kept alive."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", int(proxy.url.rpartition(":")[2]), timeout=TIMEOUT_S)

    def ask(self, body: bytes = b"grant") -> bytes:
        self._http.request("POST", "/token", body)
        return self._http.getresponse().read()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def ask(proxy: FaultProxy) -> bytes:
    with Client(proxy) as client:
        return client.ask()


def test_without_faults_everything_passes(proxy: FaultProxy, upstream: Upstream) -> None:
    with Client(proxy) as client:
        assert [client.ask(b"x" * size) for size in (1, 300_000, 1)] == [BODY] * 3
    assert [len(asked) for asked in upstream.asked] == [1, 300_000, 1]
    assert (proxy.connections, proxy.exchanges) == (1, 3)


def test_many_at_once(proxy: FaultProxy) -> None:
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda _: ask(proxy), range(100))) == [BODY] * 100
    assert (proxy.connections, proxy.exchanges) == (100, 100)


@pytest.mark.parametrize(
    ("fault", "raised"),
    [("cut", http.client.RemoteDisconnected), ("reset", ConnectionResetError)],
)
def test_before_the_request_the_server_sees_nothing(
    proxy: FaultProxy, upstream: Upstream, fault: str, raised: type[Exception]
) -> None:
    getattr(proxy, fault)()
    with pytest.raises(raised) as caught:
        ask(proxy)
    assert type(caught.value) is raised
    assert upstream.asked == []
    assert ask(proxy) == BODY


@pytest.mark.parametrize(
    ("fault", "raised"),
    [("cut", http.client.RemoteDisconnected), ("reset", ConnectionResetError)],
)
def test_after_no_bytes_the_request_is_carried_out_and_its_answer_lost(
    proxy: FaultProxy, upstream: Upstream, fault: str, raised: type[Exception]
) -> None:
    getattr(proxy, fault)(after_bytes=0)
    with pytest.raises(raised):
        ask(proxy)
    assert upstream.asked == [b"grant"]


def test_a_cut_after_some_bytes_leaves_half_a_head(proxy: FaultProxy) -> None:
    proxy.cut(after_bytes=5)
    with pytest.raises(http.client.BadStatusLine, match="HTTP/"):
        ask(proxy)


def test_a_truncated_body(proxy: FaultProxy) -> None:
    proxy.truncate(body_bytes=7)
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(proxy)
    assert caught.value.partial == BODY[:7]


def test_a_corrupt_body_has_its_length_and_no_ascii(proxy: FaultProxy) -> None:
    proxy.corrupt()
    body = ask(proxy)
    assert len(body) == len(BODY)
    assert not [byte for byte in body if byte < 0x80]


def test_a_corrupt_head_is_no_http(proxy: FaultProxy) -> None:
    proxy.corrupt(part="head")
    with pytest.raises(http.client.BadStatusLine):
        ask(proxy)


def test_a_stalled_request_goes_on_when_healed(proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.stall()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, proxy)
        assert proxy.wait_for_exchanges(1, timeout_s=TIMEOUT_S)
        assert upstream.asked == []
        proxy.heal()
        assert answer.result(TIMEOUT_S) == BODY


def test_a_stalled_answer_goes_on_where_it_stopped(proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.stall(after_bytes=20)
    with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), TIMEOUT_S) as client:
        client.sendall(b"POST /token HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
        held = client.recv(1000)
        assert len(held) == 20
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1000)
        client.settimeout(TIMEOUT_S)
        proxy.heal()
        rest = b""
        while data := client.recv(1000):
            rest += data
    assert (held + rest).endswith(BODY)


def test_a_connection_is_held_only_so_long(upstream: Upstream) -> None:
    with FaultProxy(upstream.url, hold_limit_s=0.05) as proxy:
        proxy.stall()
        with pytest.raises(ConnectionResetError):
            ask(proxy)


def test_a_client_that_gives_up_is_noticed_while_it_is_held(proxy: FaultProxy) -> None:
    proxy.stall(None)
    port = int(proxy.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as client:
        client.sendall(b"POST")
        assert proxy.wait_for_exchanges(1, timeout_s=TIMEOUT_S)
        assert proxy.open_connections == 1
    assert proxy.wait_until_quiet(timeout_s=TIMEOUT_S)
    assert proxy.open_connections == 0


def test_dripping_takes_its_time_and_loses_nothing(proxy: FaultProxy) -> None:
    proxy.drip(chunk_bytes=50, interval_s=0.02)
    began = time.monotonic()
    assert ask(proxy) == BODY
    assert time.monotonic() - began >= 0.04


def test_a_delay_is_for_the_whole_answer(proxy: FaultProxy) -> None:
    proxy.delay(0.1)
    began = time.monotonic()
    assert ask(proxy) == BODY
    assert 0.1 <= time.monotonic() - began < 2


def test_faults_stand_in_line_before_the_standing_one_and_heal_ends_them(proxy: FaultProxy) -> None:
    proxy.corrupt(None)
    proxy.truncate(2)
    for _ in range(2):
        with pytest.raises(http.client.IncompleteRead):
            ask(proxy)
    assert ask(proxy) != BODY
    assert ask(proxy) != BODY
    proxy.heal()
    assert ask(proxy) == BODY


def test_on_a_connection_kept_alive_each_request_has_its_own_fault(proxy: FaultProxy) -> None:
    with Client(proxy) as client:
        assert client.ask() == BODY
        proxy.corrupt(1)
        assert client.ask() != BODY
        assert client.ask() == BODY
        proxy.reset(1)
        with pytest.raises(ConnectionResetError):
            client.ask()
    assert (proxy.connections, proxy.exchanges) == (1, 4)


def test_refusing_spares_what_is_open_and_down_does_not(proxy: FaultProxy) -> None:
    with Client(proxy) as client:
        assert client.ask() == BODY
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)
        assert client.ask() == BODY
        proxy.down()
        with pytest.raises((ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)):
            client.ask()
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)
    url = proxy.url
    proxy.up()
    assert ask(proxy) == BODY
    assert proxy.url == url


def test_while_it_is_away_nobody_else_gets_the_port(proxy: FaultProxy) -> None:
    proxy.down()
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", int(proxy.url.rpartition(":")[2])))


@pytest.mark.parametrize(("ending", "raised"), [("cut_open", None), ("reset_open", ConnectionResetError)])
def test_open_connections_can_be_ended(proxy: FaultProxy, ending: str, raised: type[Exception] | None) -> None:
    with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), TIMEOUT_S) as client:
        client.sendall(b"POST")
        assert proxy.wait_for_exchanges(1, timeout_s=TIMEOUT_S)
        getattr(proxy, ending)()
        if raised is None:
            assert client.recv(10) == b""
        else:
            with pytest.raises(raised):
                client.recv(10)
    assert ask(proxy) == BODY


def test_a_dead_target_is_a_broken_connection_and_a_new_one_counts_at_once(
    proxy: FaultProxy, upstream: Upstream
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for target in (f"127.0.0.1:{nobody.getsockname()[1]}", None):
            proxy.target = target
            with pytest.raises(ConnectionResetError):
                ask(proxy)
    proxy.target = upstream.url
    assert ask(proxy) == BODY


@pytest.mark.parametrize("target", ["http://", "localhost", "127.0.0.1:x", "ftp://127.0.0.1"])
def test_a_target_has_a_host_and_a_port(target: str) -> None:
    with pytest.raises(ValueError, match="expected a URL or host:port"):
        FaultProxy(target)


def test_the_scheme_is_the_targets(upstream: Upstream) -> None:
    with FaultProxy(f"https://127.0.0.1:{upstream.server_port}") as proxy:
        assert proxy.url.startswith("https://127.0.0.1:")


def test_a_chunk_has_a_size(proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match="chunk_bytes must be at least 1"):
        proxy.drip(chunk_bytes=0)


def test_before_its_start_it_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="with statement"):
        FaultProxy().down()
    assert repr(FaultProxy()) == "<FaultProxy not started>"


def test_it_can_be_started_again_on_another_port(upstream: Upstream) -> None:
    proxy = FaultProxy(upstream.url)
    for _ in range(2):
        with proxy:
            assert ask(proxy) == BODY
    proxy.stop()
    assert proxy.connections == 2


def test_a_taken_port_is_an_os_error_and_leaves_no_thread(upstream: Upstream) -> None:
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="in use"):
        FaultProxy(port=upstream.server_port).start()
    assert set(threading.enumerate()) <= before


def test_stopping_breaks_what_is_open_and_leaves_no_thread(upstream: Upstream) -> None:
    before = set(threading.enumerate())
    began = time.monotonic()
    with FaultProxy(upstream.url) as proxy:
        proxy.stall(None)
        clients = [
            socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), TIMEOUT_S) for _ in range(5)
        ]
        for client in clients:
            client.sendall(b"POST")
        assert proxy.wait_for_exchanges(5, timeout_s=TIMEOUT_S)
        assert len({thread.name for thread in threading.enumerate()} - {thread.name for thread in before}) == 1
    assert time.monotonic() - began < 5
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.recv(10)
        client.close()
    assert {thread for thread in threading.enumerate() if thread.name.startswith("fault-proxy")} == set()
