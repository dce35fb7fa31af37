"""HTTP by requests: one deadline bounds the whole request, and no other."""

import socket
import threading
from contextlib import closing

import pytest
from raw_server import DEADLINE_S, a_request, answers, failure, reply, silence

from oidc_actor.http import sockets
from oidc_actor.http.client import RequestsTransport

pytestmark = pytest.mark.P10


def drip(data):
    """Send a byte at a time, each well within a read timeout, for longer than any test waits."""

    def answer(stream, _):
        pause = threading.Event()
        for byte in data:
            stream.sendall(bytes([byte]))
            pause.wait(0.02)
        return False

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        silence,
        drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1000),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\ny\r\n" * 200),
    ],
    ids=["silence", "head", "body", "chunks"],
)
@pytest.mark.parametrize("over_tls", [False, True])
def test_one_deadline_bounds_the_whole_request(serve, transport, answer, over_tls, certificate):
    server = serve(answer, certificate.context if over_tls else None)
    with closing(RequestsTransport(certificate.path)) as trusting:
        started = sockets.monotonic()
        error = failure(trusting, a_request(server.url, timeout_s=0.4))
        assert sockets.monotonic() - started < 2.0
    assert "no complete answer within 0.4 s" in str(error)
    assert error.sent


def test_a_handshake_is_part_of_the_request(transport):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = failure(transport, a_request(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3))
    assert "no complete answer within 0.3 s" in str(error)
    assert not error.sent


def test_a_deadline_does_not_outlive_its_request(serve, transport):
    server = serve(silence)
    failure(transport, a_request(server.url, timeout_s=0.1))
    good = serve(answers(reply()))
    assert transport(a_request(good.url)).status == 200
    with sockets.BoundedSocket() as outside:
        sockets._bound(outside)
        assert outside.gettimeout() is None


@pytest.mark.parametrize(
    "operation",
    [lambda sock: sock.recv(1), lambda sock: sock.recv_into(bytearray(1)), lambda sock: sock.sendall(b"x")],
    ids=["recv", "recv_into", "sendall"],
)
@pytest.mark.parametrize("over_tls", [False, True])
def test_every_operation_of_a_socket_observes_the_deadline(serve, certificate, operation, over_tls):
    server = serve(silence, certificate.context if over_tls else None)
    with sockets.bounded(DEADLINE_S):
        sock = sockets._connect("127.0.0.1", server.port, [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if over_tls:
            sock = sockets.tls_context(str(certificate.path)).wrap_socket(sock, server_hostname="127.0.0.1")
    with sock, sockets.bounded(0.0), pytest.raises(TimeoutError, match="the request's time is over"):
        operation(sock)
