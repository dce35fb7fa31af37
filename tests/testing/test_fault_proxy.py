"""The proxy passes everything on, breaks what it is told to break, and counts."""

from __future__ import annotations

import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from testing.upstream import BODY, TIMEOUT_S, Client, Upstream, ask

from oidc_actor.testing.fault_proxy import FaultProxy


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
