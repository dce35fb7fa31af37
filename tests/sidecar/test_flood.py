"""A sidecar with 64 descriptors under peers that hold theirs: everybody else is served all the while. Bounded, on loopback."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from collections.abc import Iterator

import pytest
from sidecar.sidecar import DEADLINE_S, Sidecar
from threads import eventually

DESCRIPTORS = 64
FLOOD = 100  # six times as many as there is room for

SILENT = b""
HALF = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SLOW_BODY = b"POST /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n"
UNREAD = b"GET /metrics HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" * 50


@pytest.fixture
def sidecar(tmp_path, manager_table) -> Iterator[Sidecar]:
    server = '[server]\nunix_socket = "tokens.sock"\ntcp = "127.0.0.1:0"\n'
    (tmp_path / "config.toml").write_text(server + manager_table("a", 'token_file = "a.token"'))
    with Sidecar(tmp_path, descriptors=DESCRIPTORS) as running:
        assert running.get("/token/a").token
        eventually((tmp_path / "a.token").exists)  # readers have a token before its file is written
        yield running


def descriptors(sidecar: Sidecar) -> int:
    return len(os.listdir(f"/proc/{sidecar.process.pid}/fd"))


@pytest.mark.parametrize("sent", [SILENT, HALF, SLOW_BODY, UNREAD])
def test_who_holds_connections_keeps_nobody_from_anything(sidecar, manager_table, sent: bytes) -> None:
    if sent is UNREAD:
        sent = sent.replace(b"%d", b"%d" % sidecar.tcp_port)
    kept = http.client.HTTPConnection("127.0.0.1", sidecar.tcp_port, timeout=DEADLINE_S)
    asked = {"Host": f"127.0.0.1:{sidecar.tcp_port}", "X-OIDC-Actor": "1"}
    kept.request("GET", "/token/a", headers=asked)
    assert kept.getresponse().read()
    config = sidecar.config.read_text()
    with contextlib.ExitStack() as stack:
        stack.callback(kept.close)
        for number in range(FLOOD):
            peer = stack.enter_context(socket.socket())
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", sidecar.tcp_port))
            if sent:
                eventually(lambda peer=peer: able_to_send(peer, sent))
            if number % 30 == 0:
                assert sidecar.get("/token/a").token
                assert descriptors(sidecar) < DESCRIPTORS
            if number == 50:  # a new token of the provider's reaches the file
                before = (sidecar.directory / "a.token").read_text()
                sidecar.config.write_text(config + f'scopes = "scope{number}"\n')
                sidecar.hang_up()
                eventually(lambda before=before: (sidecar.directory / "a.token").read_text() != before)
        if not sent.startswith(b"GET /metrics"):  # with answers that are due there is no telling who will take them
            kept.request("GET", "/token/a", headers=asked)
            assert kept.getresponse().status == 200
        assert sidecar.get_tcp("/token/a", asked).token
    assert "accept_failed" not in sidecar.log
    assert "token_file_failed" not in sidecar.log
    assert sidecar.terminate() == 0


def able_to_send(peer: socket.socket, sent: bytes) -> bool:
    try:
        peer.send(sent)
    except BlockingIOError:
        return False
    except OSError:  # its place has been taken already
        return True
    return True


def test_readers_of_the_socket_that_hold_theirs_keep_tcp_and_the_provider_free(sidecar) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.settimeout(DEADLINE_S)
            peer.connect(str(sidecar.socket))
        asked = {"Host": f"127.0.0.1:{sidecar.tcp_port}", "X-OIDC-Actor": "1"}
        assert sidecar.get_tcp("/token/a", asked).token
        assert sidecar.get("/token/a").token
        assert descriptors(sidecar) < DESCRIPTORS
    assert sidecar.terminate() == 0
