"""HTTP by requests against real sockets: no redirect, no credentials but ours, nothing in any log, one for the process."""

import gc
import gzip
import http.client
import json
import logging
import os
import socket
import threading
import zlib

import pytest
from raw_server import DEADLINE_S, SECRET, a_request, and_close, answers, failure, free_port, reply

from oidc_actor.http import client, sockets
from oidc_actor.http.client import RequestsTransport, shared_transport
from oidc_actor.transport import MAX_BODY_BYTES, Request, Response
from oidc_actor.values import clock


def test_what_is_sent_and_what_comes_back(serve, transport):
    server = serve(answers(reply(b'{"a": 1}', status="401 No", fields=("X-One: 1", "X-One: 2"))))
    response = transport(a_request(server.url))
    assert isinstance(response, Response)
    assert (response.status, response.body, response.header("x-one")) == (401, b'{"a": 1}', "1, 2")
    head, body = server.requests[0]
    assert head.startswith(b"POST /token HTTP/1.1\r\n")
    assert body == f"client_secret={SECRET}".encode()
    fields = {line.lower() for line in head.split(b"\r\n")}
    assert {b"accept-encoding: identity", b"user-agent: oidc-actor"} <= fields
    assert f"authorization: basic {SECRET}".encode() in fields


def test_a_request_is_one_packet_and_the_way_to_its_address_is_kept(serve, transport, monkeypatch):
    server, sent, found = serve(answers(reply())), [], []
    send, find = sockets.BoundedSocket.sendall, client._Adapter._direct_way
    monkeypatch.setattr(sockets.BoundedSocket, "sendall", lambda *args: sent.append(args[1]) or send(*args))
    monkeypatch.setattr(client._Adapter, "_direct_way", lambda *args: found.append(args) or find(*args))
    for _ in range(3):
        transport(a_request(server.url))
    assert [one.endswith(f"\r\n\r\nclient_secret={SECRET}".encode()) for one in sent] == [True] * 3
    assert len(found) == 1


def test_what_a_request_says_of_itself_is_sent_once_and_its_length_is_the_body_s(serve, transport):
    server = serve(answers(reply()))
    given = {"user-agent": "mine", "accept-encoding": "gzip", "content-length": "0"}
    transport(Request("post", f"{server.url}/token", given, b"a=1", DEADLINE_S))
    head, body = server.requests[0]
    assert head.startswith(b"POST /token HTTP/1.1\r\n")
    found = sorted(line for line in head.lower().split(b"\r\n") if line.startswith((b"user", b"accept", b"content")))
    assert found == [b"accept-encoding: gzip", b"content-length: 3", b"user-agent: mine"]
    assert body == b"a=1"


def test_a_get_has_no_body(serve, transport):
    server = serve(answers(reply()))
    assert transport(Request("GET", server.url + "/x?y=z", {}, b"", DEADLINE_S)).status == 200
    head, body = server.requests[0]
    assert head.startswith(b"GET /x?y=z HTTP/1.1\r\n")
    assert b"content-length" not in head.lower()
    assert body == b""


def test_connections_are_kept_and_cookies_are_not(serve, transport):
    server = serve(answers(reply(fields=("Set-Cookie: a=b; Path=/",))))
    for _ in range(3):
        transport(a_request(server.url))
    assert server.connections == 1
    assert not any(b"cookie" in head.lower() for head, _ in server.requests)


def test_a_connection_that_rested_too_long_is_not_used_again(serve, transport, monkeypatch):
    server = serve(answers(reply()))
    transport(a_request(server.url))
    monkeypatch.setattr(sockets, "IDLE_LIMIT_S", -1.0)
    transport(a_request(server.url))
    assert server.connections == 2


@pytest.mark.parametrize("name", ["wall_clock", "default_clock"])
@pytest.mark.parametrize(("gained_s", "connections"), [(20, 2), (7200, 2), (5, 1), (-7200, 1)])
def test_it_rests_while_the_machine_is_suspended_or_put_away_in_a_snapshot_too(
    name, gained_s, connections, serve, transport, monkeypatch
):
    server = serve(answers(reply()))
    transport(a_request(server.url))
    before = getattr(clock, name)
    monkeypatch.setattr(clock, name, lambda: before() + gained_s)
    transport(a_request(server.url))
    assert server.connections == connections


def test_a_redirect_is_an_answer(serve, transport):
    other = serve(answers(reply()))
    server = serve(answers(reply(status="307 Temporary Redirect", fields=(f"Location: {other.url}/token",))))
    assert transport(a_request(server.url)).status == 307
    assert other.requests == []


def test_netrc_never_adds_credentials(serve, transport, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login intruder password intruder\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(answers(reply()))
    transport(Request("POST", server.url, {}, b"a=b", DEADLINE_S))
    assert b"authorization" not in server.requests[0][0].lower()


def test_a_body_ends_one_byte_beyond_the_limit(serve, transport):
    server = serve(answers(reply(b"x" * (3 * MAX_BODY_BYTES), status="503 Busy", fields=("Retry-After: 7",))))
    response = transport(a_request(server.url))
    assert len(response.body) == MAX_BODY_BYTES + 1
    assert (response.status, response.header("Retry-After")) == (503, "7")
    transport(a_request(server.url))
    assert server.connections == 2  # what is left of the first answer is nobody's second


@pytest.mark.parametrize("size", [0, 1, MAX_BODY_BYTES])
def test_a_body_within_the_limit_is_whole(serve, transport, size):
    assert len(transport(a_request(serve(answers(reply(b"x" * size))).url)).body) == size


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("name", "pack"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compression_nobody_asked_for_is_undone_within_the_limit(serve, transport, name, pack):
    body = b'{"a": 1}'
    bomb = pack(b"\0" * (200 * MAX_BODY_BYTES))
    assert len(bomb) < MAX_BODY_BYTES
    replies = [
        reply(pack(body), fields=(f"Content-Encoding: {name}",)),
        reply(bomb, fields=(f"Content-Encoding: {name}",)),
    ]
    server = serve(answers(*replies))
    assert transport(a_request(server.url)).body == body
    assert len(transport(a_request(server.url)).body) == MAX_BODY_BYTES + 1


@pytest.mark.parametrize("name", ["gzip", "br", "nonsense", ""])
def test_a_compression_that_cannot_be_undone_is_left_to_the_parser(serve, transport, name):
    server = serve(answers(reply(b"not compressed", fields=(f"Content-Encoding: {name}",))))
    assert transport(a_request(server.url)).body == b"not compressed"


def test_a_chunked_answer(serve, transport):
    server = serve(answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{} \r\n2\r\n{}\r\n0\r\n\r\n"))
    assert transport(a_request(server.url)).body == b"{} {}"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "closed without an answer"),
        (b"garbage\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", "cut off|not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "the answer's head is longer than 65536 bytes"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 101, "more than 100 interim responses"),
    ],
)
def test_broken_answers(serve, transport, data, problem):
    error = failure(transport, a_request(serve(and_close(data)).url))
    assert any(one in str(error) for one in problem.split("|")), str(error)
    assert "POST http://127.0.0.1:" in str(error)
    assert error.sent


def test_nobody_listens(transport):
    error = failure(transport, a_request(f"http://127.0.0.1:{free_port()}"))
    assert "connection refused" in str(error)
    assert not error.sent


def test_an_address_that_cannot_be_read(transport):
    error = failure(transport, a_request("https://[::1"))
    assert str(error) == "POST <not a URL>: failed with ValueError"
    assert not error.sent


def test_an_unknown_name(transport, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure(transport, a_request("https://id.example"))
    assert "cannot be resolved" in str(error)
    assert not error.sent


def test_a_dead_first_address_leaves_the_others_their_chance(serve, transport, monkeypatch):
    server = serve(answers(reply()))
    real = socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
    dead = [(*real[0][:4], ("127.0.0.1", free_port()))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: dead + real)
    assert transport(a_request(server.url)).status == 200


def test_a_failed_attempt_leaves_nothing_for_the_garbage_collector(serve, transport, monkeypatch):
    server = serve(answers(reply()))
    real = socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
    dead = [(*real[0][:4], ("127.0.0.1", free_port()))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: dead + real)

    def open_sockets() -> list[sockets.BoundedSocket]:
        return [one for one in gc.get_objects() if isinstance(one, sockets.BoundedSocket) and one.fileno() >= 0]

    gc.disable()
    try:
        others = open_sockets()  # kept alive by the transport that the rest of the suite shares
        transport(a_request(server.url))
        transport.close()
        assert not [one for one in open_sockets() if not any(one is other for other in others)]
    finally:
        gc.enable()


def test_a_failed_answer_leaves_nothing_for_the_garbage_collector(serve, transport):
    left = [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", reply()]

    def answer(stream: socket.socket, _: object) -> bool:
        stream.sendall(left.pop(0))
        return not left  # the first is cut off, by the end of its connection

    server = serve(answer)

    def pools() -> set[sockets.BoundedPool]:
        return {one for one in gc.get_objects() if isinstance(one, sockets.BoundedPool) and one.port == server.port}

    gc.collect()
    gc.disable()
    try:
        others = pools()  # of earlier tests, whose server may have had the same port
        failure(transport, a_request(server.url))
        assert transport(a_request(server.url)).status == 200
        assert len(pools() - others) == 1
        transport.close()
        assert not pools() - others
    finally:
        gc.enable()


# Silence


def test_no_library_s_debug_output_shows_what_was_sent_and_received(serve, transport, monkeypatch, caplog, capfd):
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 5)
    caplog.set_level(logging.DEBUG)
    token = "received-" + SECRET
    body = json.dumps({"access_token": token}).encode()
    server = serve(answers(reply(body, fields=(f"X-Echo: {SECRET}",)), reply(body, fields=(f"odd header {SECRET}",))))
    for _ in range(2):
        assert transport(a_request(server.url)).status == 200
    failure(transport, a_request(f"http://127.0.0.1:{free_port()}"))
    seen = "".join(caplog.messages) + caplog.text + "".join(capfd.readouterr())
    assert "urllib3" in seen
    assert SECRET not in seen


def test_its_own_repr_says_little():
    assert repr(RequestsTransport()) == "RequestsTransport(ca_bundle=None)"


# Sharing


def test_threads_share_a_transport(serve, transport):
    server = serve(answers(reply()))
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(transport(a_request(server.url)).status)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert outcomes == [200] * 8


def test_one_transport_serves_the_process(certificate):
    assert shared_transport() is shared_transport(None)
    assert shared_transport(str(certificate.path)) is shared_transport(certificate.path) is not shared_transport()


def test_a_forked_child_never_uses_its_parent_s_connections(serve, transport, monkeypatch):
    server = serve(answers(reply()))
    transport(a_request(server.url))
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        transport(a_request(server.url))
        assert server.connections == 2
        transport.close()
    transport(a_request(server.url))
    assert server.connections == 2


def test_a_closed_transport_stays_usable(serve, transport):
    server = serve(answers(reply()))
    transport(a_request(server.url))
    transport.close()
    transport.close()
    assert transport(a_request(server.url)).status == 200
    assert server.connections == 2


def test_a_name_without_an_address(transport, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    error = failure(transport, a_request("https://id.example"))
    assert str(error).endswith("/token: no connection")
    assert not error.sent
