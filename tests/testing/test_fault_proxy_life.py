"""The proxy comes and goes as it is told, and leaves nothing behind."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest
from testing.upstream import BODY, TIMEOUT_S, Client, Upstream, ask

from oidc_actor.testing.fault_proxy import FaultProxy


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
